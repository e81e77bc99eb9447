//! A picture's head: its format and its size, without its pixels. What decodes it takes memory for each pixel that the head claims.

/// Pixels on a side, at most.
const MAX_SIDE: u32 = 16_384;
/// Pixels in all, at most.
const MAX_PIXELS: u64 = 100_000_000;

/// Checks a picture; the error says what it must be.
pub(super) fn check(picture: &[u8]) -> Result<(), String> {
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
    let size = if let Some(rest) = picture.strip_prefix(PNG) {
        png(rest)
    } else if picture.starts_with(b"\xff\xd8\xff") {
        jpeg(&picture[2..])
    } else if picture.starts_with(b"RIFF") && picture.get(8..12) == Some(b"WEBP") {
        webp(picture)
    } else {
        return Err("must be a PNG, JPEG or WebP picture, as bytes".to_owned());
    };
    let Some((width, height)) = size else {
        return Err("must be a whole PNG, JPEG or WebP picture; this one's head is cut off or damaged".to_owned());
    };
    let pixels = u64::from(width) * u64::from(height);
    if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE || pixels > MAX_PIXELS {
        return Err(format!(
            "must be from 1 to {MAX_SIDE} pixels on a side and at most {MAX_PIXELS} in all; this one says {width} × {height}"
        ));
    }
    Ok(())
}

type Size = Option<(u32, u32)>;

/// The header is the first chunk, and another follows.
fn png(chunks: &[u8]) -> Size {
    const CHUNK_FRAME_BYTES: usize = 12;
    let (header, rest) = chunks.split_at_checked(CHUNK_FRAME_BYTES + 13)?;
    if header.get(..8)? != b"\0\0\0\x0dIHDR" || rest.len() < CHUNK_FRAME_BYTES {
        return None;
    }
    let (depth, colours) = (*header.get(16)?, *header.get(17)?);
    let depth_fits = match colours {
        0 => matches!(depth, 1 | 2 | 4 | 8 | 16),
        3 => matches!(depth, 1 | 2 | 4 | 8),
        2 | 4 | 6 => matches!(depth, 8 | 16),
        _ => false,
    };
    let known = header.get(18..20)? == [0, 0] && *header.get(20)? <= 1;
    (depth_fits && known).then_some((be32(header, 8)?, be32(header, 12)?))
}

/// From marker to marker up to the frame's header, with more behind it.
fn jpeg(mut rest: &[u8]) -> Size {
    loop {
        let (&first, after) = rest.split_first()?;
        if first != 0xff {
            return None;
        }
        let (&marker, after) = after.split_first()?;
        match marker {
            // A marker may be preceded by any number of these.
            0xff => {
                rest = rest.get(1..)?;
                continue;
            }
            // Those without a length, of which none comes before the frame, and the end.
            0x00 | 0x01 | 0xd0..=0xd9 => return None,
            // Its data would come before its header.
            0xda => return None,
            _ => {}
        }
        let length = usize::from(be16(after, 0)?);
        let (segment, behind) = after.split_at_checked(length)?;
        if length < 2 {
            return None;
        }
        if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
            let (depth, components) = (*segment.get(2)?, usize::from(*segment.get(7)?));
            let fits = matches!(depth, 8 | 12 | 16) && (1..=4).contains(&components) && length == 8 + 3 * components;
            let size = (u32::from(be16(segment, 5)?), u32::from(be16(segment, 3)?));
            return (fits && !behind.is_empty()).then_some(size);
        }
        rest = behind;
    }
}

/// The first chunk has the size, in one of three ways, and the whole is as long as it says.
fn webp(picture: &[u8]) -> Size {
    let says = usize::try_from(le32(picture, 4)?).ok()?.checked_add(8)?;
    let chunk_bytes = usize::try_from(le32(picture, 16)?).ok()?;
    let chunk = picture.get(20..)?.get(..chunk_bytes)?;
    if says > picture.len() {
        return None;
    }
    match picture.get(12..16)? {
        b"VP8 " => {
            // A key frame, whose lowest bit is 0, and its start code.
            let key_frame = chunk.first()? & 1 == 0 && chunk.get(3..6)? == [0x9d, 0x01, 0x2a];
            let side = |at| Some(u32::from(u16::from_le_bytes([*chunk.get(at)?, *chunk.get(at + 1)?]) & 0x3fff));
            key_frame.then_some((side(6)?, side(8)?))
        }
        b"VP8L" => {
            let bits = le32(chunk, 1)?;
            let of_its_kind = *chunk.first()? == 0x2f && bits >> 29 == 0;
            of_its_kind.then_some(((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1))
        }
        b"VP8X" => {
            let side = |at| Some(u32::from_le_bytes([*chunk.get(at)?, *chunk.get(at + 1)?, *chunk.get(at + 2)?, 0]) + 1);
            // The picture itself is in a chunk behind this one.
            let goes_on = picture.len() > 20 + chunk_bytes;
            goes_on.then_some((side(4)?, side(7)?))
        }
        _ => None,
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    be32(bytes, at).map(u32::swap_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png_of(width: u32, height: u32, depth_and_colours: [u8; 2]) -> Vec<u8> {
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
        png.extend(width.to_be_bytes());
        png.extend(height.to_be_bytes());
        png.extend(depth_and_colours);
        png.extend([0, 0, 0, 1, 2, 3, 4]);
        png.extend(b"\0\0\0\0IDAT1234");
        png
    }

    fn jpeg_of(width: u16, height: u16) -> Vec<u8> {
        let mut jpeg = b"\xff\xd8\xff\xe0\0\x04ab\xff\xff\xc2\0\x0b\x08".to_vec();
        jpeg.extend(height.to_be_bytes());
        jpeg.extend(width.to_be_bytes());
        jpeg.extend([1, 1, 0x11, 0, 0xff, 0xda]);
        jpeg
    }

    fn webp_of(kind: &[u8; 4], chunk: &[u8]) -> Vec<u8> {
        let length = |bytes: usize| u32::try_from(bytes).unwrap().to_le_bytes();
        let mut webp = b"RIFF".to_vec();
        webp.extend(length(chunk.len() + 14));
        webp.extend(b"WEBP");
        webp.extend(kind);
        webp.extend(length(chunk.len()));
        webp.extend(chunk);
        webp.extend([0, 0]);
        webp
    }

    fn pictures() -> Vec<Vec<u8>> {
        vec![
            png_of(640, 480, [8, 6]),
            png_of(16_384, 1, [1, 0]),
            jpeg_of(4000, 3000),
            webp_of(b"VP8 ", &[0x10, 0, 0, 0x9d, 1, 0x2a, 0x80, 2, 0xe0, 1]),
            webp_of(b"VP8L", &[0x2f, 0x7f, 0xc2, 0x77, 0]),
            webp_of(b"VP8X", &[0, 0, 0, 0, 0x7f, 2, 0, 0xdf, 1, 0]),
        ]
    }

    #[test]
    fn pictures_of_the_three_formats_are_taken_by_their_heads() {
        for picture in pictures() {
            assert_eq!(check(&picture), Ok(()), "{picture:?}");
        }
        assert_eq!(check(include_bytes!("../../../tests/integration/fixtures/pixel.png")), Ok(()));
    }

    #[test]
    fn a_picture_cut_off_in_its_head_is_refused_wherever_it_was_cut() {
        for picture in pictures() {
            for end in 0..picture.len() - 12 {
                assert!(check(&picture[..end]).is_err(), "{:?}", &picture[..end]);
            }
        }
    }

    #[test]
    fn absurd_sizes_are_refused_with_the_limit() {
        let absurd = [
            png_of(0, 1, [8, 6]),
            png_of(1, 0, [8, 6]),
            png_of(16_385, 1, [8, 6]),
            png_of(u32::MAX, u32::MAX, [8, 6]),
            png_of(16_384, 16_384, [8, 6]),
            jpeg_of(65_535, 65_535),
            jpeg_of(0, 10),
            webp_of(b"VP8X", &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            webp_of(b"VP8 ", &[0x10, 0, 0, 0x9d, 1, 0x2a, 0, 0, 0xe0, 1]),
        ];
        for picture in absurd {
            assert!(check(&picture).unwrap_err().contains("16384 pixels on a side"), "{picture:?}");
        }
    }

    #[test]
    fn damaged_heads_are_refused() {
        let damaged = [
            png_of(1, 1, [3, 6]),
            png_of(1, 1, [16, 3]),
            png_of(1, 1, [8, 5]),
            b"\xff\xd8\xff\xe0\0\0\xff\xc0".to_vec(),
            b"\xff\xd8\xff\xe0\0\x01\xff\xc0".to_vec(),
            b"\xff\xd8\xff\xda\0\x04ab\xff\xc0".to_vec(),
            [b"\xff\xd8".to_vec(), vec![0xff; 100_000]].concat(),
            webp_of(b"VP8 ", &[0x11, 0, 0, 0x9d, 1, 0x2a, 0x80, 2, 0xe0, 1]),
            webp_of(b"VP8L", &[0x2e, 0x7f, 0xc2, 0x77, 0]),
            webp_of(b"ALPH", &[0; 16]),
        ];
        for picture in damaged {
            assert!(check(&picture).unwrap_err().contains("damaged"), "{:?}", &picture[..picture.len().min(40)]);
        }
        assert!(check(b"GIF89a").unwrap_err().contains("PNG, JPEG or WebP"));
        assert!(check(b"").is_err());
    }
}

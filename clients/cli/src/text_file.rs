//! Text files as editors write them.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use crate::failure::Failure;

/// Reads a text file; `-` is standard input.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(path)
    };
    bytes.and_then(decoded).map_err(|source| Failure::Io { what: format!("{} can't be read", path.display()), source })
}

/// A text as editors write it: UTF-8, or UTF-16 with the mark that says so. The mark is no part of it.
pub(crate) fn decoded(bytes: Vec<u8>) -> io::Result<String> {
    let no_text = || io::Error::new(io::ErrorKind::InvalidData, "it is neither UTF-8 nor UTF-16 with a byte-order mark");
    let utf_16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (units, rest) = bytes.as_chunks::<2>();
        let units = units.iter().map(|bytes| unit(*bytes));
        let text: Result<String, _> = char::decode_utf16(units).collect();
        text.ok().filter(|_| rest.is_empty()).ok_or_else(no_text)
    };
    match bytes.as_slice() {
        [0xff, 0xfe, text @ ..] => utf_16(text, u16::from_le_bytes),
        [0xfe, 0xff, text @ ..] => utf_16(text, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, text @ ..] => String::from_utf8(text.to_vec()).map_err(|_| no_text()),
        _ => String::from_utf8(bytes).map_err(|_| no_text()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_in_every_encoding_that_editors_mark() {
        let text = "FROM a\r\nSYSTEM naïve 東京 🍄\n";
        let utf_16 = |bytes: fn(u16) -> [u8; 2]| "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(bytes).collect::<Vec<_>>();
        for bytes in [text.as_bytes().to_vec(), format!("\u{feff}{text}").into_bytes(), utf_16(u16::to_le_bytes), utf_16(u16::to_be_bytes)]
        {
            assert_eq!(decoded(bytes).unwrap(), text);
        }
        for bytes in [&b"\xff"[..], b"\xef\xbb\xbf\xff", b"\xff\xfea", b"\xfe\xff\xd8\x00", b"FROM \xe9"] {
            assert!(decoded(bytes.to_vec()).is_err(), "{bytes:?}");
        }
        assert_eq!(decoded(Vec::new()).unwrap(), "");
    }
}

//! Messages with the five bytes before each of them: gRPC's prefix, which Connect's envelope has in common with it.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::message_guard::PREFIX_BYTES;

/// The flag of the envelope that ends a stream.
pub(super) const END_OF_STREAM: u8 = 0b10;

/// A message behind its prefix. `None` when it is longer than a prefix can say.
pub(super) fn framed(flag: u8, message: &[u8]) -> Option<Bytes> {
    let length = u32::try_from(message.len()).ok()?;
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    frame.put_u8(flag);
    frame.put_u32(length);
    frame.put_slice(message);
    Some(frame.freeze())
}

/// Takes messages out of bytes that come in any pieces.
#[derive(Debug, Default)]
pub(super) struct Deframer(BytesMut);

impl Deframer {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next message that is whole, without its prefix.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        let [_, a, b, c, d, ..] = *self.0 else { return None };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if self.0.len() - PREFIX_BYTES < length {
            return None;
        }
        self.0.advance(PREFIX_BYTES);
        Some(self.0.split_to(length).freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_whole_however_they_are_cut() {
        let sent: Vec<u8> = [&b"one"[..], b"", b"three"].iter().flat_map(|message| framed(0, message).unwrap()).collect();
        for size in 1..=sent.len() {
            let (mut deframer, mut read) = (Deframer::default(), Vec::new());
            for piece in sent.chunks(size) {
                deframer.push(piece);
                while let Some(message) = deframer.next() {
                    read.push(message);
                }
            }
            assert_eq!(read, [&b"one"[..], b"", b"three"], "in pieces of {size}");
            assert!(deframer.0.is_empty());
        }
    }
}

//! The chunked transfer coding (RFC 9112, section 7.1), byte by byte: a body comes in whatever pieces the network makes of it.

use super::HttpError;

/// Bytes of chunk extensions and trailers that a body may have in all. Ollama sends none.
pub(super) const MAX_IGNORED_BYTES: usize = 8 << 10;
/// Hexadecimal digits of a chunk's size, at most: one more would be beyond 64 bits.
const MAX_SIZE_DIGITS: u8 = 16;

/// Where in a chunked body the reader is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Chunked {
    state: State,
    /// Bytes of chunk extensions and trailers so far.
    ignored: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the digits of a chunk's size.
    Size { size: u64, digits: u8 },
    /// In blanks behind the digits, before an extension.
    BeforeExtension { size: u64 },
    /// In the extensions of a chunk.
    Extension { size: u64 },
    /// Behind the CR that ends the line of a chunk's size.
    SizeEnd { size: u64 },
    /// So many bytes of the chunk are still to come.
    Data(u64),
    /// Behind the chunk.
    DataEnd,
    /// Behind the chunk and its CR.
    DataLineFeed,
    /// At the beginning of a trailer's line, or of the last line.
    TrailerStart,
    /// In a trailer's name.
    TrailerName,
    /// In a trailer's value.
    TrailerValue,
    /// Behind the CR that ends a trailer's line.
    TrailerEnd,
    /// Behind the CR of the last line.
    LastLineFeed,
    /// Behind all.
    Ended,
}

impl Default for State {
    fn default() -> Self {
        Self::Size { size: 0, digits: 0 }
    }
}

impl Chunked {
    pub(super) fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Takes what was read, appends the chunks' data to `data`, and says how many bytes lie behind the body's end.
    pub(super) fn decode(&mut self, bytes: &[u8], data: &mut Vec<u8>) -> Result<usize, HttpError> {
        let mut rest = bytes;
        loop {
            if let State::Data(left) = &mut self.state {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                data.extend_from_slice(&rest[..taken]);
                rest = &rest[taken..];
                *left -= taken as u64;
                if *left > 0 {
                    return Ok(0);
                }
                self.state = State::DataEnd;
            }
            if self.is_ended() {
                return Ok(rest.len());
            }
            let Some((byte, behind)) = rest.split_first() else { return Ok(0) };
            rest = behind;
            self.step(*byte).map_err(|what| HttpError::Protocol(format!("a chunked body {what}")))?;
        }
    }

    /// Takes a byte that is not of a chunk's data.
    fn step(&mut self, byte: u8) -> Result<(), &'static str> {
        self.state = match (self.state, byte) {
            (State::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == MAX_SIZE_DIGITS {
                    return Err("has a chunk of a size beyond all measure");
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
            }
            (State::Size { digits: 0, .. }, _) => return Err("has a chunk without a size"),
            (State::Size { size, .. } | State::Extension { size }, b'\r') => State::SizeEnd { size },
            (State::Size { size, .. } | State::BeforeExtension { size }, b';') => State::Extension { size },
            (State::Size { size, .. } | State::BeforeExtension { size }, b' ' | b'\t') => {
                self.ignore()?;
                State::BeforeExtension { size }
            }
            (State::Size { .. } | State::BeforeExtension { .. }, _) => return Err("has a chunk whose size is no number"),
            (State::Extension { size }, _) if is_field_text(byte) => {
                self.ignore()?;
                State::Extension { size }
            }
            (State::Extension { .. }, _) => return Err("has a control character in a chunk extension"),
            (State::SizeEnd { size: 0 }, b'\n') => State::TrailerStart,
            (State::SizeEnd { size }, b'\n') => State::Data(size),
            (State::DataEnd, b'\r') => State::DataLineFeed,
            (State::DataLineFeed, b'\n') => State::default(),
            (State::DataEnd | State::DataLineFeed, _) => return Err("has a chunk that is longer than its size"),
            (State::TrailerStart, b'\r') => State::LastLineFeed,
            (State::TrailerStart | State::TrailerName, _) if is_token(byte) => {
                self.ignore()?;
                State::TrailerName
            }
            (State::TrailerName, b':') => State::TrailerValue,
            (State::TrailerStart | State::TrailerName, _) => return Err("has a trailer without a name"),
            (State::TrailerValue, b'\r') => State::TrailerEnd,
            (State::TrailerValue, _) if is_field_text(byte) => {
                self.ignore()?;
                State::TrailerValue
            }
            (State::TrailerValue, _) => return Err("has a control character in a trailer"),
            (State::TrailerEnd, b'\n') => State::TrailerStart,
            (State::LastLineFeed, b'\n') => State::Ended,
            (State::SizeEnd { .. } | State::TrailerEnd | State::LastLineFeed, _) => return Err("has a line that ends without LF"),
            (State::Data(_) | State::Ended, _) => self.state,
        };
        Ok(())
    }

    /// Counts a byte that says nothing to us.
    fn ignore(&mut self) -> Result<(), &'static str> {
        self.ignored += 1;
        if self.ignored > MAX_IGNORED_BYTES { Err("has endless chunk extensions or trailers") } else { Ok(()) }
    }
}

/// What a field's name is made of (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What a field's value, and an extension, is made of: no control characters but the tab.
fn is_field_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_body_may_be_split_anywhere() {
        let text = b"5\r\nhello\r\n1 ;a=b\r\n \r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\nbehind";
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let (mut chunked, mut data, mut behind) = (Chunked::default(), Vec::new(), 0);
                for piece in [&text[..first], &text[first..second], &text[second..]] {
                    behind += chunked.decode(piece, &mut data).unwrap();
                }
                assert_eq!(data, b"hello 0123456789", "split at {first} and {second}");
                assert!(chunked.is_ended());
                assert_eq!(behind, b"behind".len());
            }
        }
    }

    #[test]
    fn the_largest_size_of_64_bits_is_a_size() {
        let mut chunked = Chunked::default();
        chunked.decode(b"ffffffffffffffff\r\nx", &mut Vec::new()).unwrap();
        assert_eq!(chunked.state, State::Data(u64::MAX - 1));
        assert!(Chunked::default().decode(b"00000000000000001", &mut Vec::new()).is_err());
    }
}

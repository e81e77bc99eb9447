//! What the fuzz target calls.

use super::response_head::HeadReader;

/// What a response came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is no response, or not one alone.
    Refused,
    /// Its head or its body is still to come to its end.
    Unfinished,
    /// It is whole.
    Whole {
        /// Its status.
        status: u16,
        /// Its body.
        body: Vec<u8>,
        /// How many bytes lie behind it.
        behind: usize,
    },
}

/// Reads a response that comes in these pieces; then the connection is closed.
#[must_use]
pub fn response(pieces: &[&[u8]]) -> Outcome {
    read(pieces).unwrap_or(Outcome::Refused)
}

fn read(pieces: &[&[u8]]) -> Result<Outcome, super::HttpError> {
    let mut pieces = pieces.iter().filter(|piece| !piece.is_empty());
    let mut heads = HeadReader::new();
    let (mut head, early) = loop {
        let Some(piece) = pieces.next() else { return Ok(Outcome::Unfinished) };
        heads.spare().extend_from_slice(piece);
        if let Some(found) = heads.next()? {
            break found;
        }
    };
    let mut body = Vec::new();
    let mut behind = head.framing.decode(&early, &mut body)?;
    for piece in pieces {
        behind += head.framing.decode(piece, &mut body)?;
    }
    if !head.framing.is_ended() && head.framing.end_of_input().is_err() {
        return Ok(Outcome::Unfinished);
    }
    Ok(Outcome::Whole { status: head.status.as_u16(), body, behind })
}

//! What the fuzz targets call.

pub use super::http1::fuzzing as http1;

/// The lines of a body that comes in these pieces; `None` when one is too long.
#[must_use]
pub fn lines(pieces: &[&[u8]]) -> Option<Vec<Vec<u8>>> {
    super::ndjson::lines_of(pieces).ok()
}

//! Events of a stream, as they go over the wire.

use serde::Serialize;

/// The last one of a stream that ended well.
pub(super) const DONE: &[u8] = b"data: [DONE]\n\n";

/// Writes an event of this JSON, whose text has no line's end: serde_json escapes it.
pub(super) fn write(out: &mut Vec<u8>, data: &impl Serialize) {
    out.extend_from_slice(b"data: ");
    // What is written here has texts for keys, and a vector takes all: nothing can fail.
    let written = serde_json::to_writer(&mut *out, data);
    debug_assert!(written.is_ok());
    out.extend_from_slice(b"\n\n");
}

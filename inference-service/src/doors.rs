//! The HTTP doors: the protocols of others, in front of the same methods that gRPC has.
//!
//! A door turns its JSON into the contract's messages, calls [`InferenceService`]'s methods, and turns their events back. It asks neither
//! the engine nor auth-service by itself.

pub mod answer;
pub mod anthropic;
mod embedding;
pub mod event_stream;
mod field_names;
mod forced_tool;
mod named_events;
pub mod ollama;
pub mod openai;
mod other_fields;
pub mod published;
pub mod responses;

use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use shared::admission::MethodPolicy;
use shared::authorization::CallerKind;
use shared::codec::MAX_MESSAGE_BYTES;
use shared::doors::Door;

use crate::service::inference::InferenceService;
use crate::service::models::ModelsService;

/// What a route requires that costs credits. Its handler calls a method that begins the call's record.
pub const METERED: MethodPolicy = MethodPolicy { caller: CallerKind::EndUser, most_bytes: MAX_MESSAGE_BYTES, is_recorded: true };
/// What a route requires that costs nothing.
pub const FREE: MethodPolicy = MethodPolicy { caller: CallerKind::EndUser, most_bytes: 16 * 1024, is_recorded: false };

/// All doors.
#[must_use]
pub fn doors(inference: &InferenceService, models: &ModelsService) -> Vec<Door> {
    vec![openai::door(inference), responses::door(inference), anthropic::door(inference), ollama::door(inference, models)]
}

/// How long a request's body is, as far as its headers say; else as long as can be.
fn body_bytes(headers: &HeaderMap) -> usize {
    headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(usize::MAX)
}

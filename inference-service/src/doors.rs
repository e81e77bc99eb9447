//! The HTTP doors: the protocols of others, in front of the same methods that gRPC has.
//!
//! A door turns its JSON into the contract's messages, calls [`InferenceService`]'s methods, and turns their events back. It asks neither the
//! engine nor auth-service by itself.

pub mod answer;
mod embedding;
pub mod ollama;
#[path = "doors/openai/embeddings.rs"]
pub mod openai_embeddings;

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
    // Until openai's list of routes is here.
    let embeddings = Door { name: "OpenAI", refusal: openai_embeddings::refusal, routes: vec![openai_embeddings::route(inference)] };
    vec![ollama::door(inference, models), embeddings]
}

//! Embeddings, as every door that has them gives them.

use shared::doors::Refusal;
use shared::proto::inference as wire;

use super::answer::resolved;

/// An answer with its embeddings.
///
/// # Errors
/// The request was resolved before, and there are none to give: an empty list would be taken for the model's.
pub(super) fn answered(response: wire::EmbedResponse) -> Result<wire::EmbedResponse, Refusal> {
    if response.replayed { Err(resolved(response.receipt)) } else { Ok(response) }
}

//! The models that a caller may name.

use schemars::JsonSchema;
use serde::Serialize;
use shared::model_name::DEFAULT_NAMESPACE;

use super::answer_head::unix_seconds;
use crate::engine::{ModelEntry, ModelFacts};

/// All of them.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ModelList {
    object: &'static str,
    data: Vec<Model>,
}

/// One of them.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Model {
    id: String,
    object: &'static str,
    /// Seconds since 1970 when it was made or changed; 0 when that isn't known.
    created: u64,
    /// Its namespace.
    owned_by: String,
}

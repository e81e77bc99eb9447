//! The models that a caller may name.

use std::time::SystemTime;

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

impl ModelList {
    pub(super) fn of(entries: Vec<ModelEntry>) -> Self {
        let data = entries.into_iter().map(|entry| Model::new(entry.name, entry.modified_at)).collect();
        Self { object: "list", data }
    }
}

impl Model {
    /// One by the name that it was asked for by.
    pub(super) fn of(name: &str, facts: &ModelFacts) -> Self {
        Self::new(name.to_owned(), facts.modified_at)
    }

    fn new(id: String, modified_at: Option<SystemTime>) -> Self {
        let owned_by = namespace(&id).to_owned();
        Self { id, object: "model", created: modified_at.map(unix_seconds).unwrap_or_default(), owned_by }
    }
}

/// `hf.co/ann/model:tag` is ann's; a model without a namespace is in the default one.
fn namespace(name: &str) -> &str {
    name.rsplit('/').nth(1).unwrap_or(DEFAULT_NAMESPACE)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_model_is_owned_by_its_namespace_and_was_created_when_it_changed() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1500);
        let list = ["smollm2", "ann/smollm2:7b", "hf.co/bob/smollm2:Q4_1"].map(|name| Model::new(name.to_owned(), Some(at)));
        assert_eq!(list.each_ref().map(|model| model.owned_by.as_str()), ["library", "ann", "bob"]);
        let json = serde_json::to_string(&list[0]).unwrap();
        assert_eq!(json, r#"{"id":"smollm2","object":"model","created":1,"owned_by":"library"}"#);
    }
}

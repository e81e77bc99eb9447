//! What models there are, what each is, and which are loaded, as Ollama says it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use prost_types::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::model_name::DEFAULT_TAG;

use crate::engine::{LoadedModel, ModelDetails, ModelEntry, ModelFacts};

/// What names a model: `model`, or `name` from older clients.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct NamedModel {
    model: Option<String>,
    name: Option<String>,
}

impl NamedModel {
    /// The name; empty: there is none.
    pub(super) fn into_name(self) -> String {
        self.model.filter(|name| !name.is_empty()).or(self.name).unwrap_or_default()
    }
}

/// `/api/tags`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Tags {
    pub(super) models: Vec<Tag>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Tag {
    name: String,
    model: String,
    modified_at: String,
    size: i64,
    digest: String,
    details: Details,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    capabilities: Vec<String>,
}

/// `/api/ps`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Running {
    pub(super) models: Vec<RunningModel>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RunningModel {
    name: String,
    model: String,
    size: i64,
    digest: String,
    details: Details,
    expires_at: String,
    size_vram: i64,
    context_length: u32,
}

/// `/api/show`. The Modelfile, the system prompt, the template and the parameters are the operator's, and left out.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Shown {
    details: Details,
    /// What is known of it: its architecture and its lengths.
    model_info: BTreeMap<String, Value>,
    capabilities: Vec<String>,
    modified_at: String,
}

/// `/api/version`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Version {
    pub(super) version: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Details {
    parent_model: String,
    format: String,
    family: String,
    families: Vec<String>,
    parameter_size: String,
    quantization_level: String,
}

/// A canonical name with its tag: Ollama's clients compare names in this form.
pub(super) fn with_tag(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') { name.to_owned() } else { format!("{name}:{DEFAULT_TAG}") }
}

/// As Go writes times; what is unknown is its first one.
fn time(time: Option<SystemTime>) -> String {
    time.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |time| Timestamp::from(time).to_string())
}

impl From<ModelDetails> for Details {
    fn from(details: ModelDetails) -> Self {
        let ModelDetails { format, family, parameter_size, quantization_level, parent_model } = details;
        let parent_model = if parent_model.is_empty() { parent_model } else { with_tag(&parent_model) };
        Self { parent_model, format, families: vec![family.clone()], family, parameter_size, quantization_level }
    }
}

/// A model without a digest has zeros: `ollama list` takes the first twelve characters, and ends with a panic where there are fewer.
fn digest(known: String) -> String {
    if known.is_empty() { "0".repeat(64) } else { known }
}

impl From<ModelEntry> for Tag {
    fn from(entry: ModelEntry) -> Self {
        let name = with_tag(&entry.name);
        Self {
            model: name.clone(),
            name,
            modified_at: time(entry.modified_at),
            size: entry.size_bytes,
            digest: digest(entry.digest),
            details: entry.details.into(),
            capabilities: entry.capabilities,
        }
    }
}

impl From<LoadedModel> for RunningModel {
    fn from(loaded: LoadedModel) -> Self {
        let name = with_tag(&loaded.name);
        Self {
            model: name.clone(),
            name,
            size: loaded.size_bytes,
            digest: digest(loaded.digest),
            details: loaded.details.into(),
            expires_at: time(loaded.expires_at),
            size_vram: loaded.graphics_bytes,
            context_length: loaded.context_length,
        }
    }
}

impl From<ModelFacts> for Shown {
    fn from(facts: ModelFacts) -> Self {
        let family = &facts.details.family;
        let lengths = [("context_length", facts.context_length), ("embedding_length", facts.embedding_length)];
        let known = lengths.into_iter().filter(|(_, length)| *length > 0 && !family.is_empty());
        let mut model_info: BTreeMap<_, _> = known.map(|(name, length)| (format!("{family}.{name}"), length.into())).collect();
        if !family.is_empty() {
            model_info.insert("general.architecture".to_owned(), family.clone().into());
        }
        Self { model_info, capabilities: facts.capabilities, modified_at: time(facts.modified_at), details: facts.details.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_tag() {
        for (name, expected) in
            [("smollm2", "smollm2:latest"), ("smollm2:1b", "smollm2:1b"), ("host:5000/a/b", "host:5000/a/b:latest"), ("a/b:q4", "a/b:q4")]
        {
            assert_eq!(with_tag(name), expected);
        }
    }

    #[test]
    fn a_digest_has_the_length_that_ollamas_command_line_takes_for_granted() {
        assert_eq!(digest(String::new()).len(), 64);
        assert_eq!(digest("fd5f44c0".to_owned()), "fd5f44c0");
    }

    #[test]
    fn a_time_that_is_not_known_is_one_that_clients_can_read() {
        assert_eq!(time(None), "0001-01-01T00:00:00Z");
        assert_eq!(time(Some(SystemTime::UNIX_EPOCH)), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn what_is_shown_of_a_model_is_what_callers_may_know() {
        let details = ModelDetails { family: "llama".to_owned(), parent_model: "base".to_owned(), ..Default::default() };
        let capabilities = vec!["completion".to_owned()];
        let facts = ModelFacts { details, capabilities, context_length: 8192, embedding_length: 0, modified_at: None };
        let shown = serde_json::to_value(Shown::from(facts)).unwrap();
        let info = serde_json::json!({ "general.architecture": "llama", "llama.context_length": 8192 });
        assert_eq!(shown["model_info"], info);
        assert_eq!((&shown["details"]["parent_model"], &shown["details"]["families"][0]), (&"base:latest".into(), &"llama".into()));
        let fields: Vec<_> = shown.as_object().unwrap().keys().cloned().collect();
        assert_eq!(fields, ["details", "model_info", "capabilities", "modified_at"]);
    }

    #[test]
    fn older_clients_say_name() {
        let named = |json: &str| serde_json::from_str::<NamedModel>(json).unwrap().into_name();
        assert_eq!(named(r#"{"name":"a"}"#), "a");
        assert_eq!(named(r#"{"model":"a","name":"b"}"#), "a");
        assert_eq!(named(r#"{"model":"","name":"b"}"#), "b");
        assert_eq!(named(r#"{"verbose":true,"system":"","options":null}"#), "");
    }
}

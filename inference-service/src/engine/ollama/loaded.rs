//! The models that Ollama has loaded, by `/api/ps`.

use serde::Deserialize;

use super::facts::parse_time;
use super::wire::{DetailsBody, malformed};
use crate::engine::{EngineError, LoadedModel};
use crate::prompt::ModelName;

#[derive(Deserialize)]
struct Running {
    name: String,
    #[serde(default)]
    size: i64,
    #[serde(default)]
    size_vram: i64,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    details: DetailsBody,
    #[serde(default)]
    expires_at: String,
    #[serde(default)]
    context_length: u32,
}

/// Reads a reply. What no request can name isn't listed.
pub(super) fn parse(reply: &[u8]) -> Result<Vec<LoadedModel>, EngineError> {
    #[derive(Deserialize)]
    struct Loaded {
        models: Option<Vec<Running>>,
    }
    let Loaded { models } = serde_json::from_slice(reply).map_err(|error| malformed("the list of loaded models", &error))?;
    let loaded = |running: Running| {
        Some(LoadedModel {
            name: ModelName::parse(&running.name).ok()?.to_string(),
            size_bytes: running.size,
            graphics_bytes: running.size_vram,
            digest: running.digest,
            details: running.details.into_details(),
            expires_at: parse_time(&running.expires_at),
            context_length: running.context_length,
        })
    };
    Ok(models.unwrap_or_default().into_iter().filter_map(loaded).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_loaded_has_its_canonical_name_and_its_end() {
        let reply = br#"{"models":[{"name":"a:latest","model":"a:latest","size":7,"digest":"d","details":{"family":"llama"},
            "expires_at":"2026-11-22T02:12:21.636523786Z","size_vram":3,"context_length":4096},{"name":"../x"}]}"#;
        let loaded = parse(reply).unwrap();
        assert_eq!(loaded.len(), 1);
        assert_eq!((loaded[0].name.as_str(), loaded[0].size_bytes, loaded[0].graphics_bytes, loaded[0].context_length), ("a", 7, 3, 4096));
        assert!(loaded[0].expires_at.is_some());
        assert_eq!(parse(br#"{"models":null}"#).unwrap(), []);
    }
}

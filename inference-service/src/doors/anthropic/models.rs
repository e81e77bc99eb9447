//! Models in Anthropic's form. Their path is the same as in OpenAI's API: the header `anthropic-version` tells which form is expected.

use std::time::SystemTime;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderName};
use schemars::JsonSchema;
use serde::Serialize;
use shared::doors::{Refusal, json};

use crate::engine::{ModelEntry, ModelFacts};

const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
/// Models of a page, at most, and where none is asked for.
const MAX_PAGE: usize = 1000;

/// Whether Anthropic's forms are expected: its SDKs send this header with each call.
pub(crate) fn is_expected(headers: &HeaderMap) -> bool {
    headers.contains_key(VERSION)
}

/// A model.
#[derive(Serialize, JsonSchema)]
struct ModelInfo<'a> {
    /// `model`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// For requests.
    id: &'a str,
    /// The same.
    display_name: &'a str,
    /// When it was made or changed; the epoch where that is unknown.
    created_at: String,
    /// `active`.
    lifecycle: &'static str,
}

impl<'a> ModelInfo<'a> {
    fn new(name: &'a str, modified_at: Option<SystemTime>) -> Self {
        let created_at = prost_types::Timestamp::from(modified_at.unwrap_or(SystemTime::UNIX_EPOCH)).to_string();
        Self { kind: "model", id: name, display_name: name, created_at, lifecycle: "active" }
    }
}

/// A page of models.
#[derive(Serialize)]
struct Page<'a> {
    data: Vec<ModelInfo<'a>>,
    has_more: bool,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
}

/// Which page of a list is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct PageRequest {
    limit: Option<usize>,
    after: Option<String>,
    before: Option<String>,
}

impl PageRequest {
    fn read(query: &str) -> Result<Self, Refusal> {
        let mut request = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit));
                    request.limit = Some(limit.ok_or_else(|| Refusal::invalid("limit", format!("must be from 1 to {MAX_PAGE}")))?);
                }
                "after_id" => request.after = Some(value.into_owned()),
                "before_id" => request.before = Some(value.into_owned()),
                _ => {}
            }
        }
        Ok(request)
    }

    /// The models of the page, and whether there are more in its direction.
    fn cut<'m>(&self, models: &'m [ModelEntry]) -> (&'m [ModelEntry], bool) {
        let limit = self.limit.unwrap_or(MAX_PAGE);
        let position = |id: &Option<String>| models.iter().position(|entry| Some(&entry.name) == id.as_ref());
        if let Some(end) = position(&self.before) {
            let start = end.saturating_sub(limit);
            return (&models[start..end], start > 0);
        }
        let start = position(&self.after).map_or(0, |index| index + 1);
        let end = models.len().min(start + limit);
        (&models[start..end], end < models.len())
    }
}

/// The answer to a request for the models, with its query.
pub(crate) fn list(models: &[ModelEntry], query: &str) -> Result<Response<Body>, Refusal> {
    let (page, has_more) = PageRequest::read(query)?.cut(models);
    let data = page.iter().map(|entry| ModelInfo::new(&entry.name, entry.modified_at)).collect();
    Ok(json(&Page { data, has_more, first_id: id_of(page.first()), last_id: id_of(page.last()) }))
}

fn id_of(entry: Option<&ModelEntry>) -> Option<&str> {
    entry.map(|entry| entry.name.as_str())
}

/// The answer to a request for one model.
pub(crate) fn one(name: &str, facts: &ModelFacts) -> Response<Body> {
    json(&ModelInfo::new(name, facts.modified_at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ModelDetails;

    fn models() -> Vec<ModelEntry> {
        let named = |name: &&str| ModelEntry {
            name: (*name).to_owned(),
            size_bytes: 1,
            digest: String::new(),
            modified_at: None,
            details: ModelDetails::default(),
            capabilities: Vec::new(),
        };
        ["a", "b:1", "c"].iter().map(named).collect()
    }

    fn page(query: &str) -> (Vec<String>, bool) {
        let models = models();
        let (page, has_more) = PageRequest::read(query).unwrap().cut(&models);
        (page.iter().map(|entry| entry.name.clone()).collect(), has_more)
    }

    #[test]
    fn a_page_begins_behind_one_model_or_ends_before_one() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(page(""), (names(&["a", "b:1", "c"]), false));
        assert_eq!(page("limit=2"), (names(&["a", "b:1"]), true));
        assert_eq!(page("limit=2&after_id=b%3A1"), (names(&["c"]), false));
        assert_eq!(page("limit=1&before_id=c"), (names(&["b:1"]), true));
        assert_eq!(page("after_id=c"), (names(&[]), false));
        for wrong in ["limit=0", "limit=1001", "limit=x"] {
            assert_eq!(PageRequest::read(wrong).unwrap_err().status, 400, "{wrong}");
        }
    }

    #[test]
    fn a_model_without_a_time_is_of_the_epoch() {
        let info = serde_json::to_value(ModelInfo::new("m", None)).unwrap();
        assert_eq!((info["id"].as_str(), info["created_at"].as_str()), (Some("m"), Some("1970-01-01T00:00:00Z")));
    }
}

//! The fields that make an API key.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use shared::counted_message::MAX_KEY_PATTERNS;
use shared::proto::auth as pb;

use crate::model_pattern::ModelPattern;
use crate::service::contract;
use crate::service::service_error::ServiceError;
use crate::service::violations::{Violation, Violations, plain_text};
use crate::store::Scope;

// Every Check by the key goes through its patterns: so they are short and cheap to match, and few (`MAX_KEY_PATTERNS`).
const MAX_PATTERN_BYTES: usize = 128;
const MAX_PATTERN_STARS: usize = 4;
const MAX_PATTERNS_BYTES: usize = 1024;

/// What a new API key is made of, its fields checked.
pub(crate) struct KeyFields {
    pub(crate) name: String,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) models: Vec<String>,
    pub(crate) expires_at_ms: Option<i64>,
}

impl KeyFields {
    pub(crate) fn parse(request: pb::CreateApiKeyRequest) -> Result<Self, ServiceError> {
        let mut violations = Violations::default();
        let name = violations.keep(plain_text("name", request.name, 100));
        let scopes = violations.keep(scopes(&request.scopes));
        let models = violations.keep(model_patterns(&request.models));
        let expires_at_ms = violations.keep(expiry(request.expires_at.as_ref()));
        let fields = || Some(Self { name: name?, scopes: scopes?, models: models?, expires_at_ms: expires_at_ms? });
        violations.finish(fields())
    }
}

fn scopes(names: &[String]) -> Result<Vec<Scope>, Violation> {
    if names.is_empty() {
        return Ok(vec![Scope::Inference, Scope::Account]);
    }
    let scopes: Option<Vec<Scope>> = names.iter().map(|name| contract::scope(name)).collect();
    let mut scopes = scopes.ok_or_else(|| Violation::new("scopes", "must be of inference, models and account"))?;
    scopes.sort_unstable();
    scopes.dedup();
    Ok(scopes)
}

fn model_patterns(patterns: &[String]) -> Result<Vec<String>, Violation> {
    let fits = |pattern: &String| {
        (1..=MAX_PATTERN_BYTES).contains(&pattern.len())
            && pattern.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/:*".contains(&byte))
            && pattern.bytes().filter(|byte| *byte == b'*').count() <= MAX_PATTERN_STARS
    };
    let bytes: usize = patterns.iter().map(String::len).sum();
    if patterns.len() > MAX_KEY_PATTERNS || bytes > MAX_PATTERNS_BYTES || !patterns.iter().all(fits) {
        let expected = format!(
            "must be at most {MAX_KEY_PATTERNS} patterns, {MAX_PATTERNS_BYTES} characters together; each 1 to {MAX_PATTERN_BYTES} letters, \
             digits, or . _ - / : and at most {MAX_PATTERN_STARS} *"
        );
        return Err(Violation::new("models", expected));
    }
    let kept = |pattern: &String| {
        let parsed = ModelPattern::parse(pattern).map(|parsed| parsed.to_string());
        parsed.map_err(|invalid| Violation::new("models", format!("has {pattern:?}, which {invalid}")))
    };
    patterns.iter().map(kept).collect()
}

fn expiry(expires_at: Option<&prost_types::Timestamp>) -> Result<Option<i64>, Violation> {
    let Some(expires_at) = expires_at else { return Ok(None) };
    let is_ahead = |ms: &i64| u64::try_from(*ms).is_ok_and(|ms| UNIX_EPOCH + Duration::from_millis(ms) > SystemTime::now());
    let in_future = contract::milliseconds(expires_at).filter(is_ahead);
    in_future.map(Some).ok_or_else(|| Violation::new("expires_at", "must be in the future"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_are_costly_to_match_are_refused() {
        let patterns = |patterns: &[&str]| model_patterns(&patterns.iter().map(|pattern| (*pattern).to_owned()).collect::<Vec<_>>());
        let long = format!("{}/{}*", "x".repeat(60), "x".repeat(66));
        assert_eq!(patterns(&["registry.ollama.ai/library/a_B-1.c:latest", "*a*b*c*"]).unwrap(), ["a_b-1.c", "*a*b*c*"]);
        assert!(patterns(&[long.as_str(); 8]).is_ok());
        let above = [[long.as_str()].repeat(8), vec!["x"]].concat();
        for wrong in [
            &above[..],
            &["x"; 33],
            &["*****"],
            &[""],
            &["a b"],
            &["a,b"],
            &["a%62"],
            &["é"],
            &["\u{7}"],
            &[&format!("{long}x")],
            &["a:cloud:local"],
            &["llama*b"],
            &["hf.co/b*"],
        ] {
            assert!(patterns(wrong).is_err_and(|violation| violation.field == "models"), "{wrong:?}");
        }
    }
}

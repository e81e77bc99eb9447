//! The fields that make an API key, or another secret for one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;
use prost::Message;
use shared::counted_message::{MAX_KEY_NETWORKS, MAX_KEY_PATTERNS};
use shared::credential_form::holds_credential;
use shared::proto::auth as pb;

use crate::ids::UserId;
use crate::key_lifetimes::{KeyLifetimes, UnfitEnd};
use crate::model_pattern::ModelPattern;
use crate::networks;
use crate::scope::{self, Scope};
use crate::service::contract;
use crate::service::service_error::ServiceError;
use crate::service::violations::{Violation, Violations, plain_text};
use crate::store::KeyRequest;

// Every Check by the key goes through its patterns: so they are short and cheap to match, and few (`MAX_KEY_PATTERNS`).
const MAX_PATTERN_BYTES: usize = 128;
const MAX_PATTERN_STARS: usize = 4;
const MAX_PATTERNS_BYTES: usize = 1024;
/// Characters of a request's id. Only a digest of it is kept.
const MAX_REQUEST_ID_CHARACTERS: usize = 128;
/// How long the secrets before a rotation stay good, where nothing is said.
const DEFAULT_GRACE: Duration = Duration::from_secs(24 * 3600);
/// The longest that a key may be asked to last from now on.
const MAX_LIFETIME: Duration = Duration::from_secs(36_500 * 24 * 3600);
/// The longest that they may.
const MAX_GRACE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The field that says when a key ends.
pub(crate) const EXPIRES_AT: &str = "expires_at";

/// What a new API key is made of, its fields checked.
#[derive(Debug)]
pub(crate) struct KeyFields {
    pub(crate) name: String,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) models: Vec<String>,
    pub(crate) networks: Vec<IpNet>,
    pub(crate) expires_at_ms: Option<i64>,
    pub(crate) request: Option<KeyRequest>,
}

impl KeyFields {
    /// `user`: whose request it is.
    pub(crate) fn parse(user: &UserId, request: pb::CreateApiKeyRequest, lifetimes: KeyLifetimes) -> Result<Self, ServiceError> {
        let mut violations = Violations::default();
        let name = violations.keep(plain_text("name", request.name, 100));
        let scopes = violations.keep(scopes(&request.scopes));
        let models = violations.keep(model_patterns(&request.models));
        let networks = violations.keep(networks(&request.networks));
        let expires_at_ms = violations.keep(match &request.lifetime {
            None => expiry(request.expires_at.as_ref(), !request.request_id.is_empty(), lifetimes, now_ms()),
            Some(lifetime) => end_of(lifetime, request.expires_at.is_some(), lifetimes, now_ms()),
        });
        let request_id = violations.keep(request_id(request.request_id));
        let fields = || {
            let (name, scopes, models, networks) = (name?, scopes?, models?, networks?);
            // In one form, whatever way the caller wrote it, and with what was said: a default time is another at each repetition.
            let wanted = pb::CreateApiKeyRequest {
                name: name.clone(),
                scopes: scope::names(&scopes).into_iter().map(str::to_owned).collect(),
                models: models.clone(),
                expires_at: request.expires_at,
                networks: networks.iter().map(ToString::to_string).collect(),
                request_id: String::new(),
                lifetime: request.lifetime,
                service_account_id: request.service_account_id.clone(),
            };
            let request = request_id?.map(|id| key_request(user, &id, "CreateApiKey", &wanted));
            Some(Self { name, scopes, models, networks, expires_at_ms: expires_at_ms?, request })
        };
        violations.finish(fields())
    }
}

/// What another secret is made by, its fields checked.
#[derive(Debug)]
pub(crate) struct RotationFields {
    pub(crate) grace: Duration,
    pub(crate) request: Option<KeyRequest>,
}

impl RotationFields {
    /// `user`: whose request it is.
    pub(crate) fn parse(user: &UserId, request: pb::RotateApiKeyRequest) -> Result<Self, ServiceError> {
        let mut violations = Violations::default();
        let grace = violations.keep(grace(request.grace_period.as_ref()));
        let request_id = violations.keep(request_id(request.request_id));
        let fields = || {
            let grace = grace?;
            let grace_period = prost_types::Duration::try_from(grace).ok();
            let wanted = pb::RotateApiKeyRequest { api_key_id: request.api_key_id, grace_period, request_id: String::new() };
            let request = request_id?.map(|id| key_request(user, &id, "RotateApiKey", &wanted));
            Some(Self { grace, request })
        };
        violations.finish(fields())
    }
}

fn key_request(user: &UserId, request_id: &str, method: &str, wanted: &impl Message) -> KeyRequest {
    let mut bytes = method.as_bytes().to_vec();
    // No method's name ends in this.
    bytes.push(0);
    bytes.extend(wanted.encode_to_vec());
    KeyRequest::new(user, request_id, &bytes)
}

/// `None`: the request has no name.
fn request_id(text: String) -> Result<Option<String>, Violation> {
    let fits = text.len() <= MAX_REQUEST_ID_CHARACTERS && text.bytes().all(|byte| byte.is_ascii_graphic());
    let expected = || format!("must be 1 to {MAX_REQUEST_ID_CHARACTERS} printable ASCII characters without spaces, or be left out");
    if fits { Ok(Some(text).filter(|text| !text.is_empty())) } else { Err(Violation::new("request_id", expected())) }
}

fn grace(said: Option<&prost_types::Duration>) -> Result<Duration, Violation> {
    let Some(said) = said else { return Ok(DEFAULT_GRACE) };
    // Taken apart by hand: the library's conversion panics at the least number there is.
    let seconds = u64::try_from(said.seconds).ok().filter(|seconds| *seconds <= MAX_GRACE.as_secs());
    let nanos = u32::try_from(said.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let read = seconds.zip(nanos).map(|(seconds, nanos)| Duration::new(seconds, nanos)).filter(|grace| *grace <= MAX_GRACE);
    let expected = || format!("must be from 0 to {} s", MAX_GRACE.as_secs());
    // Whole milliseconds, as times are kept.
    let whole = |grace: Duration| Duration::from_millis(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX));
    read.map(whole).ok_or_else(|| Violation::new("grace_period", expected()))
}

/// `may_be_repeated`: the request may be the repetition of one whose key has ended since. The store says so, and makes no such key anew.
fn expiry(
    said: Option<&prost_types::Timestamp>,
    may_be_repeated: bool,
    lifetimes: KeyLifetimes,
    now_ms: i64,
) -> Result<Option<i64>, Violation> {
    // What is no time is none that lies ahead.
    let wanted = said.map(|said| contract::milliseconds(said).ok_or(UnfitEnd::NotAhead)).transpose();
    let end = wanted.and_then(|wanted_ms| match lifetimes.end_ms(wanted_ms, now_ms) {
        Err(UnfitEnd::NotAhead) if may_be_repeated => Ok(wanted_ms),
        end => end,
    });
    end.map_err(|unfit| Violation::new(EXPIRES_AT, unfit.to_string()))
}

/// When a lifetime that begins now ends.
fn end_of(lifetime: &prost_types::Duration, has_end: bool, lifetimes: KeyLifetimes, now_ms: i64) -> Result<Option<i64>, Violation> {
    let refused = |why: String| Violation::new("lifetime", why);
    if has_end {
        return Err(refused("must be left out beside expires_at".to_owned()));
    }
    let longest = i64::try_from(MAX_LIFETIME.as_secs()).unwrap_or(i64::MAX);
    let is_one = (0..=longest).contains(&lifetime.seconds) && (0..1_000_000_000).contains(&lifetime.nanos);
    let lasts_ms = is_one.then(|| lifetime.seconds * 1000 + i64::from(lifetime.nanos / 1_000_000)).filter(|ms| *ms > 0);
    let lasts_ms = lasts_ms.ok_or_else(|| refused(format!("must be more than 0 and at most {longest} s")))?;
    lifetimes.end_ms(Some(now_ms.saturating_add(lasts_ms)), now_ms).map_err(|unfit| refused(unfit.to_string()))
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn scopes(names: &[String]) -> Result<Vec<Scope>, Violation> {
    if names.is_empty() {
        return Ok(scope::named([shared::scope::INFERENCE, shared::scope::ACCOUNT]));
    }
    let is_known = |name: &String| shared::scope::ALL.contains(&name.as_str());
    if !names.iter().all(is_known) {
        return Err(Violation::new("scopes", "must be of chat, generate, embed, list_models, inference, models and account"));
    }
    Ok(scope::named(names.iter().map(String::as_str)))
}

fn networks(texts: &[String]) -> Result<Vec<IpNet>, Violation> {
    if texts.len() > MAX_KEY_NETWORKS {
        return Err(Violation::new("networks", format!("must be at most {MAX_KEY_NETWORKS} addresses and networks")));
    }
    // Not the whole of a long text.
    let named = |text: &String| if holds_credential(text) { "a credential".to_owned() } else { text.chars().take(64).collect() };
    let read = |text: &String| {
        networks::parse(text).map_err(|invalid| Violation::new("networks", format!("has {:?}, which {invalid}", named(text))))
    };
    texts.iter().map(read).collect::<Result<_, _>>().map(networks::sorted)
}

fn model_patterns(patterns: &[String]) -> Result<Vec<String>, Violation> {
    let fits = |pattern: &String| {
        (1..=MAX_PATTERN_BYTES).contains(&pattern.len())
            && pattern.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/:*".contains(&byte))
            && pattern.bytes().filter(|byte| *byte == b'*').count() <= MAX_PATTERN_STARS
            && !holds_credential(pattern)
    };
    let bytes: usize = patterns.iter().map(String::len).sum();
    if patterns.len() > MAX_KEY_PATTERNS || bytes > MAX_PATTERNS_BYTES || !patterns.iter().all(fits) {
        let expected = format!(
            "must be at most {MAX_KEY_PATTERNS} patterns, {MAX_PATTERNS_BYTES} characters together; each 1 to {MAX_PATTERN_BYTES} letters, \
             digits, or . _ - / : and at most {MAX_PATTERN_STARS} *, and no credential"
        );
        return Err(Violation::new("models", expected));
    }
    let kept = |pattern: &String| {
        let parsed = ModelPattern::parse(pattern).map(|parsed| parsed.to_string());
        parsed.map_err(|invalid| Violation::new("models", format!("has {pattern:?}, which {invalid}")))
    };
    patterns.iter().map(kept).collect()
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

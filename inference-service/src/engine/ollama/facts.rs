//! What `/api/show` says of a model, and the cache of it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::wire::{DetailsBody, malformed};
use crate::engine::{EngineError, ModelFacts};
use crate::prompt::ModelName;

/// Models whose facts are cached, at most.
const MAX_ENTRIES: usize = 256;
/// How long stale facts go on to count while one call refreshes them.
const REFRESH_TIME: Duration = Duration::from_secs(1);

/// What `/api/show` says of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownFacts {
    pub(super) facts: ModelFacts,
    pub(super) context: OwnContext,
}

/// The context that a model has when a request names none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct OwnContext {
    /// By its Modelfile; `None`: Ollama chooses, by its configuration and the machine's memory.
    set: Option<u32>,
    /// The most that it was trained for, to which Ollama cuts all others; `None`: unknown.
    trained: Option<u32>,
}

impl OwnContext {
    /// The `num_ctx` to send, so that the context isn't larger than the cap; `None`: it isn't anyway.
    pub(super) fn to_ask_for(self, cap: u32) -> Option<u32> {
        let at_most = self.set.unwrap_or(u32::MAX).min(self.trained.unwrap_or(u32::MAX));
        (at_most > cap).then_some(cap)
    }
}

/// The facts of models that were asked for lately.
#[derive(Default)]
pub(super) struct FactsCache(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    by_model: HashMap<ModelName, Entry>,
    /// Counts the changes of models, so that facts that were asked for before a change aren't cached after it.
    generation: u64,
}

struct Entry {
    expires_at: Instant,
    /// `None`: the model server gave none. It isn't asked at each call.
    known: Option<KnownFacts>,
}

impl FactsCache {
    /// The lock is never held across an await, and a panic under it leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A model's facts, if they are fresh.
    pub(super) fn get(&self, model: &ModelName, now: Instant) -> Option<KnownFacts> {
        let entries = self.lock();
        let entry = entries.by_model.get(model).filter(|entry| now < entry.expires_at)?;
        entry.known.clone()
    }

    /// A model's own context; `None`: it must be asked for. When it is stale one caller gets `None`, and the others go on with what was
    /// known.
    pub(super) fn context(&self, model: &ModelName, now: Instant) -> Option<OwnContext> {
        let mut entries = self.lock();
        let entry = entries.by_model.get_mut(model)?;
        if entry.expires_at <= now {
            entry.expires_at = now + REFRESH_TIME;
            return None;
        }
        Some(entry.context())
    }

    /// Whether a model is known to be made for something else than answers, stale or not.
    pub(super) fn answers_nothing(&self, model: &ModelName) -> bool {
        let entries = self.lock();
        let known = entries.by_model.get(model).and_then(|entry| entry.known.as_ref());
        known.is_some_and(|known| has_no_answers(&known.facts.capabilities))
    }

    /// A model's own context, stale or not.
    pub(super) fn stale_context(&self, model: &ModelName) -> Option<OwnContext> {
        self.lock().by_model.get(model).map(Entry::context)
    }

    /// How often models have changed: for [`FactsCache::insert`], taken before facts are asked for.
    pub(super) fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// Caches facts for some time from now on; `None`: there were none to be had, and those that were known before are kept.
    pub(super) fn insert(&self, model: &ModelName, known: Option<&KnownFacts>, generation: u64, (now, ttl): (Instant, Duration)) {
        let mut entries = self.lock();
        if entries.generation != generation {
            return;
        }
        let facts = &mut entries.by_model;
        if facts.len() >= MAX_ENTRIES {
            facts.retain(|_, entry| now < entry.expires_at);
        }
        if facts.len() >= MAX_ENTRIES {
            facts.clear();
        }
        let entry = facts.entry(model.clone()).or_insert(Entry { expires_at: now, known: None });
        // What was known before is asked for again soon.
        entry.expires_at = now + if known.is_none() && entry.known.is_some() { REFRESH_TIME } else { ttl };
        if known.is_some() {
            entry.known = known.cloned();
        }
    }

    /// There is no such model any more, or it may not be used.
    pub(super) fn remove(&self, model: &ModelName) {
        self.lock().by_model.remove(model);
    }

    /// A model has changed. Models may be made from one another and have several names: all are asked for anew.
    pub(super) fn invalidate_all(&self) {
        let mut entries = self.lock();
        entries.by_model.clear();
        entries.generation += 1;
    }
}

impl Entry {
    fn context(&self) -> OwnContext {
        self.known.as_ref().map(|known| known.context).unwrap_or_default()
    }
}

/// The operator doesn't allow models that run elsewhere.
pub(super) fn runs_elsewhere() -> EngineError {
    EngineError::NotSupported { feature: "models that run elsewhere".to_owned() }
}

/// Whether a model is made for something else than answers, such as embeddings. One whose capabilities aren't known may answer.
pub(super) fn has_no_answers(capabilities: &[String]) -> bool {
    let has = |word: &str| capabilities.iter().any(|has| has == word);
    !has("completion") && (has("embedding") || has("image"))
}

/// RFC 3339, as Go writes it. What can't be read is unknown: nobody's request fails for it.
pub(super) fn parse_time(text: &str) -> Option<SystemTime> {
    text.parse::<prost_types::Timestamp>().ok().and_then(|time| SystemTime::try_from(time).ok())
}

/// Reads a reply of `/api/show`.
pub(super) fn parse(reply: &[u8], allow_cloud_models: bool) -> Result<KnownFacts, EngineError> {
    #[derive(Deserialize)]
    struct Show<'a> {
        #[serde(default)]
        details: DetailsBody,
        capabilities: Option<Vec<String>>,
        // Some of its values are whole vocabularies: only lengths are read.
        #[serde(borrow)]
        model_info: Option<HashMap<String, &'a RawValue>>,
        /// A line for each: its name, blanks, and its value.
        #[serde(default)]
        parameters: String,
        #[serde(default)]
        modified_at: String,
        #[serde(default)]
        remote_host: String,
    }
    let show: Show<'_> = serde_json::from_slice(reply).map_err(|error| malformed("the facts of a model", &error))?;
    if !show.remote_host.is_empty() && !allow_cloud_models {
        // A name tells a cloud model only until somebody makes another model from it.
        return Err(runs_elsewhere());
    }
    let info = show.model_info.unwrap_or_default();
    let architecture = info.get("general.architecture").and_then(|json| serde_json::from_str::<String>(json.get()).ok());
    let length = |name: &str| {
        let length = info.get(&format!("{}.{name}", architecture.as_deref()?))?;
        serde_json::from_str::<f64>(length.get()).ok()
    };
    // `as` saturates, and a length beyond u32 is as good as its end.
    let context_length = length("context_length").map_or(0, |length| length as u32);
    // Some models put a layer behind it, which says how long their vectors are.
    let embedding_length = length("embedding_length_out").or_else(|| length("embedding_length")).map_or(0, |length| length as u32);
    let num_ctx = show.parameters.lines().find_map(|line| line.strip_prefix("num_ctx")?.trim().parse::<f64>().ok());
    let context = OwnContext { set: num_ctx.map(|tokens| tokens as u32), trained: Some(context_length).filter(|tokens| *tokens > 0) };
    let facts = ModelFacts {
        details: show.details.into_details(),
        capabilities: show.capabilities.unwrap_or_default(),
        context_length,
        embedding_length,
        modified_at: parse_time(&show.modified_at),
    };
    Ok(KnownFacts { facts, context })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_writes_them() {
        let time = parse_time("2026-11-22T01:56:36.049722669Z").unwrap();
        assert_eq!(time.duration_since(SystemTime::UNIX_EPOCH).unwrap(), Duration::new(1_795_312_596, 49_722_669));
        assert_eq!(parse_time("2026-11-22T03:56:36.049722669+02:00"), Some(time));
        assert_eq!(parse_time(""), None);
    }

    #[test]
    fn facts_name_no_path_and_refuse_what_runs_elsewhere() {
        let show = serde_json::json!({
            "details": { "parent_model": "/models/blobs/x", "family": "llama" },
            "model_info": { "general.architecture": "llama", "llama.context_length": 8192 },
        });
        let facts = parse(show.to_string().as_bytes(), false).unwrap().facts;
        assert_eq!((facts.details.parent_model.as_str(), facts.context_length), ("", 8192));
        let remote = br#"{"remote_host":"https://ollama.com:443","remote_model":"gpt-oss:120b"}"#;
        assert!(matches!(parse(remote, false), Err(EngineError::NotSupported { .. })));
        assert_eq!(parse(remote, true).unwrap().facts.context_length, 0);
    }

    #[test]
    fn the_cap_is_asked_for_unless_a_models_own_context_is_known_to_be_within_it() {
        let show = |trained: u32, parameters: &str| {
            let info = serde_json::json!({ "general.architecture": "a", "a.context_length": trained });
            let reply = serde_json::json!({ "model_info": info, "parameters": parameters });
            parse(reply.to_string().as_bytes(), false).unwrap().context
        };
        for (own, sent) in [
            (OwnContext::default(), Some(8192)),
            (show(0, ""), Some(8192)),
            (show(131_072, ""), Some(8192)),
            (show(8192, ""), None),
            (show(4096, "num_ctx    131072"), None),
            (show(131_072, "stop   \"num_ctx\"\nnum_ctx                        2048\ntemperature   1"), None),
            (show(131_072, "num_ctx 1e+06"), Some(8192)),
            (show(131_072, "num_ctx 8193"), Some(8192)),
            (show(131_072, "num_ctx -1"), None),
            (show(0, "num_ctx 2048"), None),
            (show(131_072, "num_ctx many"), Some(8192)),
        ] {
            assert_eq!(own.to_ask_for(8192), sent, "{own:?}");
        }
    }

    #[test]
    fn one_caller_refreshes_stale_facts_while_the_others_go_on_with_them() {
        let (cache, model) = (FactsCache::default(), ModelName::parse("m").unwrap());
        let own = OwnContext { set: Some(2048), trained: None };
        let known = KnownFacts { context: own, ..parse(b"{}", false).unwrap() };
        let (start, ttl) = (Instant::now(), Duration::from_secs(10));
        assert_eq!(cache.context(&model, start), None);
        cache.insert(&model, Some(&known), 0, (start, ttl));
        assert_eq!(cache.context(&model, start), Some(own));
        let later = start + ttl;
        assert_eq!((cache.context(&model, later), cache.context(&model, later)), (None, Some(own)));
        // It could not be asked: what was known counts, and it is asked again soon.
        cache.insert(&model, None, 0, (later, ttl));
        assert_eq!((cache.context(&model, later), cache.stale_context(&model)), (Some(own), Some(own)));
        assert_eq!(cache.context(&model, later + REFRESH_TIME), None);
        // A change makes all of it void, and what was asked for before it isn't entries.
        cache.invalidate_all();
        cache.insert(&model, Some(&known), 0, (start, ttl));
        assert_eq!(cache.context(&model, start), None);
        // What was never known isn't asked for at each call.
        cache.insert(&model, None, 1, (start, ttl));
        assert_eq!((cache.context(&model, start), cache.get(&model, start)), (Some(OwnContext::default()), None));
        cache.insert(&model, Some(&known), 1, (start, ttl));
        cache.remove(&model);
        assert_eq!(cache.get(&model, start), None);
    }
}

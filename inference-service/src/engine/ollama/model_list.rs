//! The models that Ollama lists, kept in memory: one that isn't in a list of the last second is known to be missing.
//!
//! Whoever asks for a made-up model names another one each time, so what is missing can't be kept. What is there can. It is asked for once
//! for all who wait, and never by a call for a model that is there. A list that can't be had proves nothing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use shared::model_name;
use tokio::time::Instant;

use super::facts::{has_no_answers, parse_time};
use super::wire::{DetailsBody, malformed};
use crate::engine::{EngineError, ModelEntry};
use crate::prompt::ModelName;

/// How old a list may be that says that a model is missing. So long a model that was pulled elsewhere may still be refused.
const MAX_AGE: Duration = Duration::from_secs(1);
/// How long a list is waited for. Ollama gives it at once, whatever it runs.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long no list is asked for after none could be had.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// One line of `/api/tags`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Tag {
    name: String,
    #[serde(default)]
    size: i64,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    modified_at: String,
    #[serde(default)]
    details: DetailsBody,
    /// Not empty: it runs elsewhere.
    #[serde(default)]
    remote_host: String,
    /// Since Ollama 0.32.
    #[serde(default)]
    capabilities: Vec<String>,
}

impl Tag {
    /// For callers; `None`: no request can name it.
    pub(super) fn into_entry(self) -> Option<ModelEntry> {
        Some(ModelEntry {
            // One name per model here: without `:latest`.
            name: ModelName::parse(&self.name).ok()?.to_string(),
            size_bytes: self.size,
            digest: self.digest,
            modified_at: parse_time(&self.modified_at),
            details: self.details.into_details(),
            capabilities: self.capabilities,
        })
    }

    pub(super) fn runs_elsewhere(&self) -> bool {
        !self.remote_host.is_empty()
    }
}

/// Reads a reply of `/api/tags`.
pub(super) fn parse(reply: &[u8]) -> Result<Vec<Tag>, EngineError> {
    #[derive(Deserialize)]
    struct Tags {
        models: Option<Vec<Tag>>,
    }
    let Tags { models } = serde_json::from_slice(reply).map_err(|error| malformed("the list of models", &error))?;
    Ok(models.unwrap_or_default())
}

/// What the list says of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listed {
    /// It is there, and may answer.
    Answers,
    /// It is there, and made for something else than answers.
    AnswersNothing,
    /// It is there, and runs elsewhere, which isn't allowed.
    Elsewhere,
    /// It isn't there.
    Missing,
    /// There is no list to tell by.
    Unknown,
}

/// The list, as it was last.
#[derive(Debug, Default)]
pub(super) struct ModelList {
    allow_cloud_models: bool,
    kept: Mutex<Kept>,
    /// Held by the one who asks.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Kept {
    /// By their names as [`model_name::folded`] gives them.
    models: HashMap<String, Listed>,
    /// When the list was asked for; `None`: models have changed since.
    asked_at: Option<Instant>,
    /// When it could not be had.
    failed_at: Option<Instant>,
    /// Counts the changes of models, so that a list that was asked for before a change isn't kept after it.
    changes: u64,
}

impl ModelList {
    /// No list yet. `allow_cloud_models`: whether models may be used that run elsewhere.
    pub(super) fn new(allow_cloud_models: bool) -> Self {
        Self { allow_cloud_models, ..Self::default() }
    }

    /// Held for a look-up at a time; a panic under it leaves nothing half done.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in memory, however old: `None` where a list must be asked for to say more.
    pub(super) fn recall(&self, model: &ModelName, now: Instant) -> Option<Listed> {
        let kept = self.kept();
        match kept.models.get(&key(model)) {
            Some(Listed::Answers) => Some(Listed::Answers),
            Some(_) | None => kept.failed_at.filter(|failed_at| now < *failed_at + RETRY_AFTER).map(|_| Listed::Unknown),
        }
    }

    /// What a list of the last second says. `ask` is polled when there is none, and for one caller at a time.
    pub(super) async fn find(&self, model: &ModelName, ask: impl Future<Output = Result<Vec<Tag>, EngineError>>) -> Listed {
        if let Some(listed) = self.recent(model, Instant::now()) {
            return listed;
        }
        let _asking = self.asking.lock().await;
        if let Some(listed) = self.recent(model, Instant::now()) {
            return listed;
        }
        let asked = self.begin();
        match tokio::time::timeout(TIMEOUT, ask).await {
            Ok(Ok(tags)) => self.keep(&tags, asked),
            Ok(Err(error)) => self.fail(&error.to_string()),
            Err(_) => self.fail("it did not come in time"),
        }
        self.recent(model, Instant::now()).unwrap_or(Listed::Unknown)
    }

    fn recent(&self, model: &ModelName, now: Instant) -> Option<Listed> {
        let kept = self.kept();
        let is_recent = |at: &Instant, most| now < *at + most;
        if kept.asked_at.as_ref().is_some_and(|asked_at| is_recent(asked_at, MAX_AGE)) {
            return Some(kept.models.get(&key(model)).copied().unwrap_or(Listed::Missing));
        }
        kept.failed_at.as_ref().filter(|failed_at| is_recent(failed_at, RETRY_AFTER)).map(|_| Listed::Unknown)
    }

    /// To be called before a list is asked for, and given to [`ModelList::keep`].
    pub(super) fn begin(&self) -> (Instant, u64) {
        (Instant::now(), self.kept().changes)
    }

    /// Keeps a list, unless models have changed since it was asked for.
    pub(super) fn keep(&self, tags: &[Tag], (asked_at, changes): (Instant, u64)) {
        let listed = |tag: &Tag| match tag {
            tag if tag.runs_elsewhere() && !self.allow_cloud_models => Listed::Elsewhere,
            tag if has_no_answers(&tag.capabilities) => Listed::AnswersNothing,
            _ => Listed::Answers,
        };
        let models = tags.iter().filter_map(|tag| Some((model_name::folded(&tag.name).ok()?, listed(tag)))).collect();
        let mut kept = self.kept();
        if kept.changes == changes {
            *kept = Kept { models, asked_at: Some(asked_at), failed_at: None, changes };
        }
    }

    fn fail(&self, why: &str) {
        tracing::debug!(why, "the list of models can't be had: whether a model is missing is found out by its answer");
        self.kept().failed_at = Some(Instant::now());
    }

    /// Models have changed: what isn't listed may be there by now.
    pub(super) fn outdate(&self) {
        let mut kept = self.kept();
        kept.changes += 1;
        kept.asked_at = None;
        kept.failed_at = None;
    }

    /// A model isn't there any more.
    pub(super) fn remove(&self, model: &ModelName) {
        self.kept().models.remove(&key(model));
    }
}

/// Names that differ by case alone are one model.
fn key(model: &ModelName) -> String {
    model.as_str().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;

    use super::*;

    fn model(name: &str) -> ModelName {
        ModelName::parse(name).unwrap()
    }

    fn tags(names: &[&str]) -> Vec<Tag> {
        let models: Vec<_> = names.iter().map(|name| serde_json::json!({ "name": name })).collect();
        parse(serde_json::json!({ "models": models }).to_string().as_bytes()).unwrap()
    }

    /// A list that counts how often it is asked for.
    struct Upstream(AtomicU32, Mutex<Option<Vec<Tag>>>);

    impl Upstream {
        fn of(names: &[&str]) -> Self {
            Self(AtomicU32::new(0), Mutex::new(Some(tags(names))))
        }

        fn set(&self, names: Option<&[&str]>) {
            *self.1.lock().unwrap() = names.map(tags);
        }

        async fn ask(&self) -> Result<Vec<Tag>, EngineError> {
            self.0.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            self.1.lock().unwrap().clone().ok_or(EngineError::Unreachable { detail: "on purpose".to_owned() })
        }

        fn asked(&self) -> u32 {
            self.0.load(Ordering::SeqCst)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_made_up_names_at_once_are_missing_by_one_list() {
        let (list, upstream) = (ModelList::default(), Upstream::of(&["smollm2:latest"]));
        let names: Vec<_> = (0..1000).map(|number| model(&format!("made-up-{number}"))).collect();
        let found = join_all(names.iter().map(|name| list.find(name, upstream.ask()))).await;
        assert!(found.iter().all(|listed| *listed == Listed::Missing));
        assert_eq!((upstream.asked(), list.kept().models.len()), (1, 1));
        tokio::time::advance(MAX_AGE).await;
        assert_eq!(list.find(&names[0], upstream.ask()).await, Listed::Missing);
        assert_eq!(upstream.asked(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_model_that_is_listed_is_known_by_memory_in_every_spelling_and_however_old_the_list_is() {
        let (list, upstream) = (ModelList::default(), Upstream::of(&["SmolLM2:latest", "hf.co/A/B:Q4"]));
        assert_eq!(list.recall(&model("smollm2"), Instant::now()), None);
        assert_eq!(list.find(&model("smollm2"), upstream.ask()).await, Listed::Answers);
        tokio::time::advance(MAX_AGE * 1000).await;
        for name in ["smollm2", "SMOLLM2:latest", "library/smollm2:local", "HF.co/a/b:q4"] {
            assert_eq!(list.recall(&model(name), Instant::now()), Some(Listed::Answers), "{name}");
        }
        for name in ["smollm2:1b", "hf.co/a/b", "a/b:q4"] {
            assert_eq!(list.recall(&model(name), Instant::now()), None, "{name}");
        }
        assert_eq!(upstream.asked(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_model_is_found_within_a_second_of_its_pull_and_at_once_after_its_making() {
        let (list, upstream) = (ModelList::default(), Upstream::of(&[]));
        let new = model("new");
        assert_eq!(list.find(&new, upstream.ask()).await, Listed::Missing);
        upstream.set(Some(&["new"]));
        tokio::time::advance(MAX_AGE).await;
        assert_eq!(list.find(&new, upstream.ask()).await, Listed::Answers);
        upstream.set(Some(&["new", "newer"]));
        list.outdate();
        assert_eq!(list.find(&model("newer"), upstream.ask()).await, Listed::Answers);
        // Gone again, as its answer said.
        list.remove(&new);
        assert_eq!(list.recall(&new, Instant::now()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_of_before_a_change_proves_nothing_after_it() {
        let (list, upstream) = (ModelList::default(), Upstream::of(&[]));
        let ask = async {
            let tags = upstream.ask().await;
            list.outdate();
            tags
        };
        assert_eq!(list.find(&model("new"), ask).await, Listed::Unknown);
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_can_not_be_had_proves_nothing_and_is_not_asked_for_by_each_call() {
        let (list, upstream) = (ModelList::default(), Upstream::of(&["there"]));
        assert_eq!(list.find(&model("there"), upstream.ask()).await, Listed::Answers);
        upstream.set(None);
        tokio::time::advance(MAX_AGE).await;
        for _ in 0..10 {
            assert_eq!(list.find(&model("other"), upstream.ask()).await, Listed::Unknown);
            assert_eq!(list.recall(&model("other"), Instant::now()), Some(Listed::Unknown));
            assert_eq!(list.recall(&model("there"), Instant::now()), Some(Listed::Answers));
        }
        assert_eq!(upstream.asked(), 2);
        tokio::time::advance(RETRY_AFTER).await;
        assert_eq!(list.recall(&model("other"), Instant::now()), None);
        // One that doesn't come in time is none, and the others don't wait for another one.
        let found = join_all([list.find(&model("a"), std::future::pending()), list.find(&model("b"), std::future::pending())]).await;
        assert_eq!(found, [Listed::Unknown, Listed::Unknown]);
    }

    #[test]
    fn what_a_model_is_for_is_read_where_ollama_says_it() {
        let reply =
            br#"{"models":[{"name":"embed:latest","capabilities":["embedding"]},{"name":"both","capabilities":["completion","embedding"]},
            {"name":"far","remote_host":"https://ollama.com:443","remote_model":"gpt-oss:120b"},{"name":"a b"},{"name":"old"}]}"#;
        let (list, tags) = (ModelList::default(), parse(reply).unwrap());
        list.keep(&tags, list.begin());
        let listed = |name: &str| list.recent(&model(name), Instant::now());
        for (name, expected) in [
            ("embed", Listed::AnswersNothing),
            ("both", Listed::Answers),
            ("far", Listed::Elsewhere),
            ("old", Listed::Answers),
            ("ab", Listed::Missing),
        ] {
            assert_eq!(listed(name), Some(expected), "{name}");
        }
        let allowing = ModelList::new(true);
        allowing.keep(&tags, allowing.begin());
        assert_eq!(allowing.recall(&model("far"), Instant::now()), Some(Listed::Answers));
        let entries: Vec<_> = tags.into_iter().filter_map(Tag::into_entry).map(|entry| entry.name).collect();
        assert_eq!(entries, ["embed", "both", "far", "old"]);
    }
}

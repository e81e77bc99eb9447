//! What all of an answer's chunks have in common.

use std::time::{SystemTime, UNIX_EPOCH};

use shared::proto::inference as wire;

/// What OpenAI's answers call the configuration behind them. SDKs pass it on; nothing is told of ours.
pub(super) const FINGERPRINT: &str = "fp_tollgate";
/// What answers a request that names a tier.
pub(super) const SERVICE_TIER: &str = "default";

/// Which answer this is.
#[derive(Debug, Clone)]
pub(super) struct AnswerHead {
    /// A prefix, and the request's id.
    pub(super) id: String,
    prefix_length: usize,
    /// Seconds since 1970.
    pub(super) created: u64,
    /// As requested.
    pub(super) model: String,
}

impl AnswerHead {
    pub(super) fn new(prefix: &str, started: &wire::Started) -> Self {
        Self::at(unix_seconds(SystemTime::now()), prefix, started)
    }

    /// The same, begun then.
    pub(super) fn at(created: u64, prefix: &str, started: &wire::Started) -> Self {
        let id = format!("{prefix}{}", started.request_id);
        Self { id, prefix_length: prefix.len(), created, model: started.model.clone() }
    }

    pub(super) fn request_id(&self) -> &str {
        &self.id[self.prefix_length..]
    }
}

/// Whole seconds since 1970; 0 before that.
pub(super) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

//! What a silent stream costs in memory.

use std::time::Duration;

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use shared::proto::inference::ChatEvent;
use shared::proto::inference::inference_client::InferenceClient;
use tonic::Streaming;
use tonic::transport::Channel;

use super::stream::{chat, has_token};
use crate::gauge::resident_anonymous_kib;
use crate::upstream::IDLE;

/// Opens streams, and reads how much memory a process has at each count.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IdleJob {
    /// The inference-service.
    pub url: String,
    /// Its process.
    pub pid: u32,
    /// Connections that the streams are on.
    pub connections: usize,
    /// API keys, used in turn.
    pub credentials: Vec<String>,
    /// Open streams at which memory is read, rising.
    pub counts: Vec<usize>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IdleOutcome {
    /// In KiB, at each count.
    pub resident_kib: Vec<u64>,
    /// Streams that were admitted.
    pub admitted: u64,
}

/// Streams that are being opened at a time.
const OPENING: usize = 32;
/// Between two looks at the memory: what the opening left behind is given back by then.
const REST: Duration = Duration::from_millis(300);

pub(super) async fn run(job: IdleJob) -> IdleOutcome {
    let channels = super::connect(&job.url, job.connections).await;
    let mut open: Vec<Streaming<ChatEvent>> = Vec::new();
    let mut resident = Vec::new();
    for count in &job.counts {
        let opening = (open.len()..*count).map(|number| {
            let channel = channels[number % channels.len()].clone();
            let credential = job.credentials[number % job.credentials.len()].clone();
            open_one(channel, credential)
        });
        let opened: Vec<_> = futures_util::stream::iter(opening).buffer_unordered(OPENING).collect().await;
        open.extend(opened);
        tokio::time::sleep(REST).await;
        resident.push(resident_anonymous_kib(job.pid));
    }
    IdleOutcome { resident_kib: resident, admitted: open.len() as u64 }
}

async fn open_one(channel: Channel, credential: String) -> Streaming<ChatEvent> {
    let request = chat(&credential, IDLE, 64);
    let mut stream = InferenceClient::new(channel).chat(request).await.expect("a stream").into_inner();
    while !has_token(&stream.message().await.expect("an event").expect("a token before the end")) {}
    stream
}

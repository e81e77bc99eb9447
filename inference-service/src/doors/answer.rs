//! An answer as the doors take it: begun, so that what fails before its first token has an HTTP status, and then whole or piece by piece.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::response::sse::{Event, KeepAlive};
use axum::response::{IntoResponse, Response, Sse};
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use shared::ErrorReason;
use shared::doors::{Refusal, insert_receipt};
use shared::proto::inference as wire;
use shared::request_id::{REQUEST_ID_RULE, is_request_id};
use tokio::time::timeout;

use super::forced_tool::ForcedTool;
use crate::chat_stream::StreamEvent;
use crate::service::inference::AnswerEvents;

/// How long the response's head waits for the first piece: what fails within this time has its status.
const FIRST_EVENT_PATIENCE: Duration = Duration::from_secs(1);
/// Between two comments while nothing is said: proxies cut what is silent for a minute.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
/// The longest answer that is gathered whole.
const MAX_WHOLE_BYTES: usize = 32 << 20;
/// The header that makes a call idempotent, by the name that SDKs give it.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// An answer that has begun.
#[derive(Debug)]
pub struct OpenAnswer {
    /// The call is authenticated, and its worst case is held.
    pub started: wire::Started,
    /// What came with it.
    next: Option<StreamEvent>,
    rest: AnswerEvents,
    /// What the model had to call.
    forced: Option<ForcedTool>,
}

/// An answer from its first to its last token.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WholeAnswer {
    /// How it began.
    pub started: wire::Started,
    /// Text.
    pub content: String,
    /// Thinking.
    pub thinking: String,
    /// The calls that the model asks for.
    pub tool_calls: Vec<wire::ToolCall>,
    /// Of its tokens, when asked for.
    pub logprobs: Vec<wire::Logprob>,
    /// How it ended, and what it cost.
    pub finished: wire::Finished,
}

impl OpenAnswer {
    /// Waits until the answer has begun, and then, for a second at most, for its first piece.
    ///
    /// # Errors
    /// It failed until then; or the request was resolved before, and there is no answer to give.
    pub async fn begin(mut events: AnswerEvents) -> Result<Self, Refusal> {
        let Some(StreamEvent::Started(started)) = events.next().await.transpose()? else { return Err(broken()) };
        let next = match timeout(FIRST_EVENT_PATIENCE, events.next()).await {
            Ok(Some(next)) => Some(next?),
            Ok(None) => return Err(broken()),
            Err(_) => None,
        };
        match next {
            Some(StreamEvent::Finished(finished)) if finished.replayed => Err(resolved(finished.receipt)),
            next => Ok(Self { started, next, rest: events, forced: None }),
        }
    }

    /// The same of a model that had to call a tool.
    pub(super) fn calling(self, forced: Option<ForcedTool>) -> Self {
        Self { forced, ..self }
    }

    /// Waits for all of it.
    ///
    /// # Errors
    /// It failed; the refusal has what it had cost.
    pub async fn whole(self) -> Result<WholeAnswer, Refusal> {
        let mut whole = WholeAnswer { started: self.started.clone(), ..WholeAnswer::default() };
        let mut bytes = 0;
        let mut events = std::pin::pin!(self.events());
        while let Some(event) = events.next().await {
            match event? {
                StreamEvent::Started(_) => {}
                StreamEvent::Delta(delta) => {
                    bytes += prost::Message::encoded_len(&delta);
                    if bytes > MAX_WHOLE_BYTES {
                        let message = "the answer is too long to be given in one piece; ask for a stream, or for fewer tokens";
                        return Err(Refusal::new(StatusCode::BAD_GATEWAY, ErrorReason::UpstreamProtocol, message));
                    }
                    whole.content.push_str(&delta.content);
                    whole.thinking.push_str(&delta.thinking);
                    whole.tool_calls.extend(delta.tool_calls);
                    whole.logprobs.extend(delta.logprobs);
                }
                StreamEvent::Finished(finished) => {
                    whole.finished = finished;
                    return Ok(whole);
                }
            }
        }
        Err(broken())
    }

    /// Its pieces, and how it ended. An error is the last. Dropped, the caller has gone away, and the call is settled.
    pub fn events(self) -> impl Stream<Item = Result<StreamEvent, Refusal>> + Send + 'static {
        let events = stream::iter(self.next.map(Ok)).chain(self.rest).map(|event| event.map_err(Refusal::from));
        match self.forced {
            None => events.left_stream(),
            Some(tool) => tool.call_in(events).right_stream(),
        }
    }
}

fn broken() -> Refusal {
    shared::error::CallError::internal().into()
}

/// The answer isn't kept, and an empty one would be taken for the model's.
pub(super) fn resolved(receipt: Option<wire::Receipt>) -> Refusal {
    let message = "this request was answered before, and its answer is not kept; send another idempotency-key to ask again";
    Refusal { receipt, ..Refusal::new(StatusCode::CONFLICT, ErrorReason::RequestResolved, message) }
}

/// A response of server-sent events, with comments while nothing is said.
pub fn sse(events: impl Stream<Item = Event> + Send + 'static) -> Response<Body> {
    let events = events.map(Ok::<_, Infallible>);
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE_EVERY)).into_response();
    // nginx would gather them.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// The request id that a call's `Idempotency-Key` gives; empty when it has none.
///
/// # Errors
/// It can be no request id, or there are several.
pub fn request_id(headers: &HeaderMap) -> Result<String, Refusal> {
    let mut sent = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(first) = sent.next() else { return Ok(String::new()) };
    let id = first.to_str().ok().filter(|id| sent.next().is_none() && is_request_id(id));
    id.map(str::to_owned).ok_or_else(|| Refusal::invalid("Idempotency-Key", REQUEST_ID_RULE))
}

/// Says what an answer cost, in its headers.
pub fn receipt_headers(response: &mut Response<Body>, finished: &wire::Finished) {
    if let Some(receipt) = &finished.receipt {
        insert_receipt(response.headers_mut(), receipt);
    }
}

//! Anthropic's Messages API: `/v1/messages`.

mod conversation;
mod conversion;
mod error;
mod events;
mod message;
pub(crate) mod models;
mod refused;
mod request;

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::{Method, StatusCode};
use serde_json::value::RawValue;
use shared::ErrorReason;
use shared::doors::{Door, DoorRequest, Refusal, Route, json};
use shared::error::CallError;
use shared::proto::inference as wire;
use shared::runtime::work_through;

use self::conversion::{AnswerForm, Converted, NAMES, convert};
use self::error::with_request_id;
use self::events::MessageEvents;
use self::message::{ContentBlock, Message, UNSIGNED, call_id, message_id};
pub use self::refused::{REFUSED, TAKEN};
use self::request::MessagesRequest;
use super::answer::{OpenAnswer, WholeAnswer, receipt_headers, request_id};
use super::named_events::named_events;
use super::{FREE, METERED, body_bytes};
use crate::caller::Caller;
use crate::engine::EngineError;
use crate::service::inference::InferenceService;

/// The door.
#[must_use]
pub fn door(inference: &InferenceService) -> Door {
    let inference = Arc::new(inference.clone());
    let answer = move |request| respond(Arc::clone(&inference), request);
    let messages =
        Route::new(Method::POST, "/v1/messages", METERED, "answers a conversation, in the form of Anthropic's Messages API", answer);
    let messages = messages.taking::<MessagesRequest>().giving::<Message<'_>>();
    let summary = "refuses: tokens can't be counted before a model reads them";
    let count = Route::new(Method::POST, "/v1/messages/count_tokens", FREE, summary, |_| async { Err(refuse_to_count()) });
    Door { name: "Anthropic", refusal: error::refusal, routes: vec![messages, count] }
}

/// A guess would be taken for a count.
fn refuse_to_count() -> Refusal {
    let message = "this server can't count tokens before a model reads them; send the message itself, with max_tokens 1 if the count is \
                   all you want: its usage has the exact number";
    Refusal::new(StatusCode::NOT_IMPLEMENTED, ErrorReason::NotSupported, message)
}

async fn respond(inference: Arc<InferenceService>, mut request: DoorRequest) -> Result<Response<Body>, Refusal> {
    let caller = Caller::from_parts(request.headers(), request.extensions());
    let request_id = request_id(request.headers())?;
    let sent: MessagesRequest = request.json().await?;
    let is_stream = sent.stream == Some(true);
    let Converted { request: mut asked, origins, effort, form, forced } =
        work_through(body_bytes(request.headers()), || convert(sent, request_id))?;
    if let Some(effort) = effort {
        // Anthropic's models think or not by themselves; one that can't is asked to think by nobody.
        let facts = inference.model(caller.clone(), &asked.model).await?;
        asked.think = facts.capabilities.iter().any(|can| can == "thinking").then_some(effort);
    }
    let events = inference.chat_events(caller, asked).await.map_err(|error| NAMES.translate(error.into(), &origins))?;
    let open = OpenAnswer::begin(events).await?.calling(forced);
    if is_stream {
        let format = MessageEvents::new(&open.started, form);
        return Ok(with_request_id(named_events(open.events(), format)));
    }
    let whole = open.whole().await?;
    let id = message_id(&whole.started.request_id);
    let message = Message::new(&id, &whole.started.model, content(&whole, &id, form)?, Some(&whole.finished));
    let mut response = json(&message);
    receipt_headers(&mut response, &whole.finished);
    Ok(with_request_id(response))
}

/// The blocks of an answer that is whole.
fn content<'a>(whole: &'a WholeAnswer, id: &str, form: AnswerForm) -> Result<Vec<ContentBlock<'a>>, Refusal> {
    let mut blocks = Vec::new();
    if !whole.thinking.is_empty() {
        let thinking = if form.omits_thinking { "" } else { &whole.thinking };
        blocks.push(ContentBlock::Thinking { thinking, signature: UNSIGNED });
    }
    // Callers look for a first block.
    if !whole.content.is_empty() || blocks.is_empty() && whole.tool_calls.is_empty() {
        blocks.push(ContentBlock::Text { text: &whole.content });
    }
    let most_calls = if form.one_call { 1 } else { usize::MAX };
    for (number, call) in whole.tool_calls.iter().take(most_calls).enumerate() {
        let input: &RawValue = serde_json::from_str(&call.arguments_json).map_err(|_| malformed(&whole.finished))?;
        blocks.push(ContentBlock::ToolUse { id: call_id(call, id, number), name: &call.name, input });
    }
    Ok(blocks)
}

/// The model server gave a call arguments that are no JSON.
fn malformed(finished: &wire::Finished) -> Refusal {
    let refusal = Refusal::from(CallError::from(&EngineError::Protocol { detail: "a call's arguments are no JSON".to_owned() }));
    Refusal { receipt: finished.receipt.clone(), ..refusal }
}

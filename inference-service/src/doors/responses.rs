//! OpenAI's Responses API: `/v1/responses`. Nothing is stored, so what needs a stored answer is refused by name.

mod conversation;
mod conversion;
mod echo;
mod events;
mod input;
mod output;
mod refused;
mod request;
mod response;

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::Method;
use shared::doors::{Door, DoorRequest, Refusal, Route, json};
use shared::runtime::work_through;

use self::conversion::{Converted, NAMES, convert};
use self::echo::Echo;
use self::events::ResponseEvents;
use self::output::{OutputItem, Status, item_id, text_status};
pub use self::refused::{REFUSED, TAKEN};
use self::request::ResponseRequest;
use self::response::{Head, Progress, ResponseObject};
use super::answer::{OpenAnswer, WholeAnswer, receipt_headers, request_id};
use super::named_events::named_events;
use super::{METERED, body_bytes, openai};
use crate::caller::Caller;
use crate::service::inference::InferenceService;

/// The door.
#[must_use]
pub fn door(inference: &InferenceService) -> Door {
    let inference = Arc::new(inference.clone());
    let answer = move |request| respond(Arc::clone(&inference), request);
    let route = Route::new(Method::POST, "/v1/responses", METERED, "answers a conversation, in the form of OpenAI's Responses API", answer);
    let route = route.taking::<ResponseRequest>().giving::<ResponseObject<'_>>();
    Door { name: "OpenAI Responses", refusal: openai::error::response, routes: vec![route] }
}

async fn respond(inference: Arc<InferenceService>, mut request: DoorRequest) -> Result<Response<Body>, Refusal> {
    let caller = Caller::from_parts(request.headers(), request.extensions());
    let request_id = request_id(request.headers())?;
    let sent: ResponseRequest = request.json().await?;
    let is_stream = sent.stream == Some(true);
    let Converted { request: asked, origins, echo, forced } = work_through(body_bytes(request.headers()), || convert(sent, request_id))?;
    let events = inference.chat_events(caller, asked).await.map_err(|error| NAMES.translate(error.into(), &origins))?;
    let open = OpenAnswer::begin(events).await?.calling(forced);
    if is_stream {
        let request_id = open.started.request_id.clone();
        let format = ResponseEvents::new(Head::new(&open.started, echo), request_id);
        return Ok(named_events(open.events(), format));
    }
    let head = Head::new(&open.started, echo);
    Ok(whole_response(&head, open.whole().await?))
}

fn whole_response(head: &Head, whole: WholeAnswer) -> Response<Body> {
    let finished = whole.finished.clone();
    let items = items(whole, &head.echo);
    let mut response = json(&head.response(Progress::Ended(&finished), &items));
    receipt_headers(&mut response, &finished);
    response
}

/// The items of an answer that is whole.
fn items(whole: WholeAnswer, echo: &Echo) -> Vec<OutputItem> {
    let WholeAnswer { started, content, thinking, mut tool_calls, logprobs, finished } = whole;
    if !echo.parallel_tool_calls {
        tool_calls.truncate(1);
    }
    let mut items = Vec::new();
    let id = |prefix, items: &Vec<OutputItem>| item_id(prefix, &started.request_id, items.len());
    if !thinking.is_empty() {
        items.push(OutputItem::reasoning(id("rs", &items), thinking));
    }
    // Callers look for a message where there is no call.
    if !content.is_empty() || tool_calls.is_empty() {
        items.push(OutputItem::message(id("msg", &items), content, logprobs, text_status(&finished)));
    }
    for call in tool_calls {
        items.push(OutputItem::call(id("fc", &items), call, Status::Completed));
    }
    items
}

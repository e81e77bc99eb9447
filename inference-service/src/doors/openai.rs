//! OpenAI's API: chats, completions, and the list of models.
//!
//! What the API has and this door can't do is refused by name: [`CHAT_REFUSED`] and [`COMPLETION_REFUSED`] say what and why. Fields that
//! nobody knows are refused too, as OpenAI does.

mod answer_head;
mod chat_request;
mod chat_response;
mod chunk;
mod completion;
mod completion_request;
pub(super) mod data_url;
mod embeddings;
pub(super) mod error;
mod event;
mod logprobs;
mod message;
mod model_list;
mod refused;
mod response_format;
mod sampling;
pub(super) mod string_or;
mod tool;
mod tool_calls;
pub(super) mod usage;

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use futures_util::StreamExt;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use serde::Serialize;
use shared::doors::{Door, DoorRequest, Refusal, Route};
use shared::runtime::work_through;

use self::answer_head::AnswerHead;
use self::chat_request::{ChatCompletionRequest, ReadRequest};
pub use self::chat_request::{REFUSED as CHAT_REFUSED, TAKEN as CHAT_TAKEN};
use self::chat_response::ChatCompletion;
use self::chunk::ChunkWriter;
use self::completion::{Completion, CompletionWriter};
use self::completion_request::CompletionRequest;
pub use self::completion_request::{REFUSED as COMPLETION_REFUSED, TAKEN as COMPLETION_TAKEN};
pub use self::embeddings::REFUSED as EMBEDDINGS_REFUSED;
use self::model_list::{Model, ModelList};
use super::answer::{OpenAnswer, receipt_headers, request_id};
use super::event_stream::event_stream;
use super::{FREE, METERED, anthropic, body_bytes};
use crate::caller::Caller;
use crate::service::inference::InferenceService;

/// The door.
#[must_use]
pub fn door(inference: &InferenceService) -> Door {
    let embeddings = embeddings::route(inference);
    let inference = Arc::new(inference.clone());
    let (chat, completion, models, model) = (inference.clone(), inference.clone(), inference.clone(), inference);
    let routes = vec![
        Route::new(Method::POST, "/v1/chat/completions", METERED, "answers a conversation", move |request| {
            chat_completions(Arc::clone(&chat), request)
        })
        .taking::<ChatCompletionRequest>()
        .giving::<ChatCompletion<'static>>(),
        Route::new(Method::POST, "/v1/completions", METERED, "goes on from a text", move |request| {
            completions(Arc::clone(&completion), request)
        })
        .taking::<CompletionRequest>()
        .giving::<Completion<'static>>(),
        Route::new(Method::GET, "/v1/models", FREE, "the models that may be named", move |request| {
            list_models(Arc::clone(&models), request)
        })
        .giving::<ModelList>(),
        // A name may have slashes.
        Route::new(Method::GET, "/v1/models/{*model}", FREE, "one model", move |request| show_model(Arc::clone(&model), request))
            .giving::<Model>(),
        embeddings,
    ];
    Door { name: "OpenAI", refusal: error::response, routes }
}

async fn chat_completions(inference: Arc<InferenceService>, mut request: DoorRequest) -> Result<Response<Body>, Refusal> {
    let request_id = request_id(request.headers())?;
    let caller = Caller::from_parts(request.headers(), request.extensions());
    let sent: ChatCompletionRequest = request.json().await?;
    let ReadRequest { asked, form, names, forced } = work_through(body_bytes(request.headers()), || sent.read(request_id))?;
    let events = inference.chat_events(caller, asked).await.map_err(|error| names.rename(error.into()))?;
    let answer = OpenAnswer::begin(events).await?.calling(forced);
    let head = AnswerHead::new("chatcmpl-", &answer.started);
    if form.stream {
        let mut writer = ChunkWriter::new(head, form);
        return Ok(event_stream(answer.events().map(move |event| writer.write(event))));
    }
    let whole = answer.whole().await?;
    let mut response = json_response(chat_response::to_json(&head, form, &whole));
    receipt_headers(&mut response, &whole.finished);
    Ok(response)
}

async fn completions(inference: Arc<InferenceService>, mut request: DoorRequest) -> Result<Response<Body>, Refusal> {
    let request_id = request_id(request.headers())?;
    let caller = Caller::from_parts(request.headers(), request.extensions());
    let sent: CompletionRequest = request.json().await?;
    let ReadRequest { asked, form, names, .. } = sent.read(request_id)?;
    let events = inference.generate_events(caller, asked).await.map_err(|error| names.rename(error.into()))?;
    let answer = OpenAnswer::begin(events).await?;
    let head = AnswerHead::new("cmpl-", &answer.started);
    if form.stream {
        let mut writer = CompletionWriter::new(head, form);
        return Ok(event_stream(answer.events().map(move |event| writer.write(event))));
    }
    let whole = answer.whole().await?;
    let mut response = json_response(completion::to_json(&head, form, &whole));
    receipt_headers(&mut response, &whole.finished);
    Ok(response)
}

async fn list_models(inference: Arc<InferenceService>, request: DoorRequest) -> Result<Response<Body>, Refusal> {
    let models = inference.models(Caller::from_parts(request.headers(), request.extensions())).await?;
    if anthropic::models::is_expected(request.headers()) {
        return anthropic::models::list(&models, request.query());
    }
    Ok(json_response(to_json(&ModelList::of(models))))
}

async fn show_model(inference: Arc<InferenceService>, request: DoorRequest) -> Result<Response<Body>, Refusal> {
    let name = request.path_param("model");
    let facts = inference.model(Caller::from_parts(request.headers(), request.extensions()), name).await?;
    if anthropic::models::is_expected(request.headers()) {
        return Ok(anthropic::models::one(name, &facts));
    }
    Ok(json_response(to_json(&Model::of(name, &facts))))
}

/// What this door answers has texts for keys: writing it can't fail.
fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn json_response(json: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(json));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

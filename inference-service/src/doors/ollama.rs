//! Ollama's API: chats, bare prompts, embeddings, and what models there are; for operators also a model's making and its removal.
//!
//! Answers are written as Ollama writes them, with what they cost beside their counts. Ollama ignores fields that it doesn't know, and so
//! does this door. What it knows and can't be done here is refused by name: see [`REFUSED`].

mod answer;
mod body;
mod create;
mod embed;
mod field_names;
mod keep_alive;
mod models;
mod options;
mod refused;

use axum::body::Body;
use axum::response::Response;
use futures_util::StreamExt;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use serde::Serialize;
use shared::ErrorReason;
use shared::admission::MethodPolicy;
use shared::authorization::CallerKind;
use shared::call_record::CallRecord;
use shared::doors::{Door, DoorRequest, Refusal, Route, insert_receipt};
use shared::error::CallError;
use shared::proto::inference as wire;
use shared::proto::inference::models_server::Models as _;
use shared::runtime::work_through;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request};

use self::answer::{Form, Lines, ProgressLine, ReceiptFields, json_of};
use self::body::{ChatBody, GenerateBody, Think};
use self::create::CreateBody;
use self::embed::{EmbedBody, Embedded, EmbeddingsBody, OneEmbedded};
use self::field_names::refused;
use self::keep_alive::KeepAlive;
use self::models::{NamedModel, Running, RunningModel, Shown, Tag, Tags, Version};
pub use self::refused::{CREATE_REFUSED, PATHS_REFUSED, REFUSED, RefusedFields};
use super::answer::{OpenAnswer, request_id};
use super::{FREE, METERED};
use crate::caller::Caller;
use crate::engine::{EngineError, ModelFacts};
use crate::prompt::ModelName;
use crate::service::inference::InferenceService;
use crate::service::models::ModelsService;

const JSON: &str = "application/json; charset=utf-8";
const NDJSON: &str = "application/x-ndjson";
/// What makes a model: a template and a conversation, and no weights.
const MANAGING: MethodPolicy = MethodPolicy { caller: CallerKind::EndUser, most_bytes: 1024 * 1024, is_recorded: false };

/// The door.
#[must_use]
pub fn door(inference: &InferenceService, models: &ModelsService) -> Door {
    let mut routes = vec![
        Route::new(Method::POST, "/api/chat", METERED, "answers a conversation", with(inference, chat))
            .taking::<ChatBody>()
            .giving::<answer::ChatLine>(),
        Route::new(Method::POST, "/api/generate", METERED, "goes on from a bare prompt", with(inference, generate))
            .taking::<GenerateBody>()
            .giving::<answer::GenerateLine>(),
        Route::new(Method::POST, "/api/embed", METERED, "turns texts into vectors", with(inference, embed))
            .taking::<EmbedBody>()
            .giving::<Embedded>(),
        Route::new(Method::POST, "/api/embeddings", METERED, "turns one text into a vector", with(inference, embeddings))
            .taking::<EmbeddingsBody>()
            .giving::<OneEmbedded>(),
        Route::new(Method::GET, "/api/tags", FREE, "the models that may be named", with(inference, tags)).giving::<Tags>(),
        Route::new(Method::POST, "/api/show", FREE, "what a model is and can do", with(inference, show))
            .taking::<NamedModel>()
            .giving::<Shown>(),
        Route::new(Method::GET, "/api/ps", FREE, "the models that are loaded", with(inference, running)).giving::<Running>(),
        Route::new(Method::GET, "/api/version", FREE, "the release of Ollama that answers", with(inference, version)).giving::<Version>(),
        Route::new(Method::POST, "/api/create", MANAGING, "makes a model, for operators", with(models, create))
            .taking::<CreateBody>()
            .giving::<ProgressLine>(),
        Route::new(Method::DELETE, "/api/delete", FREE, "removes a model, for operators", with(models, delete)).taking::<NamedModel>(),
    ];
    routes.extend(
        refused::paths().map(|(method, path, why)| {
            Route::new(method, path, FREE, "refused, with words", move |_| std::future::ready(Err(not_here(why))))
        }),
    );
    Door { name: "Ollama", refusal, routes }
}

/// A handler that has a service of its own.
fn with<S, H, F>(service: &S, handler: H) -> impl Fn(DoorRequest) -> F + Clone + Send + Sync + 'static
where
    S: Clone + Send + Sync + 'static,
    H: Fn(S, DoorRequest) -> F + Clone + Send + Sync + 'static,
{
    let service = service.clone();
    move |request| handler(service.clone(), request)
}

fn not_here(why: &str) -> Refusal {
    CallError::new(Code::Unimplemented, ErrorReason::NotSupported, why).into()
}

fn caller_of(request: &DoorRequest) -> Result<Caller, CallError> {
    Caller::from_parts(request.headers(), request.extensions())
}

async fn chat(inference: InferenceService, mut request: DoorRequest) -> Result<Response<Body>, Refusal> {
    let (request_id, caller) = (request_id(request.headers())?, caller_of(&request));
    let body: ChatBody = request.json().await?;
    let model = body.model.clone().unwrap_or_default();
    if body.messages.as_ref().is_none_or(Vec::is_empty) {
        return load(&inference, caller, Form::Chat, model, body.keep_alive.as_ref(), body.think.as_ref()).await;
    }
    let is_streamed = body.stream != Some(false);
    let sent = body.into_wire(request_id, inference.prompt_limits.max_keep_alive).map_err(refused)?;
    let answer = OpenAnswer::begin(inference.chat_events(caller, sent).await.map_err(refused)?).await?;
    if is_streamed { Ok(answer::stream(Form::Chat, model, answer)) } else { answer::whole(Form::Chat, model, answer).await }
}

async fn generate(inference: InferenceService, mut request: DoorRequest) -> Result<Response<Body>, Refusal> {
    let (request_id, caller) = (request_id(request.headers())?, caller_of(&request));
    let body: GenerateBody = request.json().await?;
    let model = body.model.clone().unwrap_or_default();
    if body.prompt.as_ref().is_none_or(String::is_empty) {
        return load(&inference, caller, Form::Generate, model, body.keep_alive.as_ref(), body.think.as_ref()).await;
    }
    let is_streamed = body.stream != Some(false);
    let sent = body.into_wire(request_id, inference.prompt_limits.max_keep_alive).map_err(refused)?;
    let answer = OpenAnswer::begin(inference.generate_events(caller, sent).await.map_err(refused)?).await?;
    if is_streamed { Ok(answer::stream(Form::Generate, model, answer)) } else { answer::whole(Form::Generate, model, answer).await }
}

/// Answers what would load or unload a model. The model isn't touched, because that would be free work: its next call loads it. But a
/// client learns whether the model is there, and whether it can think.
async fn load(
    inference: &InferenceService,
    caller: Result<Caller, CallError>,
    form: Form,
    model: String,
    keep_alive: Option<&KeepAlive>,
    think: Option<&Think>,
) -> Result<Response<Body>, Refusal> {
    let facts = looked_up(inference, caller, &model).await?;
    if think.is_some_and(Think::is_on) && !facts.capabilities.iter().any(|has| has == "thinking") {
        return Err(CallError::from(&EngineError::ModelIncapable { capability: "thinking".to_owned() }).into());
    }
    let reason = if keep_alive.is_some_and(KeepAlive::is_none) { "unload" } else { "load" };
    Ok(json(Lines::new(form, model).loaded(reason)))
}

/// What is known of a model, for a call that costs nothing though its path is metered.
async fn looked_up(inference: &InferenceService, caller: Result<Caller, CallError>, model: &str) -> Result<ModelFacts, Refusal> {
    let mut record = CallRecord::begin();
    if let Ok(model) = ModelName::parse(model) {
        record.set_model(model.as_str());
    }
    let facts = inference.model(caller, model).await;
    let facts = record.note_refusal(facts)?;
    record.cost_nothing();
    Ok(facts)
}

async fn embed(inference: InferenceService, mut request: DoorRequest) -> Result<Response<Body>, Refusal> {
    let (request_id, caller) = (request_id(request.headers())?, caller_of(&request));
    let body: EmbedBody = request.json().await?;
    embedded(&inference, caller, request_id, body, |embedded| json_of(&embedded)).await
}

async fn embeddings(inference: InferenceService, mut request: DoorRequest) -> Result<Response<Body>, Refusal> {
    let (request_id, caller) = (request_id(request.headers())?, caller_of(&request));
    let body: EmbeddingsBody = request.json().await?;
    embedded(&inference, caller, request_id, body.into(), |embedded| json_of(&OneEmbedded::from(embedded))).await
}

async fn embedded(
    inference: &InferenceService,
    caller: Result<Caller, CallError>,
    request_id: String,
    body: EmbedBody,
    form: impl FnOnce(Embedded) -> Response<Body> + Send,
) -> Result<Response<Body>, Refusal> {
    let sent = body.into_wire(request_id, inference.prompt_limits.max_keep_alive).map_err(refused)?;
    if sent.inputs.is_empty() {
        looked_up(inference, caller, &sent.model).await?;
        return Ok(form(Embedded::nothing(sent.model)));
    }
    let answer = super::embedding::answered(inference.embedded(caller, sent).await.map_err(refused)?)?;
    let receipt = answer.receipt.clone();
    let bytes = answer.embeddings.iter().map(|embedding| embedding.values.len() * size_of::<f32>()).sum();
    let mut response = work_through(bytes, || form(answer.into()));
    if let Some(receipt) = &receipt {
        insert_receipt(response.headers_mut(), receipt);
    }
    Ok(response)
}

async fn tags(inference: InferenceService, request: DoorRequest) -> Result<Response<Body>, Refusal> {
    let models = inference.models(caller_of(&request)).await?;
    Ok(json_of(&Tags { models: models.into_iter().map(Tag::from).collect() }))
}

async fn show(inference: InferenceService, mut request: DoorRequest) -> Result<Response<Body>, Refusal> {
    let caller = caller_of(&request);
    let named: NamedModel = request.json().await?;
    Ok(json_of(&Shown::from(inference.model(caller, &named.into_name()).await?)))
}

async fn running(inference: InferenceService, request: DoorRequest) -> Result<Response<Body>, Refusal> {
    let loaded = inference.loaded_models(caller_of(&request)).await?;
    Ok(json_of(&Running { models: loaded.into_iter().map(RunningModel::from).collect() }))
}

async fn version(inference: InferenceService, request: DoorRequest) -> Result<Response<Body>, Refusal> {
    Ok(json_of(&Version { version: inference.engine_version(caller_of(&request)).await? }))
}

/// The same call as gRPC's: it is authorized, audited and ended there.
fn grpc_call<T>(request: &DoorRequest, message: T) -> Request<T> {
    Request::from_parts(MetadataMap::from_headers(request.headers().clone()), request.extensions().clone(), message)
}

async fn create(models: ModelsService, mut request: DoorRequest) -> Result<Response<Body>, Refusal> {
    models.admit_operator(caller_of(&request)).await?;
    let body: CreateBody = request.json().await?;
    let is_streamed = body.stream != Some(false);
    let call = grpc_call(&request, body.into_wire().map_err(refused)?);
    let refused = |status: tonic::Status| create::refused_modelfile(status.into());
    let steps = models.create_model(call).await.map_err(refused)?.into_inner();
    let mut steps = steps.map(move |step| step.map(ProgressLine::from).map_err(refused));
    // What fails before its first step has its status.
    let mut last = steps.next().await.ok_or_else(|| Refusal::from(CallError::internal()))??;
    if is_streamed {
        return Ok(answer::progress_stream(last, steps));
    }
    while let Some(step) = steps.next().await {
        last = step?;
    }
    Ok(answer::progress(&last))
}

async fn delete(models: ModelsService, mut request: DoorRequest) -> Result<Response<Body>, Refusal> {
    models.admit_operator(caller_of(&request)).await?;
    let named: NamedModel = request.json().await?;
    let call = grpc_call(&request, wire::DeleteModelRequest { model: named.into_name() });
    models.delete_model(call).await?;
    Ok(Response::new(Body::empty()))
}

fn json(text: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(text.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

/// An error as Ollama has it, with our reason beside it. It is also the last line of a stream that breaks off.
fn refusal_body(refusal: &Refusal) -> String {
    #[derive(Serialize)]
    struct Said<'a> {
        error: &'a str,
        code: &'static str,
        #[serde(flatten)]
        receipt: ReceiptFields,
    }
    let said = Said { error: &refusal.message, code: refusal.code(), receipt: refusal.receipt.as_ref().into() };
    // A text for each key: writing it can't fail.
    serde_json::to_string(&said).unwrap_or_default()
}

fn refusal(refusal: &Refusal) -> Response<Body> {
    json(refusal_body(refusal))
}

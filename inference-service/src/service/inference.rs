//! `tollgate.inference.v1.Inference`: one call from its credential to its stream.

use std::collections::HashSet;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt, stream};
use prost::Message;
use sha2::{Digest, Sha256};
use shared::call_record::CallRecord;
use shared::error::CallError;
use shared::proto::auth::Operation;
use shared::proto::inference as wire;
use shared::proto::inference::inference_server::Inference;
use shared::request_id::new_request_id;
use shared::runtime::work_through;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::embed::MAX_MESSAGE_NUMBERS;
use super::{Authorizer, parse_model};
use crate::auth_client::{Admission, Charge};
use crate::caller::Caller;
use crate::capability::required_capabilities;
use crate::chat_stream::{AnswerPlan, ChatStream, StreamEvent, StreamLimits, StreamOwner, replay};
use crate::doors::answer::IDEMPOTENCY_KEY;
use crate::engine::{Engine, EngineError, ModelDetails, ModelEntry, ModelFacts};
use crate::prompt::{ModelName, Prompt, PromptLimits, Think};

/// The service.
#[derive(Debug, Clone)]
pub struct InferenceService {
    /// Who may call.
    pub authorizer: Authorizer,
    /// What answers.
    pub engine: Arc<dyn Engine>,
    /// The operator's bounds on prompts.
    pub prompt_limits: PromptLimits,
    /// The operator's bounds on streams.
    pub stream_limits: StreamLimits,
    /// What ends streams at the process's end.
    pub owner: StreamOwner,
}

/// A request for an answer, whichever method it came by.
struct AnswerRequest {
    operation: Operation,
    caller: Caller,
    record: CallRecord,
    requested_model: String,
    prompt: Prompt,
    request_id: String,
    fingerprint: Vec<u8>,
    require_full: bool,
    one_delta: bool,
}

type EventStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The events of an answer: [`StreamEvent::Started`], the deltas, [`StreamEvent::Finished`]; or an error, which is the last. Dropped, its
/// caller has gone away, and the call is settled.
pub struct AnswerEvents(Events);

enum Events {
    /// A model answers.
    Live(ChatStream),
    /// The request was resolved before.
    Recorded(std::array::IntoIter<StreamEvent, 2>),
}

impl Stream for AnswerEvents {
    type Item = Result<StreamEvent, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.0 {
            Events::Live(stream) => Pin::new(stream).poll_next(cx),
            Events::Recorded(events) => Poll::Ready(events.next().map(Ok)),
        }
    }
}

impl fmt::Debug for AnswerEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerEvents").finish_non_exhaustive()
    }
}

/// Names a request by its `idempotency-key`, where its message doesn't: who calls over Connect or gRPC-Web may have put it there.
///
/// # Errors
/// Both name it, and differently; or there are several keys.
fn name_request(metadata: &MetadataMap, request_id: &mut String) -> Result<(), CallError> {
    let mut keys = metadata.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = keys.next() else { return Ok(()) };
    let key = key.to_str().ok().filter(|_| keys.next().is_none()).unwrap_or_default();
    if key.is_empty() || (!request_id.is_empty() && request_id != key) {
        let message = "idempotency-key must be there once, and be the message's request_id where that has one";
        return Err(CallError::invalid_argument(message).violations([("request_id", "must be the idempotency-key")]));
    }
    key.clone_into(request_id);
    Ok(())
}

/// The events as a method of gRPC wraps them.
fn wrapped<T: From<StreamEvent> + 'static>(events: AnswerEvents) -> EventStream<T> {
    match events.0 {
        Events::Live(stream) => Box::pin(stream.map(|event| event.map(T::from))),
        Events::Recorded(events) => Box::pin(stream::iter(events.map(|event| Ok(T::from(event))))),
    }
}

impl InferenceService {
    /// Answers a conversation. The call is metered whichever door it came by.
    pub async fn chat_events(&self, caller: Result<Caller, CallError>, mut sent: wire::ChatRequest) -> Result<AnswerEvents, CallError> {
        let mut record = CallRecord::begin();
        let caller = record.note_refusal(self.authorizer.admit(caller))?;
        let request_id = std::mem::take(&mut sent.request_id);
        let (requested_model, require_full, one_delta) = (sent.model.clone(), sent.require_full, sent.stream == Some(false));
        let (fingerprint, prompt) =
            work_through(sent.encoded_len(), || (fingerprint("chat", &sent), Prompt::from_chat(sent, &request_id, &self.prompt_limits)));
        let prompt = note_refused_prompt(&mut record, prompt, &request_id, &requested_model)?;
        let operation = Operation::Chat;
        self.answer(AnswerRequest { operation, caller, record, requested_model, prompt, request_id, fingerprint, require_full, one_delta })
            .await
    }

    /// Goes on from a bare prompt. The call is metered whichever door it came by.
    pub async fn generate_events(
        &self,
        caller: Result<Caller, CallError>,
        mut sent: wire::GenerateRequest,
    ) -> Result<AnswerEvents, CallError> {
        let mut record = CallRecord::begin();
        let caller = record.note_refusal(self.authorizer.admit(caller))?;
        let request_id = std::mem::take(&mut sent.request_id);
        let (requested_model, require_full, one_delta) = (sent.model.clone(), sent.require_full, sent.stream == Some(false));
        let (fingerprint, prompt) = work_through(sent.encoded_len(), || {
            (fingerprint("generate", &sent), Prompt::from_generate(sent, &request_id, &self.prompt_limits))
        });
        let prompt = note_refused_prompt(&mut record, prompt, &request_id, &requested_model)?;
        let operation = Operation::Generate;
        self.answer(AnswerRequest { operation, caller, record, requested_model, prompt, request_id, fingerprint, require_full, one_delta })
            .await
    }

    /// The models there are that the caller may name.
    pub async fn models(&self, caller: Result<Caller, CallError>) -> Result<Vec<ModelEntry>, CallError> {
        let (caller, _) = self.authorizer.authorize(caller, Operation::ReadModels, "").await?;
        self.nameable_models(&caller).await
    }

    /// What can be known of a model that the caller may name.
    pub async fn model(&self, caller: Result<Caller, CallError>, name: &str) -> Result<ModelFacts, CallError> {
        let model = parse_model(name)?;
        model.refuse_cloud(self.prompt_limits.allow_cloud_models)?;
        let (caller, _) = self.authorizer.authorize(caller, Operation::ReadModels, model.as_str()).await?;
        let mut facts = self.engine.show_model(&model).await.map_err(|error| CallError::from(&error))?;
        let parent = parent_of(&facts.details).map(|parent| parent.to_string());
        let allowed = self.authorizer.allowed_models(&caller, Operation::ReadModels, parent.as_deref().into_iter()).await?;
        facts.details.parent_model = parent.clone().filter(|parent| allowed.contains(parent.as_str())).unwrap_or_default();
        Ok(facts)
    }

    async fn answer(&self, mut request: AnswerRequest) -> Result<AnswerEvents, CallError> {
        let request_id = match std::mem::take(&mut request.request_id) {
            id if id.is_empty() => new_request_id(),
            id => id,
        };
        request.record.set_request_id(&request_id);
        request.record.set_model(request.prompt.model.as_str());
        let is_supported = self.engine.refuse_unsupported(&request.prompt).map_err(|error| CallError::from(&error));
        request.record.note_refusal(is_supported)?;
        let runs = self.check_model(&mut request).await;
        let runs = request.record.note_refusal(runs)?;
        let max_input_tokens = request.prompt.max_input_tokens(&self.prompt_limits).saturating_mul(runs);
        let charge = Charge {
            request_id: request_id.clone(),
            fingerprint: request.fingerprint,
            max_input_tokens,
            max_output_tokens: request.prompt.output_bound(&self.prompt_limits).saturating_mul(runs),
            require_full: request.require_full,
        };
        let (caller, model) = (&request.caller, request.prompt.model.as_str());
        let admission = self.authorizer.auth.admit(caller, request.operation, model, charge, request.record).await?;
        let grant = match admission {
            Admission::Granted(grant) => grant,
            Admission::Recorded(recorded) => {
                let events = replay(request_id, request.requested_model, &recorded);
                return Ok(AnswerEvents(Events::Recorded(events.into_iter())));
            }
        };
        let plan = AnswerPlan {
            request_id,
            requested_model: request.requested_model,
            prompt: request.prompt,
            one_delta: request.one_delta,
            runs,
            max_input_tokens,
            deadline: request.caller.deadline(),
        };
        let answer = ChatStream::open(grant, plan, self.engine.clone(), self.stream_limits, &self.owner);
        Ok(AnswerEvents(Events::Live(answer)))
    }

    /// The models there are that the caller may name in a chat, without the names of others that they were made from.
    async fn nameable_models(&self, caller: &Caller) -> Result<Vec<ModelEntry>, CallError> {
        let models = self.engine.list_models().await.map_err(|error| CallError::from(&error))?;
        let may_run = |entry: &ModelEntry| {
            ModelName::parse(&entry.name).is_ok_and(|name| name.refuse_cloud(self.prompt_limits.allow_cloud_models).is_ok())
        };
        let models: Vec<_> = models.into_iter().filter(may_run).map(|entry| (parent_of(&entry.details), entry)).collect();
        let parents = models.iter().filter_map(|(parent, _)| parent.as_ref()).map(ModelName::as_str);
        let names = models.iter().map(|(_, entry)| entry.name.as_str()).chain(parents);
        let allowed: HashSet<String> =
            self.authorizer.allowed_models(caller, Operation::ReadModels, names).await?.into_iter().map(str::to_owned).collect();
        let nameable = models.into_iter().filter(|(_, entry)| allowed.contains(&entry.name)).map(|(parent, mut entry)| {
            let parent = parent.filter(|parent| allowed.contains(parent.as_str()));
            entry.details.parent_model = parent.map(|parent| parent.to_string()).unwrap_or_default();
            entry
        });
        Ok(nameable.collect())
    }

    /// Refuses a model that is missing, and what the model can't do, before anything is held. Answers how often the engine may run it.
    ///
    /// The model is looked up only for a caller that may use it, and only when it isn't known or the prompt asks for more than text.
    async fn check_model(&self, request: &mut AnswerRequest) -> Result<u32, CallError> {
        let required = required_capabilities(&request.prompt);
        let may_run_twice = request.prompt.format.is_some() && request.prompt.think != Some(Think::Off);
        let (asks_for_more, in_doubt) = (!required.is_empty() || may_run_twice, self.engine.is_in_doubt(&request.prompt));
        if !asks_for_more && !in_doubt {
            return Ok(1);
        }
        let model = &request.prompt.model;
        let (auth, caller) = (&self.authorizer.auth, &request.caller);
        auth.authorize_recorded(caller, request.operation, model.as_str(), &mut request.record).await?;
        if in_doubt {
            self.engine.refuse_unusable(&request.prompt).await.map_err(|error| CallError::from(&error))?;
        }
        if !asks_for_more {
            return Ok(1);
        }
        let facts = self.engine.show_model(model).await.map_err(|error| CallError::from(&error))?;
        let has = |capability: &str| facts.capabilities.iter().any(|has| has == capability);
        if let Some(missing) = required.into_iter().find(|capability| !has(capability)) {
            return Err(CallError::from(&EngineError::ModelIncapable { capability: missing.to_owned() }));
        }
        // Ollama lets a thinking model think freely first, and runs it again with the format.
        Ok(if may_run_twice && has("thinking") { 2 } else { 1 })
    }
}

/// The model that one was made from. On Ollama this can be a file's path on the server: only a model's name goes out.
pub(super) fn parent_of(details: &ModelDetails) -> Option<ModelName> {
    ModelName::parse(&details.parent_model).ok()
}

/// Notes a prompt that is refused, with what can be read of its names.
fn note_refused_prompt(
    record: &mut CallRecord,
    prompt: Result<Prompt, CallError>,
    request_id: &str,
    model: &str,
) -> Result<Prompt, CallError> {
    if prompt.is_err() {
        record.set_request_id(request_id);
        if let Ok(model) = ModelName::parse(model) {
            record.set_model(model.as_str());
        }
    }
    record.note_refusal(prompt)
}

/// A digest of all that the caller asks for, the request id aside. The method is part of it.
pub(super) fn fingerprint(method: &str, request: &impl Message) -> Vec<u8> {
    let mut digest = Sha256::new();
    digest.update(method.as_bytes());
    digest.update([0]);
    digest.update(request.encode_to_vec());
    digest.finalize().to_vec()
}

#[tonic::async_trait]
impl Inference for InferenceService {
    type ChatStream = EventStream<wire::ChatEvent>;
    type GenerateStream = EventStream<wire::GenerateEvent>;

    async fn chat(&self, request: Request<wire::ChatRequest>) -> Result<Response<Self::ChatStream>, Status> {
        let caller = Caller::from_request(&request);
        let (metadata, _, mut sent) = request.into_parts();
        name_request(&metadata, &mut sent.request_id)?;
        Ok(Response::new(wrapped(self.chat_events(caller, sent).await?)))
    }

    async fn generate(&self, request: Request<wire::GenerateRequest>) -> Result<Response<Self::GenerateStream>, Status> {
        let caller = Caller::from_request(&request);
        let (metadata, _, mut sent) = request.into_parts();
        name_request(&metadata, &mut sent.request_id)?;
        Ok(Response::new(wrapped(self.generate_events(caller, sent).await?)))
    }

    async fn embed(&self, request: Request<wire::EmbedRequest>) -> Result<Response<wire::EmbedResponse>, Status> {
        let caller = Caller::from_request(&request);
        let (metadata, _, mut sent) = request.into_parts();
        name_request(&metadata, &mut sent.request_id)?;
        Ok(Response::new(self.embedded_within(caller, sent, MAX_MESSAGE_NUMBERS).await?))
    }

    async fn list_models(&self, request: Request<wire::ListModelsRequest>) -> Result<Response<wire::ListModelsResponse>, Status> {
        let models = self.models(Caller::from_request(&request)).await?.into_iter().map(|entry| wire::Model {
            name: entry.name,
            size_bytes: entry.size_bytes,
            digest: entry.digest,
            modified_at: entry.modified_at.map(Into::into),
            details: Some(entry.details.into()),
        });
        Ok(Response::new(wire::ListModelsResponse { models: models.collect() }))
    }

    async fn show_model(&self, request: Request<wire::ShowModelRequest>) -> Result<Response<wire::ShowModelResponse>, Status> {
        let facts = self.model(Caller::from_request(&request), &request.get_ref().model).await?;
        Ok(Response::new(wire::ShowModelResponse {
            details: Some(facts.details.into()),
            capabilities: facts.capabilities,
            context_length: facts.context_length,
            modified_at: facts.modified_at.map(Into::into),
        }))
    }
}

impl From<ModelDetails> for wire::ModelDetails {
    fn from(details: ModelDetails) -> Self {
        Self {
            format: details.format,
            family: details.family,
            parameter_size: details.parameter_size,
            quantization_level: details.quantization_level,
            parent_model: details.parent_model,
        }
    }
}

impl From<StreamEvent> for wire::ChatEvent {
    fn from(event: StreamEvent) -> Self {
        use wire::chat_event::Event;
        let event = match event {
            StreamEvent::Started(started) => Event::Started(started),
            StreamEvent::Delta(delta) => Event::Delta(delta),
            StreamEvent::Finished(finished) => Event::Finished(finished),
        };
        Self { event: Some(event) }
    }
}

impl From<StreamEvent> for wire::GenerateEvent {
    fn from(event: StreamEvent) -> Self {
        use wire::generate_event::Event;
        let event = match event {
            StreamEvent::Started(started) => Event::Started(started),
            StreamEvent::Delta(delta) => Event::Delta(delta),
            StreamEvent::Finished(finished) => Event::Finished(finished),
        };
        Self { event: Some(event) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(keys: &[&str], request_id: &str) -> Result<String, CallError> {
        let mut metadata = MetadataMap::new();
        for key in keys {
            metadata.append(IDEMPOTENCY_KEY, key.parse().unwrap());
        }
        let mut request_id = request_id.to_owned();
        name_request(&metadata, &mut request_id).map(|()| request_id)
    }

    #[test]
    fn an_idempotency_key_names_a_request_whose_message_does_not_and_two_names_are_refused() {
        for (keys, request_id, named_by) in [(&[][..], "", ""), (&[], "r", "r"), (&["k"], "", "k"), (&["k"], "k", "k")] {
            assert_eq!(named(keys, request_id).unwrap(), named_by);
        }
        for (keys, request_id) in [(&["k"][..], "r"), (&["k", "k"], ""), (&[""], "")] {
            assert_eq!(named(keys, request_id).unwrap_err().code(), tonic::Code::InvalidArgument, "{keys:?} {request_id}");
        }
    }
}

//! `Inference.Embed`: from a caller's texts to their vectors.

use shared::call_record::CallRecord;
use shared::error::CallError;
use shared::proto::auth::Operation;
use shared::proto::inference as wire;
use shared::request_id::new_request_id;
use shared::runtime::work_through;

use super::inference::{InferenceService, fingerprint};
use crate::auth_client::{Admission, Charge, TokenUsage};
use crate::caller::Caller;
use crate::chat_stream::{recorded_usage, to_wire_receipt, to_wire_usage};
use crate::engine::{Embeddings, EngineError, ModelFacts};
use crate::metered_call::{CallLimits, MeteredCall};
use crate::prompt::{ModelName, Texts};

/// The most numbers of one answer. As JSON they are some 50 MB.
pub(crate) const MAX_ANSWER_NUMBERS: usize = 4 << 20;
/// The most numbers of one message: gRPC clients take 4 MiB by default, and there is a little around each vector.
pub(crate) const MAX_MESSAGE_NUMBERS: usize = (4 << 20) / 4 - 16 * 1024;

impl InferenceService {
    /// Turns texts into vectors, and charges for it. A repetition of a resolved request is answered without vectors, with `replayed`.
    pub async fn embedded(&self, caller: Result<Caller, CallError>, sent: wire::EmbedRequest) -> Result<wire::EmbedResponse, CallError> {
        self.embedded_within(caller, sent, MAX_ANSWER_NUMBERS).await
    }

    /// The same, where an answer may have so many numbers.
    pub(super) async fn embedded_within(
        &self,
        caller: Result<Caller, CallError>,
        mut sent: wire::EmbedRequest,
        most: usize,
    ) -> Result<wire::EmbedResponse, CallError> {
        let mut record = CallRecord::begin();
        let caller = record.note_refusal(self.authorizer.admit(caller))?;
        let request_id = std::mem::take(&mut sent.request_id);
        let requested_model = sent.model.clone();
        let size = sent.inputs.iter().map(String::len).sum();
        let limits = &self.prompt_limits;
        let (fingerprint, texts) = work_through(size, || (fingerprint("embed", &sent), Texts::from_embed(sent, &request_id, limits)));
        let request_id = if request_id.is_empty() { new_request_id() } else { request_id };
        record.set_request_id(&request_id);
        if let Ok(model) = ModelName::parse(&requested_model) {
            record.set_model(model.as_str());
        }
        let texts = record.note_refusal(texts)?;
        let supported = self.engine.refuse_embeddings().map_err(|error| CallError::from(&error));
        record.note_refusal(supported)?;
        let checked = self.check_texts(&caller, &texts, most, &mut record).await;
        record.note_refusal(checked)?;
        let max_input_tokens = texts.max_input_tokens(limits);
        let charge = Charge { request_id: request_id.clone(), fingerprint, max_input_tokens, max_output_tokens: 0, require_full: true };
        let admission = self.authorizer.auth.admit(&caller, Operation::Embed, texts.model.as_str(), charge, record).await?;
        let grant = match admission {
            Admission::Granted(grant) => grant,
            Admission::Recorded(recorded) => {
                let (usage, receipt) = (recorded_usage(&recorded), Some(to_wire_receipt(&recorded)));
                return Ok(wire::EmbedResponse {
                    request_id,
                    model: requested_model,
                    usage,
                    receipt,
                    replayed: true,
                    embeddings: Vec::new(),
                });
            }
        };
        let estimate = TokenUsage { input_tokens: texts.estimated_input_tokens().min(max_input_tokens), output_tokens: 0, estimated: true };
        let call = MeteredCall::new(grant, estimate);
        let dispatched = call.dispatched();
        let work = async {
            let Embeddings { vectors, done } = self.engine.embed(&texts, &dispatched).await?;
            // A model whose vectors are longer than it was known to make them.
            if vectors.iter().map(Vec::len).sum::<usize>() > most {
                return Err(EngineError::Protocol { detail: format!("more than {most} numbers") });
            }
            let counted = done.input_tokens.filter(|tokens| *tokens > 0);
            let input_tokens = counted.unwrap_or(estimate.input_tokens).min(max_input_tokens);
            let usage = TokenUsage { input_tokens, output_tokens: 0, estimated: counted != Some(input_tokens) };
            Ok(((vectors, done, usage), usage))
        };
        let within = CallLimits { limits: &self.stream_limits, deadline: caller.deadline(), cut_off: &self.owner.cut_off };
        let ((vectors, done, usage), receipt) = call.run(work, within).await?;
        Ok(wire::EmbedResponse {
            embeddings: vectors.into_iter().map(|values| wire::Embedding { values }).collect(),
            request_id,
            model: requested_model,
            usage: Some(to_wire_usage(&done, usage)),
            receipt,
            replayed: false,
        })
    }

    /// Refuses a model that is missing or gives no embeddings, and an answer that would be longer than it may, before anything is held.
    ///
    /// What is in memory of the model is used at once. Where that says no, or nothing, a caller learns more only if it may use the model.
    async fn check_texts(&self, caller: &Caller, texts: &Texts, most: usize, record: &mut CallRecord) -> Result<(), CallError> {
        let model = &texts.model;
        if self.engine.recall_model(model).is_some_and(|facts| judge(&facts, texts, most).is_ok()) {
            return Ok(());
        }
        self.authorizer.auth.authorize_recorded(caller, Operation::Embed, model.as_str(), record).await?;
        self.engine.refuse_missing(model).await.map_err(|error| CallError::from(&error))?;
        let facts = self.engine.show_model(model).await.map_err(|error| CallError::from(&error))?;
        judge(&facts, texts, most)
    }
}

/// Whether a model can do it, and the answer isn't too long. What isn't known is no refusal. Models that chat give vectors, too.
fn judge(facts: &ModelFacts, texts: &Texts, most: usize) -> Result<(), CallError> {
    let reads_texts = |has: &String| matches!(has.as_str(), "embedding" | "completion");
    if !facts.capabilities.is_empty() && !facts.capabilities.iter().any(reads_texts) {
        return Err(CallError::from(&EngineError::ModelIncapable { capability: "embedding".to_owned() }));
    }
    let numbers = texts.numbers(facts.embedding_length);
    if numbers <= most {
        return Ok(());
    }
    let each = numbers / texts.inputs.len().max(1);
    let description =
        format!("must be at most {} at a time: an answer has at most {most} numbers, and each has {each}", most / each.max(1));
    let message = format!("inputs {description}; send fewer, or ask for fewer dimensions");
    Err(CallError::invalid_argument(message).violations([("inputs", description.as_str())]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ModelDetails;
    use shared::ErrorReason;

    fn refused(capabilities: &[&str], embedding_length: u32, inputs: usize) -> Option<(ErrorReason, String)> {
        let facts = ModelFacts {
            details: ModelDetails::default(),
            capabilities: capabilities.iter().map(|&word| word.to_owned()).collect(),
            context_length: 0,
            embedding_length,
            modified_at: None,
        };
        let model = ModelName::parse("m").unwrap();
        let inputs = vec![String::new(); inputs];
        let texts = Texts { model, inputs, truncate: None, dimensions: None, keep_alive: None, num_ctx: None };
        judge(&facts, &texts, MAX_MESSAGE_NUMBERS).err().map(|error| (error.reason(), error.message().to_owned()))
    }

    #[test]
    fn a_model_without_embeddings_is_refused_unless_nothing_is_known_of_it() {
        assert_eq!(refused(&["image"], 768, 1).unwrap().0, ErrorReason::ModelIncapable);
        assert_eq!(refused(&["embedding"], 768, 1), None);
        assert_eq!(refused(&["completion", "tools"], 768, 1), None, "Ollama embeds by it");
        assert_eq!(refused(&[], 0, 2048), None);
    }

    #[test]
    fn an_answer_that_no_client_would_take_is_refused_with_how_many_inputs_fit() {
        assert_eq!(refused(&["embedding"], 768, 1344), None);
        let (reason, message) = refused(&["embedding"], 768, 1345).unwrap();
        assert_eq!(reason, ErrorReason::InvalidArgument);
        assert!(message.starts_with("inputs must be at most 1344 at a time: "), "{message}");
    }
}

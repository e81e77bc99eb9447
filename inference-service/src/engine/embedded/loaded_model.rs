//! A model in memory: prompts to tokens, tokens to answers.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use llama::{Cache, Gguf, Llama, Sampler, Untokenizable, Vocabulary, log_sum_exp, most_likely};

use super::answer_text::AnswerText;
use super::catalog::Stamp;
use super::overlay::Overlay;
use super::template::{ChatTemplate, turn};
use crate::engine::{AnswerEvent, Done, EngineError, Logprob, Piece};
use crate::prompt::{ChatRole, Message, Prompt, Task};

/// Prompt tokens that are evaluated at once: between them a cancellation is noticed. The larger a piece, the more often each weight is used
/// while it is in the processor's cache.
const PROMPT_CHUNK: usize = 64;

/// The least context, as in Ollama.
const LEAST_CONTEXT: u32 = 4;

/// Tokens at the beginning that a cut in the middle of a text leaves, as in Ollama.
const CUT_KEEPS: usize = 4;

/// One GGUF, ready to run.
pub(super) struct LoadedModel {
    path: PathBuf,
    stamp: Stamp,
    weights: Llama,
    vocabulary: Vocabulary,
    template: ChatTemplate,
    context_length: u32,
}

/// What is to be answered, and by what rules.
pub(super) struct Request {
    pub(super) overlay: Overlay,
    pub(super) prompt: Prompt,
    pub(super) max_output_tokens: u32,
    /// The operator's bound on prompt and answer together.
    pub(super) max_context_tokens: u32,
    /// When the caller came.
    pub(super) since: Instant,
}

/// A prompt as tokens that fit.
pub(super) struct Prepared {
    tokens: Vec<u32>,
    /// Tokens of prompt and answer together.
    context: usize,
    /// The most tokens of the answer; ≥ 1.
    bound: u32,
}

impl LoadedModel {
    /// Reads a GGUF.
    pub(super) fn load(path: &Path) -> Result<Self, EngineError> {
        let stamp = Stamp::of(path).map_err(|error| EngineError::ModelBroken { detail: format!("{}: {error}", path.display()) })?;
        let mut gguf = Gguf::open(path)?;
        let vocabulary = Vocabulary::new(&gguf)?;
        let template = ChatTemplate::new(&gguf, &vocabulary)?;
        let context_length = gguf.context_length();
        Ok(Self { path: path.to_owned(), stamp, weights: gguf.weights()?, vocabulary, template, context_length })
    }

    /// Whether it is this file, as the file is now.
    pub(super) fn is(&self, path: &Path) -> bool {
        self.path == path && Stamp::of(path).is_ok_and(|stamp| stamp == self.stamp)
    }

    /// Turns a request into tokens, and cuts what is too long unless the request forbids it: first the oldest turns but the system prompt
    /// and the last one, then the middle of what is left. A quarter of the context, or what the answer may take, stays free for the answer.
    pub(super) fn prepare(&self, request: &Request) -> Result<Prepared, EngineError> {
        let Request { overlay, prompt, .. } = request;
        let asked = overlay.num_ctx(&prompt.options).unwrap_or(u32::MAX).max(LEAST_CONTEXT);
        let context = asked.min(self.context_length).min(request.max_context_tokens.max(LEAST_CONTEXT)) as usize;
        let bound = request.max_output_tokens.min(overlay.num_predict().unwrap_or(u32::MAX)).max(1);
        let room = context - (context / 4).min(bound as usize).max(1);
        let fits = |tokens: &Vec<u32>| tokens.len() <= room || (prompt.truncate == Some(false) && tokens.len() < context);
        let prepared = |tokens| Prepared { tokens, context, bound };

        let turns = match &prompt.task {
            Task::Generate { prompt: text, raw: true, .. } => {
                let tokens = self.encode(text)?;
                return if fits(&tokens) { Ok(prepared(tokens)) } else { cut(tokens, room, prompt).map(prepared) };
            }
            Task::Generate { prompt: text, system, .. } => {
                let system = system.as_deref().or(overlay.system()).filter(|system| !system.is_empty());
                let system = system.map(|system| turn(ChatRole::System, system));
                system.into_iter().chain(overlay.turns()).chain([turn(ChatRole::User, text)]).collect::<Vec<_>>()
            }
            Task::Chat { messages, .. } => {
                let own = messages.first().is_some_and(|first| first.role == ChatRole::System);
                let system = overlay.system().filter(|_| !own).map(|system| turn(ChatRole::System, system));
                system.into_iter().chain(overlay.turns()).chain(messages.iter().cloned()).collect()
            }
        };
        let tokens = self.encode_turns(&turns, 0)?;
        if fits(&tokens) {
            return Ok(prepared(tokens));
        }
        if prompt.truncate == Some(false) {
            return Err(EngineError::PromptTooLong);
        }
        // The fewest oldest turns without which it fits; what is left of a longer prompt is longer, so this may be halved.
        let (mut too_few, mut enough) = (0, droppable(&turns));
        let mut best = self.encode_turns(&turns, enough)?;
        while enough - too_few > 1 && fits(&best) {
            let middle = too_few.midpoint(enough);
            let tokens = self.encode_turns(&turns, middle)?;
            if fits(&tokens) {
                (enough, best) = (middle, tokens);
            } else {
                too_few = middle;
            }
        }
        if fits(&best) { Ok(prepared(best)) } else { cut(best, room, prompt).map(prepared) }
    }

    /// The turns through the template, without the `dropped` oldest ones that may be dropped.
    fn encode_turns(&self, turns: &[Message], dropped: usize) -> Result<Vec<u32>, EngineError> {
        let mut left = dropped;
        let kept = turns.iter().enumerate().filter(|(index, turn)| {
            let drop = left > 0 && may_drop(turns, *index, turn);
            left -= usize::from(drop);
            !drop
        });
        self.encode(&self.template.render(kept.map(|(_, turn)| turn))?)
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        self.vocabulary.encode(text).map_err(|Untokenizable| EngineError::Rejected { detail: "the prompt can't be tokenized".to_owned() })
    }

    /// Answers. Asks `cancelled` before each chunk of the prompt and each token, and gives each event to `emit`, which says whether it was
    /// taken; stops in silence when one says so.
    pub(super) fn generate(
        &self,
        request: &Request,
        prepared: &Prepared,
        load: Duration,
        cancelled: impl Fn() -> bool,
        mut emit: impl FnMut(AnswerEvent) -> bool,
    ) -> Result<(), EngineError> {
        let options = &request.prompt.options;
        let mut cache = self.weights.cache();
        let mut sampler = Sampler::new(request.overlay.sampling(options));
        let mut text = AnswerText::new(request.overlay.stops(options));
        let mut logprobs = Vec::new();

        let mut logits = Vec::new();
        for chunk in prepared.tokens.chunks(PROMPT_CHUNK) {
            if cancelled() {
                return Ok(());
            }
            logits = self.evaluate(&mut cache, chunk)?;
        }
        prepared.tokens.iter().for_each(|token| sampler.accept(*token));

        let mut output_tokens = 0;
        let reason = loop {
            if cancelled() {
                return Ok(());
            }
            // Before the choice: the penalty changes the numbers.
            let said = request.prompt.top_logprobs.map(|_| logits.clone());
            let token = sampler.choose(&mut logits).ok_or_else(|| self.broken("its weights give no usable numbers"))?;
            output_tokens += 1;
            if self.vocabulary.is_end(token) {
                break "stop";
            }
            sampler.accept(token);
            if let (Some(said), Some(top)) = (said, request.prompt.top_logprobs) {
                logprobs.push(self.logprob(&said, token, top.into()));
            }
            let shown = text.push(self.vocabulary.shown_bytes(token));
            if !shown.text.is_empty() {
                let piece = Piece { content: shown.text, logprobs: std::mem::take(&mut logprobs), ..Piece::default() };
                if !emit(AnswerEvent::Piece(piece)) {
                    return Ok(());
                }
            }
            if shown.stopped {
                logprobs.clear();
                break "stop";
            }
            if output_tokens >= prepared.bound || cache.tokens() >= prepared.context - 1 {
                break "length";
            }
            logits = self.evaluate(&mut cache, &[token])?;
        };
        // Nothing after a stop sequence: it took the rest with it.
        let rest = text.finish();
        let done = Done {
            reason: reason.to_owned(),
            input_tokens: u32::try_from(prepared.tokens.len()).ok(),
            output_tokens: Some(output_tokens),
            load: Some(load),
            total: Some(request.since.elapsed()),
            ..Done::default()
        };
        emit(AnswerEvent::Done(Piece { content: rest, logprobs, ..Piece::default() }, done));
        Ok(())
    }

    /// What the model says of the token after these.
    fn evaluate(&self, cache: &mut Cache, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
        self.weights.evaluate(cache, tokens).map_err(|error| self.broken(error))
    }

    fn logprob(&self, logits: &[f32], token: u32, top: usize) -> Logprob {
        let all = log_sum_exp(logits);
        let of = |token: u32, logit: f32| {
            let bytes = self.vocabulary.name(token).to_vec();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Logprob { token: text, logprob: f64::from(logit) - all, bytes, top: Vec::new() }
        };
        let top = most_likely(logits, top).into_iter().map(|(token, logit)| of(token, logit)).collect();
        Logprob { top, ..of(token, logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY)) }
    }

    fn broken(&self, detail: impl std::fmt::Display) -> EngineError {
        EngineError::ModelBroken { detail: format!("{}: {detail}", self.path.display()) }
    }
}

/// Whether a turn goes when the conversation is too long.
fn may_drop(turns: &[Message], index: usize, turn: &Message) -> bool {
    turn.role != ChatRole::System && index + 1 < turns.len()
}

fn droppable(turns: &[Message]) -> usize {
    turns.iter().enumerate().filter(|(index, turn)| may_drop(turns, *index, turn)).count()
}

/// Leaves the first few tokens and the last ones, as Ollama does with a prompt that is too long in itself.
fn cut(mut tokens: Vec<u32>, room: usize, prompt: &Prompt) -> Result<Vec<u32>, EngineError> {
    if prompt.truncate == Some(false) {
        return Err(EngineError::PromptTooLong);
    }
    let keep = CUT_KEEPS.min(room / 2);
    tokens.drain(keep..tokens.len() - (room - keep));
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::prompt::{ModelName, Options};

    fn model() -> LoadedModel {
        let given = std::env::var_os("TOLLGATE_TEST_MODELS_DIR").map(PathBuf::from);
        let cache = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/tollgate/models"));
        LoadedModel::load(&given.or_else(cache).unwrap().join("smollm2.gguf")).unwrap()
    }

    #[test]
    fn a_prompt_is_evaluated_in_pieces_of_64_tokens_and_may_be_given_up_between_them() {
        let model = model();
        let name = ModelName::parse("smollm2").unwrap();
        let text = "the quick brown fox jumps over the lazy dog ".repeat(20);
        let prompt = Prompt {
            model: name.clone(),
            task: Task::Generate { prompt: text, suffix: String::new(), system: None, images: Vec::new(), raw: true },
            options: Options::default(),
            format: None,
            think: None,
            top_logprobs: None,
            max_output_tokens: None,
            truncate: None,
            keep_alive: None,
        };
        let (overlay, since) = (Overlay::bare(&name), Instant::now());
        let request = Request { overlay, prompt, max_output_tokens: 1, max_context_tokens: 4096, since };
        let prepared = model.prepare(&request).unwrap();
        let pieces = prepared.tokens.len().div_ceil(64);
        assert!(pieces > 2, "{} tokens", prepared.tokens.len());

        let (asked, emitted) = (Cell::new(0), Cell::new(0));
        let ask = |give_up: bool| {
            asked.set(asked.get() + 1);
            give_up && asked.get() == 2
        };
        let emit = |_| {
            emitted.set(emitted.get() + 1);
            true
        };
        // Once before each piece, and once before the only token of the answer.
        model.generate(&request, &prepared, Duration::ZERO, || ask(false), emit).unwrap();
        assert_eq!(asked.get(), pieces + 1);
        assert!(emitted.get() > 0);

        asked.set(0);
        emitted.set(0);
        model.generate(&request, &prepared, Duration::ZERO, || ask(true), emit).unwrap();
        assert_eq!((asked.get(), emitted.get()), (2, 0));
    }
}

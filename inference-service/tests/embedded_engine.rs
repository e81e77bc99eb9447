//! The embedded engine with a real model: SmolLM2-135M, which `scripts/fetch-model` puts into the user's cache folder.
#![cfg(feature = "embedded-engine")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use inference_service::engine::embedded::{EmbeddedConfig, EmbeddedEngine};
use inference_service::engine::{AnswerEvent, AnswerStream, Dispatched, Done, Engine, EngineError, Piece};
use inference_service::modelfile::Modelfile;
use inference_service::prompt::{ChatRole, Format, Message, ModelName, Options, Prompt, Task, Think, Tool};
use tempfile::TempDir;

const MARIO: &str =
    "FROM smollm2\nSYSTEM You are mario from Super Mario Bros. Answer as Mario, the assistant, only.\nPARAMETER temperature 0\n";

/// The folder that has `smollm2.gguf`.
fn models_folder() -> PathBuf {
    let cache =
        || std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let given = std::env::var_os("TOLLGATE_TEST_MODELS_DIR").map(PathBuf::from);
    let folder = given.or_else(|| Some(cache()?.join("tollgate/models"))).unwrap_or_default();
    assert!(folder.join("smollm2.gguf").is_file(), "{} has no smollm2.gguf: run scripts/fetch-model", folder.display());
    folder
}

/// An engine, and the folder of its overlays.
struct Bench {
    engine: EmbeddedEngine,
    data: TempDir,
}

fn bench() -> Bench {
    bench_with(EmbeddedConfig::DEFAULT_QUEUE, 4096)
}

#[expect(clippy::unwrap_used, reason = "a test's setup")]
fn bench_with(queue: usize, max_context_tokens: u32) -> Bench {
    let data = tempfile::tempdir().unwrap();
    let engine = EmbeddedEngine::open(config(&data, queue, max_context_tokens)).unwrap();
    Bench { engine, data }
}

fn config(data: &TempDir, queue: usize, max_context_tokens: u32) -> EmbeddedConfig {
    EmbeddedConfig {
        models_folder: models_folder(),
        overlays_folder: data.path().join("models"),
        queue,
        max_context_tokens,
        essentials: Default::default(),
    }
}

#[expect(clippy::unwrap_used, reason = "names in tests are right")]
fn name(text: &str) -> ModelName {
    ModelName::parse(text).unwrap()
}

fn message(role: ChatRole, content: &str) -> Message {
    Message {
        role,
        content: content.to_owned(),
        thinking: String::new(),
        images: Vec::new(),
        tool_calls: Vec::new(),
        tool_name: String::new(),
        tool_call_id: String::new(),
    }
}

fn prompt(task: Task) -> Prompt {
    Prompt {
        model: name("smollm2"),
        task,
        options: Options { temperature: Some(0.0), ..Options::default() },
        format: None,
        think: None,
        top_logprobs: None,
        max_output_tokens: None,
        truncate: None,
        keep_alive: None,
    }
}

fn chat(messages: &[(ChatRole, &str)]) -> Prompt {
    let messages = messages.iter().map(|(role, content)| message(*role, content)).collect();
    prompt(Task::Chat { messages, tools: Vec::new() })
}

fn say(content: &str) -> Prompt {
    chat(&[(ChatRole::User, content)])
}

fn generate(text: &str, system: Option<&str>, raw: bool) -> Prompt {
    prompt(Task::Generate { prompt: text.to_owned(), suffix: String::new(), system: system.map(str::to_owned), images: Vec::new(), raw })
}

/// A whole answer.
struct Answer {
    pieces: Vec<Piece>,
    done: Done,
}

impl Answer {
    fn text(&self) -> String {
        self.pieces.iter().map(|piece| piece.content.as_str()).collect()
    }

    fn input_tokens(&self) -> u32 {
        self.done.input_tokens.unwrap_or_default()
    }
}

async fn read(mut stream: AnswerStream) -> Result<Answer, EngineError> {
    let mut pieces = Vec::new();
    let mut done = None;
    while let Some(event) = stream.next().await {
        match event? {
            AnswerEvent::Piece(piece) => pieces.push(piece),
            AnswerEvent::Done(last, end) => {
                pieces.push(last);
                done = Some(end);
            }
        }
    }
    done.map(|done| Answer { pieces, done }).ok_or(EngineError::Interrupted { detail: "no last event".to_owned() })
}

impl Bench {
    async fn ask(&self, prompt: &Prompt, max_output_tokens: u32) -> Result<Answer, EngineError> {
        read(self.engine.answer(prompt, max_output_tokens, &Dispatched::default()).await?).await
    }

    #[expect(clippy::unwrap_used, reason = "for prompts that must be answered")]
    async fn answer(&self, prompt: &Prompt, max_output_tokens: u32) -> Answer {
        self.ask(prompt, max_output_tokens).await.unwrap()
    }

    async fn create(&self, model: &str, modelfile: &str) -> Result<(), EngineError> {
        let modelfile = Modelfile::parse(modelfile).map_err(|error| EngineError::Modelfile { sentence: error.sentence })?;
        let progress: Vec<_> = self.engine.create_model(&name(model), &modelfile).await?.collect().await;
        progress.into_iter().try_for_each(|step| step.map(|_| ()))
    }
}

#[tokio::test]
async fn an_answer_streams_token_by_token_and_says_what_it_cost() {
    let bench = bench();
    let mut stream = bench.engine.answer(&say("Why is the sky blue? Answer in one sentence."), 24, &Dispatched::default()).await.unwrap();
    let begin = Instant::now();
    let mut arrivals = Vec::new();
    let mut text = String::new();
    let done = loop {
        match stream.next().await.unwrap().unwrap() {
            AnswerEvent::Piece(piece) => {
                arrivals.push(begin.elapsed());
                text.push_str(&piece.content);
            }
            AnswerEvent::Done(_, done) => break done,
        }
    };
    assert!(stream.next().await.is_none());
    println!("{text:?} {done:?} {arrivals:?}");
    assert_eq!((done.reason.as_str(), done.output_tokens), ("length", Some(24)));
    assert!(arrivals.len() >= 20, "{} pieces", arrivals.len());
    assert!(["sky", "light", "blue", "Earth", "astronomy"].iter().any(|word| text.contains(word)), "{text}");
    // Not in one burst at the end.
    assert!(arrivals[10] < arrivals[19]);
    assert!(done.load > Some(Duration::ZERO) && done.total > done.load);
}

#[tokio::test]
async fn prompts_are_as_long_and_tokens_as_likely_as_in_ollama_with_the_same_model() {
    // Recorded from Ollama 0.24.0. It rounds differently, so greedy answers part ways where two tokens are about as likely.
    let bench = bench();
    let text = "<|im_start|>user\nSay hello in five words<|im_end|>\n<|im_start|>assistant\n";
    let mut asked = generate(text, None, true);
    asked.top_logprobs = Some(2);
    let answer = bench.answer(&asked, 1).await;
    assert_eq!(answer.input_tokens(), 14);
    let top = &answer.pieces[0].logprobs[0].top;
    for (token, recorded) in [("A", -3.160_737), ("S", -3.237_252)] {
        let found = top.iter().find(|logprob| logprob.token == token).map(|logprob| logprob.logprob);
        assert!(found.is_some_and(|found| (found - recorded).abs() < 0.2), "{token}: {found:?}, {recorded}");
    }
    let paris = bench.answer(&generate("The capital of France is", None, true), 2).await;
    assert_eq!(paris.text(), " Paris.");
    assert_eq!(bench.answer(&generate("Once upon a time", None, true), 1).await.input_tokens(), 4);
    assert_eq!(bench.answer(&generate("Who are you?", Some("You are mario."), false), 1).await.input_tokens(), 23);
    let turns = [
        (ChatRole::System, "You are mario."),
        (ChatRole::User, "Who are you?"),
        (ChatRole::Assistant, "It's-a me!"),
        (ChatRole::User, "Again?"),
    ];
    assert_eq!(bench.answer(&chat(&turns), 1).await.input_tokens(), 42);
    // The recorded model had a template without a system prompt of its own (14 tokens); the GGUF's template has one.
    let with_default = bench.answer(&say("Say hello in five words"), 1).await.input_tokens();
    let same = [
        (ChatRole::System, "You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
        (ChatRole::User, "Say hello in five words"),
    ];
    assert_eq!(bench.answer(&chat(&same), 1).await.input_tokens(), with_default);
}

#[tokio::test]
async fn greedy_and_seeded_answers_repeat_themselves() {
    let bench = bench();
    let mut asked = say("Name a colour.");
    let first = bench.answer(&asked, 12).await.text();
    assert_eq!(bench.answer(&asked, 12).await.text(), first);
    asked.options = Options { temperature: Some(1.5), seed: Some(7), ..Options::default() };
    let seeded = bench.answer(&asked, 12).await.text();
    assert_eq!(bench.answer(&asked, 12).await.text(), seeded);
    asked.options.seed = Some(8);
    assert_ne!(bench.answer(&asked, 12).await.text(), seeded);
}

#[tokio::test]
async fn an_answer_ends_before_a_stop_sequence_and_at_the_smaller_bound() {
    let bench = bench();
    let mut asked = generate("Once upon a time", None, true);
    asked.options.stop = vec!["ity of".to_owned()];
    let stopped = bench.answer(&asked, 30).await;
    assert_eq!((stopped.text().as_str(), stopped.done.reason.as_str()), (", the c", "stop"));
    bench.create("short", "FROM smollm2\nPARAMETER num_predict 3").await.unwrap();
    asked.options.stop.clear();
    asked.model = name("short");
    for (bound, tokens) in [(30, 3), (2, 2), (1, 1)] {
        let answer = bench.answer(&asked, bound).await;
        assert_eq!((answer.done.reason.as_str(), answer.done.output_tokens), ("length", Some(tokens)));
    }
}

#[tokio::test]
async fn a_dropped_stream_frees_the_model_within_a_token_and_a_dropped_call_leaves_the_queue() {
    let bench = bench_with(1, 4096);
    let long = say("Write a very long story about a plumber.");
    let mut running = bench.engine.answer(&long, 3000, &Dispatched::default()).await.unwrap();
    running.next().await.unwrap().unwrap();
    // Whichever of these three comes first waits; the others find the queue full, at once, and it leaves the queue with its caller.
    let dispatched = Dispatched::default();
    let mut calls: FuturesUnordered<_> = (0..3).map(|_| bench.engine.answer(&long, 3000, &dispatched)).collect();
    for _ in 0..2 {
        let refused = calls.next().await.unwrap();
        assert!(matches!(refused, Err(EngineError::Busy)), "{:?}", refused.err());
    }
    drop(calls);

    let begin = Instant::now();
    drop(running);
    let next = bench.answer(&generate("Once", None, true), 1).await;
    assert_eq!(next.done.output_tokens, Some(1));
    // The other answer would have taken minutes.
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_prompt_is_given_up_while_it_is_still_evaluated() {
    let bench = bench();
    bench.answer(&generate("Once", None, true), 1).await;
    let long = generate(&"the quick brown fox jumps over the lazy dog ".repeat(40), None, true);
    let mut waits = Vec::new();
    for _ in 0..5 {
        drop(bench.engine.answer(&long, 10, &Dispatched::default()).await.unwrap());
        let begin = Instant::now();
        bench.answer(&generate("Once", None, true), 1).await;
        waits.push(begin.elapsed());
    }
    let begin = Instant::now();
    bench.answer(&long, 1).await;
    let whole = begin.elapsed();
    // Hundreds of tokens take far longer than one chunk of them. Other work of the machine only makes waits longer: the shortest counts.
    assert!(waits.iter().min() < Some(&(whole / 4)), "{waits:?} {whole:?}");
}

#[tokio::test]
async fn a_dropped_engine_stops_in_the_middle_of_an_answer_that_nobody_reads() {
    let bench = bench();
    let mut stream = bench.engine.answer(&say("Write a very long story about a plumber."), 3000, &Dispatched::default()).await.unwrap();
    stream.next().await.unwrap().unwrap();
    let begin = Instant::now();
    drop(bench);
    assert!(begin.elapsed() < Duration::from_secs(10));
    let events: Vec<_> = stream.collect().await;
    assert!(matches!(events.last(), Some(Err(EngineError::Interrupted { .. }))));
}

#[tokio::test]
async fn a_created_model_survives_and_its_system_prompt_reaches_the_model() {
    let bench = bench();
    let mut asked = say("Who are you?");
    let plain = bench.answer(&asked, 16).await;
    bench.create("mario", MARIO).await.unwrap();
    bench.create("luigi:green", "FROM mario\nSYSTEM You are Luigi.\nMESSAGE user Hi\nMESSAGE assistant It's-a me!").await.unwrap();
    asked.model = name("mario");
    asked.options = Options::default();
    let mario = bench.answer(&asked, 16).await;
    assert_ne!(mario.text(), plain.text());
    assert!(mario.input_tokens() > plain.input_tokens());
    // A system prompt in the request takes its place.
    let mut own = chat(&[(ChatRole::System, "You are mario."), (ChatRole::User, "Who are you?")]);
    own.model = name("mario");
    assert_eq!(bench.answer(&own, 1).await.input_tokens(), 23);

    let Bench { engine, data } = bench;
    drop(engine);
    let bench = Bench { engine: EmbeddedEngine::open(config(&data, 1, 4096)).unwrap(), data };
    assert_eq!(bench.answer(&asked, 16).await.text(), mario.text());
    let listed = bench.engine.list_models().await.unwrap();
    let names: Vec<(&str, &str)> = listed.iter().map(|entry| (entry.name.as_str(), entry.details.parent_model.as_str())).collect();
    for expected in [("luigi:green", "mario"), ("mario", "smollm2"), ("smollm2", "")] {
        assert!(names.contains(&expected), "{names:?}");
    }
    assert!(listed.iter().all(|entry| entry.size_bytes > 0 && entry.modified_at.is_some()));

    // What was made from it stays.
    bench.engine.delete_model(&name("mario")).await.unwrap();
    assert!(matches!(bench.ask(&asked, 1).await, Err(EngineError::ModelNotFound)));
    assert!(matches!(bench.engine.delete_model(&name("mario")).await, Err(EngineError::ModelNotFound)));
    asked.model = name("luigi:green");
    asked.options.temperature = Some(0.0);
    assert_eq!(bench.answer(&asked, 1).await.done.output_tokens, Some(1));
    assert!(matches!(bench.engine.delete_model(&name("smollm2")).await, Err(EngineError::NotSupported { .. })));
}

#[tokio::test]
async fn a_model_that_is_missing_is_known_before_it_is_asked_and_one_that_is_there_is_looked_up_once() {
    let bench = bench();
    let mut asked = chat(&[(ChatRole::User, "hi")]);
    for missing in ["nosuch", "SmolLM2", "hf.co/a/smollm2", "smollm2:1b"] {
        asked.model = name(missing);
        assert!(bench.engine.is_in_doubt(&asked), "{missing}");
        assert!(matches!(bench.engine.refuse_unusable(&asked).await, Err(EngineError::ModelNotFound)), "{missing}");
        assert!(bench.engine.is_in_doubt(&asked), "{missing}");
    }
    for there in ["smollm2", "made"] {
        if there == "made" {
            bench.create(there, "FROM smollm2").await.unwrap();
        }
        asked.model = name(there);
        assert!(bench.engine.is_in_doubt(&asked), "{there}");
        bench.engine.refuse_unusable(&asked).await.unwrap();
        assert!(!bench.engine.is_in_doubt(&asked), "{there}");
    }
    bench.engine.delete_model(&name("made")).await.unwrap();
    assert!(bench.engine.is_in_doubt(&asked));
    assert!(matches!(bench.engine.refuse_unusable(&asked).await, Err(EngineError::ModelNotFound)));
}

#[tokio::test]
async fn a_modelfile_that_cant_be_followed_changes_nothing_and_says_its_line() {
    let bench = bench();
    let cases = [
        ("made", "FROM nowhere", "line 1: FROM names a model that isn't there"),
        ("made", "FROM ./weights.gguf", "line 1: FROM"),
        ("made", "FROM smollm2\nTEMPLATE x", "line 2: TEMPLATE"),
        ("smollm2", "FROM smollm2\nSYSTEM x", "smollm2 is a file"),
    ];
    for (model, modelfile, says) in cases {
        let Err(EngineError::Modelfile { sentence }) = bench.create(model, modelfile).await else { panic!("{modelfile} was followed") };
        assert!(sentence.starts_with(says), "{sentence}");
    }
    assert!(matches!(bench.engine.show_model(&name("made")).await, Err(EngineError::ModelNotFound)));
}

#[tokio::test]
async fn a_model_is_shown_as_ollama_shows_it() {
    let bench = bench();
    bench.create("mario", MARIO).await.unwrap();
    let facts = bench.engine.show_model(&name("smollm2")).await.unwrap();
    let details = &facts.details;
    let described = [&details.format, &details.family, &details.parameter_size, &details.quantization_level, &details.parent_model];
    assert_eq!(described, ["gguf", "llama", "134.52M", "Q4_1", ""]);
    assert_eq!(facts.capabilities, ["completion"]);
    assert!(facts.context_length > 0 && facts.modified_at.is_some());
    let facts = bench.engine.show_model(&name("mario")).await.unwrap();
    assert_eq!((facts.details.parent_model.as_str(), facts.details.family.as_str()), ("smollm2", "llama"));
}

#[tokio::test]
async fn what_isnt_supported_is_refused_by_name() {
    let bench = bench();
    let refused = |change: &dyn Fn(&mut Prompt)| {
        let mut asked = say("Hi");
        change(&mut asked);
        match bench.engine.refuse_unsupported(&asked) {
            Err(EngineError::NotSupported { feature }) => feature,
            other => panic!("{other:?}"),
        }
    };
    let tool = Tool { name: "add".to_owned(), description: String::new(), parameters: None };
    let tools = refused(&|asked| asked.task = Task::Chat { messages: vec![message(ChatRole::User, "Hi")], tools: vec![tool.clone()] });
    let images = refused(&|asked| {
        let with_image = Message { images: vec![vec![1]], ..message(ChatRole::User, "Hi") };
        asked.task = Task::Chat { messages: vec![with_image], tools: Vec::new() };
    });
    let suffix = refused(&|asked| {
        asked.task = Task::Generate { prompt: "a".to_owned(), suffix: "b".to_owned(), system: None, images: Vec::new(), raw: false };
    });
    let format = refused(&|asked| asked.format = Some(Format::Json));
    let thinking = refused(&|asked| asked.think = Some(Think::Low));
    assert_eq!([tools, images, suffix, format, thinking], ["tools", "images", "suffix", "format", "thinking"]);
    let mut without = say("Hi");
    without.think = Some(Think::Off);
    bench.engine.refuse_unsupported(&without).unwrap();
}

#[tokio::test]
async fn an_emoji_is_shown_whole() {
    let bench = bench();
    // Its bytes are several tokens.
    let mut asked = generate(&"😀\n".repeat(12), None, true);
    asked.options.repeat_penalty = Some(1.0);
    let answer = bench.answer(&asked, 12).await;
    let longest = answer.text().chars().map(char::len_utf8).max();
    assert_eq!(longest, Some(4), "{}", answer.text());
    assert!(!answer.text().contains('\u{fffd}'));
    assert!(answer.pieces.len() < 12);
}

#[tokio::test]
async fn a_conversation_that_is_too_long_loses_its_oldest_turns_but_the_system_prompt() {
    let bench = bench();
    let filler = "the quick brown fox jumps over the lazy dog ".repeat(10);
    let turns = [
        (ChatRole::System, "Answer only with the word banana."),
        (ChatRole::User, filler.as_str()),
        (ChatRole::Assistant, filler.as_str()),
        (ChatRole::User, "Say it."),
    ];
    let mut asked = chat(&turns);
    let kept = bench.answer(&chat(&[turns[0], turns[3]]), 1).await.input_tokens();
    asked.options.num_ctx = Some(100);
    assert_eq!(bench.answer(&asked, 8).await.input_tokens(), kept);
    asked.truncate = Some(false);
    assert!(matches!(bench.ask(&asked, 8).await, Err(EngineError::PromptTooLong)));
    asked.options.num_ctx = None;
    assert!(bench.answer(&asked, 1).await.input_tokens() > 200);

    // One turn that is too long in itself is cut in the middle.
    let mut long = say(&filler.repeat(4));
    long.options.num_ctx = Some(64);
    assert_eq!(bench.answer(&long, 4).await.input_tokens(), 60);
}

#[tokio::test]
async fn a_full_context_ends_the_answer() {
    let bench = bench_with(16, 48);
    let answer = bench.answer(&generate("Once upon a time", None, true), 1000).await;
    assert_eq!((answer.done.reason.as_str(), answer.input_tokens(), answer.done.output_tokens), ("length", 4, Some(44)));
}

#[tokio::test]
async fn log_probabilities_come_with_their_tokens() {
    let bench = bench();
    let mut asked = generate("Once upon a time", None, true);
    asked.top_logprobs = Some(2);
    let answer = bench.answer(&asked, 4).await;
    let all: Vec<_> = answer.pieces.iter().flat_map(|piece| &piece.logprobs).collect();
    assert_eq!(all.len(), 4);
    assert_eq!(all.iter().map(|logprob| logprob.token.as_str()).collect::<String>(), answer.text());
    for logprob in all {
        assert!(logprob.logprob <= 0.0 && logprob.top.len() == 2 && logprob.top[0].logprob >= logprob.top[1].logprob);
        assert_eq!(logprob.bytes, logprob.token.as_bytes());
    }
}

#[tokio::test]
async fn a_model_is_unloaded_when_its_time_is_over_and_loaded_again() {
    let bench = bench();
    let mut asked = generate("Once", None, true);
    asked.keep_alive = Some(Duration::ZERO);
    bench.answer(&asked, 1).await;
    asked.keep_alive = None;
    let again = bench.answer(&asked, 1).await.done.load;
    let kept = bench.answer(&asked, 1).await.done.load;
    assert!(kept < Some(Duration::from_millis(5)) && again > kept, "{again:?} {kept:?}");
}

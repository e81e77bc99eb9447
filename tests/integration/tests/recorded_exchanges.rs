//! Every recorded exchange with Ollama, through the whole stack: gRPC in, events, codes, reasons and credits out.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use integration::polling::until;
use integration::recorded::{self, Exchange};
use integration::scripted_upstream::ScriptedUpstream;
use integration::stack::{Answer, Plan, Stack, TestUser, chat_request, read_all};
use serde_json::{Map, Value};
use shared::ErrorReason as Reason;
use shared::error::{reason_of, retry_delay_of};
use shared::proto::inference::{self, FinishReason, chat_event};
use tonic::{Code, Status};

/// What becomes of the recorded request when it is made through our contract.
#[derive(Debug, Clone, Copy)]
enum Asked {
    /// It goes upstream as it was recorded.
    AsRecorded,
    /// Tollgate refuses it before anything goes upstream, free of charge, with a sentence that has this in it.
    Refused(Code, Reason, &'static str),
    /// Our contract can't say it; or only its beginning was recorded.
    Unsayable,
    /// No method of ours leads there, for this reason.
    Never(&'static str),
}

/// What a caller gets when upstream answers as recorded: to the recorded request, or to a plain one where that doesn't go upstream.
#[derive(Debug, Clone, Copy)]
enum Becomes {
    /// All of the answer, and its counts: of the prompt, and generated. Charged by them.
    Answer(FinishReason, u32, u32),
    /// What there was, then a failure. Charged by estimate when there was anything, else free.
    BreaksOff(Code, Reason),
    /// So many deltas, and then the caller goes. Charged by estimate.
    Left(usize),
    /// A failure, free of charge.
    Fails(Code, Reason),
    /// So many models.
    Models(usize),
    /// These capabilities.
    Facts(&'static [&'static str]),
    /// So many steps, the last one `success`.
    Made(usize),
    /// So many steps, and then a failure.
    MakingFails(usize, Code, Reason),
    /// An empty answer.
    Deleted,
    /// It is not met.
    Nothing,
}

use Asked::{AsRecorded, Never, Refused, Unsayable};
use Becomes::{Answer as Answers, BreaksOff, Deleted, Facts, Fails, Left, Made, MakingFails, Models, Nothing};
use FinishReason::{Length, Stop, ToolCalls};

const fn invalid(says: &'static str) -> Asked {
    Refused(Code::InvalidArgument, Reason::InvalidArgument, says)
}
const fn incapable(says: &'static str) -> Asked {
    Refused(Code::FailedPrecondition, Reason::ModelIncapable, says)
}
const REJECTED: Becomes = Fails(Code::InvalidArgument, Reason::UpstreamRejected);
const NOT_FOUND: Becomes = Fails(Code::NotFound, Reason::ModelNotFound);
const INCAPABLE: Becomes = Fails(Code::FailedPrecondition, Reason::ModelIncapable);
const UNAVAILABLE: Becomes = Fails(Code::Unavailable, Reason::UpstreamUnavailable);
const BROKEN_OFF: Becomes = BreaksOff(Code::Unavailable, Reason::UpstreamUnavailable);
const PROTOCOL: Becomes = BreaksOff(Code::Internal, Reason::UpstreamProtocol);

const NO_BLOBS: Asked = Never("blobs are not pushed yet");
const NO_COPY: Asked = Never("models are not copied yet");
const NO_PULL: Asked = Never("models are not pulled yet");
const NO_EMBED: Asked = Never("there is no Embed yet");
const NO_CALL: Asked = Never("the engine never calls this");

/// One row for each recorded file.
const ROWS: &[(&str, Asked, Becomes)] = &[
    ("blob-head-bad-digest", NO_BLOBS, Nothing),
    ("blob-head-missing", NO_BLOBS, Nothing),
    ("blob-head-there", NO_BLOBS, Nothing),
    ("blob-push", NO_BLOBS, Nothing),
    ("blob-push-wrong-digest", NO_BLOBS, Nothing),
    ("chat-after-delete", AsRecorded, NOT_FOUND),
    ("chat-after-runner-killed", AsRecorded, Answers(Length, 14, 3)),
    ("chat-bad-json", Unsayable, REJECTED),
    ("chat-client-stops-after-3", AsRecorded, Left(3)),
    ("chat-cloud-model", Refused(Code::PermissionDenied, Reason::CloudModelNotAllowed, "not allowed"), UNAVAILABLE),
    ("chat-cold", AsRecorded, Answers(Length, 14, 6)),
    ("chat-context-fills-while-generating", AsRecorded, Answers(Length, 18, 160)),
    ("chat-empty-body", Unsayable, REJECTED),
    ("chat-empty-content", AsRecorded, Answers(Length, 9, 4)),
    ("chat-empty-messages-loads", invalid("messages"), PROTOCOL),
    ("chat-empty-messages-unloads", invalid("messages"), PROTOCOL),
    ("chat-field-unknown", Unsayable, Answers(Length, 10, 2)),
    ("chat-format-bad-schema", AsRecorded, REJECTED),
    ("chat-format-bad-word", invalid("format.json_schema"), REJECTED),
    ("chat-format-json", AsRecorded, Answers(Length, 17, 40)),
    ("chat-format-schema", AsRecorded, Answers(Stop, 15, 11)),
    ("chat-history-and-system", AsRecorded, Answers(Length, 42, 8)),
    ("chat-images-not-base64", Unsayable, REJECTED),
    ("chat-images-unsupported", incapable("vision"), Answers(Length, 17, 2)),
    ("chat-keep-alive-bad", Unsayable, REJECTED),
    ("chat-keep-alive-seconds", AsRecorded, Answers(Length, 14, 2)),
    ("chat-logprobs", AsRecorded, Answers(Length, 14, 3)),
    ("chat-long-prompt-truncate-false", Unsayable, Fails(Code::InvalidArgument, Reason::InvalidArgument)),
    ("chat-long-prompt-truncated", Unsayable, Answers(Length, 256, 3)),
    ("chat-mario", AsRecorded, Answers(Length, 55, 10)),
    ("chat-model-bad-name", invalid("model"), REJECTED),
    ("chat-model-empty", invalid("model is required"), REJECTED),
    ("chat-model-missing", AsRecorded, NOT_FOUND),
    ("chat-no-messages-field", invalid("messages"), PROTOCOL),
    ("chat-num-predict-0", invalid("max_output_tokens"), Answers(Stop, 17, 24)),
    ("chat-num-predict-1", AsRecorded, Answers(Length, 17, 1)),
    ("chat-num-predict-minus-1", Unsayable, Answers(Stop, 17, 24)),
    ("chat-num-predict-minus-2", Unsayable, Answers(Stop, 17, 24)),
    ("chat-one-reply", AsRecorded, Answers(Stop, 14, 10)),
    ("chat-option-unknown", Unsayable, Answers(Length, 10, 2)),
    ("chat-option-wrong-type", Unsayable, REJECTED),
    ("chat-queue-full", AsRecorded, Fails(Code::Unavailable, Reason::UpstreamBusy)),
    ("chat-repeats-itself", AsRecorded, BROKEN_OFF),
    ("chat-role-missing", invalid("messages[0].role"), Answers(Length, 9, 4)),
    ("chat-role-unknown", invalid("messages[0].role"), Answers(Length, 11, 4)),
    ("chat-runner-killed-at-3", AsRecorded, BROKEN_OFF),
    ("chat-server-killed-at-3", AsRecorded, BROKEN_OFF),
    ("chat-shift-false", Unsayable, Answers(Length, 18, 47)),
    ("chat-stop-reason-stop", AsRecorded, Answers(Length, 17, 64)),
    ("chat-stop-sequence", AsRecorded, Answers(Length, 17, 40)),
    ("chat-stream", AsRecorded, Answers(Stop, 14, 10)),
    ("chat-think-bad", invalid("think"), REJECTED),
    ("chat-think-false", AsRecorded, Answers(Length, 14, 2)),
    ("chat-think-level-unsupported", incapable("thinking"), INCAPABLE),
    ("chat-think-unsupported", incapable("thinking"), INCAPABLE),
    ("chat-thinking", AsRecorded, Answers(Length, 20, 24)),
    ("chat-thinking-deltas", AsRecorded, Answers(Length, 17, 8)),
    ("chat-thinking-deltas-with-format", AsRecorded, Answers(Length, 17, 8)),
    ("chat-thinking-not-asked", AsRecorded, Answers(Length, 17, 8)),
    ("chat-tool-call", AsRecorded, Answers(ToolCalls, 71, 28)),
    ("chat-tool-call-one-reply", AsRecorded, Answers(ToolCalls, 71, 28)),
    ("chat-tool-result", AsRecorded, Answers(Length, 104, 10)),
    ("chat-tools", AsRecorded, Answers(Length, 91, 48)),
    ("chat-tools-unsupported", incapable("tools"), INCAPABLE),
    ("chat-top-logprobs", AsRecorded, Answers(Length, 14, 2)),
    ("chat-top-logprobs-21", invalid("top_logprobs"), REJECTED),
    ("chat-top-logprobs-without-logprobs", AsRecorded, Answers(Length, 14, 2)),
    ("chat-unicode", AsRecorded, Answers(Length, 21, 16)),
    ("chat-weights-gone", AsRecorded, Fails(Code::FailedPrecondition, Reason::ModelBroken)),
    ("chat-wrong-type", Unsayable, REJECTED),
    ("copy", NO_COPY, Nothing),
    ("copy-missing", NO_COPY, Nothing),
    ("create-bad-name", invalid("model"), REJECTED),
    ("create-bad-parameter", invalid("line 2"), Made(5)),
    ("create-bad-parameter-type", invalid("line 2"), Made(5)),
    ("create-bad-role", invalid("line 2"), Made(6)),
    ("create-bad-template", AsRecorded, Fails(Code::InvalidArgument, Reason::InvalidArgument)),
    ("create-blob-missing", Unsayable, MakingFails(1, Code::Unavailable, Reason::UpstreamUnavailable)),
    ("create-from-bad-gguf", Unsayable, MakingFails(1, Code::Unavailable, Reason::UpstreamUnavailable)),
    ("create-from-missing", invalid("line 1"), MakingFails(1, Code::Unavailable, Reason::UpstreamUnavailable)),
    ("create-from-truncated-gguf", Unsayable, MakingFails(1, Code::Unavailable, Reason::UpstreamUnavailable)),
    ("create-mario", AsRecorded, Made(7)),
    ("create-nothing", invalid("FROM"), REJECTED),
    ("create-one-reply", AsRecorded, Made(1)),
    ("create-quantize-already", Unsayable, UNAVAILABLE),
    ("create-thinking-template", AsRecorded, Made(5)),
    ("create-thinks-at-once", AsRecorded, Made(5)),
    ("create-tools-template", AsRecorded, Made(5)),
    ("delete", AsRecorded, Deleted),
    ("delete-missing", AsRecorded, NOT_FOUND),
    ("delete-while-loaded", AsRecorded, Deleted),
    ("embed-batch", NO_EMBED, Nothing),
    ("embed-empty", NO_EMBED, Nothing),
    ("embed-model-missing", NO_EMBED, Nothing),
    ("embed-none", NO_EMBED, Nothing),
    ("embed-one", NO_EMBED, Nothing),
    ("embed-too-long-truncate-false", NO_EMBED, Nothing),
    ("embed-wrong-type", NO_EMBED, Nothing),
    ("generate-bad-template", Unsayable, REJECTED),
    ("generate-empty-prompt-loads", invalid("prompt is required"), PROTOCOL),
    ("generate-empty-prompt-unloads", invalid("prompt is required"), PROTOCOL),
    ("generate-model-missing", AsRecorded, NOT_FOUND),
    ("generate-one-reply", AsRecorded, Answers(Length, 15, 6)),
    ("generate-raw", AsRecorded, Answers(Length, 4, 6)),
    ("generate-raw-with-system", invalid("system"), REJECTED),
    ("generate-stream", AsRecorded, Answers(Length, 15, 6)),
    ("generate-suffix-unsupported", incapable("insert"), INCAPABLE),
    ("generate-system", AsRecorded, Answers(Length, 23, 6)),
    ("get-on-chat", Unsayable, PROTOCOL),
    ("host-foreign", AsRecorded, UNAVAILABLE),
    ("no-such-path", NO_CALL, Nothing),
    ("origin-foreign", AsRecorded, UNAVAILABLE),
    ("ps-loaded", NO_CALL, Nothing),
    ("pull-bad-name", NO_PULL, Nothing),
    ("pull-without-network", NO_PULL, Nothing),
    ("root", NO_CALL, Nothing),
    ("root-head", NO_CALL, Nothing),
    ("show", AsRecorded, Facts(&["completion"])),
    ("show-empty", invalid("model is required"), REJECTED),
    ("show-mario", AsRecorded, Facts(&["completion"])),
    ("show-missing", AsRecorded, NOT_FOUND),
    ("show-tools", AsRecorded, Facts(&["completion", "tools"])),
    ("tags", AsRecorded, Models(1)),
    ("tags-with-mario", AsRecorded, Models(3)),
    ("version", Never("only the start asks for it, when no engine is named"), Nothing),
];

/// One call of our contract.
#[derive(Debug, Clone)]
enum Call {
    Chat(inference::ChatRequest),
    Generate(inference::GenerateRequest),
    ListModels,
    ShowModel(String),
    CreateModel { model: String, modelfile: String },
    DeleteModel(String),
}

impl Call {
    /// One that nothing is wrong with.
    fn plain(path: &str) -> Self {
        match path {
            "/api/chat" => Self::Chat(inference::ChatRequest { max_output_tokens: None, ..chat_request("smollm2", "hi") }),
            "/api/generate" => {
                Self::Generate(inference::GenerateRequest { model: "smollm2".into(), prompt: "hi".into(), ..Default::default() })
            }
            "/api/tags" => Self::ListModels,
            "/api/show" => Self::ShowModel("smollm2".into()),
            "/api/create" => Self::CreateModel { model: "x".into(), modelfile: "FROM smollm2".into() },
            "/api/delete" => Self::DeleteModel("smollm2".into()),
            path => panic!("{path}"),
        }
    }

    /// The recorded request in our contract, right or wrong; `None` when it can't be said there.
    fn recorded(exchange: &Exchange) -> Option<Self> {
        let body = exchange.request.json();
        let model = || body.get("model").map_or(Some(""), Value::as_str).map(str::to_owned);
        match (exchange.request.method.as_str(), exchange.request.path.as_str()) {
            ("POST", "/api/chat") => chat_of(body.as_object()?).map(Self::Chat),
            ("POST", "/api/generate") => generate_of(body.as_object()?).map(Self::Generate),
            ("GET", "/api/tags") => Some(Self::ListModels),
            ("POST", "/api/show") => model().map(Self::ShowModel),
            ("POST", "/api/create") => Some(Self::CreateModel { model: model()?, modelfile: modelfile_of(body.as_object()?)? }),
            ("DELETE", "/api/delete") => model().map(Self::DeleteModel),
            _ => None,
        }
    }

    /// The estimate of the prompt's tokens: four bytes are about one, and each message adds four.
    fn input_estimate(&self) -> i64 {
        let (bytes, messages) = match self {
            Self::Chat(request) => (request.messages.iter().map(|message| message.content.len()).sum::<usize>(), request.messages.len()),
            Self::Generate(request) => (request.prompt.len(), 1),
            Self::ListModels | Self::ShowModel(_) | Self::CreateModel { .. } | Self::DeleteModel(_) => (0, 0),
        };
        i64::try_from(bytes.div_ceil(4) + 4 * messages).unwrap()
    }

    fn wants_one_delta(&self) -> bool {
        match self {
            Self::Chat(request) => request.stream == Some(false),
            Self::Generate(request) => request.stream == Some(false),
            Self::ListModels | Self::ShowModel(_) | Self::CreateModel { .. } | Self::DeleteModel(_) => false,
        }
    }
}

/// A text; absent is empty, another type can't be said.
fn text(value: Option<&Value>) -> Option<String> {
    value.map_or(Some(""), Value::as_str).map(str::to_owned)
}

fn chat_of(body: &Map<String, Value>) -> Option<inference::ChatRequest> {
    let mut request = inference::ChatRequest { model: text(body.get("model"))?, ..Default::default() };
    for (key, value) in body {
        match key.as_str() {
            "model" | "logprobs" => {}
            "messages" => request.messages = value.as_array()?.iter().map(message_of).collect::<Option<_>>()?,
            "tools" => request.tools = value.as_array()?.iter().map(tool_of).collect::<Option<_>>()?,
            "options" => (request.options, request.max_output_tokens) = options_of(value.as_object()?)?,
            "format" => request.format = Some(format_of(value)),
            "think" => request.think = Some(think_of(value)?),
            "top_logprobs" => request.top_logprobs = Some(value.as_u64()?.try_into().ok()?),
            "stream" => request.stream = Some(value.as_bool()?),
            "truncate" => request.truncate = Some(value.as_bool()?),
            "keep_alive" => request.keep_alive = Some(keep_alive_of(value)?),
            _ => return None,
        }
    }
    if body.contains_key("logprobs") {
        request.top_logprobs.get_or_insert(0);
    }
    Some(request)
}

fn generate_of(body: &Map<String, Value>) -> Option<inference::GenerateRequest> {
    let mut request = inference::GenerateRequest { model: text(body.get("model"))?, ..Default::default() };
    for (key, value) in body {
        match key.as_str() {
            "model" => {}
            "prompt" => request.prompt = text(Some(value))?,
            "suffix" => request.suffix = text(Some(value))?,
            "system" => request.system = Some(text(Some(value))?),
            "raw" => request.raw = value.as_bool()?,
            "options" => (request.options, request.max_output_tokens) = options_of(value.as_object()?)?,
            "stream" => request.stream = Some(value.as_bool()?),
            "keep_alive" => request.keep_alive = Some(keep_alive_of(value)?),
            _ => return None,
        }
    }
    Some(request)
}

fn message_of(value: &Value) -> Option<inference::Message> {
    let mut message = inference::Message::default();
    for (key, value) in value.as_object()? {
        match key.as_str() {
            "role" => message.role = text(Some(value))?,
            "content" => message.content = text(Some(value))?,
            "tool_name" => message.tool_name = text(Some(value))?,
            "images" => {
                message.images = value.as_array()?.iter().map(|image| STANDARD.decode(image.as_str()?).ok()).collect::<Option<_>>()?
            }
            "tool_calls" => {
                let call = |call: &Value| {
                    let (name, arguments_json) = (text(call.pointer("/function/name"))?, call.pointer("/function/arguments")?.to_string());
                    Some(inference::ToolCall { id: text(call.get("id"))?, name, arguments_json })
                };
                message.tool_calls = value.as_array()?.iter().map(call).collect::<Option<_>>()?;
            }
            _ => return None,
        }
    }
    Some(message)
}

fn tool_of(value: &Value) -> Option<inference::Tool> {
    let function = value.get("function")?;
    let parameters_json = function.get("parameters").map(Value::to_string).unwrap_or_default();
    Some(inference::Tool { name: text(function.get("name"))?, description: text(function.get("description"))?, parameters_json })
}

/// Options, and the bound on tokens, which is none of them in our contract.
fn options_of(body: &Map<String, Value>) -> Option<(Option<inference::Options>, Option<u32>)> {
    let (mut options, mut max_output_tokens) = (inference::Options::default(), None);
    #[expect(clippy::cast_possible_truncation, reason = "the recorded ones are short decimals")]
    let float = |value: &Value| value.as_f64().map(|value| value as f32);
    for (key, value) in body {
        match key.as_str() {
            "num_predict" => max_output_tokens = Some(value.as_u64()?.try_into().ok()?),
            "temperature" => options.temperature = Some(float(value)?),
            "repeat_penalty" => options.repeat_penalty = Some(float(value)?),
            "seed" => options.seed = Some(value.as_i64()?),
            "num_ctx" => options.num_ctx = Some(value.as_u64()?.try_into().ok()?),
            "stop" => options.stop = value.as_array()?.iter().map(|stop| text(Some(stop))).collect::<Option<_>>()?,
            _ => return None,
        }
    }
    Some((Some(options), max_output_tokens))
}

fn schema_of(json: &str) -> inference::Format {
    inference::Format { kind: Some(inference::format::Kind::JsonSchema(json.to_owned())) }
}

fn format_of(value: &Value) -> inference::Format {
    let kind = if value == "json" { inference::format::Kind::Json(true) } else { inference::format::Kind::JsonSchema(value.to_string()) };
    inference::Format { kind: Some(kind) }
}

fn think_of(value: &Value) -> Option<String> {
    match value {
        Value::Bool(true) => Some("on".to_owned()),
        Value::Bool(false) => Some("off".to_owned()),
        value => text(Some(value)),
    }
}

fn keep_alive_of(value: &Value) -> Option<prost_types::Duration> {
    let seconds = value.as_i64().or_else(|| value.as_str()?.strip_suffix('s')?.parse().ok())?;
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn modelfile_of(body: &Map<String, Value>) -> Option<String> {
    let mut modelfile = body.get("from").and_then(Value::as_str).map_or(String::new(), |from| format!("FROM {from}\n"));
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    for (key, value) in body {
        match key.as_str() {
            "model" | "from" | "stream" => {}
            "system" => modelfile += &format!("SYSTEM \"\"\"{}\"\"\"\n", value.as_str()?),
            "template" => modelfile += &format!("TEMPLATE \"\"\"{}\"\"\"\n", value.as_str()?),
            "parameters" => {
                for (name, value) in value.as_object()? {
                    for value in value.as_array().unwrap_or(&vec![value.clone()]) {
                        modelfile += &format!("PARAMETER {name} {}\n", plain(value));
                    }
                }
            }
            "messages" => {
                for message in value.as_array()? {
                    modelfile += &format!("MESSAGE {} {}\n", text(message.get("role"))?, text(message.get("content"))?);
                }
            }
            _ => return None,
        }
    }
    Some(modelfile)
}

/// Whether all that was recorded was sent, and with the same values. More may be sent.
fn covers(sent: &Value, recorded: &Value) -> bool {
    match (sent, recorded) {
        (Value::Object(sent), Value::Object(recorded)) => {
            recorded.iter().all(|(key, recorded)| sent.get(key).is_some_and(|sent| covers(sent, recorded)))
        }
        (Value::Array(sent), Value::Array(recorded)) => {
            sent.len() == recorded.len() && sent.iter().zip(recorded).all(|(sent, recorded)| covers(sent, recorded))
        }
        // 1 and 1.0 are the same; 0.1 goes through a float of half the length.
        (Value::Number(sent), Value::Number(recorded)) => (sent.as_f64().unwrap() - recorded.as_f64().unwrap()).abs() < 1e-6,
        (sent, recorded) => sent == recorded,
    }
}

/// A recorded answer, read without the code under test.
#[derive(Debug, Default, PartialEq)]
struct Said {
    content: String,
    thinking: String,
    /// Names and arguments.
    tool_calls: Vec<(String, Value)>,
    /// Tokens, and how many alternatives each has.
    logprobs: Vec<(String, usize)>,
    /// Lines with any of these.
    pieces: usize,
}

impl Said {
    fn recorded(exchange: &Exchange) -> (Self, String) {
        let (mut said, mut done_reason) = (Self::default(), String::new());
        for line in exchange.response.body().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let part = |path: &str| line.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
            let list = |path: &str| line.pointer(path).and_then(Value::as_array).cloned().unwrap_or_default();
            let (content, thinking) = (part("/message/content") + &part("/response"), part("/message/thinking") + &part("/thinking"));
            let (tool_calls, logprobs) = (list("/message/tool_calls"), list("/logprobs"));
            if !(content.is_empty() && thinking.is_empty() && tool_calls.is_empty() && logprobs.is_empty()) {
                said.pieces += 1;
            }
            said.content += &content;
            said.thinking += &thinking;
            said.tool_calls.extend(
                tool_calls
                    .iter()
                    .map(|call| (call["function"]["name"].as_str().unwrap().to_owned(), call["function"]["arguments"].clone())),
            );
            said.logprobs.extend(
                logprobs
                    .iter()
                    .map(|logprob| (logprob["token"].as_str().unwrap().to_owned(), logprob["top_logprobs"].as_array().map_or(0, Vec::len))),
            );
            done_reason += &part("/done_reason");
        }
        (said, done_reason)
    }

    fn heard(deltas: &[inference::Delta]) -> Self {
        let mut said = Self { pieces: deltas.len(), ..Self::default() };
        for delta in deltas {
            said.content += &delta.content;
            said.thinking += &delta.thinking;
            let call = |call: &inference::ToolCall| (call.name.clone(), serde_json::from_str(&call.arguments_json).unwrap());
            said.tool_calls.extend(delta.tool_calls.iter().map(call));
            said.logprobs.extend(delta.logprobs.iter().map(|logprob| (logprob.token.clone(), logprob.top_logprobs.len())));
        }
        said
    }

    /// The estimate of the tokens generated: at least one a piece, and one for four bytes.
    fn output_estimate(&self) -> i64 {
        let calls: usize = self.tool_calls.iter().map(|(name, arguments)| name.len() + arguments.to_string().len()).sum();
        let bytes = self.content.len() + self.thinking.len() + calls;
        i64::try_from(bytes.div_ceil(4).max(self.pieces)).unwrap()
    }
}

/// What a call was answered.
#[derive(Debug, Default)]
struct Heard {
    answer: Answer,
    steps: Vec<String>,
    models: Vec<inference::Model>,
    facts: Option<inference::ShowModelResponse>,
}

/// What a call costs, and each token.
#[derive(Debug, Clone, Copy)]
struct Price {
    call: i64,
    token: i64,
}

/// A stack in front of a scripted upstream, and who calls it.
struct Bench {
    upstream: ScriptedUpstream,
    stack: Stack,
    user: TestUser,
    admin: String,
    price: Price,
}

impl Bench {
    async fn start(price: Price) -> Self {
        let upstream = ScriptedUpstream::start().await;
        upstream.model("mario", &["completion"], 8192);
        upstream.model("withtools", &["completion", "tools"], 8192);
        upstream.model("withthinking", &["completion", "thinking"], 8192);
        upstream.model("thinks", &["completion", "thinking"], 8192);
        let Price { call, token } = price;
        let prices = format!("*={call}/{0}/{0}", token * 1000);
        let stack =
            Plan::with_upstream(&upstream.url()).set("TOLLGATE_PRICES", &prices).set("TOLLGATE_STARTING_CREDITS", "1000000").start().await;
        let (user, admin) = (stack.user("ada").await, stack.admin_token().await);
        Self { upstream, stack, user, admin, price }
    }

    /// What was spent so far; the invariants hold, and nothing is held.
    async fn spent(&self, name: &str) -> i64 {
        let snapshot = self.stack.snapshot(&self.user).await;
        assert_eq!(snapshot.balance.held, 0, "{name}: something is held");
        snapshot.balance.spent
    }

    async fn call(&self, call: &Call) -> Result<Heard, Status> {
        let mut heard = Heard::default();
        let (mut inference, mut models) = (self.stack.inference(&self.user.key), self.stack.models(&self.admin));
        match call.clone() {
            Call::Chat(request) => heard.answer = read_all(&mut inference.chat(request).await?.into_inner()).await,
            Call::Generate(request) => heard.answer = read_all(&mut inference.generate(request).await?.into_inner()).await,
            Call::ListModels => heard.models = inference.list_models(inference::ListModelsRequest {}).await?.into_inner().models,
            Call::ShowModel(model) => heard.facts = Some(inference.show_model(inference::ShowModelRequest { model }).await?.into_inner()),
            Call::CreateModel { model, modelfile } => {
                let mut steps = models.create_model(inference::CreateModelRequest { model, modelfile }).await?.into_inner();
                loop {
                    match steps.message().await {
                        Ok(Some(step)) => heard.steps.push(step.status),
                        Ok(None) => break,
                        Err(status) => {
                            heard.answer.failure = Some(status);
                            break;
                        }
                    }
                }
            }
            Call::DeleteModel(model) => {
                models.delete_model(inference::DeleteModelRequest { model }).await?;
            }
        }
        Ok(heard)
    }

    /// What went upstream so far; asking for a model's facts changes and costs nothing there.
    fn sent(&self) -> usize {
        self.upstream.requests().iter().filter(|request| request.path != "/api/show").count()
    }

    /// A call that Tollgate refuses by itself: nothing goes upstream, nothing is charged.
    async fn refuses(&self, name: &str, call: &Call, code: Code, reason: Reason, says: &str) {
        let (sent, spent) = (self.sent(), self.spent(name).await);
        let refused = match self.call(call).await {
            Err(status) => status,
            Ok(heard) => heard.answer.failure.unwrap_or_else(|| panic!("{name}: it was answered")),
        };
        assert_eq!((refused.code(), reason_of(&refused)), (code, Some(reason)), "{name}: {refused:?}");
        assert!(refused.message().contains(says), "{name}: {:?} doesn't say {says:?}", refused.message());
        assert_eq!(self.sent(), sent, "{name}: it went upstream");
        assert_eq!(self.spent(name).await, spent, "{name}: it was charged");
    }

    async fn replay(&mut self, exchange: &Exchange, asked: Asked, becomes: Becomes) {
        let (name, path) = (exchange.name.as_str(), exchange.request.path.as_str());
        let recorded = if matches!(asked, Never(_)) { None } else { Call::recorded(exchange) };
        let call = match asked {
            Never(_) => return,
            AsRecorded => recorded.unwrap_or_else(|| panic!("{name}: our contract can't say this")),
            Refused(code, reason, says) => {
                let call = recorded.unwrap_or_else(|| panic!("{name}: our contract can't say this"));
                self.refuses(name, &call, code, reason, says).await;
                Call::plain(path)
            }
            Unsayable => {
                assert!(recorded.is_none(), "{name}: our contract can say this: {recorded:?}");
                Call::plain(path)
            }
        };
        if path == "/api/show" {
            // A new service remembers no facts of models.
            self.stack.inferences.clear();
            self.stack.start_inference(0).await;
        }
        let (spent, number) = (self.spent(name).await, self.upstream.requests_to(path).len());
        self.upstream.script_once(path, exchange.script(0.0));

        let charged = match becomes {
            Left(deltas) => self.leave_after(deltas, name, &call).await,
            becomes => {
                let heard = match self.call(&call).await {
                    Ok(heard) => heard,
                    Err(status) => Heard { answer: Answer { failure: Some(status), ..Answer::default() }, ..Heard::default() },
                };
                self.check(exchange, &call, becomes, &heard)
            }
        };
        assert_eq!(self.spent(name).await - spent, charged, "{name}: charged");
        let sent = self.upstream.requests_to(path);
        assert_eq!(sent.len(), number + 1, "{name}: it goes upstream once");
        if matches!(asked, AsRecorded) {
            let (sent, mut wanted) = (sent[number].json(), exchange.request.json());
            // Always streamed: the caller's wish is met behind the stream.
            wanted.as_object_mut().map(|wanted| wanted.remove("stream"));
            assert!(covers(&sent, &wanted), "{name}: {sent} was sent instead of {wanted}");
        }
    }

    /// Reads so many deltas, goes away, and answers what that costs.
    async fn leave_after(&self, deltas: usize, name: &str, call: &Call) -> i64 {
        let Call::Chat(request) = call else { panic!("{name}: not a chat") };
        let mut stream = self.stack.inference(&self.user.key).chat(request.clone()).await.unwrap().into_inner();
        let mut heard = Vec::new();
        while heard.len() < deltas {
            if let Some(chat_event::Event::Delta(delta)) = stream.message().await.unwrap().unwrap().event {
                heard.push(delta);
            }
        }
        drop(stream);
        self.upstream.requests_to("/api/chat").last().unwrap().client_closed().await;
        until("the hold to be settled", Duration::from_secs(5), || async {
            (self.stack.balance(&self.user.key).await.held_credits == 0).then_some(())
        })
        .await;
        self.price.call + self.price.token * (call.input_estimate() + Said::heard(&heard).output_estimate())
    }

    /// Checks what was heard, and answers what it must have cost.
    fn check(&self, exchange: &Exchange, call: &Call, becomes: Becomes, heard: &Heard) -> i64 {
        let (name, answer) = (exchange.name.as_str(), &heard.answer);
        let is_answer = matches!(call, Call::Chat(_) | Call::Generate(_));
        let failed = |code: Code, reason: Reason| {
            let failure = answer.failure.as_ref().unwrap_or_else(|| panic!("{name}: it did not fail: {heard:?}"));
            assert_eq!((failure.code(), reason_of(failure)), (code, Some(reason)), "{name}: {failure:?}");
            assert_eq!(retry_delay_of(failure).is_some(), code == Code::Unavailable, "{name}: RetryInfo");
            // Upstream's words name files and registries.
            for words in ["/models", "registry", "ollama.com", "dial tcp", "unexpected EOF", "does not support"] {
                assert!(!failure.message().contains(words), "{name}: {}", failure.message());
            }
            assert!(answer.finished.is_none(), "{name}: finished and failed");
        };
        let (said, done_reason) =
            if is_answer && exchange.response.status_code() == 200 { Said::recorded(exchange) } else { (Said::default(), String::new()) };
        let charged = match becomes {
            Answers(reason, input, output) => {
                let finished = answer.finished.as_ref().unwrap_or_else(|| panic!("{name}: {answer:?}"));
                assert!(answer.started.is_some() && answer.failure.is_none(), "{name}");
                assert_eq!((finished.reason(), finished.upstream_reason.as_str()), (reason, done_reason.as_str()), "{name}");
                let usage = finished.usage.as_ref().unwrap();
                assert_eq!((usage.input_tokens, usage.output_tokens, usage.estimated), (Some(input), Some(output), false), "{name}");
                assert!(usage.total.is_some() && usage.load.is_some() && !finished.replayed, "{name}");
                let expected = Said { pieces: if call.wants_one_delta() { 1 } else { said.pieces }, ..said };
                assert_eq!(Said::heard(&answer.deltas), expected, "{name}");
                self.price.call + self.price.token * i64::from(input + output)
            }
            BreaksOff(code, reason) => {
                failed(code, reason);
                assert!(answer.started.is_some(), "{name}");
                assert_eq!(Said::heard(&answer.deltas), said, "{name}");
                let tokens = call.input_estimate() + said.output_estimate();
                if said.pieces == 0 { 0 } else { self.price.call + self.price.token * tokens }
            }
            Fails(code, reason) => {
                failed(code, reason);
                assert!(answer.deltas.is_empty() && heard.steps.is_empty(), "{name}");
                0
            }
            Models(count) => {
                assert_eq!(heard.models.len(), count, "{name}");
                let right = |model: &inference::Model| {
                    model.size_bytes > 0 && model.modified_at.is_some() && !model.digest.is_empty() && !model.name.ends_with(":latest")
                };
                assert!(heard.models.iter().all(right), "{name}: {:?}", heard.models);
                0
            }
            Facts(capabilities) => {
                let facts = heard.facts.as_ref().unwrap_or_else(|| panic!("{name}: {heard:?}"));
                assert_eq!(
                    (facts.capabilities.iter().map(String::as_str).collect::<Vec<_>>(), facts.context_length),
                    (capabilities.to_vec(), 8192),
                    "{name}"
                );
                assert!(facts.modified_at.is_some(), "{name}");
                let said = format!("{facts:?}");
                assert!(!said.contains("/models") && !said.to_lowercase().contains("mario from"), "{name}: operators' business: {said}");
                0
            }
            Made(steps) => {
                assert!(answer.failure.is_none(), "{name}: {:?}", answer.failure);
                assert_eq!((heard.steps.len(), heard.steps.last().map(String::as_str)), (steps, Some("success")), "{name}");
                0
            }
            MakingFails(steps, code, reason) => {
                failed(code, reason);
                assert_eq!(heard.steps.len(), steps, "{name}: {:?}", heard.steps);
                0
            }
            Deleted => {
                assert!(answer.failure.is_none(), "{name}: {:?}", answer.failure);
                0
            }
            Left(_) | Nothing => panic!("{name}: nothing to check"),
        };
        if is_answer {
            assert_eq!(answer.charged(), Some(charged), "{name}: the receipt");
        }
        charged
    }
}

#[test]
fn every_recorded_exchange_has_one_row() {
    let exchanges = recorded::all();
    for exchange in &exchanges {
        let rows = ROWS.iter().filter(|(name, ..)| *name == exchange.name).count();
        assert_eq!(rows, 1, "{} needs one row", exchange.name);
    }
    assert_eq!(exchanges.len(), ROWS.len(), "a row has no file");
    for (name, asked, becomes) in ROWS {
        let never = if let Never(why) = asked { Some(why) } else { None };
        assert_eq!(never.is_some(), matches!(becomes, Nothing), "{name}: {never:?}");
    }
}

async fn replay_all(price: Price) {
    let mut bench = Bench::start(price).await;
    for (name, asked, becomes) in ROWS {
        bench.replay(&recorded::exchange(name), *asked, *becomes).await;
    }
}

#[tokio::test]
async fn every_recorded_exchange_becomes_the_right_events_code_reason_and_charge_of_a_call() {
    replay_all(Price { call: 1, token: 0 }).await;
}

#[tokio::test]
async fn every_recorded_exchange_is_charged_for_the_tokens_that_ollama_counted() {
    replay_all(Price { call: 1, token: 1 }).await;
}

#[tokio::test]
async fn what_tollgate_refuses_itself_never_goes_upstream_and_costs_nothing() {
    let bench = Bench::start(Price { call: 1, token: 1 }).await;
    let chat = |change: fn(&mut inference::ChatRequest)| {
        let mut request = chat_request("smollm2", "hi");
        change(&mut request);
        Call::Chat(request)
    };
    let generate = |change: fn(&mut inference::GenerateRequest)| {
        let mut request = inference::GenerateRequest { model: "smollm2".into(), prompt: "hi".into(), ..Default::default() };
        change(&mut request);
        Call::Generate(request)
    };
    let create = |model: &str, modelfile: &str| Call::CreateModel { model: model.to_owned(), modelfile: modelfile.to_owned() };
    let with = |options: inference::Options| Call::Chat(inference::ChatRequest { options: Some(options), ..chat_request("smollm2", "hi") });
    let options = inference::Options::default;
    let rows = [
        ("model", chat(|r| r.model.clear())),
        ("model", chat(|r| r.model = "../../etc/passwd".into())),
        ("messages", chat(|r| r.messages.clear())),
        ("messages[0].role", chat(|r| r.messages[0].role.clear())),
        ("messages[0].role", chat(|r| r.messages[0].role = "User".into())),
        ("messages[0].images[0]", chat(|r| r.messages[0].images.push(b"GIF89a".to_vec()))),
        ("messages[0].thinking", chat(|r| r.messages[0].thinking = "hm".into())),
        ("messages[0].tool_name", chat(|r| r.messages[0].tool_name = "f".into())),
        ("max_output_tokens", chat(|r| r.max_output_tokens = Some(0))),
        ("max_output_tokens", chat(|r| (r.max_output_tokens, r.require_full) = (Some(1_000_000), true))),
        ("options.temperature", with(inference::Options { temperature: Some(-0.1), ..options() })),
        ("options.temperature", with(inference::Options { temperature: Some(f32::INFINITY), ..options() })),
        ("options.top_p", with(inference::Options { top_p: Some(1.1), ..options() })),
        ("options.min_p", with(inference::Options { min_p: Some(f32::NAN), ..options() })),
        ("options.repeat_penalty", with(inference::Options { repeat_penalty: Some(0.0), ..options() })),
        ("options.top_k", with(inference::Options { top_k: Some(-1), ..options() })),
        ("options.num_ctx", with(inference::Options { num_ctx: Some(0), ..options() })),
        ("options.num_ctx", with(inference::Options { num_ctx: Some(8193), ..options() })),
        ("options.stop", with(inference::Options { stop: vec![String::new()], ..options() })),
        ("options.stop", with(inference::Options { stop: vec!["x".into(); 17], ..options() })),
        ("format.json", chat(|r| r.format = Some(inference::Format { kind: Some(inference::format::Kind::Json(false)) }))),
        ("format.json_schema", chat(|r| r.format = Some(format_of(&Value::from("xml"))))),
        (
            "at most 64 levels deep",
            chat(|r| r.format = Some(schema_of(&format!("{}{{}}{}", r#"{"items":"#.repeat(6000), "}".repeat(6000))))),
        ),
        ("properties.a.pattern", chat(|r| r.format = Some(schema_of(r#"{"properties":{"a":{"type":"string","pattern":"^(?:a)$"}}}"#)))),
        ("minItems", chat(|r| r.format = Some(schema_of(r#"{"type":"array","items":{},"minItems":1000000}"#)))),
        (
            "tools[0].parameters_json",
            chat(|r| r.tools.push(inference::Tool { name: "f".into(), parameters_json: "[1]".into(), ..Default::default() })),
        ),
        ("damaged", chat(|r| r.messages[0].images.push(b"\x89PNG\r\n\x1a\n....".to_vec()))),
        ("tools[0].name", chat(|r| r.tools.push(inference::Tool::default()))),
        ("think", chat(|r| r.think = Some("enormous".into()))),
        ("think", chat(|r| r.think = Some(String::new()))),
        ("top_logprobs", chat(|r| r.top_logprobs = Some(21))),
        ("keep_alive", chat(|r| r.keep_alive = Some(prost_types::Duration { seconds: -1, nanos: 0 }))),
        ("keep_alive", chat(|r| r.keep_alive = Some(prost_types::Duration { seconds: 1801, nanos: 0 }))),
        ("request_id", chat(|r| r.request_id = "x".repeat(129))),
        ("request_id", chat(|r| r.request_id = "naïve".into())),
        ("model", generate(|r| r.model.clear())),
        ("prompt", generate(|r| r.prompt.clear())),
        ("system", generate(|r| (r.raw, r.system) = (true, Some("x".into())))),
        ("images[0]", generate(|r| r.images.push(Vec::new()))),
        ("model is required", Call::ShowModel(String::new())),
        ("model is required", Call::DeleteModel(String::new())),
        ("model is required", create("", "FROM smollm2")),
        ("FROM", create("x", "")),
        ("line 1", create("x", "FROM nosuch")),
        ("line 1", create("x", "FROM ./model.gguf")),
        ("line 1", create("x", "FROM gpt-oss:120b-cloud")),
        ("line 2", create("x", "FROM smollm2\nADAPTER ./lora.gguf")),
    ];
    for (says, call) in &rows {
        bench.refuses(&format!("{call:?}"), call, Code::InvalidArgument, Reason::InvalidArgument, says).await;
    }
    let cloud = chat(|r| r.model = "gpt-oss:120b-cloud".into());
    bench.refuses("a cloud model", &cloud, Code::PermissionDenied, Reason::CloudModelNotAllowed, "not allowed").await;
    let ledger = bench.stack.snapshot(&bench.user).await.ledger;
    assert_eq!(ledger.len(), 1, "only the starting credits: {ledger:?}");
}

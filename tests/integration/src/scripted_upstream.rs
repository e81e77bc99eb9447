//! A scripted Ollama, for what a real one won't do on command: exact chunks at an exact pace, stalls, cuts, error lines, slow heads.
//!
//! Unscripted it is a small well-behaved Ollama with the model `smollm2`. A test scripts a path, lets the code under test call it, and
//! reads from the recorded requests what was sent and when the client closed its connection. Gates instead of pauses keep tests free of
//! sleeps.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes, BytesMut};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

mod script;

use crate::polling::SOON;
use script::{Ending, Framing, Step};
pub use script::{Gate, Script, chat_line, done_line};

/// The longest request head or body.
const MAX_REQUEST_BYTES: usize = 64 << 20;

/// A request that arrived.
#[derive(Debug, Clone)]
pub struct RecordedRequest {
    /// For example `POST`.
    pub method: String,
    /// For example `/api/chat`.
    pub path: String,
    /// As they were sent.
    pub headers: Vec<(String, String)>,
    /// As it was sent.
    pub body: Bytes,
    closed: watch::Receiver<bool>,
}

impl RecordedRequest {
    /// A header's value, whatever the case of its name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null when it isn't.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// Waits until the client has closed the connection that this request came on, and panics when it takes longer than any test may.
    pub async fn client_closed(&self) {
        let mut closed = self.closed.clone();
        // An error means that the connection's task is gone, and so is the connection.
        within("the client closes its connection", async { closed.wait_for(|closed| *closed).await.is_ok() }).await;
    }

    /// Whether the client has closed the connection by now.
    #[must_use]
    pub fn is_client_closed(&self) -> bool {
        *self.closed.borrow()
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(SOON, future).await {
        Ok(value) => value,
        #[expect(clippy::panic, reason = "only tests call this, and a panic is how they fail")]
        Err(_) => panic!("waited {SOON:?} for: {what}"),
    }
}

/// Makes a script from a request.
type Answerer = Arc<dyn Fn(&RecordedRequest) -> Script + Send + Sync>;

/// Numbers of the vectors that the unscripted upstream gives.
pub const EMBEDDING_LENGTH: usize = 4;

/// A model that the unscripted upstream has.
#[derive(Debug, Clone)]
struct FakeModel {
    capabilities: Vec<String>,
    context_length: u32,
}

impl FakeModel {
    fn embeds(&self) -> bool {
        self.capabilities.iter().any(|capability| capability == "embedding")
    }
}

#[derive(Default)]
struct State {
    once: HashMap<String, VecDeque<Script>>,
    always: HashMap<String, Answerer>,
    models: Vec<(String, FakeModel)>,
}

struct Shared {
    state: Mutex<State>,
    requests: watch::Sender<Vec<RecordedRequest>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running scripted Ollama, on a free port of 127.0.0.1. Dropping it closes its connections and its port.
pub struct ScriptedUpstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl fmt::Debug for ScriptedUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedUpstream").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for ScriptedUpstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl ScriptedUpstream {
    /// Starts one that has the model `smollm2`, with the capability `completion` and a context of 8192 tokens.
    pub async fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// The same at an address that is reserved for it.
    #[expect(clippy::expect_used, reason = "only tests call this, and a panic is how they fail")]
    pub async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let shared = Arc::new(Shared { state: Mutex::default(), requests: watch::Sender::new(Vec::new()) });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        let upstream = Self { address, shared, accepting };
        upstream.model("smollm2", &["completion"], 8192);
        upstream
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For `OLLAMA_HOST`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds or changes a model that `/api/tags` and `/api/show` know.
    pub fn model(&self, name: &str, capabilities: &[&str], context_length: u32) {
        let model = FakeModel { capabilities: capabilities.iter().map(|&word| word.to_owned()).collect(), context_length };
        let mut state = self.shared.state();
        state.models.retain(|(known, _)| known != name);
        state.models.push((name.to_owned(), model));
    }

    /// Every request to this path that `script_once` has nothing for is answered so.
    pub fn script(&self, path: &str, script: Script) {
        self.answer(path, move |_| script.clone());
    }

    /// Every request to this path that `script_once` has nothing for is answered with what this makes of it.
    pub fn answer(&self, path: &str, answerer: impl Fn(&RecordedRequest) -> Script + Send + Sync + 'static) {
        self.shared.state().always.insert(path.to_owned(), Arc::new(answerer));
    }

    /// The next request to this path is answered so; several of these are used in order.
    pub fn script_once(&self, path: &str, script: Script) {
        self.shared.state().once.entry(path.to_owned()).or_default().push_back(script);
    }

    /// Every request so far, in the order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.shared.requests.borrow().clone()
    }

    /// The requests to one path so far.
    #[must_use]
    pub fn requests_to(&self, path: &str) -> Vec<RecordedRequest> {
        self.shared.requests.borrow().iter().filter(|request| request.path == path).cloned().collect()
    }

    /// The request to a path with this number, from 0; waits for it, and panics when it doesn't come.
    pub async fn request(&self, path: &str, number: usize) -> RecordedRequest {
        let mut requests = self.shared.requests.subscribe();
        within(&format!("request {number} to {path}"), async move {
            loop {
                let found = requests.borrow_and_update().iter().filter(|request| request.path == path).nth(number).cloned();
                if let Some(request) = found {
                    return request;
                }
                // The sender lives as long as the upstream, which this borrows.
                let _ = requests.changed().await;
            }
        })
        .await
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task: that closes every connection.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve(stream, Arc::clone(&shared)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let closed = watch::Sender::new(false);
    // How it ended is in `closed`; a broken request is the test's to notice.
    let _ = serve_requests(stream, &shared, &closed).await;
    closed.send_replace(true);
}

async fn serve_requests(stream: TcpStream, shared: &Shared, closed: &watch::Sender<bool>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = stream.into_split();
    let mut buffer = BytesMut::new();
    while let Some(request) = read_request(&mut reader, &mut buffer, closed.subscribe()).await? {
        let script = choose(shared, &request);
        shared.requests.send_modify(|requests| requests.push(request));
        let played = {
            let playing = play(&script, &mut writer);
            tokio::pin!(playing);
            loop {
                // Reading while writing: that is how a close is noticed at once.
                tokio::select! {
                    played = &mut playing => break played,
                    read = reader.read_buf(&mut buffer) => {
                        if !matches!(read, Ok(1..)) {
                            closed.send_replace(true);
                            return Ok(());
                        }
                    }
                }
            }
        };
        played?;
        match script.ending {
            Ending::Proper => {}
            // A script that never ends by itself doesn't come here.
            Ending::Early | Ending::Stall => return Ok(()),
            Ending::Reset => {
                let stream = reader.reunite(writer).map_err(io::Error::other)?;
                stream.set_zero_linger()?;
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn play(script: &Script, writer: &mut OwnedWriteHalf) -> io::Result<()> {
    for step in &script.before_head {
        match step {
            Step::Pause(time) => tokio::time::sleep(*time).await,
            Step::Gate(gate) => gate.pass().await,
            Step::Chunk(_) | Step::Raw(_) | Step::Endless { .. } => {}
        }
    }
    let head = script.head();
    match script.head_pace {
        None => writer.write_all(&head).await?,
        Some(pace) => {
            for byte in &head {
                writer.write_all(std::slice::from_ref(byte)).await?;
                tokio::time::sleep(pace).await;
            }
        }
    }
    for step in &script.steps {
        match step {
            Step::Pause(time) => tokio::time::sleep(*time).await,
            Step::Gate(gate) => gate.pass().await,
            Step::Raw(bytes) => writer.write_all(bytes).await?,
            Step::Chunk(bytes) => write_chunk(writer, bytes, script.framing).await?,
            Step::Endless { line, pace } => loop {
                write_chunk(writer, line, script.framing).await?;
                tokio::time::sleep(*pace).await;
            },
        }
    }
    match script.ending {
        Ending::Proper if script.framing == Framing::Chunked => writer.write_all(b"0\r\n\r\n").await,
        Ending::Stall => std::future::pending().await,
        Ending::Proper | Ending::Early | Ending::Reset => Ok(()),
    }
}

async fn write_chunk(writer: &mut OwnedWriteHalf, bytes: &[u8], framing: Framing) -> io::Result<()> {
    if framing != Framing::Chunked {
        return writer.write_all(bytes).await;
    }
    // In one write: a chunk that is whole arrives whole.
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    writer.write_all(&chunk).await
}

/// The next request on a connection; `None` when the client closed it.
async fn read_request(
    reader: &mut OwnedReadHalf,
    buffer: &mut BytesMut,
    closed: watch::Receiver<bool>,
) -> io::Result<Option<RecordedRequest>> {
    let head_end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if buffer.len() > MAX_REQUEST_BYTES || reader.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&buffer.split_to(head_end)).into_owned();
    buffer.advance(4);
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (first.next().unwrap_or_default().to_owned(), first.next().unwrap_or_default().to_owned());
    let headers: Vec<(String, String)> =
        lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect();
    let length =
        headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length")).map_or(Ok(0), |(_, value)| value.parse::<usize>());
    let length = length.map_err(io::Error::other)?;
    if length > MAX_REQUEST_BYTES {
        return Ok(None);
    }
    while buffer.len() < length {
        if reader.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    let body = buffer.split_to(length).freeze();
    Ok(Some(RecordedRequest { method, path, headers, body, closed }))
}

fn choose(shared: &Shared, request: &RecordedRequest) -> Script {
    let always = {
        let mut state = shared.state();
        if let Some(script) = state.once.get_mut(&request.path).and_then(VecDeque::pop_front) {
            return script;
        }
        state.always.get(&request.path).cloned()
    };
    match always {
        Some(answerer) => answerer(request),
        None => unscripted(&mut shared.state(), request),
    }
}

/// What a well-behaved Ollama answers.
fn unscripted(state: &mut State, request: &RecordedRequest) -> Script {
    let body = request.json();
    let named = |key: &str| {
        let name = body.get(key).and_then(Value::as_str).unwrap_or_default();
        name.strip_suffix(":latest").unwrap_or(name).to_owned()
    };
    let known = |state: &State, name: &str| state.models.iter().find(|(known, _)| known == name).map(|(_, model)| model.clone());
    let missing = |name: &str| Script::error(404, &format!("model '{name}' not found"));
    let details = || {
        json!({
            "parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"],
            "parameter_size": "134.52M", "quantization_level": "Q4_1",
        })
    };
    let modified_at = "2026-11-22T01:56:36.049722669Z";
    let name = named("model");
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/api/version") => Script::json(200, &json!({ "version": "0.24.0" })),
        ("GET", "/api/tags") => {
            let tag = |(name, _): &(String, FakeModel)| {
                let name = if name.contains(':') { name.clone() } else { format!("{name}:latest") };
                let digest = "cd2972495b984d2d2fb0cba302b3d46167d9166a65ce8f1fa793bf5747df1343";
                let (size, details) = (98_363_007, details());
                json!({ "name": name, "model": name, "modified_at": modified_at, "size": size, "digest": digest, "details": details })
            };
            Script::json(200, &json!({ "models": state.models.iter().map(tag).collect::<Vec<_>>() }))
        }
        ("POST", "/api/show") => match known(state, &name) {
            Some(model) => {
                let mut info = json!({ "general.architecture": "llama", "llama.context_length": model.context_length });
                if model.embeds() {
                    info["llama.embedding_length"] = EMBEDDING_LENGTH.into();
                }
                Script::json(
                    200,
                    &json!({ "details": details(), "model_info": info, "capabilities": model.capabilities, "modified_at": modified_at }),
                )
            }
            None => missing(&name),
        },
        ("POST", "/api/create") => match known(state, &named("from")) {
            Some(model) => {
                state.models.retain(|(known, _)| *known != name);
                state.models.push((name, model));
                ["using existing layer sha256:b179c952", "writing manifest", "success"]
                    .iter()
                    .fold(Script::stream(), |script, status| script.line(&json!({ "status": status })))
            }
            None => Script::stream().line(&json!({ "status": "pulling manifest" })).error_line("pull model manifest: file does not exist"),
        },
        ("DELETE", "/api/delete") => match known(state, &name) {
            Some(_) => {
                state.models.retain(|(known, _)| *known != name);
                Script::empty(200)
            }
            None => missing(&name),
        },
        ("GET", "/api/ps") => {
            let loaded = |(name, _): &(String, FakeModel)| {
                json!({
                    "name": format!("{name}:latest"), "model": format!("{name}:latest"), "size": 210_690_374, "digest": "fd5f44c0",
                    "details": details(), "expires_at": modified_at, "size_vram": 0, "context_length": 4096,
                })
            };
            Script::json(200, &json!({ "models": state.models.iter().map(loaded).collect::<Vec<_>>() }))
        }
        ("POST", "/api/chat" | "/api/generate" | "/api/embed") if known(state, &name).is_none() => missing(&name),
        ("POST", "/api/embed") => Script::embeddings(&name, body["input"].as_array().map_or(0, Vec::len)),
        ("POST", "/api/chat") => Script::chat(&["It", "'s", "-a", " me!"]),
        ("POST", "/api/generate") => {
            let line = |text: &str| json!({ "model": name, "response": text, "done": false });
            let last =
                json!({ "model": name, "response": "", "done": true, "done_reason": "stop", "prompt_eval_count": 15, "eval_count": 2 });
            Script::stream().line(&line("The")).line(&line(" sky")).line(&last)
        }
        _ => Script::body(404, "text/plain", "404 page not found"),
    }
}

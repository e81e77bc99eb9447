//! Both services as real processes on one store, who attacks them, and who only wants to chat.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use auth_service::config::{Config, StoreConfig};
use auth_service::ids::AccountId;
use auth_service::store::AccountSnapshot;
use integration::polling::{SOON, until};
use integration::process_pair::{ProcessPair, bearer};
use integration::processes::ServiceProcess;
use integration::redis_server::{AppendOnly, RedisPlan, RedisServer};
use integration::scripted_upstream::{Gate, RecordedRequest, Script, ScriptedUpstream};
use integration::stack::{PASSWORD, channel, chat_request, read_all};
use serde_json::json;
use shared::proto::auth;
use shared::proto::auth::accounts_client::AccountsClient;
use shared::proto::auth::admin_client::AdminClient;
use shared::proto::inference::inference_client::InferenceClient;
use shared::secret::Secret;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tonic::transport::Channel;

use crate::kept::Kept;
use crate::ways::{FULL_TAG, longest_name};

/// Models that the upstream has; `answer` says what becomes of a chat with each. Each of the last seven ends without a token.
const MODELS: [&str; 11] = ["smollm2", "gratis", "dear", "waits", "full", "refuses", "breaks", "garbles", "cuts", "ends", "complains"];

/// The services on one store, and who chats honestly.
pub(crate) struct Stage {
    pair: ProcessPair,
    /// An inference-service whose upstream isn't there.
    down: ServiceProcess,
    /// One whose upstream takes no connection and refuses none: nothing is ever dispatched.
    undispatched: ServiceProcess,
    /// One that gives its upstream a few milliseconds to begin.
    impatient: ServiceProcess,
    gate: Gate,
    kept: Kept,
    honest: Option<Account>,
    admin: String,
    _upstream: ScriptedUpstream,
    _full: (TcpListener, Vec<TcpStream>),
}

/// A user with an account, a key, and connections of their own.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) id: AccountId,
    pub(crate) token: String,
    pub(crate) key: String,
    pub(crate) accounts: AccountsClient<Channel>,
    /// In front of an upstream that works.
    pub(crate) inference: InferenceClient<Channel>,
    /// In front of none.
    pub(crate) down: InferenceClient<Channel>,
    /// In front of one that takes no connection.
    pub(crate) undispatched: InferenceClient<Channel>,
    /// With little patience.
    pub(crate) impatient: InferenceClient<Channel>,
    pub(crate) addresses: Addresses,
    /// What chats with `waits` wait for.
    pub(crate) gate: Gate,
}

/// Where the services listen, for connections that are made by hand.
#[derive(Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) auth: SocketAddr,
    pub(crate) inference: SocketAddr,
    pub(crate) undispatched: SocketAddr,
}

impl Stage {
    pub(crate) async fn on_sqlite(more: &[(&str, &str)]) -> Self {
        Self::start(None, more).await
    }

    pub(crate) async fn on_redis(more: &[(&str, &str)]) -> Self {
        Self::start(Some(RedisServer::start_with(RedisPlan { append_only: AppendOnly::EverySecond, processors: None })), more).await
    }

    async fn start(redis: Option<RedisServer>, more: &[(&str, &str)]) -> Self {
        let gate = Gate::new();
        let upstream = start_upstream(&gate).await;
        let variables = variables(redis.as_ref(), more);
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let pair = ProcessPair::start(&upstream.url(), &variables);
        let inference = |name: &str, value: &str| {
            let mut environment = pair.environment.clone();
            environment.insert(name.to_owned(), value.to_owned());
            ServiceProcess::start("inference-service", &environment)
        };
        let full = full_listener().await;
        let down = inference("OLLAMA_HOST", "http://127.0.0.1:1");
        let undispatched = inference("OLLAMA_HOST", &format!("http://{}", full.0.local_addr().unwrap()));
        let impatient = inference("TOLLGATE_FIRST_BYTE_TIMEOUT", "10ms");
        let made =
            integration::processes::run("auth-service", &["create-admin", "root.admin"], &pair.environment, &format!("{PASSWORD}\n"));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let kept = match (redis, Config::read(&pair.environment).unwrap().store) {
            (Some(redis), _) => Kept::Redis(redis),
            (None, StoreConfig::Sqlite { path }) => Kept::Sqlite(path),
            (None, StoreConfig::Redis { .. }) => unreachable!("no Redis was named"),
        };
        let admin = log_in(&mut AccountsClient::new(channel(pair.auth.address())), "root.admin").await;
        let (honest, _full) = (None, full);
        let mut stage = Self { pair, down, undispatched, impatient, gate, kept, honest, admin, _upstream: upstream, _full };
        stage.honest = Some(stage.sign_up("honest").await);
        stage.grant("honest", 1_000_000).await;
        stage
    }

    /// A new user with one credit.
    pub(crate) async fn sign_up(&self, name: &str) -> Account {
        let mut accounts = AccountsClient::new(channel(self.pair.auth.address()));
        let sign_up = auth::SignUpRequest { user_name: name.into(), password: PASSWORD.into(), ..Default::default() };
        let user = accounts.sign_up(sign_up).await.unwrap().into_inner().user.unwrap();
        let token = log_in(&mut accounts, name).await;
        let key = accounts.create_api_key(bearer(&token, auth::CreateApiKeyRequest::default())).await.unwrap().into_inner().key;
        let client = |process: &ServiceProcess| InferenceClient::new(channel(process.address()));
        Account {
            name: name.to_owned(),
            id: AccountId::parse(&user.user_id).unwrap(),
            token,
            key,
            accounts,
            inference: client(&self.pair.inference),
            down: client(&self.down),
            undispatched: client(&self.undispatched),
            impatient: client(&self.impatient),
            addresses: Addresses {
                auth: self.pair.auth.address(),
                inference: self.pair.inference.address(),
                undispatched: self.undispatched.address(),
            },
            gate: self.gate.clone(),
        }
    }

    /// Gives credits, as an operator does.
    async fn grant(&self, user_name: &str, credits: i64) {
        let request_id = format!("for-{user_name}");
        let grant = auth::GrantCreditsRequest { user_name: user_name.into(), credits, request_id, ..Default::default() };
        AdminClient::new(channel(self.pair.auth.address())).grant_credits(bearer(&self.admin, grant)).await.unwrap();
    }

    /// All that the store keeps, in bytes.
    pub(crate) async fn kept_bytes(&self) -> usize {
        self.kept.bytes().await
    }

    /// Everything about an account's credits, once nothing is held any more.
    pub(crate) async fn settled(&self, account: &Account) -> AccountSnapshot {
        let config = Config::read(&self.pair.environment).unwrap();
        let store = auth_service::startup::open_store(&config).await.unwrap();
        let snapshot = until("all holds to be resolved", SOON, || async {
            let snapshot = store.snapshot(&account.id).await.unwrap().unwrap();
            snapshot.open.is_empty().then_some(snapshot)
        })
        .await;
        assert_eq!(snapshot.violations(), Vec::<String>::new(), "{}", account.name);
        snapshot
    }

    /// A chat of somebody who pays and does nothing out of the way: it must be served.
    pub(crate) async fn honest_chat(&self) {
        let honest = self.honest.as_ref().unwrap();
        let chat = async {
            let stream = honest.inference.clone().chat(bearer(&honest.key, chat_request("smollm2", "hi"))).await?;
            Ok::<_, tonic::Status>(read_all(&mut stream.into_inner()).await)
        };
        let answer = tokio::time::timeout(SOON, chat).await.expect("an honest chat is served in time").expect("an honest chat is let in");
        assert_eq!((answer.text().as_str(), answer.failure.is_none()), ("x", true), "{answer:?}");
    }
}

/// What both services are started with.
fn variables<'a>(redis: Option<&RedisServer>, more: &[(&'a str, &str)]) -> BTreeMap<&'a str, String> {
    let mut variables: BTreeMap<&str, String> = [
        ("TOLLGATE_STARTING_CREDITS", "1"),
        ("TOLLGATE_SIGNUPS_PER_HOUR", "100000"),
        ("TOLLGATE_PRICES", "gratis=0,dear=1000,*=1"),
        ("TOLLGATE_LOG", "info"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into();
    if let Some(redis) = redis {
        let (signing, service) = (Secret::generate().unwrap().1, Secret::generate().unwrap().1);
        variables.insert("TOLLGATE_REDIS_URL", redis.url());
        variables.insert("TOLLGATE_JWT_SECRETS", format!("test:{signing}"));
        variables.insert("TOLLGATE_SERVICE_CREDENTIALS", service.clone());
        variables.insert("TOLLGATE_SERVICE_CREDENTIAL", service);
    }
    variables.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    variables
}

async fn log_in(accounts: &mut AccountsClient<Channel>, name: &str) -> String {
    let login = auth::LoginRequest { user_name: name.into(), password: PASSWORD.into(), ..Default::default() };
    accounts.login(login).await.unwrap().into_inner().access_token
}

async fn start_upstream(gate: &Gate) -> ScriptedUpstream {
    let upstream = ScriptedUpstream::start().await;
    for name in MODELS.map(str::to_owned).into_iter().chain(["elsewhere".to_owned(), longest_name(0, FULL_TAG)]) {
        upstream.model(&name, &["completion"], 8192);
    }
    upstream.model("painter", &["image"], 8192);
    let behind = gate.clone();
    let model_of = |request: &RecordedRequest| request.json()["model"].as_str().unwrap_or_default().to_owned();
    upstream.answer("/api/chat", move |request| answer(&model_of(request), &behind));
    let elsewhere = json!({ "remote_host": "https://ollama.com:443", "capabilities": ["completion"] });
    let facts = json!({ "capabilities": ["completion"] });
    upstream.answer("/api/show", move |request| match model_of(request).as_str() {
        "painter" => Script::json(200, &json!({ "capabilities": ["image"] })),
        "elsewhere" => Script::json(200, &elsewhere),
        name if MODELS.contains(&name) || is_full(name) => Script::json(200, &facts),
        name => Script::error(404, &format!("model '{name}' not found")),
    });
    upstream
}

/// Whether it is a model for which there is never a place.
fn is_full(model: &str) -> bool {
    model == "full" || model == longest_name(0, FULL_TAG)
}

fn answer(model: &str, gate: &Gate) -> Script {
    match model {
        "smollm2" | "gratis" | "dear" => Script::chat(&["x"]),
        "waits" => Script::stream().head_gate(gate).token("x").done("stop", 5, 1),
        "refuses" => Script::error(400, "invalid request"),
        "breaks" => Script::error(500, "unexpected EOF"),
        "garbles" => Script::stream().malformed_line(),
        "cuts" => Script::raw_bytes().cut(),
        "ends" => Script::stream(),
        "complains" => Script::stream().error_line("open /models/blobs/sha256-1: no such file"),
        name if is_full(name) => Script::error(503, "server busy, please try again.  maximum pending requests exceeded"),
        name => Script::error(404, &format!("model '{name}' not found")),
    }
}

/// A listener whose queue is full: the kernel answers no further connection, and refuses none.
async fn full_listener() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(connection) = tokio::time::timeout(Duration::from_secs(1), TcpStream::connect(address)).await {
        queued.push(connection.unwrap());
        assert!(queued.len() < 100, "the queue of connections is never full");
    }
    (listener, queued)
}

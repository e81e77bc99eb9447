//! Both services in this process, on free ports: exactly what their `main`s start, with a store of the test's own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use auth_service::ids::UserId;
use auth_service::store::{AccountSnapshot, Store};
use shared::credential_form::to_bearer;
use shared::proto::auth::accounts_client::AccountsClient;
use shared::proto::auth::admin_client::AdminClient;
use shared::proto::auth::{self, auth_client::AuthClient};
use shared::proto::inference::inference_client::InferenceClient;
use shared::proto::inference::models_client::ModelsClient;
use shared::proto::inference::{self};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::redis_server::RedisServer;
use crate::reserved_port::ReservedPort;

/// A password that sign-up takes.
pub const PASSWORD: &str = "quite a long pass phrase of mine";

/// Where the stack keeps users and credits.
#[derive(Debug, Clone, Copy)]
pub enum TestStore<'a> {
    /// A SQLite file in a temporary folder.
    Sqlite,
    /// A real Redis.
    Redis(&'a RedisServer),
}

/// What to start.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Where users and credits are kept.
    pub store: TestStore<'a>,
    /// `OLLAMA_HOST`; `None`: the embedded engine.
    pub upstream: Option<String>,
    /// auth-services on the one store; inference-service asks them in turn.
    pub auth_replicas: usize,
    /// More variables, for both services.
    pub environment: Vec<(&'static str, String)>,
}

impl<'a> Plan<'a> {
    /// One auth-service on SQLite, in front of this upstream.
    #[must_use]
    pub fn with_upstream(upstream: &str) -> Self {
        Self { store: TestStore::Sqlite, upstream: Some(upstream.to_owned()), auth_replicas: 1, environment: Vec::new() }
    }

    /// On a Redis.
    #[must_use]
    pub fn on_redis(self, redis: &'a RedisServer) -> Self {
        Self { store: TestStore::Redis(redis), ..self }
    }

    /// With a variable set, for both services.
    #[must_use]
    pub fn set(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// Starts it.
    pub async fn start(self) -> Stack {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut environment: BTreeMap<String, String> = BTreeMap::new();
        let mut set = |name: &str, value: &str| environment.insert(name.to_owned(), value.to_owned());
        set("TOLLGATE_DATA_DIR", &folder.path().join("data").to_string_lossy());
        // Tests wait for expiries: none should take the minute that production has.
        set("TOLLGATE_SWEEP_INTERVAL", "100ms");
        // Whatever else the machine does, the receipt comes in time.
        set("TOLLGATE_SETTLE_WAIT", "10s");
        set("TOLLGATE_SIGNUPS_PER_HOUR", "100000");
        if let TestStore::Redis(redis) = self.store {
            let prefix = format!("t{}", &UserId::random().expect("randomness").as_str()[..10]);
            set("TOLLGATE_REDIS_URL", &redis.url());
            set("TOLLGATE_REDIS_KEY_PREFIX", &prefix);
            let secret = || shared::secret::Secret::generate().expect("randomness").1;
            set("TOLLGATE_JWT_SECRETS", &format!("test:{}", secret()));
            let service = secret();
            set("TOLLGATE_SERVICE_CREDENTIALS", &service);
            set("TOLLGATE_SERVICE_CREDENTIAL", &service);
        }
        match &self.upstream {
            Some(upstream) => {
                set("TOLLGATE_ENGINE", "ollama");
                set("OLLAMA_HOST", upstream);
            }
            None => {
                set("TOLLGATE_ENGINE", "embedded");
                set("TOLLGATE_MODELS_DIR", &models_folder());
            }
        }
        for (name, value) in &self.environment {
            set(name, value);
        }

        let mut auths = Vec::new();
        for _ in 0..self.auth_replicas {
            auths.push(start_auth(&environment, ReservedPort::new()).await);
        }
        let mut stack = Stack { auths, inferences: Vec::new(), environment, folder };
        for replica in 0..self.auth_replicas {
            stack.start_inference(replica).await;
        }
        stack
    }
}

/// Where the tests' model is.
#[must_use]
pub fn models_folder() -> String {
    let cache = || {
        let home = std::env::var("HOME").unwrap_or_default();
        std::env::var("XDG_CACHE_HOME").unwrap_or_else(|_| format!("{home}/.cache")) + "/tollgate/models"
    };
    let folder = std::env::var("TOLLGATE_TEST_MODELS_DIR").unwrap_or_else(|_| cache());
    assert!(std::path::Path::new(&folder).join("smollm2.gguf").exists(), "no smollm2.gguf in {folder}: scripts/fetch-model brings it");
    folder
}

/// A service that runs in this process.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    /// Its port, if it is to be started there again.
    reserved: Option<ReservedPort>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins its graceful end, as SIGTERM does.
    pub fn begin_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It may have ended by itself.
            let _ = stop.send(());
        }
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Ends it gracefully and waits for that.
    pub async fn stop(mut self) {
        self.begin_stop();
        (&mut self.task).await.expect("the service ends without a panic");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn start_auth(environment: &BTreeMap<String, String>, port: ReservedPort) -> Running {
    let config = auth_service::config::Config::read(environment).expect("a configuration");
    let application = auth_service::startup::Application::build(config).await.expect("auth-service starts");
    let listener = TcpListener::bind(port.address()).await.expect("its port is reserved");
    let mut running = run(listener, |listener, stopped| application.run(listener, stopped));
    running.reserved = Some(port);
    running
}

/// Runs a service on a listener until the sender is used or dropped.
fn run<F, E>(listener: TcpListener, serve: impl FnOnce(TcpListener, Stopped) -> F) -> Running
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: std::fmt::Debug,
{
    let address = listener.local_addr().expect("it listens");
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped: Stopped = Box::pin(async move {
        // A dropped sender stops it, too.
        let _ = stopped.await;
    });
    let served = serve(listener, stopped);
    let task = tokio::spawn(async move { served.await.expect("it serves") });
    Running { address, reserved: None, stop: Some(stop), task }
}

/// Ready when the stack stops a service.
type Stopped = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A running stack.
#[derive(Debug)]
pub struct Stack {
    /// The auth-services.
    pub auths: Vec<Running>,
    /// The inference-services, one for each auth-service.
    pub inferences: Vec<Running>,
    environment: BTreeMap<String, String>,
    folder: TempDir,
}

/// Puts a credential on every call.
#[derive(Clone)]
pub struct Bearer(String);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if !self.0.is_empty() {
            let value = to_bearer(&self.0).parse().map_err(|_| Status::internal("not a header's value"))?;
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

/// A channel with a credential.
pub type Credentialed = InterceptedService<Channel, Bearer>;

/// A lazily connected channel to an address.
#[must_use]
pub fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).expect("an address").tcp_nodelay(true).connect_lazy()
}

/// A user with an API key.
#[derive(Debug, Clone)]
pub struct TestUser {
    /// As signed up.
    pub name: String,
    /// Also the account's id.
    pub user_id: String,
    /// From Login.
    pub token: String,
    /// From CreateApiKey.
    pub key: String,
}

impl Stack {
    /// Starts one more inference-service, in front of this auth-service.
    pub async fn start_inference(&mut self, auth: usize) {
        self.start_inference_asking(&format!("http://{}", self.auths[auth].address)).await;
    }

    /// Starts one more inference-service, which asks auth-service there.
    pub async fn start_inference_asking(&mut self, auth_url: &str) {
        let mut environment = self.environment.clone();
        environment.insert("TOLLGATE_AUTH_URL".to_owned(), auth_url.to_owned());
        let config = inference_service::config::Config::read(&environment).expect("a configuration");
        let application = inference_service::startup::Application::build(config).await.expect("inference-service starts");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        self.inferences.push(run(listener, |listener, stopped| application.run(listener, stopped)));
    }

    /// Stops the first auth-service and answers the port that it listened on.
    pub async fn stop_auth(&mut self) -> ReservedPort {
        let mut auth = self.auths.remove(0);
        let port = auth.reserved.take().expect("an auth-service's port is reserved");
        auth.stop().await;
        port
    }

    /// Starts an auth-service again where one listened.
    pub async fn start_auth_at(&mut self, port: ReservedPort) {
        let auth = start_auth(&self.environment, port).await;
        self.auths.insert(0, auth);
    }

    /// The variables that both services were started with.
    #[must_use]
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// The folder that everything is in.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// `Accounts`, on the first auth-service.
    #[must_use]
    pub fn accounts(&self, credential: &str) -> AccountsClient<Credentialed> {
        AccountsClient::with_interceptor(channel(self.auths[0].address), Bearer(credential.to_owned()))
    }

    /// `Admin`, on the first auth-service.
    #[must_use]
    pub fn admin(&self, credential: &str) -> AdminClient<Credentialed> {
        AdminClient::with_interceptor(channel(self.auths[0].address), Bearer(credential.to_owned()))
    }

    /// `Auth`, on the first auth-service.
    #[must_use]
    pub fn auth(&self, credential: &str) -> AuthClient<Credentialed> {
        AuthClient::with_interceptor(channel(self.auths[0].address), Bearer(credential.to_owned()))
    }

    /// `Inference`, on the first inference-service.
    #[must_use]
    pub fn inference(&self, credential: &str) -> InferenceClient<Credentialed> {
        self.inference_at(0, credential)
    }

    /// `Inference`, on one of the inference-services.
    #[must_use]
    pub fn inference_at(&self, replica: usize, credential: &str) -> InferenceClient<Credentialed> {
        InferenceClient::with_interceptor(channel(self.inferences[replica].address), Bearer(credential.to_owned()))
    }

    /// `Models`, on the first inference-service.
    #[must_use]
    pub fn models(&self, credential: &str) -> ModelsClient<Credentialed> {
        ModelsClient::with_interceptor(channel(self.inferences[0].address), Bearer(credential.to_owned()))
    }

    /// Signs a user up with the starting credits, logs in, and makes an API key.
    pub async fn user(&self, name: &str) -> TestUser {
        let sign_up = auth::SignUpRequest { user_name: name.to_owned(), password: PASSWORD.to_owned(), ..Default::default() };
        let user = self.accounts("").sign_up(sign_up).await.expect("sign-up").into_inner().user.expect("a user");
        let token = self.log_in(name).await;
        let key = self.accounts(&token).create_api_key(auth::CreateApiKeyRequest::default()).await.expect("a key").into_inner().key;
        TestUser { name: user.user_name, user_id: user.user_id, token, key }
    }

    /// Logs in with [`PASSWORD`].
    pub async fn log_in(&self, name: &str) -> String {
        let login = auth::LoginRequest { user_name: name.to_owned(), password: PASSWORD.to_owned(), ..Default::default() };
        self.accounts("").login(login).await.expect("login").into_inner().access_token
    }

    /// Makes the first admin by the command that operators use, and logs in.
    pub async fn admin_token(&self) -> String {
        let made = crate::processes::run("auth-service", &["create-admin", "root.admin"], &self.environment, &format!("{PASSWORD}\n"));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        self.log_in("root.admin").await
    }

    /// The credits of a credential's account.
    pub async fn balance(&self, credential: &str) -> auth::Balance {
        let answer = self.accounts(credential).get_balance(auth::GetBalanceRequest {}).await.expect("a balance");
        answer.into_inner().balance.expect("a balance")
    }

    /// The ledger of a credential's account, newest first.
    pub async fn ledger(&self, credential: &str) -> Vec<auth::LedgerEntry> {
        let request = auth::ListLedgerEntriesRequest { page_size: 500, ..Default::default() };
        self.accounts(credential).list_ledger_entries(request).await.expect("a ledger").into_inner().entries
    }

    /// The store itself, opened a second time.
    pub async fn store(&self) -> Arc<dyn Store> {
        let config = auth_service::config::Config::read(&self.environment).expect("a configuration");
        auth_service::startup::open_store(&config).await.expect("the store opens")
    }

    /// Everything about an account's credits. Panics when the invariants don't hold.
    pub async fn snapshot(&self, user: &TestUser) -> AccountSnapshot {
        let account = auth_service::ids::AccountId::parse(&user.user_id).expect("an id");
        let snapshot = self.store().await.snapshot(&account).await.expect("the store answers").expect("an account");
        assert_eq!(snapshot.violations(), Vec::<String>::new());
        snapshot
    }
}

/// A conversation of one message.
#[must_use]
pub fn chat_request(model: &str, prompt: &str) -> inference::ChatRequest {
    let message = inference::Message { role: "user".to_owned(), content: prompt.to_owned(), ..Default::default() };
    inference::ChatRequest { model: model.to_owned(), messages: vec![message], max_output_tokens: Some(64), ..Default::default() }
}

/// What a stream said, to its end.
#[derive(Debug, Default)]
pub struct Answer {
    /// The first event.
    pub started: Option<inference::Started>,
    /// The pieces.
    pub deltas: Vec<inference::Delta>,
    /// The last event.
    pub finished: Option<inference::Finished>,
    /// The status, when it failed.
    pub failure: Option<Status>,
}

impl Answer {
    /// All text.
    #[must_use]
    pub fn text(&self) -> String {
        self.deltas.iter().map(|delta| delta.content.as_str()).collect()
    }

    /// The credits charged, as the last event or the status says.
    #[must_use]
    pub fn charged(&self) -> Option<i64> {
        let from_status = || self.failure.as_ref().and_then(shared::error::receipt_of);
        self.finished.as_ref().and_then(|finished| finished.receipt.clone()).or_else(from_status)?.charged_credits
    }
}

/// One event of a chat or of a bare prompt: both say the same.
#[derive(Debug)]
pub enum AnswerEvent {
    /// The first event.
    Started(inference::Started),
    /// A piece.
    Delta(inference::Delta),
    /// The last event.
    Finished(inference::Finished),
}

impl From<inference::ChatEvent> for AnswerEvent {
    fn from(event: inference::ChatEvent) -> Self {
        match event.event.expect("an event") {
            inference::chat_event::Event::Started(started) => Self::Started(started),
            inference::chat_event::Event::Delta(delta) => Self::Delta(delta),
            inference::chat_event::Event::Finished(finished) => Self::Finished(finished),
        }
    }
}

impl From<inference::GenerateEvent> for AnswerEvent {
    fn from(event: inference::GenerateEvent) -> Self {
        match event.event.expect("an event") {
            inference::generate_event::Event::Started(started) => Self::Started(started),
            inference::generate_event::Event::Delta(delta) => Self::Delta(delta),
            inference::generate_event::Event::Finished(finished) => Self::Finished(finished),
        }
    }
}

/// Reads an answer to its end, whichever method it came by.
pub async fn read_all<E: Into<AnswerEvent>>(stream: &mut Streaming<E>) -> Answer {
    let mut answer = Answer::default();
    loop {
        match stream.message().await {
            Ok(None) => return answer,
            Err(status) => {
                answer.failure = Some(status);
                return answer;
            }
            Ok(Some(event)) => match event.into() {
                AnswerEvent::Started(started) => answer.started = Some(started),
                AnswerEvent::Delta(delta) => answer.deltas.push(delta),
                AnswerEvent::Finished(finished) => answer.finished = Some(finished),
            },
        }
    }
}

//! Both services as real processes behind the page, in front of a scripted Ollama, and the people who use them.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use integration::polling::until;
use integration::process_pair::bearer;
use integration::processes::{ServiceProcess, run};
use integration::reserved_port::ReservedPort;
use integration::scripted_upstream::ScriptedUpstream;
use integration::stack::{Answer, PASSWORD, channel, chat_request, read_all};
use shared::proto::auth;
use shared::proto::auth::accounts_client::AccountsClient;
use shared::proto::auth::admin_client::AdminClient;
use shared::proto::inference::inference_client::InferenceClient;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;
use tonic::transport::Channel;

use crate::chromedriver::{Browser, Chromedriver};
use crate::page::SOON;

/// A call costs ten credits, and each token of output one.
const PRICES: &str = "*=10/0/1000";
/// What a call costs that is answered with [`ANSWER`], which are four tokens.
pub(crate) const CALL: i64 = 14;
/// What the upstream answers unscripted.
pub(crate) const ANSWER: &str = "It's-a me!";
/// What everybody starts with.
pub(crate) const STARTING: i64 = 100_000;
/// Who the operator is.
pub(crate) const OPERATOR: &str = "root.admin";

/// The services, and what they need.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) auth: ServiceProcess,
    pub(crate) inference: ServiceProcess,
    pub(crate) upstream: ScriptedUpstream,
    environment: BTreeMap<String, String>,
    /// What the upstream runs on: the tests that share it each have a runtime that ends with them.
    runtime: Option<Runtime>,
    _ports: [ReservedPort; 2],
    _folder: TempDir,
}

/// A user with a session that is not the page's.
#[derive(Debug)]
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) token: String,
}

/// What the tests that run share. The last of them stops it.
static RUNNING: Mutex<Weak<Stage>> = Mutex::const_new(Weak::new());

impl Stage {
    /// The services that most tests share, and a browser; `None` when the test is skipped.
    pub(crate) async fn shared(test: &str) -> Option<(Arc<Self>, Browser)> {
        let driver = Chromedriver::shared(test).await?;
        let mut running = RUNNING.lock().await;
        let stage = match running.upgrade() {
            Some(stage) => stage,
            None => {
                let stage = Arc::new(Self::start(&[]).await);
                *running = Arc::downgrade(&stage);
                stage
            }
        };
        drop(running);
        Some((stage, Browser::open(&driver).await))
    }

    /// Services of the test's own.
    pub(crate) async fn own(test: &str, more: &[(&str, &str)]) -> Option<(Self, Browser)> {
        let driver = Chromedriver::shared(test).await?;
        Some((Self::start(more).await, Browser::open(&driver).await))
    }

    async fn start(more: &[(&str, &str)]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let upstream = runtime.spawn(ScriptedUpstream::start()).await.unwrap();
        let (folder, ports) = (tempfile::tempdir().unwrap(), [ReservedPort::new(), ReservedPort::new()]);
        let [auth, inference] = [0, 1].map(|service: usize| ports[service].address().to_string());
        let mut environment: BTreeMap<String, String> = [
            ("TOLLGATE_DATA_DIR", folder.path().join("data").to_string_lossy().into_owned()),
            ("TOLLGATE_ENGINE", "ollama".to_owned()),
            ("OLLAMA_HOST", upstream.url()),
            ("TOLLGATE_PRICES", PRICES.to_owned()),
            ("TOLLGATE_STARTING_CREDITS", STARTING.to_string()),
            ("TOLLGATE_SIGNUPS_PER_HOUR", "100000".to_owned()),
            ("TOLLGATE_SWEEP_INTERVAL", "100ms".to_owned()),
            // Whatever else the machine does, the receipt comes in time.
            ("TOLLGATE_SETTLE_WAIT", "10s".to_owned()),
            ("TOLLGATE_AUTH_LISTEN", auth.clone()),
            ("TOLLGATE_AUTH_URL", format!("http://{auth}")),
            ("TOLLGATE_LISTEN", inference.clone()),
            ("TOLLGATE_INFERENCE_URL", format!("http://{inference}")),
            ("TOLLGATE_CORS_ORIGINS", format!("http://{auth}")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let auth = ServiceProcess::start("auth-service", &environment);
        let created = run("auth-service", &["create-admin", OPERATOR], &environment, &format!("{PASSWORD}\n"));
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        let inference = ServiceProcess::start("inference-service", &environment);
        Self { auth, inference, upstream, environment, runtime: Some(runtime), _ports: ports, _folder: folder }
    }

    /// The page's origin.
    pub(crate) fn origin(&self) -> String {
        self.auth.url()
    }

    /// Starts auth-service where it was, after it was killed.
    pub(crate) fn start_auth_again(&mut self) {
        self.auth = ServiceProcess::start("auth-service", &self.environment);
    }

    /// Starts inference-service where it was, after it was killed.
    pub(crate) fn start_inference_again(&mut self) {
        self.inference = ServiceProcess::start("inference-service", &self.environment);
    }

    pub(crate) fn accounts(&self) -> AccountsClient<Channel> {
        AccountsClient::new(channel(self.auth.address()))
    }

    pub(crate) fn operator(&self) -> AdminClient<Channel> {
        AdminClient::new(channel(self.auth.address()))
    }

    /// Signs in, and not in a browser; the access token.
    pub(crate) async fn log_in(&self, name: &str) -> String {
        let login = auth::LoginRequest { user_name: name.to_owned(), password: PASSWORD.to_owned(), ..Default::default() };
        self.accounts().login(login).await.unwrap().into_inner().access_token
    }

    /// Signs a user up, whose password is [`PASSWORD`].
    pub(crate) async fn person(&self, name: &str) -> Person {
        let sign_up = auth::SignUpRequest { user_name: name.to_owned(), password: PASSWORD.to_owned(), ..Default::default() };
        self.accounts().sign_up(sign_up).await.unwrap();
        Person { name: name.to_owned(), token: self.log_in(name).await }
    }

    /// Makes another operator, for what is to be seen alone.
    pub(crate) async fn another_operator(&self, name: &str) -> Person {
        let operator = self.log_in(OPERATOR).await;
        let asked = auth::CreateUserRequest {
            user_name: name.to_owned(),
            password: PASSWORD.to_owned(),
            role: auth::Role::Admin.into(),
            ..Default::default()
        };
        self.operator().create_user(bearer(&operator, asked)).await.unwrap();
        Person { name: name.to_owned(), token: self.log_in(name).await }
    }

    /// Grants a person a credit for each of these notes.
    pub(crate) async fn grant(&self, person: &Person, notes: impl IntoIterator<Item = String>) {
        let operator = self.log_in(OPERATOR).await;
        for (number, note) in notes.into_iter().enumerate() {
            let user_name = person.name.clone();
            let grant = auth::GrantCreditsRequest { user_name, credits: 1, request_id: number.to_string(), note, ..Default::default() };
            self.operator().grant_credits(bearer(&operator, grant)).await.unwrap();
        }
    }

    /// Makes an organization, whose owner this person is; its account.
    pub(crate) async fn organization(&self, owner: &Person, name: &str) -> String {
        let asked = bearer(&owner.token, auth::CreateOrganizationRequest { name: name.to_owned() });
        self.accounts().create_organization(asked).await.unwrap().into_inner().organization.unwrap().account_id
    }

    /// Grants an account credits.
    pub(crate) async fn grant_to(&self, account_id: &str, credits: i64) {
        let operator = self.log_in(OPERATOR).await;
        let account_id = account_id.to_owned();
        let grant = auth::GrantCreditsRequest { account_id, credits, request_id: "first".to_owned(), ..Default::default() };
        self.operator().grant_credits(bearer(&operator, grant)).await.unwrap();
    }

    /// Makes a key.
    pub(crate) async fn key(&self, person: &Person, name: &str) -> String {
        let asked = auth::CreateApiKeyRequest { name: name.to_owned(), ..Default::default() };
        self.accounts().create_api_key(bearer(&person.token, asked)).await.unwrap().into_inner().key
    }

    /// The keys of a person.
    pub(crate) async fn keys(&self, person: &Person) -> Vec<auth::ApiKey> {
        let asked = bearer(&person.token, auth::ListApiKeysRequest::default());
        self.accounts().list_api_keys(asked).await.unwrap().into_inner().api_keys
    }

    /// A whole answer, settled.
    pub(crate) async fn call(&self, credential: &str, model: &str) -> Answer {
        let mut client = InferenceClient::new(channel(self.inference.address()));
        let mut stream = client.chat(bearer(credential, chat_request(model, "hi"))).await.unwrap().into_inner();
        read_all(&mut stream).await
    }

    /// The credits of a person.
    pub(crate) async fn balance(&self, person: &Person) -> auth::Balance {
        let asked = bearer(&person.token, auth::GetBalanceRequest {});
        self.accounts().get_balance(asked).await.unwrap().into_inner().balance.unwrap()
    }

    /// The newest entries of a person's ledger.
    pub(crate) async fn ledger(&self, person: &Person) -> Vec<auth::LedgerEntry> {
        let asked = bearer(&person.token, auth::ListLedgerEntriesRequest { page_size: 500, ..Default::default() });
        self.accounts().list_ledger_entries(asked).await.unwrap().into_inner().entries
    }

    /// Waits until nothing of a person is held.
    pub(crate) async fn settled(&self, person: &Person) -> auth::Balance {
        until("all holds to be settled", SOON, || async {
            let balance = self.balance(person).await;
            (balance.held_credits() == 0).then_some(balance)
        })
        .await
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

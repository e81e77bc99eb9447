//! Several of each service as real processes on one store, people with keys and sessions, and answers that run.

use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) use integration::polling::SOON;
use integration::polling::until;
use integration::process_pair::bearer;
use integration::processes::ServiceProcess;
use integration::redis_server::RedisServer;
use integration::scripted_upstream::{Gate, Script, ScriptedUpstream};
use integration::stack::{Answer, AnswerEvent, PASSWORD, channel, chat_request, read_all};
use shared::ErrorReason;
use shared::error::reason_of;
use shared::proto::auth;
use shared::proto::auth::accounts_client::AccountsClient;
use shared::proto::auth::admin_client::AdminClient;
use shared::proto::inference::ChatEvent;
use shared::proto::inference::inference_client::InferenceClient;
use shared::secret::Secret;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::moment::Moment;

/// How soon an answer ends whose credential is revoked, on a machine that has a processor for it.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(1);
/// By when each has ended, whatever else the machine does: before the next Extend, which comes after a third of a hold's minute.
const BEFORE_AN_EXTEND: Duration = Duration::from_secs(18);
/// A call costs ten credits, and each token one.
const PRICES: &str = "*=10/0/1000";
/// What an answer costs that ends after its two first tokens.
pub(crate) const CUT: i64 = 12;
/// What a whole answer costs.
pub(crate) const WHOLE: i64 = 13;

/// The services, and what they need.
pub(crate) struct Stage {
    pub(crate) auths: Vec<ServiceProcess>,
    pub(crate) inferences: Vec<ServiceProcess>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) redis: Option<RedisServer>,
    pub(crate) upstream: ScriptedUpstream,
    pub(crate) admin: String,
    _folder: TempDir,
}

/// A user, signed in twice, with two keys.
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) keys: [auth::CreateApiKeyResponse; 2],
    pub(crate) sessions: [auth::LoginResponse; 2],
}

/// What pays for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payer {
    Key(usize),
    Session(usize),
}

pub(crate) const PAYERS: [Payer; 4] = [Payer::Key(0), Payer::Key(1), Payer::Session(0), Payer::Session(1)];

impl Person {
    pub(crate) fn credential(&self, payer: Payer) -> &str {
        match payer {
            Payer::Key(number) => &self.keys[number].key,
            Payer::Session(number) => &self.sessions[number].access_token,
        }
    }

    pub(crate) fn key_id(&self, number: usize) -> String {
        self.keys[number].api_key.as_ref().unwrap().api_key_id.clone()
    }
}

/// An answer of which two tokens were read, and which is read to its end.
pub(crate) struct Running {
    pub(crate) what: String,
    reading: JoinHandle<(Answer, Moment)>,
}

impl Running {
    pub(crate) fn is_over(&self) -> bool {
        self.reading.is_finished()
    }

    /// Its rest, and when it ended.
    pub(crate) async fn end(self) -> (Answer, Moment) {
        tokio::time::timeout(SOON, self.reading).await.unwrap_or_else(|_| panic!("{} goes on", self.what)).unwrap()
    }

    /// It was cut for this reason; how long after that, by a machine that has a processor for it, and the charge that it was told. What
    /// comes too late nobody is told: what it cost all the same is [`Stage::has_spent`]'s to say.
    pub(crate) async fn assert_cut(self, reason: ErrorReason, since: Moment) -> (Duration, Option<i64>) {
        let what = self.what.clone();
        let (answer, ended) = self.end().await;
        let status = answer.failure.as_ref().unwrap_or_else(|| panic!("{what} was not cut: {answer:?}"));
        assert_eq!((status.code(), reason_of(status)), (Code::PermissionDenied, Some(reason)), "{what}: {status:?}");
        let charged = answer.charged();
        assert!(answer.deltas.is_empty() && matches!(charged, None | Some(CUT)), "{what}: {answer:?}");
        assert!(ended.since(since) < BEFORE_AN_EXTEND, "{what}: {:?}", ended.since(since));
        (ended.undisturbed_since(since), charged)
    }

    /// It came to its proper end.
    pub(crate) async fn assert_whole(self) {
        let what = self.what.clone();
        let (answer, _) = self.end().await;
        assert_eq!((answer.text().as_str(), answer.charged()), ("three", Some(WHOLE)), "{what}: {answer:?}");
    }
}

impl Stage {
    /// One auth-service on SQLite, and two inference-services.
    pub(crate) async fn on_sqlite(more: &[(&str, &str)]) -> Self {
        Self::start(None, more).await
    }

    /// Two auth-services on Redis, and an inference-service in front of each.
    pub(crate) async fn on_redis(more: &[(&str, &str)]) -> Self {
        Self::start(Some(RedisServer::start()), more).await
    }

    async fn start(redis: Option<RedisServer>, more: &[(&str, &str)]) -> Self {
        let (upstream, folder) = (ScriptedUpstream::start().await, tempfile::tempdir().unwrap());
        let credential = Secret::generate().unwrap().1;
        let secret = Secret::generate().unwrap().1;
        let mut environment: BTreeMap<String, String> = [
            ("TOLLGATE_DATA_DIR", folder.path().join("data").to_string_lossy().into_owned()),
            ("TOLLGATE_ENGINE", "ollama".to_owned()),
            ("OLLAMA_HOST", upstream.url()),
            ("TOLLGATE_PRICES", PRICES.to_owned()),
            ("TOLLGATE_STARTING_CREDITS", "1000000".to_owned()),
            ("TOLLGATE_SIGNUPS_PER_HOUR", "100000".to_owned()),
            ("TOLLGATE_SWEEP_INTERVAL", "100ms".to_owned()),
            // Whatever else the machine does, the receipt of a whole answer comes in time.
            ("TOLLGATE_SETTLE_WAIT", "10s".to_owned()),
            ("TOLLGATE_LOG", "debug,h2=info,hyper_util=info,tower=info".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        if let Some(redis) = &redis {
            let of_redis = [
                ("TOLLGATE_REDIS_URL", redis.url()),
                ("TOLLGATE_JWT_SECRETS", format!("test:{secret}")),
                ("TOLLGATE_SERVICE_CREDENTIALS", credential.clone()),
                ("TOLLGATE_SERVICE_CREDENTIAL", credential),
            ];
            environment.extend(of_redis.map(|(name, value)| (name.to_owned(), value)));
        }
        environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let auths: Vec<_> = (0..if redis.is_some() { 2 } else { 1 }).map(|_| ServiceProcess::start("auth-service", &environment)).collect();
        let created = integration::processes::run("auth-service", &["create-admin", "root.admin"], &environment, &format!("{PASSWORD}\n"));
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        let mut stage = Self { auths, inferences: Vec::new(), environment, redis, upstream, admin: String::new(), _folder: folder };
        stage.admin = stage.log_in("root.admin").await.access_token;
        for number in 0..2 {
            let url = stage.auths[number % stage.auths.len()].url();
            stage.start_inference(&url);
        }
        stage
    }

    /// From now on an answer is two tokens, and a third behind this gate.
    pub(crate) fn gate(&self) -> Gate {
        let gate = Gate::new();
        self.upstream.script("/api/chat", Script::stream().tokens(&["one ", "two "]).gate(&gate).token("three").done("stop", 5, 3));
        gate
    }

    /// One more inference-service, which asks auth-service there.
    pub(crate) fn start_inference(&mut self, auth_urls: &str) {
        let mut environment = self.environment.clone();
        environment.insert("TOLLGATE_AUTH_URL".to_owned(), auth_urls.to_owned());
        self.inferences.push(ServiceProcess::start("inference-service", &environment));
    }

    pub(crate) fn accounts(&self) -> AccountsClient<Channel> {
        AccountsClient::new(channel(self.auths[0].address()))
    }

    pub(crate) fn operator(&self) -> AdminClient<Channel> {
        AdminClient::new(channel(self.auths[0].address()))
    }

    pub(crate) async fn log_in(&self, name: &str) -> auth::LoginResponse {
        let login = auth::LoginRequest { user_name: name.to_owned(), password: PASSWORD.to_owned(), ..Default::default() };
        self.accounts().login(login).await.unwrap().into_inner()
    }

    pub(crate) async fn person(&self, name: &str) -> Person {
        let sign_up = auth::SignUpRequest { user_name: name.to_owned(), password: PASSWORD.to_owned(), ..Default::default() };
        self.accounts().sign_up(sign_up).await.unwrap();
        let sessions = [self.log_in(name).await, self.log_in(name).await];
        let key = async || {
            let request = bearer(&sessions[0].access_token, auth::CreateApiKeyRequest::default());
            self.accounts().create_api_key(request).await.unwrap().into_inner()
        };
        Person { name: name.to_owned(), keys: [key().await, key().await], sessions }
    }

    pub(crate) async fn balance(&self, credential: &str) -> auth::Balance {
        let request = bearer(credential, auth::GetBalanceRequest {});
        self.accounts().get_balance(request).await.unwrap().into_inner().balance.unwrap()
    }

    /// Waits until nothing is held, and compares what was spent. `reader`: a credential that is still good.
    pub(crate) async fn has_spent(&self, reader: &str, credits: i64) {
        assert_eq!(self.spent(reader).await, credits);
    }

    /// Waits until nothing is held, and answers what was spent.
    pub(crate) async fn spent(&self, reader: &str) -> i64 {
        until("all holds to be settled", SOON, || async {
            let balance = self.balance(reader).await;
            (balance.held_credits() == 0).then(|| balance.spent_credits())
        })
        .await
    }

    /// An answer that runs on one of the inference-services, whose first two tokens were read.
    pub(crate) async fn run(&self, replica: usize, what: &str, credential: &str) -> Running {
        self.run_for(replica, what, credential, "").await
    }

    /// The same, paid by this account; empty: the credential's own.
    pub(crate) async fn run_for(&self, replica: usize, what: &str, credential: &str, account: &str) -> Running {
        let mut stream = self.try_run(replica, credential, account).await.unwrap();
        let mut read = String::new();
        while read != "one two " {
            let event = tokio::time::timeout(SOON, stream.message()).await.expect("it goes on").unwrap().unwrap();
            if let AnswerEvent::Delta(delta) = event.into() {
                read.push_str(&delta.content);
            }
        }
        let reading = tokio::spawn(async move {
            let answer = read_all(&mut stream).await;
            (answer, Moment::now())
        });
        Running { what: format!("{what} on inference-service {replica}"), reading }
    }

    /// Asks for an answer.
    pub(crate) async fn try_run(&self, replica: usize, credential: &str, account: &str) -> Result<Streaming<ChatEvent>, Status> {
        let mut client = InferenceClient::new(channel(self.inferences[replica].address()));
        let mut request = bearer(credential, chat_request("smollm2", "hi"));
        if !account.is_empty() {
            request.metadata_mut().insert("x-tollgate-account", account.parse().unwrap());
        }
        Ok(client.chat(request).await?.into_inner())
    }

    /// One on each inference-service.
    pub(crate) async fn run_everywhere(&self, what: &str, credential: &str) -> Vec<Running> {
        let mut running = Vec::new();
        for replica in 0..self.inferences.len() {
            running.push(self.run(replica, what, credential).await);
        }
        running
    }

    pub(crate) async fn revoke_key(&self, person: &Person, number: usize) {
        let revoke = auth::RevokeApiKeyRequest { api_key_id: person.key_id(number), ..Default::default() };
        self.accounts().revoke_api_key(bearer(person.credential(Payer::Session(0)), revoke)).await.unwrap();
    }
}

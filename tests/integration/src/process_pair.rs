//! Both services as real processes on one data folder, in front of an upstream.

use std::collections::BTreeMap;

use shared::ErrorReason;
use shared::credential_form::to_bearer;
use shared::error::reason_of;
use shared::proto::auth;
use shared::proto::auth::accounts_client::AccountsClient;
use shared::proto::inference::inference_client::InferenceClient;
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::polling::{SOON, until};
use crate::processes::ServiceProcess;
use crate::stack::{Answer, PASSWORD, channel, chat_request, read_all};

/// auth-service's service that inference-service asks.
pub const AUTH: &str = "tollgate.auth.v1.Auth";

/// Both services.
#[derive(Debug)]
pub struct ProcessPair {
    /// What both were started with.
    pub environment: BTreeMap<String, String>,
    /// auth-service.
    pub auth: ServiceProcess,
    /// inference-service.
    pub inference: ServiceProcess,
    _folder: TempDir,
}

impl ProcessPair {
    /// Starts both, in front of this upstream and with these variables more.
    #[must_use]
    pub fn start(upstream: &str, more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("an answer");
        let data = folder.path().join("data").to_string_lossy().into_owned();
        let mut environment: BTreeMap<String, String> = [
            ("TOLLGATE_DATA_DIR", data.as_str()),
            ("TOLLGATE_ENGINE", "ollama"),
            ("OLLAMA_HOST", upstream),
            ("TOLLGATE_SWEEP_INTERVAL", "100ms"),
            // Whatever else the machine does, the receipt comes in time.
            ("TOLLGATE_SETTLE_WAIT", "10s"),
            ("TOLLGATE_LOG", "debug,h2=info,hyper_util=info,tower=info"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let auth = ServiceProcess::start("auth-service", &environment);
        environment.insert("TOLLGATE_AUTH_URL".to_owned(), auth.url());
        let inference = ServiceProcess::start("inference-service", &environment);
        Self { environment, auth, inference, _folder: folder }
    }

    /// Signs a user up and makes an API key.
    pub async fn user(&self) -> String {
        let mut accounts = AccountsClient::new(channel(self.auth.address()));
        let sign_up = auth::SignUpRequest { user_name: "ada".into(), password: PASSWORD.into(), ..Default::default() };
        accounts.sign_up(sign_up).await.expect("an answer");
        let login = auth::LoginRequest { user_name: "ada".into(), password: PASSWORD.into(), ..Default::default() };
        let token = accounts.login(login).await.expect("an answer").into_inner().access_token;
        accounts.create_api_key(bearer(&token, auth::CreateApiKeyRequest::default())).await.expect("an answer").into_inner().key
    }

    /// The credits of a credential's account; `None` while it can't be asked.
    pub async fn balance(&self, key: &str) -> Option<auth::Balance> {
        let mut accounts = AccountsClient::new(channel(self.auth.address()));
        accounts.get_balance(bearer(key, auth::GetBalanceRequest {})).await.ok()?.into_inner().balance
    }

    /// `Inference`, on a connection of its own.
    #[must_use]
    pub fn inference(&self) -> InferenceClient<Channel> {
        InferenceClient::new(channel(self.inference.address()))
    }
}

/// A message with a bearer credential.
#[must_use]
pub fn bearer<T>(credential: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", to_bearer(credential).parse().expect("an answer"));
    request
}

impl ProcessPair {
    /// Whether auth-service says that it can answer.
    pub async fn is_healthy(&self) -> bool {
        shared::healthcheck::check(self.auth.address(), AUTH).await.is_ok()
    }

    /// Waits until auth-service says so.
    pub async fn until_healthy(&self, healthy: bool) {
        until("health to say so", SOON, || async { (self.is_healthy().await == healthy).then_some(()) }).await;
    }

    /// A whole answer.
    pub async fn chat(&self, key: &str) -> Result<Answer, tonic::Status> {
        let stream = self.inference().chat(bearer(key, chat_request("smollm2", "hi"))).await?;
        Ok(read_all(&mut stream.into_inner()).await)
    }

    /// Every call that writes is refused for this reason, health says so, and the operator's words are in the log once.
    pub async fn refuse_writes(&self, key: &str, reason: ErrorReason, words: &str) {
        let name = shared::error::reason_name(reason);
        for _ in 0..5 {
            let refused = self.chat(key).await.expect_err("a refusal");
            assert_eq!((refused.code(), reason_of(&refused)), (Code::Unavailable, Some(reason)), "{}", refused.message());
            assert!(shared::error::retry_delay_of(&refused).is_some(), "{refused:?}");
            assert!(!refused.message().contains(words), "the operator's words went to a caller: {}", refused.message());
        }
        self.until_healthy(false).await;
        let _ = self.auth.wait_for_log(&format!("\"{name}\""));
        let log = self.auth.log();
        // Each call has its own line; the operator's are the others.
        let calls = "\"target\":\"call\"";
        let said: Vec<_> = log.lines().filter(|line| line.contains(&format!("\"{name}\"")) && !line.contains(calls)).collect();
        assert!(said.len() == 1 && said[0].contains("ERROR") && said[0].contains(words), "{said:#?}");
    }

    /// Without a restart, all is as before.
    pub async fn take_writes_again(&self, key: &str) {
        self.until_healthy(true).await;
        let answer = self.chat(key).await.expect("an answer");
        assert_eq!(answer.charged(), Some(1));
        let _ = self.auth.wait_for_log("\"the store takes writes again\"");
        let log = self.auth.log();
        assert_eq!(log.lines().filter(|line| line.contains("\"the store takes writes again\"")).count(), 1, "{log}");
    }
}

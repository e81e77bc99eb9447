//! auth-service in this process, on port 0 and with SQLite in a folder of its own, and its real clients.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test support: a failure here is the test's")]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use auth_service::access_token::SigningSecret;
use auth_service::config::Config;
use auth_service::ids::UserId;
use auth_service::startup::Application;
use auth_service::store::clock::Clock;
use auth_service::store::{AuditAction, AuditEvent, NewUser, Store};
use auth_service::user::{Role, UserName};
use shared::ErrorReason;
use shared::credential_form::to_bearer;
use shared::error::{reason_of, violations_of};
use shared::proto::auth as pb;
use shared::proto::auth::accounts_client::AccountsClient;
use shared::proto::auth::admin_client::AdminClient;
use shared::proto::auth::auth_client::AuthClient;
use shared::secret::Secret;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

pub(crate) const PASSWORD: &str = "it is me, the plumber";

pub(crate) struct Server {
    pub(crate) accounts: AccountsClient<Channel>,
    pub(crate) admin: AdminClient<Channel>,
    pub(crate) auth: AuthClient<Channel>,
    pub(crate) service_credential: String,
    pub(crate) signing: SigningSecret,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) running: JoinHandle<()>,
    pub(crate) address: SocketAddr,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) async fn start() -> Server {
    start_with(&[]).await
}

pub(crate) async fn start_with(variables: &[(&str, &str)]) -> Server {
    start_at(variables, Clock::Store).await
}

/// With this clock of the store.
pub(crate) async fn start_at(variables: &[(&str, &str)], clock: Clock) -> Server {
    start_in(tempfile::tempdir().unwrap(), variables, clock).await
}

/// The same in a folder that may have a store already.
pub(crate) async fn start_in(folder: tempfile::TempDir, variables: &[(&str, &str)], clock: Clock) -> Server {
    let mut strings: BTreeMap<String, String> = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    strings.insert("TOLLGATE_DATA_DIR".to_owned(), folder.path().to_str().unwrap().to_owned());
    let config = Config { clock, ..Config::read(&strings).unwrap() };
    let service_credential = config.service_credentials[0].to_hex();
    let signing = config.signing_secrets[0].clone();
    let application = Application::build(config).await.unwrap();
    let store = application.store();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone().cancelled_owned();
    let running = tokio::spawn(async move { application.run(listener, stop).await.unwrap() });
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    Server {
        accounts: AccountsClient::new(channel.clone()),
        admin: AdminClient::new(channel.clone()),
        auth: AuthClient::new(channel),
        service_credential,
        signing,
        store,
        shutdown,
        running,
        address,
        folder,
    }
}

/// What a store is told to record of a change that a test makes by itself.
pub(crate) fn event() -> AuditEvent {
    AuditEvent::new(AuditAction::CreateUser)
}

/// A message with a bearer credential.
pub(crate) fn with<T>(credential: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", to_bearer(credential).parse().unwrap());
    request
}

pub(crate) fn assert_refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, reason: ErrorReason) -> Status {
    let status = answer.unwrap_err();
    assert_eq!((status.code(), reason_of(&status)), (code, Some(reason)), "{status:?}");
    status
}

impl Server {
    /// Stops it, and gives the folder with its store.
    pub(crate) async fn stop(self) -> tempfile::TempDir {
        let Self { folder, shutdown, running, store, accounts, admin, auth, .. } = self;
        drop((store, accounts, admin, auth));
        shutdown.cancel();
        running.await.unwrap();
        folder
    }

    /// A client that calls from another address of this host.
    pub(crate) async fn accounts_from(&self, address: IpAddr) -> AccountsClient<Channel> {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).unwrap().local_address(Some(address));
        AccountsClient::new(endpoint.connect().await.unwrap())
    }

    pub(crate) async fn sign_up(&mut self, name: &str) -> pb::User {
        let request = pb::SignUpRequest { user_name: name.into(), password: PASSWORD.into(), ..Default::default() };
        self.accounts.sign_up(request).await.unwrap().into_inner().user.unwrap()
    }

    pub(crate) async fn try_login(&mut self, name: &str, password: &str) -> Result<String, Status> {
        let request = pb::LoginRequest { user_name: name.into(), password: password.into(), ..Default::default() };
        Ok(self.accounts.login(request).await?.into_inner().access_token)
    }

    pub(crate) async fn login(&mut self, name: &str) -> String {
        self.try_login(name, PASSWORD).await.unwrap()
    }

    /// Signs a user up and logs in.
    pub(crate) async fn user(&mut self, name: &str) -> String {
        self.sign_up(name).await;
        self.login(name).await
    }

    /// An operator's access token; made as `create-admin` makes it.
    pub(crate) async fn operator(&mut self) -> String {
        self.sign_up("template").await;
        let template = self.store.user_by_name(&UserName::parse("template").unwrap()).await.unwrap().unwrap();
        let admin = NewUser {
            user_id: UserId::random().unwrap(),
            user_name: UserName::parse("operator").unwrap(),
            password_hash: template.password_hash,
            full_name: String::new(),
            email: String::new(),
            role: Role::Admin,
            starting_credits: 0,
        };
        self.store.create_user(admin, event()).await.unwrap();
        self.login("operator").await
    }

    pub(crate) async fn key(&mut self, token: &str, request: pb::CreateApiKeyRequest) -> pb::CreateApiKeyResponse {
        self.accounts.create_api_key(with(token, request)).await.unwrap().into_inner()
    }

    pub(crate) async fn balance(&mut self, credential: &str) -> Result<pb::Balance, Status> {
        Ok(self.accounts.get_balance(with(credential, pb::GetBalanceRequest {})).await?.into_inner().balance.unwrap())
    }

    pub(crate) async fn check(&mut self, request: pb::CheckRequest) -> Result<pb::CheckResponse, Status> {
        let credential = self.service_credential.clone();
        Ok(self.auth.check(with(&credential, request)).await?.into_inner())
    }

    pub(crate) async fn settle(&mut self, request: pb::SettleRequest) -> Result<pb::Receipt, Status> {
        let credential = self.service_credential.clone();
        Ok(self.auth.settle(with(&credential, request)).await?.into_inner().receipt.unwrap())
    }

    pub(crate) async fn extend(&mut self, request: pb::ExtendRequest) -> Result<pb::ExtendResponse, Status> {
        let credential = self.service_credential.clone();
        Ok(self.auth.extend(with(&credential, request)).await?.into_inner())
    }

    pub(crate) async fn release(&mut self, request: pb::ReleaseRequest) -> Result<pb::ReleaseResult, Status> {
        let credential = self.service_credential.clone();
        Ok(self.auth.release(with(&credential, request)).await?.into_inner().result())
    }
}

/// A chat to be paid for.
pub(crate) fn chat(credential: &str, request_id: &str) -> pb::CheckRequest {
    pb::CheckRequest {
        credential: credential.into(),
        operation: pb::Operation::Chat.into(),
        model: "tiny".into(),
        charge: Some(pb::Charge {
            request_id: request_id.into(),
            attempt_id: "attempt-1".into(),
            fingerprint: b"parameters".to_vec(),
            max_input_tokens: 100,
            max_output_tokens: 200,
            require_full: false,
        }),
        ..Default::default()
    }
}

/// The attempt that [`chat`] is.
pub(crate) fn attempt(credential: &str, request_id: &str) -> pb::ReleaseRequest {
    pb::ReleaseRequest {
        credential: credential.into(),
        account: String::new(),
        request_id: request_id.into(),
        attempt_id: "attempt-1".into(),
    }
}

pub(crate) fn grant(answer: pb::CheckResponse) -> pb::Grant {
    match answer.result.unwrap() {
        pb::check_response::Result::Grant(grant) => grant,
        pb::check_response::Result::Recorded(receipt) => panic!("recorded: {receipt:?}"),
    }
}

pub(crate) fn new_secret() -> Secret {
    Secret::generate().unwrap().0
}

/// The violated fields that a refusal names; each of them is in its sentence, too.
pub(crate) fn violated<T: std::fmt::Debug>(answer: Result<T, Status>) -> Vec<String> {
    let status = assert_refused(answer, Code::InvalidArgument, ErrorReason::InvalidArgument);
    let violations = violations_of(&status);
    for (field, expected) in &violations {
        assert!(!expected.is_empty() && status.message().contains(&format!("{field} {expected}")), "{status:?}");
    }
    violations.into_iter().map(|(field, _)| field).collect()
}

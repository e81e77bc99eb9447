//! auth-service as a real process, and many callers of it, each from an address of its own: what is throttled by address is not what is
//! tested.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use shared::proto::auth as pb;
use shared::proto::auth::accounts_client::AccountsClient;
use shared::secret::Secret;
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::hostile_http1::{HostileHttp1, Response};
use crate::processes::ServiceProcess;
use crate::redis_server::RedisServer;
use crate::stack::{PASSWORD, channel};

/// By when the last of many log-ins is answered, on a machine that does much else.
const LONGEST_QUEUE: Duration = Duration::from_secs(300);

/// auth-service with a store of its own, and its environment, to start it again.
#[derive(Debug)]
pub struct AuthProcess {
    /// It itself.
    pub process: ServiceProcess,
    /// What it was started with.
    pub environment: BTreeMap<String, String>,
    /// What opens `Auth`.
    pub service_credential: String,
    _store: (TempDir, Option<RedisServer>),
}

impl AuthProcess {
    /// Starts one with these variables, on a Redis or on SQLite.
    #[must_use]
    pub fn start(redis: Option<RedisServer>, more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let secret = || Secret::generate().expect("randomness").1;
        let service_credential = secret();
        let mut environment: BTreeMap<String, String> = [
            ("TOLLGATE_DATA_DIR", folder.path().join("data").to_string_lossy().into_owned()),
            ("TOLLGATE_JWT_SECRETS", format!("test:{}", secret())),
            ("TOLLGATE_SERVICE_CREDENTIALS", service_credential.clone()),
            ("TOLLGATE_SIGNUPS_PER_HOUR", "10000".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        if let Some(redis) = &redis {
            environment.insert("TOLLGATE_REDIS_URL".to_owned(), redis.url());
        }
        environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let process = ServiceProcess::start("auth-service", &environment);
        Self { process, environment, service_credential, _store: (folder, redis) }
    }

    /// Stops it, and starts it again on its store with these variables more.
    pub fn start_again(&mut self, more: &[(&str, &str)]) {
        assert!(self.process.stop().success());
        self.environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.process = ServiceProcess::start("auth-service", &self.environment);
    }

    /// Signs a user up, with [`PASSWORD`].
    pub async fn sign_up(&self, name: &str) {
        let sign_up = pb::SignUpRequest { user_name: name.to_owned(), password: PASSWORD.to_owned(), ..Default::default() };
        AccountsClient::new(channel(self.process.address())).sign_up(sign_up).await.expect("a user");
    }

    /// A caller over gRPC, connected.
    pub async fn grpc_caller(&self, number: u32) -> GrpcCaller {
        let endpoint = Endpoint::from_shared(self.process.url()).expect("a URL").tcp_nodelay(true);
        let channel = endpoint.local_address(Some(address_of(number))).connect().await.expect("a connection");
        GrpcCaller(AccountsClient::new(channel))
    }

    /// A caller over HTTP/1.1, connected.
    pub async fn http_caller(&self, number: u32) -> HttpCaller {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(address_of(number), 0)).expect("an address of this host");
        let stream = socket.connect(self.process.address()).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        HttpCaller(HostileHttp1::over(stream).patient(LONGEST_QUEUE))
    }
}

/// An address of this host for each caller: Linux answers to all of 127.0.0.0/8.
fn address_of(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + number))
}

/// Who logs in over gRPC.
#[derive(Debug)]
pub struct GrpcCaller(AccountsClient<Channel>);

impl GrpcCaller {
    /// Logs in.
    pub async fn log_in(&mut self, name: &str, password: &str) -> Result<pb::LoginResponse, Status> {
        let login = pb::LoginRequest { user_name: name.to_owned(), password: password.to_owned(), ..Default::default() };
        self.0.login(login).await.map(tonic::Response::into_inner)
    }
}

/// Who logs in at `/token`.
#[derive(Debug)]
pub struct HttpCaller(HostileHttp1);

impl HttpCaller {
    /// Logs in. Name and password as they stand in a form.
    pub async fn log_in(&mut self, name: &str, password: &str) -> Response {
        let form = format!("grant_type=password&username={name}&password={}", password.replace(' ', "+"));
        self.0.call("POST", "/token", &[("content-type", "application/x-www-form-urlencoded")], form.as_bytes()).await
    }
}

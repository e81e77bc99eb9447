//! Both services with TLS, each with a certificate of one authority, and clients of others.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;

use integration::certificates::{TestAuthority, TestIdentity};
use integration::processes::ServiceProcess;
use integration::scripted_upstream::{Script, ScriptedUpstream};
use integration::stack::PASSWORD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tollgate_client::{Client, Credential};

/// Names that both services' certificates have.
pub(crate) const OWN_NAMES: [&str; 2] = ["localhost", "127.0.0.1"];
/// The name by which auth-service knows inference-service.
pub(crate) const LISTED: &str = "inference-service";

pub(crate) type Environment = BTreeMap<String, String>;

/// Both services, over TLS on both, and between them with client certificates alone.
pub(crate) struct TlsPair {
    pub(crate) auth: ServiceProcess,
    pub(crate) inference: ServiceProcess,
    pub(crate) authority: TestAuthority,
    pub(crate) folder: TempDir,
    pub(crate) upstream: ScriptedUpstream,
}

/// A folder with certificates: of both services, of the authority (that of clients is a file of its own), and one for inference-service
/// to show.
pub(crate) fn certified(authority: &TestAuthority) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let _ = authority.write(folder.path(), "ca.pem");
    let _ = authority.write(folder.path(), "clients-ca.pem");
    let _ = authority.certify(&OWN_NAMES).write(folder.path(), "server");
    let _ = authority.certify(&[LISTED]).write(folder.path(), "client");
    folder
}

pub(crate) fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// What a service needs to speak TLS with the certificate in this folder.
pub(crate) fn tls_environment(folder: &Path) -> Environment {
    let file = |name: &str| text(&folder.join(name));
    [
        ("TOLLGATE_DATA_DIR", file("data")),
        ("TOLLGATE_TLS_CERTIFICATE", file("server.pem")),
        ("TOLLGATE_TLS_KEY", file("server.key")),
        ("TOLLGATE_LOG", "debug,h2=info,hyper_util=info,tower=info,rustls=info".to_owned()),
        ("TOLLGATE_SIGNUPS_PER_HOUR", "100000".to_owned()),
        ("TOLLGATE_STARTING_CREDITS", "1000000".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

pub(crate) fn set(environment: &mut Environment, more: &[(&str, &str)]) {
    environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
}

impl TlsPair {
    pub(crate) async fn start() -> Self {
        Self::with(&[], &[]).await
    }

    /// With these variables more for auth-service, and for inference-service.
    pub(crate) async fn with(of_auth: &[(&str, &str)], of_inference: &[(&str, &str)]) -> Self {
        let upstream = ScriptedUpstream::start().await;
        upstream.script("/api/chat", Script::chat(&["one", " two"]));
        let authority = TestAuthority::new();
        let folder = certified(&authority);
        let file = |name: &str| text(&folder.path().join(name));
        let mut auth_environment = tls_environment(folder.path());
        set(&mut auth_environment, &[("TOLLGATE_TLS_CLIENT_CA", &file("clients-ca.pem")), ("TOLLGATE_AUTH_CLIENT_NAMES", LISTED)]);
        set(&mut auth_environment, of_auth);
        let auth = ServiceProcess::start("auth-service", &auth_environment);
        let mut environment = tls_environment(folder.path());
        set(
            &mut environment,
            &[
                ("TOLLGATE_DATA_DIR", &file("data-of-inference")),
                ("TOLLGATE_ENGINE", "ollama"),
                ("OLLAMA_HOST", &upstream.url()),
                ("TOLLGATE_AUTH_URL", &https(auth.address())),
                ("TOLLGATE_AUTH_CA", &file("ca.pem")),
                ("TOLLGATE_AUTH_CLIENT_CERTIFICATE", &file("client.pem")),
                ("TOLLGATE_AUTH_CLIENT_KEY", &file("client.key")),
            ],
        );
        set(&mut environment, of_inference);
        let inference = ServiceProcess::start("inference-service", &environment);
        Self { auth, inference, authority, folder, upstream }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A client that trusts the authority, on connections of its own.
    pub(crate) fn client(&self) -> Client {
        let builder = Client::builder().auth_url(https(self.auth.address())).inference_url(https(self.inference.address()));
        builder.ca_file(self.file("ca.pem")).build().unwrap()
    }

    /// A client of a new user, and its API key.
    pub(crate) async fn user(&self, name: &str) -> (Client, String) {
        let made = new_user(&https(self.auth.address()), Some(&self.file("ca.pem")), name).await;
        (self.client().with_credential(Credential::new(made.key.clone()).unwrap()), made.key)
    }

    /// Replaces a service's certificate or what it shows; the files' name is `server` or `client`.
    pub(crate) fn replace(&self, name: &str, identity: &TestIdentity) {
        let _ = identity.write(self.folder.path(), name);
    }
}

/// What a user has who was made by curl and the Connect protocol.
pub(crate) struct NewUser {
    pub(crate) token: String,
    pub(crate) key: String,
}

/// Makes a user at an auth-service of this URL.
pub(crate) async fn new_user(url: &str, ca: Option<&Path>, name: &str) -> NewUser {
    let call = async |method: &str, message: Value, token: Option<&str>| -> Value {
        let (url, message) = (format!("{url}/tollgate.auth.v1.Accounts/{method}"), message.to_string());
        let authorization = format!("authorization: Bearer {}", token.unwrap_or_default());
        let mut arguments = vec!["--fail", "-H", "content-type: application/json", "-d", &message, &url];
        arguments.extend(ca.iter().flat_map(|ca| ["--cacert", ca.to_str().unwrap()]));
        arguments.extend(token.iter().flat_map(|_| ["-H", &authorization]));
        let output = curl(&arguments).await;
        assert!(output.status.success(), "{method}: {}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let names = json!({ "userName": name, "password": PASSWORD });
    call("SignUp", names.clone(), None).await;
    let token = call("Login", names, None).await["accessToken"].as_str().unwrap().to_owned();
    let key = call("CreateApiKey", json!({}), Some(&token)).await["key"].as_str().unwrap().to_owned();
    NewUser { token, key }
}

pub(crate) fn https(address: SocketAddr) -> String {
    format!("https://{address}")
}

pub(crate) fn request(prompt: &str) -> shared::proto::inference::ChatRequest {
    integration::stack::chat_request("smollm2", prompt)
}

/// How a client speaks TLS that trusts this authority.
pub(crate) fn trusting(ca_pem: &str, protocols: &[&[u8]]) -> ClientConfig {
    shared::tls::client_config(Some(ca_pem.as_bytes()), None, protocols).unwrap()
}

/// A connection with TLS.
pub(crate) async fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    shared::tls::connect(Arc::clone(config), "127.0.0.1".try_into().unwrap(), stream).await
}

fn grpcurl_path() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = || {
        let home = || PathBuf::from(variable("HOME").unwrap_or_default()).join(".cache");
        variable("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("tollgate/bin/grpcurl")
    };
    let path = variable("TOLLGATE_GRPCURL").map_or_else(cache, PathBuf::from);
    assert!(path.is_file(), "there is no grpcurl at {}: run scripts/fetch-grpcurl", path.display());
    path
}

/// Runs grpcurl.
pub(crate) async fn grpcurl(arguments: &[&str]) -> Output {
    run(Command::new(grpcurl_path()).args(arguments)).await
}

/// Runs curl.
pub(crate) async fn curl(arguments: &[&str]) -> Output {
    run(Command::new("curl").args(["--silent", "--show-error", "--max-time", "20"]).args(arguments)).await
}

async fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// What it printed, on either output.
pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

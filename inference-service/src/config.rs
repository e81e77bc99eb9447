//! The configuration, from environment variables.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use shared::data_folder::DataFolder;
use shared::default_address::{AUTH_URL, INFERENCE_LISTEN};
use shared::env::{Mistakes, Reader, Strings, Variable};
use shared::key_in_path::KeyInPath;
use shared::secret::Secret;
use shared::serving::{CONNECTION_VARIABLES, CORS_VARIABLE, ConnectionLimits, CorsOrigins, ServeConfig};
use shared::telemetry::LogConfig;
use shared::tls::{ServerTls, TLS_VARIABLES};

use crate::auth_client::{AUTH_TLS_VARIABLES, AuthTls, AuthUrls};
use crate::chat_stream::StreamLimits;
use crate::engine::ollama::OllamaHost;
use crate::prompt::PromptLimits;

/// Every variable that is read, for docs/variables.md and the test that gives each a bad value.
pub const VARIABLES: &[Variable] = &[
    Variable { name: "TOLLGATE_LISTEN", default: "127.0.0.1:50052", meaning: "IP address and port to listen on", bad: "localhost" },
    Variable {
        name: "TOLLGATE_ALLOW_PLAINTEXT",
        default: "false",
        meaning: "true: listen on an address that isn't loopback without TLS, where a proxy in front speaks it",
        bad: "perhaps",
    },
    TLS_VARIABLES[0],
    TLS_VARIABLES[1],
    TLS_VARIABLES[2],
    Variable {
        name: "TOLLGATE_AUTH_URL",
        default: AUTH_URL,
        meaning: "where auth-service listens, http:// or https://; calls are balanced over the URLs of a comma-separated list, \
                  and over all addresses of a name",
        bad: "http://127.0.0.1:50051,auth service",
    },
    AUTH_TLS_VARIABLES[0],
    AUTH_TLS_VARIABLES[1],
    AUTH_TLS_VARIABLES[2],
    AUTH_TLS_VARIABLES[3],
    Variable {
        name: "TOLLGATE_SERVICE_CREDENTIAL",
        default: "made in the data folder; none where there is TOLLGATE_AUTH_CLIENT_CERTIFICATE",
        meaning: "the secret that auth-service knows this service by: 64 or more hexadecimal digits",
        bad: "hunter2",
    },
    Variable {
        name: "TOLLGATE_DATA_DIR",
        default: "./data",
        meaning: "folder of the service credential and of the embedded engine's models",
        bad: "/dev/null/data",
    },
    Variable {
        name: "TOLLGATE_ENGINE",
        default: "auto",
        meaning: "auto (an Ollama that answers, else the embedded engine where it is built in), ollama, or embedded",
        bad: "llama",
    },
    Variable {
        name: "OLLAMA_HOST",
        default: "127.0.0.1:11434",
        meaning: "where Ollama listens, in every form that Ollama accepts; user:password@ before the host is sent as basic authentication",
        bad: "http://[::1",
    },
    Variable {
        name: "OLLAMA_API_KEY",
        default: "unset",
        meaning: "the key that is sent to Ollama, or to a proxy before it, as a bearer",
        bad: "a b",
    },
    Variable {
        name: "TOLLGATE_OLLAMA_HOST",
        default: "unset: OLLAMA_HOST",
        meaning: "the same as OLLAMA_HOST, and counts before it: what compose sets stays beside what an operator writes",
        bad: "http://[::1",
    },
    Variable {
        name: "TOLLGATE_OLLAMA_API_KEY",
        default: "unset: OLLAMA_API_KEY",
        meaning: "the same as OLLAMA_API_KEY, and counts before it",
        bad: "a b",
    },
    Variable {
        name: "TOLLGATE_SERVICE_CREDENTIAL_FILE",
        default: "unset",
        meaning: "the file that holds TOLLGATE_SERVICE_CREDENTIAL",
        bad: "/dev/null/secret",
    },
    Variable {
        name: "TOLLGATE_OLLAMA_HOST_FILE",
        default: "unset",
        meaning: "the file that holds TOLLGATE_OLLAMA_HOST, which may have a password",
        bad: "/dev/null/secret",
    },
    Variable {
        name: "TOLLGATE_OLLAMA_API_KEY_FILE",
        default: "unset",
        meaning: "the file that holds TOLLGATE_OLLAMA_API_KEY",
        bad: "/dev/null/secret",
    },
    Variable {
        name: "TOLLGATE_MODELS_DIR",
        default: "models in the data folder",
        meaning: "folder of GGUF files, for the embedded engine",
        bad: "/dev/null/models",
    },
    Variable { name: "TOLLGATE_EMBEDDED_QUEUE", default: "16", meaning: "prompts that may wait for the embedded engine", bad: "many" },
    Variable {
        name: "TOLLGATE_MAX_CONTEXT_TOKENS",
        default: "8192",
        meaning: "cap on num_ctx, and on the input tokens charged; \
                  sent as num_ctx where a caller names none and the model's own is larger or unknown",
        bad: "0",
    },
    Variable { name: "TOLLGATE_MAX_OUTPUT_TOKENS", default: "4096", meaning: "tokens that one call may generate", bad: "0" },
    Variable { name: "TOLLGATE_MAX_KEEP_ALIVE", default: "30m", meaning: "how long a caller may keep a model loaded", bad: "30" },
    Variable {
        name: "TOLLGATE_ALLOW_CLOUD_MODELS",
        default: "false",
        meaning: "true: allow models that run elsewhere on the operator's Ollama account",
        bad: "perhaps",
    },
    Variable { name: "TOLLGATE_CHECK_TIMEOUT", default: "5s", meaning: "how long auth-service may take to admit a call", bad: "5" },
    Variable {
        name: "TOLLGATE_FIRST_BYTE_TIMEOUT",
        default: "10m",
        meaning: "silence before an answer: load, queue and prompt evaluation",
        bad: "-1s",
    },
    Variable {
        name: "TOLLGATE_IDLE_TIMEOUT",
        default: "5m",
        meaning: "silence within an answer; a tool call is silent until it is whole",
        bad: "never",
    },
    Variable {
        name: "TOLLGATE_SLOW_READER_TIMEOUT",
        default: "30s",
        meaning: "how long a caller may leave unread what is there",
        bad: "0s",
    },
    Variable { name: "TOLLGATE_MAX_STREAM_LIFE", default: "1h", meaning: "how long one answer may take in all", bad: "a day" },
    Variable { name: "TOLLGATE_SETTLE_WAIT", default: "2s", meaning: "how long an answer's last event waits for the receipt", bad: "2" },
    Variable {
        name: "TOLLGATE_SETTLE_RETRY",
        default: "1h",
        meaning: "how long a settle is tried again while auth-service is away",
        bad: "x",
    },
    Variable { name: "TOLLGATE_DRAIN_DEADLINE", default: "30s", meaning: "how long running calls may go on after SIGTERM", bad: "30" },
    Variable {
        name: "TOLLGATE_REFLECTION",
        default: "true; false where TOLLGATE_PUBLISHED_ADDRESS is not loopback",
        meaning: "server reflection, v1 and v1alpha",
        bad: "perhaps",
    },
    Variable {
        name: "TOLLGATE_KEY_IN_PATH",
        default: "true while TOLLGATE_LISTEN is loopback, else false",
        meaning: "whether an API key may be the beginning of a path, /key/<API key>/…, for clients that can send no header",
        bad: "perhaps",
    },
    Variable { name: "TOLLGATE_LOG", default: "info", meaning: "log level, or a list of target=level", bad: "=[" },
    Variable { name: "TOLLGATE_LOG_FORMAT", default: "auto", meaning: "human, json, or auto: human on a terminal", bad: "xml" },
    CONNECTION_VARIABLES[0],
    CONNECTION_VARIABLES[1],
    CONNECTION_VARIABLES[2],
    CONNECTION_VARIABLES[3],
    CONNECTION_VARIABLES[4],
    CORS_VARIABLE,
    Variable {
        name: "TOLLGATE_PUBLISHED_ADDRESS",
        default: "unset: none but TOLLGATE_LISTEN",
        meaning: "IP address on which a container's port is published; only the default of TOLLGATE_REFLECTION follows from it",
        bad: "localhost",
    },
];

/// Those that hold secrets: each may be given by a file, which `NAME_FILE` names.
const SECRETS: &[&str] = &["TOLLGATE_SERVICE_CREDENTIAL", "TOLLGATE_OLLAMA_HOST", "TOLLGATE_OLLAMA_API_KEY"];

/// Which engine answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineChoice {
    /// An Ollama that answers at the start, else the embedded engine where it is built in and has a model, else Ollama all the same.
    Auto,
    /// Ollama.
    Ollama,
    /// The embedded engine.
    Embedded,
}

/// Everything that can be configured.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Whether `listen` is reachable from elsewhere, without TLS, as the operator allowed.
    pub plaintext_beyond_loopback: bool,
    /// Where auth-service's replicas listen.
    pub auth_urls: AuthUrls,
    /// How the TLS of those that ask for it is spoken.
    pub auth_tls: Option<AuthTls>,
    /// Proves to auth-service who asks; `None`: a certificate does.
    pub service_credential: Option<Secret>,
    /// Made models of the embedded engine.
    pub overlays_folder: PathBuf,
    /// Which engine answers.
    pub engine: EngineChoice,
    /// Where Ollama listens.
    pub ollama_host: OllamaHost,
    /// GGUF files of the embedded engine.
    pub models_folder: PathBuf,
    /// Prompts that may wait for the embedded engine.
    pub queue: usize,
    /// Bounds on prompts.
    pub prompt_limits: PromptLimits,
    /// Bounds on streams.
    pub stream_limits: StreamLimits,
    /// How long Check may take.
    pub check_timeout: Duration,
    /// How long a settle is tried again.
    pub settle_retry_for: Duration,
    /// How it is served.
    pub serve: ServeConfig,
    /// What is logged.
    pub log: LogConfig,
}

/// The address to listen on, alone: what the health check needs.
pub fn listen_address(strings: &dyn Strings) -> Result<SocketAddr, Mistakes> {
    let mut reader = Reader::new(strings);
    let address = read_listen_address(&mut reader);
    reader.finish(address)
}

fn read_listen_address(reader: &mut Reader<'_>) -> SocketAddr {
    reader.address("TOLLGATE_LISTEN", INFERENCE_LISTEN)
}

/// Where Ollama listens. Both names of a variable are checked, and Tollgate's own counts.
fn read_ollama_host(reader: &mut Reader<'_>) -> OllamaHost {
    let host = reader.parse("OLLAMA_HOST", OllamaHost::parse);
    let host = reader.parse("TOLLGATE_OLLAMA_HOST", OllamaHost::parse).or(host).unwrap_or_default();
    let keyed = reader.parse("OLLAMA_API_KEY", |key| host.clone().with_api_key(key));
    let own_keyed = reader.parse("TOLLGATE_OLLAMA_API_KEY", |key| host.clone().with_api_key(key));
    own_keyed.or(keyed).unwrap_or(host)
}

impl Config {
    /// Reads and checks every variable; nothing is listened on yet. The data folder is made when it is needed and isn't there.
    pub fn read(strings: &dyn Strings) -> Result<Self, Mistakes> {
        const MS: Duration = Duration::from_millis(1);
        const SECOND: Duration = Duration::from_secs(1);
        const HOUR: Duration = Duration::from_secs(3600);
        let mut reader = Reader::new(strings);
        reader.refuse_unknown(VARIABLES);
        reader.read_secret_files(SECRETS);
        let log = LogConfig::read(&mut reader);
        let listen = read_listen_address(&mut reader);
        let allow_plaintext = reader.boolean("TOLLGATE_ALLOW_PLAINTEXT", false);
        let tls = ServerTls::read(&mut reader);
        let plaintext_beyond_loopback = !listen.ip().is_loopback() && !ServerTls::is_asked_for(&reader);
        if plaintext_beyond_loopback && !allow_plaintext {
            reader.mistake(
                "TOLLGATE_LISTEN",
                format!(
                    "is {listen}, which others can reach: set TOLLGATE_TLS_CERTIFICATE and TOLLGATE_TLS_KEY, \
                     or TOLLGATE_ALLOW_PLAINTEXT=true behind a proxy that speaks TLS"
                ),
            );
        }
        let auth_urls = reader.parse("TOLLGATE_AUTH_URL", AuthUrls::parse).unwrap_or_default();
        let auth_tls = AuthTls::read(&mut reader, auth_urls.have_tls());
        let data_folder = PathBuf::from(reader.string("TOLLGATE_DATA_DIR").unwrap_or_else(|| "./data".to_owned()));
        let data = DataFolder::open(&data_folder).map_err(|error| reader.mistake("TOLLGATE_DATA_DIR", error)).ok();
        let service_credential = reader.parse("TOLLGATE_SERVICE_CREDENTIAL", Secret::parse);
        let service_credential = match (service_credential, &data) {
            (Some(credential), _) => Some(credential),
            // Set and wrong: said already.
            (None, _) if reader.is_given("TOLLGATE_SERVICE_CREDENTIAL") => None,
            (None, _) if auth_tls.as_ref().is_some_and(AuthTls::shows_certificate) => {
                if !auth_urls.are_all_tls() {
                    let why = "is unset, and TOLLGATE_AUTH_URL has one with http://: a certificate in its place is shown over TLS alone";
                    reader.mistake("TOLLGATE_SERVICE_CREDENTIAL", why);
                }
                None
            }
            (None, Some(data)) => data
                .secret("service-credential")
                .map_err(|error| reader.mistake("TOLLGATE_SERVICE_CREDENTIAL", format!("is unset, and {error}")))
                .ok(),
            (None, None) => None,
        };
        let engine = reader.parse("TOLLGATE_ENGINE", |value| match value {
            "auto" => Ok(EngineChoice::Auto),
            "ollama" => Ok(EngineChoice::Ollama),
            "embedded" if cfg!(feature = "embedded-engine") => Ok(EngineChoice::Embedded),
            "embedded" => Err("is embedded, and this build has no embedded engine: build with the feature embedded-engine".to_owned()),
            _ => Err(format!("must be auto, ollama or embedded, and is {value:?}")),
        });
        let ollama_host = read_ollama_host(&mut reader);
        let models_folder = reader.string("TOLLGATE_MODELS_DIR").map_or_else(|| data_folder.join("models"), PathBuf::from);
        if reader.string("TOLLGATE_MODELS_DIR").is_some() && !models_folder.is_dir() {
            reader.mistake("TOLLGATE_MODELS_DIR", format!("must be a folder, and {} is none", models_folder.display()));
        }
        let queue = reader.integer("TOLLGATE_EMBEDDED_QUEUE", 16, 1..=10_000);
        let tokens = |reader: &mut Reader<'_>, name, default: u32| {
            u32::try_from(reader.integer(name, i64::from(default), 1..=1_000_000)).unwrap_or(default)
        };
        let prompt_limits = PromptLimits {
            max_context_tokens: tokens(&mut reader, "TOLLGATE_MAX_CONTEXT_TOKENS", 8192),
            max_output_tokens: tokens(&mut reader, "TOLLGATE_MAX_OUTPUT_TOKENS", 4096),
            max_keep_alive: reader.duration("TOLLGATE_MAX_KEEP_ALIVE", HOUR / 2, Duration::ZERO..=HOUR * 24 * 365),
            allow_cloud_models: reader.boolean("TOLLGATE_ALLOW_CLOUD_MODELS", false),
        };
        let check_timeout = reader.duration("TOLLGATE_CHECK_TIMEOUT", SECOND * 5, MS * 10..=SECOND * 60);
        let stream_limits = StreamLimits {
            first_byte_timeout: reader.duration("TOLLGATE_FIRST_BYTE_TIMEOUT", SECOND * 600, MS * 10..=HOUR * 24),
            idle_timeout: reader.duration("TOLLGATE_IDLE_TIMEOUT", SECOND * 300, MS * 10..=HOUR * 24),
            slow_reader_timeout: reader.duration("TOLLGATE_SLOW_READER_TIMEOUT", SECOND * 30, MS * 10..=HOUR),
            max_stream_life: reader.duration("TOLLGATE_MAX_STREAM_LIFE", HOUR, MS * 10..=HOUR * 24),
            settle_wait: reader.duration("TOLLGATE_SETTLE_WAIT", SECOND * 2, Duration::ZERO..=SECOND * 60),
        };
        let settle_retry_for = reader.duration("TOLLGATE_SETTLE_RETRY", HOUR, SECOND..=HOUR * 24);
        let takes_keys = reader.boolean("TOLLGATE_KEY_IN_PATH", listen.ip().is_loopback());
        let serve = ServeConfig {
            keys_in_paths: if takes_keys { KeyInPath::Taken } else { KeyInPath::Refused },
            reflection: reader.reflection(),
            drain_deadline: reader.duration("TOLLGATE_DRAIN_DEADLINE", SECOND * 30, MS * 100..=HOUR),
            max_concurrent_streams: 10_000,
            connections: ConnectionLimits::read(&mut reader),
            cors: CorsOrigins::read(&mut reader),
            tls,
        };
        reader.finish(Self {
            listen,
            plaintext_beyond_loopback,
            auth_urls,
            auth_tls,
            service_credential,
            overlays_folder: data_folder.join("overlays"),
            engine: engine.unwrap_or(EngineChoice::Auto),
            ollama_host,
            models_folder,
            queue: usize::try_from(queue).unwrap_or(16),
            prompt_limits,
            stream_limits,
            check_timeout,
            settle_retry_for,
            serve,
            log,
        })
    }

    /// Logs where the service listens, and what an operator should know about it.
    pub fn announce(&self, listener: &tokio::net::TcpListener) {
        let address = listener.local_addr().map_or_else(|error| error.to_string(), |address| address.to_string());
        tracing::info!(%address, auth = %self.auth_urls, "inference-service listens");
        if self.auth_urls.have_plaintext_beyond_this_host() {
            tracing::warn!(auth = %self.auth_urls, "auth-service is called without TLS: whoever is on the way can read every credential");
        }
        if self.plaintext_beyond_loopback {
            tracing::warn!(%address, "others can reach this address and there is no TLS: keep it behind a proxy that speaks it");
        }
    }
}

//! The testbed: a Redis or a SQLite file, Tollgate's two services, the baselines and the upstream, each a process of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use integration::processes::{ServiceProcess, binary, on_processors};
use integration::redis_server::{AppendOnly, RedisPlan, RedisServer};
use serde::de::DeserializeOwned;
use shared::secret::Secret;

use crate::gauge::Watch;
use crate::load::Job;

/// Processors that processes may run on, as `taskset -c` takes them; `None`: all.
#[derive(Debug, Clone, Default)]
pub struct Pinning {
    /// Tollgate's services and the baselines.
    pub services: Option<String>,
    /// The load, and the upstream.
    pub load: Option<String>,
    /// Redis.
    pub redis: Option<String>,
}

/// Where credits are kept.
#[derive(Debug)]
pub enum Store {
    /// In a Redis of its own.
    Redis(RedisServer),
    /// In SQLite, in the data folder.
    Sqlite,
}

/// Everything that runs.
#[derive(Debug)]
pub struct Testbed {
    /// Where credits are kept.
    pub store: Store,
    /// auth-service.
    pub auth: ServiceProcess,
    /// What auth-service was configured with.
    pub environment: BTreeMap<String, String>,
    /// The secret that opens Auth.
    pub service_credential: String,
    pinning: Pinning,
}

/// How much Auth may hold and remember for one account: a run makes more calls in an hour than any account should.
const LIMITS: [(&str, &str); 4] = [
    ("TOLLGATE_MAX_OPEN_HOLDS", "1000000"),
    ("TOLLGATE_MAX_REMEMBERED_REQUESTS", "10000000"),
    // Nothing may expire in the middle of a measurement.
    ("TOLLGATE_HOLD_TTL", "10m"),
    // The slow walk over accounts is no part of a call, and its scripts would be counted as one.
    ("TOLLGATE_SWEEP_INTERVAL", "1h"),
];

impl Testbed {
    /// Starts a store and auth-service. `append_only`: on a Redis; `None`: on SQLite in the folder.
    #[must_use]
    pub fn open(folder: &Path, append_only: Option<AppendOnly>, pinning: &Pinning) -> Self {
        let secret = || Secret::generate().expect("randomness").1;
        let service_credential = secret();
        let mut environment: BTreeMap<String, String> =
            LIMITS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut set = |name: &str, value: String| environment.insert(name.to_owned(), value);
        set("TOLLGATE_DATA_DIR", folder.join("data").display().to_string());
        set("TOLLGATE_JWT_SECRETS", format!("bench:{}", secret()));
        set("TOLLGATE_SERVICE_CREDENTIALS", service_credential.clone());
        let store = match append_only {
            None => Store::Sqlite,
            Some(append_only) => {
                let redis = RedisServer::start_with(RedisPlan { append_only, processors: pinning.redis.clone() });
                set("TOLLGATE_REDIS_URL", redis.url());
                if append_only == AppendOnly::Off {
                    set("TOLLGATE_ALLOW_UNSAFE_REDIS", "no-aof".to_owned());
                }
                Store::Redis(redis)
            }
        };
        let auth = service("auth-service", &environment, pinning);
        Self { store, auth, environment, service_credential, pinning: pinning.clone() }
    }

    /// Starts another auth-service on the same store.
    #[must_use]
    pub fn another_auth(&self) -> ServiceProcess {
        service("auth-service", &self.environment, &self.pinning)
    }

    /// Starts an inference-service in front of an upstream, which asks this auth-service.
    #[must_use]
    pub fn inference(&self, auth: &ServiceProcess, upstream: &ServiceProcess) -> ServiceProcess {
        let mut environment = BTreeMap::new();
        let mut set = |name: &str, value: String| environment.insert(name.to_owned(), value);
        set("TOLLGATE_AUTH_URL", auth.url());
        set("TOLLGATE_SERVICE_CREDENTIAL", self.service_credential.clone());
        set("TOLLGATE_ENGINE", "ollama".to_owned());
        set("OLLAMA_HOST", upstream.url());
        // A saturated answer is as long as the measurement.
        set("TOLLGATE_MAX_OUTPUT_TOKENS", "1000000".to_owned());
        service("inference-service", &environment, &self.pinning)
    }

    /// The Redis's URL; `None` on SQLite.
    #[must_use]
    pub fn redis_url(&self) -> Option<String> {
        match &self.store {
            Store::Redis(redis) => Some(redis.url()),
            Store::Sqlite => None,
        }
    }

    /// Watches auth-service and Redis, and more processes.
    #[must_use]
    pub fn watch(&self, more: &[(&str, &ServiceProcess)]) -> Watch {
        let mut processes: BTreeMap<String, u32> = more.iter().map(|(name, process)| ((*name).to_owned(), process.pid())).collect();
        processes.insert("auth-service".to_owned(), self.auth.pid());
        if let Store::Redis(redis) = &self.store {
            processes.insert("redis".to_owned(), redis.pid());
        }
        Watch { processes, redis: self.redis_url() }
    }
}

fn service(name: &str, environment: &BTreeMap<String, String>, pinning: &Pinning) -> ServiceProcess {
    let mut command = on_processors(pinning.services.as_deref(), binary(name));
    command.env_clear().envs(environment);
    command.env("TOLLGATE_AUTH_LISTEN", "127.0.0.1:0").env("TOLLGATE_LISTEN", "127.0.0.1:0").env("TOLLGATE_LOG_FORMAT", "json");
    // taskset is looked up in it.
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    ServiceProcess::launch(command)
}

/// Starts the baselines. `sizes`: of an answer, and of a record in Redis, in bytes.
#[must_use]
pub fn baselines(redis: &str, sizes: (usize, usize), pinning: &Pinning) -> ServiceProcess {
    let mut command = part(pinning.services.as_deref());
    command.args(["baselines", "--redis", redis, "--answer-bytes", &sizes.0.to_string(), "--record-bytes", &sizes.1.to_string()]);
    ServiceProcess::launch(command)
}

/// Starts the chain, in front of the baselines' script and an upstream. `request_bytes`: of a message to the script's service.
#[must_use]
pub fn chain(baselines: &ServiceProcess, upstream: &ServiceProcess, request_bytes: usize, pinning: &Pinning) -> ServiceProcess {
    let mut command = part(pinning.services.as_deref());
    command.args(["chain", "--scripts", &baselines.url(), "--upstream", &upstream.url(), "--request-bytes", &request_bytes.to_string()]);
    ServiceProcess::launch(command)
}

/// Starts the upstream.
#[must_use]
pub fn upstream(pinning: &Pinning) -> ServiceProcess {
    let mut command = part(pinning.load.as_deref());
    command.arg("upstream");
    ServiceProcess::launch(command)
}

/// Has a load process do a job, with so many threads; `None`: one for each processor.
#[must_use]
pub fn load<Outcome: DeserializeOwned>(job: &Job, threads: Option<usize>, pinning: &Pinning) -> Outcome {
    let mut command = part(pinning.load.as_deref());
    if let Some(threads) = threads {
        command.env("TOKIO_WORKER_THREADS", threads.to_string());
    }
    let mut child = command.arg("load").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the load starts");
    serde_json::to_writer(child.stdin.take().expect("piped"), job).expect("the load reads its job");
    let output = child.wait_with_output().expect("the load ends");
    assert!(output.status.success(), "the load failed: its message is above");
    serde_json::from_slice(&output.stdout).expect("an outcome in JSON")
}

/// This program, to play another part.
fn part(processors: Option<&str>) -> Command {
    on_processors(processors, binary("tollgate-bench"))
}

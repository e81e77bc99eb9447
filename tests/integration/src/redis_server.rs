//! A real redis-server of the test's own, on a loopback port that is reserved for it, with its files in a temporary folder.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::polling::SOON;
use crate::processes::on_processors;
use crate::reserved_port::ReservedPort;

/// When a redis-server writes its append-only file to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOnly {
    /// It has none.
    Off,
    /// Once a second: a crash of the machine loses up to that much.
    EverySecond,
    /// Before it answers, as Tollgate asks for.
    Always,
}

/// How a redis-server is started.
#[derive(Debug, Clone)]
pub struct RedisPlan {
    /// What it keeps.
    pub append_only: AppendOnly,
    /// Processors that it may run on, as `taskset -c` takes them; `None`: all.
    pub processors: Option<String>,
}

/// A running redis-server; dropped, it is killed and its files are removed.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    port: ReservedPort,
    folder: TempDir,
    plan: RedisPlan,
}

impl RedisServer {
    /// Starts one with the durability that Tollgate asks for. Panics when there is no redis-server: a missing one must fail, not skip.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(RedisPlan { append_only: AppendOnly::Always, processors: None })
    }

    /// Starts one by a plan, as [`Self::start`] does.
    #[must_use]
    pub fn start_with(plan: RedisPlan) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = ReservedPort::new();
        let child = spawn(port.number(), &folder, &plan);
        let mut server = Self { child, port, folder, plan };
        server.wait_until_it_answers();
        server
    }

    /// For `TOLLGATE_REDIS_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.port.address())
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it writes its files.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().expect("redis-server was running");
        self.child.wait().expect("redis-server ends");
    }

    /// Starts it again on its port, with what it had written.
    pub fn start_again(&mut self) {
        self.child = spawn(self.port.number(), &self.folder, &self.plan);
        self.wait_until_it_answers();
    }

    fn wait_until_it_answers(&mut self) {
        let started = Instant::now();
        let client = redis::Client::open(self.url()).expect("a valid address");
        while client.get_connection().and_then(|mut connection| redis::cmd("PING").query::<String>(&mut connection)).is_err() {
            assert!(started.elapsed() < SOON, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        // Where ports can't be reserved, somebody else's server may have answered.
        assert!(self.child.try_wait().expect("it is ours").is_none(), "redis-server ended on port {}", self.port.number());
    }
}

fn spawn(port: u16, folder: &TempDir, plan: &RedisPlan) -> Child {
    let (append_only, fsync) = match plan.append_only {
        AppendOnly::Off => ("no", "no"),
        AppendOnly::EverySecond => ("yes", "everysec"),
        AppendOnly::Always => ("yes", "always"),
    };
    on_processors(plan.processors.as_deref(), "redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", append_only, "--appendfsync", fsync])
        // A rewrite would take a processor from whatever is tested or measured at that moment.
        .args(["--maxmemory-policy", "noeviction", "--auto-aof-rewrite-percentage", "0", "--dir"])
        .arg(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server must be installed: scripts/install-redis does that")
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may have been killed by its test.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! A real redis-server of the test's own, on a free loopback port, with its files in a temporary folder.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A running redis-server; dropped, it is killed and its files are removed.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl RedisServer {
    /// Starts one with the durability that Tollgate asks for. Panics when there is no redis-server: a missing one must fail, not skip.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // The port is free again for the moment between this listener's end and redis-server's start: whoever loses it fails loudly.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
        let child = spawn(port, &folder);
        let mut server = Self { child, port, folder };
        server.wait_until_it_answers();
        server
    }

    /// For `TOLLGATE_REDIS_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().expect("redis-server was running");
        self.child.wait().expect("redis-server ends");
    }

    /// Starts it again on its port, with what it had written.
    pub fn start_again(&mut self) {
        self.child = spawn(self.port, &self.folder);
        self.wait_until_it_answers();
    }

    fn wait_until_it_answers(&mut self) {
        let started = Instant::now();
        let client = redis::Client::open(self.url()).expect("a valid address");
        while client.get_connection().and_then(|mut connection| redis::cmd("PING").query::<String>(&mut connection)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        // Somebody else's server answers when the port was lost to it.
        assert!(self.child.try_wait().expect("it is ours").is_none(), "redis-server ended: port {} was taken", self.port);
    }
}

fn spawn(port: u16, folder: &TempDir) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "always"])
        .args(["--maxmemory-policy", "noeviction", "--dir"])
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

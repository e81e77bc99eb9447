//! The real binaries as real processes, for what only a process can show: signals, crashes, exit codes, logs.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::polling::SOON;

/// Where cargo put a binary of this workspace: beside this one, or above the folder `deps` that tests are in.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("this program's own path");
    let folder = this.parent().expect("a folder");
    let path = if folder.ends_with("deps") { folder.parent().expect("target/debug/deps") } else { folder }.join(name);
    assert!(path.exists(), "{} is missing: build the workspace's binaries first, as scripts/test does", path.display());
    path
}

/// A command that may run on these processors only, as `taskset -c` takes them; `None`: on all.
#[must_use]
pub fn on_processors(processors: Option<&str>, program: impl AsRef<OsStr>) -> Command {
    match processors {
        None => Command::new(program),
        Some(processors) => {
            // It becomes the program: the process id stays.
            let mut command = Command::new("taskset");
            command.args(["-c", processors]).arg(program);
            command
        }
    }
}

/// Runs a binary to its end. The environment holds nothing but `environment`.
#[must_use]
pub fn run(name: &str, arguments: &[&str], environment: &BTreeMap<String, String>, input: &str) -> Output {
    let mut child = command(name, arguments, environment)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    // A process that refuses its configuration doesn't read its input.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

fn command(name: &str, arguments: &[&str], environment: &BTreeMap<String, String>) -> Command {
    let mut command = Command::new(binary(name));
    command.args(arguments).env_clear().envs(environment);
    command
}

/// A running service; dropped, it is killed.
#[derive(Debug)]
pub struct ServiceProcess {
    child: Child,
    address: SocketAddr,
    log: Arc<(Mutex<Log>, Condvar)>,
}

/// What a process has logged, as far as it was read.
#[derive(Debug, Default)]
struct Log {
    text: String,
    /// Whether nothing more is read.
    paused: bool,
    /// Whether its end was read.
    ended: bool,
}

impl ServiceProcess {
    /// Starts a service on a port of its own choice, and waits until it says where it listens.
    #[must_use]
    pub fn start(name: &str, environment: &BTreeMap<String, String>) -> Self {
        let mut command = command(name, &[], environment);
        for (name, value) in [("TOLLGATE_LOG_FORMAT", "json"), ("TOLLGATE_AUTH_LISTEN", "127.0.0.1:0"), ("TOLLGATE_LISTEN", "127.0.0.1:0")]
        {
            if !environment.contains_key(name) {
                command.env(name, value);
            }
        }
        Self::launch(command)
    }

    /// Starts a program that says its address in a JSON log on standard error, and waits until it does.
    #[must_use]
    pub fn launch(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let log = Arc::new((Mutex::new(Log::default()), Condvar::new()));
        let (lines, written) = (BufReader::new(child.stderr.take().expect("piped")), log.clone());
        // Ends with the process, whose standard error it reads.
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let log = written.0.lock().expect("the reader doesn't panic");
                let mut log = written.1.wait_while(log, |log| log.paused).expect("the reader doesn't panic");
                log.text.push_str(&line);
                log.text.push('\n');
                written.1.notify_all();
            }
            written.0.lock().expect("the reader doesn't panic").ended = true;
            written.1.notify_all();
        });
        let mut process = Self { child, address: ([127, 0, 0, 1], 0).into(), log };
        let line = process.wait_for_address();
        let address = line.split("\"address\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an address");
        process.address = address.parse().expect("an address");
        process
    }

    /// Waits for the line that says where it listens; a process that ends before it is not waited for.
    fn wait_for_address(&mut self) -> String {
        let started = Instant::now();
        loop {
            let log = self.log();
            if let Some(line) = log.lines().find(|line| line.contains("\"address\":\"")) {
                return line.to_owned();
            }
            let ended = self.child.try_wait().expect("it is ours");
            assert!(ended.is_none() && started.elapsed() < SOON, "it does not serve ({ended:?}):\n{log}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// How long its threads have run, those that have ended not counted.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it runs, on Linux");
        let of_task = |task: std::fs::DirEntry| -> Option<u64> {
            // A thread that has just ended has no file any more.
            std::fs::read_to_string(task.path().join("schedstat")).ok()?.split_whitespace().next()?.parse().ok()
        };
        Duration::from_nanos(tasks.filter_map(Result::ok).filter_map(of_task).sum())
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.0.lock().expect("the reader doesn't panic").text.clone()
    }

    /// Reads no more of its log, or goes on with it.
    pub fn pause_log(&self, paused: bool) {
        self.log.0.lock().expect("the reader doesn't panic").paused = paused;
        self.log.1.notify_all();
    }

    /// Stops it by SIGTERM, and waits until all that it has logged was read. Its callers must be able to go on meanwhile: they close their
    /// connections.
    #[must_use]
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        let status = self.wait(SOON);
        self.wait_for_end_of_log();
        status
    }

    fn wait_for_end_of_log(&self) {
        let log = self.log.0.lock().expect("the reader doesn't panic");
        let waited = self.log.1.wait_timeout_while(log, SOON, |log| !log.ended);
        assert!(waited.expect("the reader doesn't panic").0.ended, "the log has no end");
    }

    /// Memory of it that is in RAM and of no file, in KiB. Linux only.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        self.status_kib("RssAnon:")
    }

    /// Memory of it that is in RAM, in KiB; from now on its peak is counted anew. Linux only.
    #[must_use]
    pub fn begin_peak(&self) -> u64 {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").expect("it runs, on Linux");
        self.status_kib("VmRSS:")
    }

    /// The most memory of it that was in RAM since [`Self::begin_peak`], in KiB. Linux only.
    #[must_use]
    pub fn peak_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs, on Linux");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("Linux says it");
        line.trim().trim_end_matches("kB").trim().parse().expect("a number of kB")
    }

    /// Waits for a line with this in it.
    #[must_use]
    pub fn wait_for_log(&self, part: &str) -> String {
        let started = Instant::now();
        let mut log = self.log.0.lock().expect("the reader doesn't panic");
        loop {
            if let Some(line) = log.text.lines().find(|line| line.contains(part)) {
                return line.to_owned();
            }
            assert!(started.elapsed() < SOON, "waited for {part:?} in the log:\n{}", log.text);
            log = self.log.1.wait_timeout(log, Duration::from_millis(200)).expect("the reader doesn't panic").0;
        }
    }

    /// Sends a signal, such as `TERM` or `KILL`.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Waits for its end.
    #[must_use]
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status;
            }
            assert!(started.elapsed() < deadline, "the process still runs after {deadline:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it as a crash would, and waits for its end.
    pub fn kill(&mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it ends");
    }
}

impl Drop for ServiceProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

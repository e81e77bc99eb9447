//! A real Chromium without a window, through chromedriver and the WebDriver protocol. The protocol is JSON over HTTP on loopback, and a
//! dozen commands of it are all that is needed; the client library of the field brings a licence that this project doesn't have.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Weak};

use integration::hostile_http1::HostileHttp1;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Mutex;

/// Set to `1`, a missing browser is a failure.
const REQUIRED: &str = "TOLLGATE_TEST_CHROMIUM_REQUIRED";
/// A file that gets a line for each test that is skipped.
const SKIPPED: &str = "TOLLGATE_TEST_SKIPPED";

/// Starts what its arguments say. The group of processes is killed when standard input ends, so also when the test's process is killed.
const GUARD: &str = r#""$@" & read -r _; kill -KILL 0"#;

/// Both programs.
#[derive(Debug)]
struct Programs {
    chromium: PathBuf,
    chromedriver: PathBuf,
}

/// The program that a variable names, or the first of these that is on PATH.
fn program(variable: &str, names: &[&str]) -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os(variable).filter(|named| !named.is_empty()) {
        let path = PathBuf::from(named);
        return if path.is_file() { Ok(path) } else { Err(format!("{variable} names {}, which is no file", path.display())) };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = names.iter().find_map(|name| std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file()));
    found.ok_or_else(|| format!("no {} on PATH, and {variable} is not set", names[0]))
}

fn programs() -> Result<Programs, String> {
    let chromium = program("TOLLGATE_CHROMIUM", &["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"])?;
    let chromedriver = program("TOLLGATE_CHROMEDRIVER", &["chromedriver"])?;
    Ok(Programs { chromium, chromedriver })
}

/// Says on standard error, and where `scripts/test` looks, that a test is skipped. Not by `eprintln!`: tests that pass don't show it.
fn say_skipped(test: &str, why: &str) {
    let line = format!("SKIPPED: account_page: {test}: {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os(SKIPPED) {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the file of skipped tests");
    }
}

/// A running chromedriver. Dropped, it is killed, and so is every Chromium that it has started.
#[derive(Debug)]
pub(crate) struct Chromedriver {
    guard: Child,
    address: SocketAddr,
    programs: Programs,
    folder: TempDir,
    /// Read no more; closed, chromedriver would fail to write to it.
    _output: BufReader<ChildStdout>,
}

/// What the tests that run share. The last of them kills it.
static RUNNING: Mutex<Weak<Chromedriver>> = Mutex::const_new(Weak::new());

impl Chromedriver {
    /// The one that runs, or a new one; `None` when there is no browser and the test is skipped.
    pub(crate) async fn shared(test: &str) -> Option<Arc<Self>> {
        let mut running = RUNNING.lock().await;
        if let Some(this) = running.upgrade() {
            return Some(this);
        }
        let this = Self::of_its_own(test)?;
        *running = Arc::downgrade(&this);
        Some(this)
    }

    /// One that no other test has.
    pub(crate) fn of_its_own(test: &str) -> Option<Arc<Self>> {
        match programs() {
            Ok(programs) => Some(Arc::new(Self::start(programs))),
            Err(why) => {
                assert!(
                    std::env::var_os(REQUIRED).is_none_or(|value| value != "1"),
                    "{REQUIRED}=1, but {why}: see scripts/install-chromium"
                );
                say_skipped(test, &why);
                None
            }
        }
    }

    fn start(programs: Programs) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", GUARD, "guard"]).arg(&programs.chromedriver).args(["--port=0", "--log-level=SEVERE"]);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", folder.path()).env("TMPDIR", folder.path()).env("LANG", "C.UTF-8").env("TZ", "UTC");
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut guard = command.spawn().expect("a shell");
        let mut output = BufReader::new(guard.stdout.take().unwrap());
        let (mut said, mut line) = (String::new(), String::new());
        let port = loop {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "chromedriver doesn't start: {said}");
            said.push_str(&line);
            if let Some((_, port)) = line.split_once("successfully on port ") {
                break port.trim().trim_end_matches('.').parse::<u16>().expect("a port");
            }
        };
        Self { guard, address: ([127, 0, 0, 1], port).into(), programs, folder, _output: output }
    }

    /// Makes a request of the WebDriver protocol. The error is what chromedriver says.
    async fn command(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.address);
        request.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
        let mut connection = HostileHttp1::connect(self.address).await;
        connection.send(request.as_bytes()).await;
        let answer = connection.response(false).await;
        let value = answer.json()["value"].take();
        if answer.status.is_success() { Ok(value) } else { Err(format!("{method} {path}: {}", value["message"])) }
    }
}

impl Drop for Chromedriver {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// What every Chromium is started with: no window, and nothing that calls out. No name but `localhost` resolves.
const ARGUMENTS: [&str; 27] = [
    "--headless=new",
    // All that it loads is this project's own. Root can't have the sandbox, and neither can most containers.
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-client-side-phishing-detection",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-sync",
    "--disable-breakpad",
    "--disable-crash-reporter",
    "--disable-search-engine-choice-screen",
    "--metrics-recording-only",
    "--mute-audio",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-pings",
    "--no-service-autorun",
    "--password-store=basic",
    "--lang=en-US",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--disable-features=AutofillServerCommunication,CertificateTransparencyComponentUpdater,DialMediaRouteProvider,MediaRouter,\
     OptimizationHints,OptimizationGuideModelDownloading,Translate",
];

/// A Chromium with a profile of its own. Dropped, it is killed with the chromedriver that it belongs to; [`Self::close`] ends it before.
#[derive(Debug)]
pub(crate) struct Browser {
    driver: Arc<Chromedriver>,
    session: String,
    profile: TempDir,
}

impl Browser {
    /// Starts one.
    pub(crate) async fn open(driver: &Arc<Chromedriver>) -> Self {
        let profile = tempfile::tempdir_in(driver.folder.path()).unwrap();
        let of_profile = format!("--user-data-dir={}", profile.path().display());
        let arguments: Vec<&str> = ARGUMENTS.into_iter().chain([of_profile.as_str(), "--window-size=1280,900"]).collect();
        let preferences = json!({ "credentials_enable_service": false, "profile.password_manager_enabled": false,
            "profile.password_manager_leak_detection": false });
        let options = json!({ "binary": driver.programs.chromium, "args": arguments, "prefs": preferences });
        let capabilities = json!({ "browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" },
            "unhandledPromptBehavior": "ignore", "timeouts": { "script": 40_000, "pageLoad": 40_000 } });
        let asked = json!({ "capabilities": { "alwaysMatch": capabilities } });
        let session = driver.command("POST", "/session", &asked).await.unwrap_or_else(|error| panic!("no browser: {error}"));
        let session = session["sessionId"].as_str().expect("a session").to_owned();
        Self { driver: Arc::clone(driver), session, profile }
    }

    /// Another one, with a profile of its own.
    pub(crate) async fn another(&self) -> Self {
        Self::open(&self.driver).await
    }

    /// Ends it.
    pub(crate) async fn close(self) {
        self.driver.command("DELETE", &format!("/session/{}", self.session), &Value::Null).await.unwrap();
    }

    async fn command(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.driver.command(method, &format!("/session/{}/{path}", self.session), &body).await;
        answer.unwrap_or_else(|error| panic!("{error}"))
    }

    /// A command of the Chrome DevTools Protocol in the tab that is looked at.
    pub(crate) async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.try_devtools(command, parameters).await.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// The same; an error when it is refused, for example since a node is gone.
    pub(crate) async fn try_devtools(&self, command: &str, parameters: Value) -> Result<Value, String> {
        let body = json!({ "cmd": command, "params": parameters });
        self.driver.command("POST", &format!("/session/{}/goog/cdp/execute", self.session), &body).await
    }

    /// Goes to an address, and waits until it is loaded.
    pub(crate) async fn go(&self, url: &str) {
        self.command("POST", "url", json!({ "url": url })).await;
    }

    /// Loads the page anew.
    pub(crate) async fn reload(&self) {
        self.command("POST", "refresh", json!({})).await;
    }

    /// What this expression is in the page; what a promise becomes.
    pub(crate) async fn evaluate(&self, expression: &str) -> Value {
        self.try_evaluate(expression).await.unwrap_or_else(|thrown| panic!("{expression}: {thrown}"))
    }

    /// The same; an error is what it throws.
    pub(crate) async fn try_evaluate(&self, expression: &str) -> Result<Value, String> {
        let asked = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true,
            "allowUnsafeEvalBlockedByCSP": false });
        let mut answer = self.try_devtools("Runtime.evaluate", asked).await?;
        match answer.get("exceptionDetails") {
            Some(thrown) => Err(thrown.to_string()),
            None => Ok(answer["result"]["value"].take()),
        }
    }

    /// Presses keys one after the other, as a keyboard does: text, and what [`key`] names.
    pub(crate) async fn keys(&self, keys: &str) {
        let actions: Vec<_> = keys.chars().flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key }))).collect();
        self.command("POST", "actions", json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] })).await;
    }

    /// Presses a key while another one is held.
    pub(crate) async fn with(&self, held: char, pressed: char) {
        let event = |(kind, value): (&str, char)| json!({ "type": kind, "value": value });
        let actions = [("keyDown", held), ("keyDown", pressed), ("keyUp", pressed), ("keyUp", held)].map(event);
        self.command("POST", "actions", json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] })).await;
    }

    /// The tabs' handles.
    pub(crate) async fn tabs(&self) -> Vec<String> {
        serde_json::from_value(self.command("GET", "window/handles", Value::Null).await).unwrap()
    }

    /// Opens a tab, without looking at it; its handle.
    pub(crate) async fn new_tab(&self) -> String {
        let tab = self.command("POST", "window/new", json!({ "type": "tab" })).await;
        tab["handle"].as_str().unwrap().to_owned()
    }

    /// Looks at a tab.
    pub(crate) async fn look_at(&self, tab: &str) {
        self.command("POST", "window", json!({ "handle": tab })).await;
    }

    /// What the console got since it was asked last, with violations of policies and errors that nobody caught.
    pub(crate) async fn console(&self) -> Vec<ConsoleLine> {
        let lines = self.command("POST", "se/log", json!({ "type": "browser" })).await;
        let line = |line: &Value| ConsoleLine {
            level: line["level"].as_str().unwrap_or_default().to_owned(),
            source: line["source"].as_str().unwrap_or_default().to_owned(),
            message: line["message"].as_str().unwrap_or_default().to_owned(),
        };
        lines.as_array().unwrap().iter().map(line).collect()
    }

    /// What is seen, as PNG.
    pub(crate) async fn picture(&self) -> Vec<u8> {
        use base64::Engine as _;
        let picture = self.command("GET", "screenshot", Value::Null).await;
        base64::engine::general_purpose::STANDARD.decode(picture.as_str().unwrap()).unwrap()
    }

    /// The folder of its profile.
    pub(crate) fn profile(&self) -> &Path {
        self.profile.path()
    }
}

/// A line of the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConsoleLine {
    pub(crate) level: String,
    pub(crate) source: String,
    pub(crate) message: String,
}

/// Keys that write nothing, as WebDriver writes them.
pub(crate) mod key {
    pub(crate) const TAB: char = '\u{E004}';
    pub(crate) const ENTER: char = '\u{E007}';
    pub(crate) const SHIFT: char = '\u{E008}';
    pub(crate) const CONTROL: char = '\u{E009}';
    pub(crate) const ESCAPE: char = '\u{E00C}';
    pub(crate) const SPACE: char = ' ';
    pub(crate) const DOWN: char = '\u{E015}';
}

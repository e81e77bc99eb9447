//! Somebody with a home, a session that `login` keeps there, and perhaps an authenticator app.

use std::time::{SystemTime, UNIX_EPOCH};

use integration::shell::Shell;
use integration::stack::{PASSWORD, Stack};
use serde_json::Value;
use tempfile::TempDir;
use totp_rs::{Builder, Secret};

/// A person at a shell with a home of their own.
pub(crate) struct Person {
    pub(crate) shell: Shell,
    _home: TempDir,
}

impl Person {
    /// Who isn't signed in.
    pub(crate) fn new(stack: &Stack) -> Self {
        let home = tempfile::tempdir().unwrap();
        let shell = Shell::at(stack).with("HOME", home.path().to_str().unwrap());
        Self { shell, _home: home }
    }

    /// Signs up and in.
    pub(crate) async fn signed_up(stack: &Stack, name: &str) -> Self {
        let person = Self::new(stack);
        person.shell.says(&["signup", name], format!("{PASSWORD}\n")).await;
        person.shell.says(&["login", name], format!("{PASSWORD}\n")).await;
        person
    }

    /// An operator, signed in.
    pub(crate) async fn operator(stack: &Stack) -> Self {
        let person = Self::new(stack);
        Shell::at(stack).operator(stack).await;
        person.shell.says(&["login", "root.admin"], format!("{PASSWORD}\n")).await;
        person
    }

    /// The document that a command prints with `--json`.
    pub(crate) async fn json(&self, arguments: &[&str], input: &str) -> Value {
        let (out, _) = self.shell.says(&[arguments, &["--json"]].concat(), input).await;
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {out:?}: {error}"))
    }

    /// Sets a second factor up, through pipes: the app, and the recovery codes.
    pub(crate) async fn with_totp(&self) -> (App, Vec<String>) {
        let made = self.json(&["me", "totp", "setup"], &format!("{PASSWORD}\n")).await;
        let app = App::new(made["totpSecret"].as_str().unwrap());
        let confirmed = self.json(&["me", "totp", "confirm"], &format!("{}\n", app.code())).await;
        let codes = confirmed["recoveryCodes"].as_array().unwrap();
        (app, codes.iter().map(|code| code.as_str().unwrap().to_owned()).collect())
    }
}

/// An authenticator app.
pub(crate) struct App(Vec<u8>);

impl App {
    /// With the secret that was shown.
    pub(crate) fn new(base32: &str) -> Self {
        Self(Secret::try_from_base32(base32).unwrap().as_ref().to_vec())
    }

    /// The code that it shows now.
    pub(crate) fn code(&self) -> String {
        self.code_in(0)
    }

    /// The code that it shows so many steps of 30 s later: the service takes the next one too.
    pub(crate) fn code_in(&self, steps: u64) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        Builder::new().with_secret(self.0.clone()).build().unwrap().generate(now + 30 * steps).to_string()
    }
}

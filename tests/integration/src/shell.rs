//! Somebody at a shell, with the `tollgate` command.

use std::collections::BTreeMap;
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;

pub use crate::polling::SOON;
use crate::processes::{binary, run};
use crate::stack::{PASSWORD, Stack};

/// A credential, and where the servers are.
#[derive(Debug, Clone)]
pub struct Shell {
    /// All variables that a command has.
    pub environment: BTreeMap<String, String>,
}

impl Shell {
    /// In front of a stack's first services, without a credential.
    #[must_use]
    pub fn at(stack: &Stack) -> Self {
        let auth = format!("http://{}", stack.auths[0].address());
        let inference = format!("http://{}", stack.inferences[0].address());
        Self { environment: [("TOLLGATE_AUTH_URL".to_owned(), auth), ("TOLLGATE_URL".to_owned(), inference)].into() }
    }

    /// The same with a variable set.
    #[must_use]
    pub fn with(&self, variable: &str, value: &str) -> Self {
        let mut shell = self.clone();
        shell.environment.insert(variable.to_owned(), value.to_owned());
        shell
    }

    /// The same with a credential.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        self.with("TOLLGATE_API_KEY", key)
    }

    /// Starts a command.
    #[must_use]
    pub fn start(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(binary("tollgate"));
        command.args(arguments).env_clear().envs(&self.environment);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.spawn().expect("it starts")
    }

    /// Runs a command to its end, with this on standard input.
    pub async fn run(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> Output {
        let mut child = self.start(arguments);
        let mut stdin = child.stdin.take().expect("piped");
        let running = async {
            // A command that refuses its arguments doesn't read its input.
            let _ = stdin.write_all(input.as_ref()).await;
            drop(stdin);
            child.wait_with_output().await
        };
        timeout(SOON, running).await.unwrap_or_else(|_| panic!("tollgate {arguments:?} still runs")).expect("it ends")
    }

    /// What a command that succeeds says on standard output and error.
    pub async fn says(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> (String, String) {
        let output = self.run(arguments, input).await;
        let (out, error) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "tollgate {arguments:?}: {} {error}", output.status);
        (out, error)
    }

    /// What a command that fails so says on standard error; nothing on standard output.
    pub async fn fails(&self, arguments: &[&str], code: i32) -> String {
        let output = self.run(arguments, "").await;
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "tollgate {arguments:?}: {error}");
        assert_eq!(text(&output.stdout), "", "tollgate {arguments:?}");
        error
    }

    /// Signs up, logs in and makes a key: the shell with the access token, and the one with the key.
    pub async fn user(&self, name: &str) -> (Self, Self) {
        self.says(&["signup", name], format!("{PASSWORD}\n")).await;
        let (token, _) = self.says(&["login", name, "--print-token"], format!("{PASSWORD}\n")).await;
        let logged_in = self.with_key(token.trim());
        let (key, _) = logged_in.says(&["keys", "create"], "").await;
        let with_key = self.with_key(key.trim());
        (logged_in, with_key)
    }

    /// The shell of an operator.
    pub async fn operator(&self, stack: &Stack) -> Self {
        let made = run("auth-service", &["create-admin", "root.admin"], stack.environment(), &format!("{PASSWORD}\n"));
        assert!(made.status.success(), "{}", text(&made.stderr));
        let (token, _) = self.says(&["login", "root.admin", "--print-token"], PASSWORD).await;
        self.with_key(token.trim())
    }
}

/// What a command printed.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// The value that stands behind a name, as `tollgate balance` shows it.
#[must_use]
pub fn field<'a>(said: &'a str, name: &str) -> &'a str {
    let line = said.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap_or_else(|| panic!("no {name} in {said}"));
    line.split_whitespace().nth(1).expect("a value")
}

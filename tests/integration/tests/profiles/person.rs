//! Somebody with a home, what is in it, and what a command says to them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use integration::shell::{Shell, text};
use integration::stack::Stack;
use tempfile::TempDir;

/// A key by its form, which nobody gave.
pub(crate) const CANARY: &str = "tg_canarycanarycanarycanarycanarycanarycana";

/// A person with a home of their own.
pub(crate) struct Person {
    pub(crate) shell: Shell,
    pub(crate) home: TempDir,
}

impl Person {
    /// Who knows no server.
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let shell = Shell { environment: [("HOME".to_owned(), home.path().to_str().unwrap().to_owned())].into() };
        Self { shell, home }
    }

    /// Who has a stack's addresses in the environment.
    pub(crate) fn at(stack: &Stack) -> Self {
        let mut person = Self::new();
        person.shell.environment.extend(Shell::at(stack).environment);
        person
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.home.path().join(".config/tollgate/config.yaml")
    }

    pub(crate) fn session(&self, profile: &str) -> PathBuf {
        self.home.path().join(".local/state/tollgate/sessions").join(profile)
    }

    /// Writes the config file as an editor would, for its owner alone.
    pub(crate) fn write(&self, text: impl AsRef<[u8]>) {
        fs::create_dir_all(self.config().parent().unwrap()).unwrap();
        fs::write(self.config(), text).unwrap();
        fs::set_permissions(self.config(), fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) fn written(&self) -> String {
        fs::read_to_string(self.config()).unwrap()
    }

    /// What a command prints as JSON.
    pub(crate) async fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let (out, _) = self.shell.says(&[arguments, &["--json"]].concat(), "").await;
        assert_eq!(out.lines().count(), 1, "{out}");
        serde_json::from_str(&out).unwrap()
    }
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// What is in a folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// All that a command says, and its exit code.
pub(crate) async fn ended(shell: &Shell, arguments: &[&str], input: &str) -> (Option<i32>, String) {
    let output = shell.run(arguments, input).await;
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

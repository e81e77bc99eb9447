//! Keys in the operating system's keychain: a real GNOME Keyring on a D-Bus of its own, where both are installed.

use std::process::{Command, Output};

use integration::processes::binary;
use integration::shell::text;

use super::{CANARY, Person, ended};

#[tokio::test]
async fn without_a_keychain_the_command_says_so_and_what_to_do_and_keeps_nothing() {
    let ada = Person::new();
    for bus in ["unix:path=/nonexistent/bus", "nonsense"] {
        let shell = ada.shell.with("DBUS_SESSION_BUS_ADDRESS", bus);
        let (code, said) = ended(&shell, &["config", "set", "key", "--keychain"], CANARY).await;
        assert!(code == Some(1) && said.contains("no keychain here") && said.contains("tollgate config set key"), "{said}");
        assert!(!said.contains("canary") && !ada.config().exists(), "{said}");
        ada.write("default:\n  key: keychain\n");
        let (code, said) = ended(&shell, &["balance"], "").await;
        assert!(code == Some(1) && said.contains("no keychain here") && said.contains("TOLLGATE_API_KEY"), "{said}");
        // What needs no key doesn't ask for it.
        let config = shell.says(&["config"], "").await.0;
        assert!(config.lines().any(|line| line.split_whitespace().take(2).eq(["key", "keychain"])), "{config}");
        let (_, said) = ended(&shell, &["balance", "--key", "k", "--auth-url", "http://127.0.0.1:9"], "").await;
        assert!(said.contains("can't be reached"), "{said}");
        shell.says(&["config", "unset", "key"], "").await;
        std::fs::remove_file(ada.config()).unwrap();
    }
}

/// Runs a script with an unlocked GNOME Keyring; `None` where there is none.
fn with_keyring(person: &Person, script: &str) -> Option<Output> {
    let is_there = |program: &str| Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success();
    if !is_there("dbus-run-session") || !is_there("gnome-keyring-daemon") {
        // The test says so, wherever its output goes.
        eprintln!("skipped: dbus-run-session and gnome-keyring-daemon aren't both here");
        return None;
    }
    let unlocked = format!("printf pass | gnome-keyring-daemon --unlock --components=secrets >/dev/null 2>&1; {script}");
    let mut command = Command::new("dbus-run-session");
    command.args(["--", "sh", "-c", &unlocked]).env_clear().envs(&person.shell.environment);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("TG", binary("tollgate")).env("CANARY", CANARY);
    command.env("XDG_RUNTIME_DIR", person.home.path());
    Some(command.output().unwrap())
}

#[test]
fn a_key_in_the_keychain_is_used_from_there_replaced_and_removed_and_the_file_has_nothing_of_it() {
    let ada = Person::new();
    // A server that answers what it was shown is not needed: a key that isn't one by its form is refused before the call.
    let script = r#"
        set -e
        printf '%s\n' "$CANARY" | "$TG" config set key --keychain --profile work
        grep -q '^  key: keychain$' "$HOME/.config/tollgate/config.yaml"
        ! grep -rq canary "$HOME/.config/tollgate"
        "$TG" balance --profile work --auth-url http://127.0.0.1:9 2>&1 | grep -q "can't be reached"
        printf '%s\n' 'tg_another' | "$TG" config set key --keychain --profile work
        "$TG" config unset key --profile work
        printf 'work:\n  key: keychain\n' > "$HOME/.config/tollgate/config.yaml"
        "$TG" balance --profile work --auth-url http://127.0.0.1:9 2>&1 | grep -q 'has its key in the keychain, and there is none'
    "#;
    if let Some(done) = with_keyring(&ada, script) {
        assert!(done.status.success(), "{}{}", text(&done.stdout), text(&done.stderr));
    }
}

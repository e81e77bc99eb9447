//! Keys in the operating system's keychain: a real GNOME Keyring on a D-Bus of its own, where both are installed.

use std::process::Output;

use integration::processes::binary;
use integration::scripted_upstream::ScriptedUpstream;
use integration::shell::{SOON, text};
use integration::stack::Plan;
use tokio::process::Command;
use tokio::time::timeout;

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
async fn with_keyring(person: &Person, key: &str, script: &str) -> Option<Output> {
    let is_there = |program: &str| std::process::Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap();
    if !["dbus-run-session", "gnome-keyring-daemon"].iter().all(|program| is_there(program).status.success()) {
        // The test says so, wherever its output goes.
        eprintln!("skipped: dbus-run-session and gnome-keyring-daemon aren't both here");
        return None;
    }
    let unlocked = format!("printf pass | gnome-keyring-daemon --unlock --components=secrets >/dev/null 2>&1; {script}");
    let mut command = Command::new("dbus-run-session");
    command.args(["--", "sh", "-c", &unlocked]).env_clear().envs(&person.shell.environment);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("TG", binary("tollgate")).env("KEY", key);
    command.env("XDG_RUNTIME_DIR", person.home.path()).kill_on_drop(true);
    Some(timeout(SOON, command.output()).await.unwrap().unwrap())
}

#[tokio::test]
async fn a_key_in_the_keychain_is_used_from_there_replaced_and_removed_and_the_file_has_nothing_of_it() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let ada = Person::at(&stack);
    let (signed_in, with_key) = ada.shell.user("ada").await;
    let key = with_key.environment["TOLLGATE_API_KEY"].clone();
    let token = signed_in.environment["TOLLGATE_API_KEY"].clone();
    let script = format!(
        r#"
        set -e
        printf '%s\n' "$KEY" | "$TG" config set key --keychain --profile work
        grep -q '^  key: keychain$' "$HOME/.config/tollgate/config.yaml"
        if grep -rqF "$KEY" "$HOME/.config"; then exit 9; fi
        "$TG" me --profile work | grep -q '^user  *ada'
        "$TG" config --profile work
        printf 'tg_another\n' | "$TG" config set key --keychain --profile work
        "$TG" me --profile work 2>&1 | grep -q CREDENTIAL_INVALID
        TOLLGATE_API_KEY={token} "$TG" keys create --save=work --keychain
        "$TG" me --profile work | grep -q 'API key'
        TOLLGATE_API_KEY={token} "$TG" keys create --save=work
        printf 'work:\n  key: keychain\n' > "$HOME/.config/tollgate/config.yaml"
        "$TG" balance --profile work 2>&1 | grep -q 'has its key in the keychain, and there is none'
        printf 'tg_another\n' | "$TG" config set key --keychain --profile work
        "$TG" config unset key --profile work
        printf 'work:\n  key: keychain\n' > "$HOME/.config/tollgate/config.yaml"
        "$TG" balance --profile work 2>&1 | grep -q 'has its key in the keychain, and there is none'
    "#
    );
    if let Some(done) = with_keyring(&ada, &key, &script).await {
        let said = text(&done.stdout) + &text(&done.stderr);
        assert!(done.status.success() && !said.contains(&key[10..40]), "{said}");
    }
}

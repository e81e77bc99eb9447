//! Config files that shouldn't be used, and places where there can be none.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use super::{CANARY, Person, ended};

#[tokio::test]
async fn a_file_that_is_no_config_is_refused_with_its_line_and_nothing_of_its_values() {
    let laughs: String = (1..60).map(|n| format!("l{n}: &l{n} [*l{0}, *l{0}, *l{0}]\n", n - 1)).collect();
    let key = format!("  key: {CANARY}\n");
    let table: [(Vec<u8>, &str); 14] = [
        (format!("work:\n{key}  keys: x\n").into(), "line 3: unknown field \"keys\" of profile \"work\"; known: account, auth_url, ca,"),
        (format!("work:\n{key}{key}").into(), "line 3: key stands twice"),
        (format!("work:\n{key}work:\n{key}").into(), "line 3: this profile stands twice"),
        (format!("work:\n{key}  session: s\n").into(), "line 3: profile \"work\" has both key and session"),
        (format!("work:\n\tkey: {CANARY}\n").into(), "line 2: this is no YAML"),
        (format!("l0: &l0\n{key}{laughs}").into(), "line 1: an anchor"),
        (format!("work: {CANARY}\n").into(), "line 1: profile \"work\" should be settings"),
        (format!("- {CANARY}\n").into(), "line 1: a list"),
        (b"work:\n  account: 0123\n".to_vec(), "line 2: account should be text, and without quotes YAML reads a number"),
        (format!("work:\n{key}---\nplay:\n").into(), "line 3: a second document"),
        (format!("play:\n{key}work:\n  url: {{x: {CANARY}}}\n").into(), "line 4: url should be text"),
        ([b"work:\n  key: ", &b"\xff\xfe"[..], CANARY.as_bytes()].concat(), "it isn't UTF-8"),
        (vec![b'#'; (64 << 10) + 1], "it is longer than 64 KiB"),
        (format!("work: {}", "[".repeat(50_000)).into(), "line 1"),
    ];
    for (text, why) in table {
        let ada = Person::new();
        ada.write(&text);
        for arguments in [&["balance"][..], &["config"], &["config", "list"], &["config", "set", "account", "a"]] {
            let (code, said) = ended(&ada.shell, arguments, "").await;
            assert_eq!(code, Some(64), "{arguments:?} {said}");
            assert!(said.contains(why) && said.contains("config.yaml"), "{arguments:?}: {why}: {said}");
            assert!(!said.contains("canary") && said.lines().count() == 1, "{said}");
        }
        assert_eq!(fs::read(ada.config()).unwrap(), text, "nothing is written over it");
    }
}

#[tokio::test]
async fn a_file_that_others_can_open_is_refused_and_what_is_said_to_do_mends_it() {
    let ada = Person::new();
    ada.write(format!("default:\n  key: {CANARY}\n"));
    for mode in [0o640, 0o604, 0o660, 0o602, 0o610, 0o777] {
        fs::set_permissions(ada.config(), fs::Permissions::from_mode(mode)).unwrap();
        for arguments in [&["balance"][..], &["config"], &["config", "set", "account", "a"]] {
            let (code, said) = ended(&ada.shell, arguments, "").await;
            let mend = format!("chmod 600 {}", ada.config().display());
            assert!(code == Some(64) && said.contains(&mend) && !said.contains("canary"), "{mode:o} {said}");
        }
    }
    assert!(Command::new("chmod").arg("600").arg(ada.config()).status().unwrap().success());
    ada.shell.says(&["config"], "").await;
    if std::os::unix::fs::chown(ada.config(), Some(12_345), None).is_ok() {
        assert!(ada.shell.fails(&["config"], 64).await.contains("another user's"));
    }
}

#[tokio::test]
async fn what_is_no_file_is_refused_at_once() {
    let folder = Person::new();
    fs::create_dir_all(folder.config()).unwrap();
    let pipe = Person::new();
    fs::create_dir_all(pipe.config().parent().unwrap()).unwrap();
    assert!(Command::new("mkfifo").arg(pipe.config()).status().unwrap().success());
    for person in [folder, pipe] {
        for arguments in [&["balance"][..], &["config", "set", "account", "a"]] {
            let (code, said) = ended(&person.shell, arguments, "").await;
            assert!(code == Some(1) && said.contains("it is no file"), "{code:?} {said}");
        }
    }
}

#[tokio::test]
async fn what_says_nothing_is_no_mistake() {
    let ada = Person::new();
    for text in ["", "# nothing yet\n", "---\n", "{}\n", "\u{feff}", "default:\n", "default: {}\n", "default:\n  key:\n  url: ''\n"] {
        ada.write(text);
        let shown = ada.json(&["config"]).await;
        let sources: Vec<&str> = shown["values"].as_array().unwrap().iter().map(|value| value["source"].as_str().unwrap()).collect();
        assert!(sources.iter().all(|source| ["unset", "default"].contains(source)), "{text:?}: {shown}");
    }
}

#[tokio::test]
async fn without_a_home_there_is_no_config_file_and_what_needs_one_says_what_to_do() {
    for home in [None, Some(""), Some("relative"), Some("/dev/null"), Some("/proc/nonexistent")] {
        let mut ada = Person::new();
        ada.shell.environment.remove("HOME");
        if let Some(home) = home {
            ada.shell = ada.shell.with("HOME", home).with("XDG_CONFIG_HOME", "relative").with("XDG_STATE_HOME", "./state");
        }
        ada.shell.says(&["config"], "").await;
        let (code, said) = ended(&ada.shell, &["balance", "--auth-url", "http://127.0.0.1:9"], "").await;
        assert!(code == Some(69) && said.contains("can't be reached"), "{home:?}: {said}");
        let (code, said) = ended(&ada.shell, &["config", "set", "account", "a"], "").await;
        assert!([Some(64), Some(1)].contains(&code) && said.contains("config file"), "{home:?}: {said}");
        assert!(ada.shell.fails(&["balance", "--profile", "work"], 64).await.contains("config file") || home.is_some());
    }
    assert!(!fs::exists("relative").unwrap() && !fs::exists("state").unwrap());
    let ada = Person::new();
    let named = ada.home.path().join("named.yaml");
    let shell = ada.shell.with("TOLLGATE_CONFIG", named.to_str().unwrap());
    shell.says(&["config", "set", "account", "a"], "").await;
    assert_eq!(fs::read_to_string(&named).unwrap(), "default:\n  account: a\n");
    let none = ada.shell.with("TOLLGATE_CONFIG", "/dev/null");
    none.says(&["config"], "").await;
    assert!(none.fails(&["config", "set", "account", "a"], 64).await.contains("keeps nothing"));
}

#[tokio::test]
async fn a_home_that_can_not_be_written_fails_in_the_systems_words() {
    // Nobody can make a folder there, root neither.
    let shell = Person::new().shell.with("HOME", "/proc/self");
    let (code, said) = ended(&shell, &["config", "set", "account", "a"], "").await;
    assert!(code == Some(1) && said.contains("/proc/self/.config/tollgate/config.yaml can't be used"), "{said}");
    shell.says(&["config"], "").await;
}

#[tokio::test]
async fn a_profile_that_is_not_there_is_refused_and_those_that_are_there_are_named() {
    let ada = Person::new();
    ada.write("work:\n  account: a\nplay:\n");
    let by_variable = ada.shell.with("TOLLGATE_PROFILE", "home");
    for said in [ada.shell.fails(&["balance", "--profile", "home"], 64).await, by_variable.fails(&["config"], 64).await] {
        assert!(said.contains("no profile \"home\"") && said.contains("it has work, play"), "{said}");
        assert!(said.contains("tollgate config set auth_url URL --profile home"), "{said}");
    }
    // A flag wins over the variable, and `default` is always there.
    by_variable.says(&["config", "--profile", "work"], "").await;
    by_variable.says(&["config", "--profile", "default"], "").await;
    assert!(ada.shell.fails(&["balance", "--profile", "a b"], 64).await.contains("a profile's name"));
}

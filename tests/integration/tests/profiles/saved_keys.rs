//! `keys create --save`: a key that goes into a profile and not on the screen.

use std::fs;
use std::net::TcpListener;

use integration::scripted_upstream::ScriptedUpstream;
use integration::shell::{SOON, field, text};
use integration::stack::{PASSWORD, Plan, Stack};
use tokio::process::Command;
use tokio::time::timeout;

use super::{Person, ended, mode, names};

async fn signed_in(stack: &Stack) -> Person {
    let ada = Person::at(stack);
    ada.shell.says(&["signup", "ada"], format!("{PASSWORD}\n")).await;
    ada.shell.says(&["login", "ada"], format!("{PASSWORD}\n")).await;
    ada
}

fn key_in(text: &str) -> String {
    let begin = text.find("tg_").unwrap_or_else(|| panic!("no key in {text}"));
    text[begin..begin + 49].to_owned()
}

#[tokio::test]
async fn a_saved_key_is_in_the_profile_with_its_servers_works_from_then_on_and_was_never_shown() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let ada = signed_in(&stack).await;
    let (out, hint) = ada.shell.says(&["keys", "create", "--name", "laptop", "--save"], "").await;
    let key = key_in(&ada.written());
    assert!(!format!("{out}{hint}").contains(&key[10..40]), "{out}{hint}");
    assert!(out.contains("profile default") && mode(&ada.config()) == 0o600, "{out}");
    // The profile alone is enough now, without the variables.
    let mut alone = ada.shell.clone();
    alone.environment.retain(|name, _| name == "HOME");
    let (balance, _) = alone.says(&["balance"], "").await;
    assert_eq!(field(&balance, "available"), "10");
    let me = alone.says(&["me"], "").await.0;
    assert!(me.contains("API key"), "{me}");
    // And its person goes on managing keys.
    let ada = Person { shell: alone.clone(), home: ada.home };
    let json = ada.json(&["keys", "create", "--save=laptop"]).await;
    assert_eq!((&json["key"], &json["savedIn"]), (&serde_json::Value::Null, &"laptop".into()));
    assert!(alone.says(&["me", "--profile", "laptop"], "").await.0.contains(json["apiKeyId"].as_str().unwrap()));
}

#[tokio::test]
async fn a_key_that_is_saved_into_another_profile_leaves_no_other_server_there() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let ada = signed_in(&stack).await;
    // The command calls inference-service at its default URL; the profile names another one.
    ada.write("work:\n  url: http://127.0.0.1:9\n  ca: ca.pem\n");
    let mut shell = ada.shell.clone();
    shell.environment.remove("TOLLGATE_URL");
    shell.says(&["keys", "create", "--save=work"], "").await;
    let written = ada.written();
    assert!(written.contains("  key: tg_") && written.contains(&ada.shell.environment["TOLLGATE_AUTH_URL"]));
    assert!(!written.contains("url: http://127.0.0.1:9\n") && !written.contains("ca:"));
}

#[tokio::test]
async fn a_rotated_key_takes_its_place_and_what_was_there_is_told_by_its_hint_alone() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let ada = signed_in(&stack).await;
    ada.shell.says(&["keys", "create", "--save"], "").await;
    let before = key_in(&ada.written());
    let id = ada.json(&["keys", "list"]).await[0]["apiKeyId"].as_str().unwrap().to_owned();
    let (out, hint) = ada.shell.says(&["keys", "rotate", &id, "--save"], "").await;
    let after = key_in(&ada.written());
    assert_ne!(after, before);
    assert!(hint.contains(&before[45..]) && !format!("{out}{hint}").contains(&before[10..40]), "{hint}");
    assert!(!ada.written().contains(&before));
    ada.shell.says(&["balance"], "").await;
}

#[tokio::test]
async fn no_key_is_made_where_it_could_not_be_saved() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let ada = signed_in(&stack).await;
    let table: [(&[&str], i32, &str); 3] = [
        (&["--save=../x"], 64, "a profile's name"),
        (&["--save=work"], 64, "can't have a key beside it"),
        (&["--save", "--keychain"], 1, "no keychain here"),
    ];
    ada.write("work:\n  session: /nonexistent\n");
    for (arguments, expected, why) in table {
        let shell = ada.shell.with("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus");
        let (code, said) = ended(&shell, &[&["keys", "create"], arguments].concat(), "").await;
        assert!(code == Some(expected) && said.contains(why), "{arguments:?} {code:?}: {said}");
    }
    let nothing = ada.shell.with("TOLLGATE_CONFIG", "/dev/null");
    assert!(nothing.fails(&["keys", "create", "--save"], 64).await.contains("keeps nothing"));
    let unwritable = ada.shell.with("TOLLGATE_CONFIG", "/proc/self/config.yaml");
    unwritable.fails(&["keys", "create", "--save"], 1).await;
    assert_eq!(ada.json(&["keys", "list"]).await, serde_json::json!([]));
    ada.write("work:\n  account: a\n...\n");
    assert!(ada.shell.fails(&["keys", "create", "--save"], 64).await.contains("only an editor"));
    assert_eq!(ada.json(&["keys", "list"]).await, serde_json::json!([]));
}

#[tokio::test]
async fn a_key_that_turns_out_too_late_not_to_be_savable_can_be_had_by_its_request_id_or_revoked() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let ada = signed_in(&stack).await;
    let token = ada.shell.says(&["login", "ada", "--print-token"], format!("{PASSWORD}\n")).await.0;
    // Between the command's look at the file and the answer, somebody else changes the profile.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let shell = ada.shell.with_key(token.trim()).with("TOLLGATE_AUTH_URL", &url);
    let child = shell.start(&["keys", "create", "--save"]);
    let (mut here, _) = listener.accept().await.unwrap();
    ada.write("default:\n  session: /nonexistent\n");
    let mut there = tokio::net::TcpStream::connect(stack.auths[0].address()).await.unwrap();
    let passed = tokio::spawn(async move { tokio::io::copy_bidirectional(&mut here, &mut there).await });
    let stopped = timeout(SOON, child.wait_with_output()).await.unwrap().unwrap();
    passed.abort();
    let said = text(&stopped.stderr);
    assert_eq!((stopped.status.code(), text(&stopped.stdout).as_str()), (Some(64), ""), "{said}");
    assert!(said.contains("--request-id") && said.contains("tollgate keys revoke") && !said.contains("tg_"), "{said}");
    assert_eq!(ada.written(), "default:\n  session: /nonexistent\n");
    // The same id makes no second key.
    let id = said.split("--request-id ").nth(1).unwrap().split_whitespace().next().unwrap();
    let again = ada.shell.with_key(token.trim());
    again.says(&["keys", "create", "--save=other", "--request-id", id], "").await;
    let (list, _) = again.says(&["keys", "list", "--json"], "").await;
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
    again.says(&["balance", "--profile", "other", "--key", &key_in(&ada.written())], "").await;
}

#[tokio::test]
async fn ctrl_c_while_a_key_is_made_leaves_the_file_as_it_was_and_no_lock() {
    let ada = Person::new();
    ada.write("default:\n  account: a\n");
    // It takes connections, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let shell = ada.shell.with_key("tg_nonsense").with("TOLLGATE_AUTH_URL", &url);
    let child = shell.start(&["keys", "create", "--save"]);
    let _connection = silent.accept().unwrap();
    let pid = child.id().unwrap().to_string();
    // Where the tests themselves were started in a script's background, Ctrl-C is ignored, and TERM ends it.
    for signal in ["-INT", "-TERM"] {
        assert!(Command::new("kill").args([signal, &pid]).status().await.unwrap().success());
    }
    let stopped = timeout(SOON, child.wait_with_output()).await.unwrap().unwrap();
    assert!(!stopped.status.success(), "{}", text(&stopped.stderr));
    assert_eq!(ada.written(), "default:\n  account: a\n");
    ada.shell.says(&["config", "set", "account", "b"], "").await;
    assert_eq!(names(ada.config().parent().unwrap()), ["config.yaml", "config.yaml.lock"]);
    assert_eq!(fs::read_to_string(ada.config()).unwrap(), "default:\n  account: b\n");
}

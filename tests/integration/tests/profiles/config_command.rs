//! `tollgate config`: setting, removing and listing, by real processes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use integration::processes::binary;
use integration::shell::{SOON, text};
use tokio::process::Command;
use tokio::time::timeout;

use super::{CANARY, Person, ended, mode, names};

#[tokio::test]
async fn what_is_set_is_shown_and_what_is_unset_is_gone_and_the_key_is_never_shown() {
    let ada = Person::new();
    ada.shell.says(&["config", "set", "url", "http://127.0.0.1:1"], "").await;
    let (out, hint) = ada.shell.says(&["config", "set", "key", "--profile", "work"], format!("{CANARY}\n")).await;
    assert!(out.contains("work") && out.contains("config.yaml"), "{out}");
    ada.shell.says(&["config", "set", "account", "0123", "--profile", "work"], "").await;
    assert_eq!(ada.written(), format!("default:\n  url: http://127.0.0.1:1\nwork:\n  key: {CANARY}\n  account: \"0123\"\n"));
    assert_eq!((mode(&ada.config()), mode(ada.config().parent().unwrap())), (0o600, 0o700));
    assert_eq!(names(ada.config().parent().unwrap()), ["config.yaml", "config.yaml.lock"]);

    let mut shown = out + &hint;
    let everything: [&[&str]; 7] = [
        &["config", "--profile", "work"],
        &["config", "show", "--profile", "work", "--json"],
        &["config", "get", "key", "--profile", "work"],
        &["config", "list"],
        &["config", "list", "--json"],
        &["config", "path", "--json"],
        &["balance", "--profile", "work", "--auth-url", "http://127.0.0.1:9"],
    ];
    for arguments in everything {
        shown += &ended(&ada.shell, arguments, "").await.1;
    }
    assert!(!shown.contains("canary"), "{shown}");
    assert_eq!(ada.shell.says(&["config", "get", "account", "--profile", "work"], "").await.0, "0123\n");

    let list = ada.json(&["config", "list"]).await;
    let profiles: Vec<_> = list.as_array().unwrap().iter().map(|profile| (&profile["profile"], &profile["current"])).collect();
    assert_eq!(profiles, [(&"default".into(), &true.into()), (&"work".into(), &false.into())]);
    assert_eq!((&list[1]["credential"], &list[0]["url"]), (&"key".into(), &"http://127.0.0.1:1".into()));

    ada.shell.says(&["config", "unset", "key", "--profile", "work"], "").await;
    assert!(!ada.written().contains("canary"));
    assert!(ada.shell.fails(&["config", "unset", "key", "--profile", "work"], 64).await.contains("says nothing of key"));
    assert!(ada.shell.fails(&["config", "get", "key", "--profile", "work"], 1).await.contains("isn't set"));
    ada.shell.says(&["config", "remove", "work"], "").await;
    assert!(ada.shell.fails(&["config", "remove", "work"], 64).await.contains("no profile"));
    assert_eq!(ada.written(), "default:\n  url: http://127.0.0.1:1\n");
}

#[tokio::test]
async fn what_can_not_be_meant_is_refused_and_nothing_is_written() {
    let ada = Person::new();
    let table: [(&[&str], &str, &str); 12] = [
        (&["config", "set", "key", CANARY], "", "no argument"),
        (&["config", "set", "key"], "", "no key was given"),
        (&["config", "set", "key"], "two words\n", "visible ASCII"),
        (&["config", "set", "url"], "", "which url?"),
        (&["config", "set", "url", ""], "", "which url?"),
        (&["config", "set", "url", "no url"], "", "URL"),
        (&["config", "set", "auth_url", "ftp://h"], "", "must begin with https://"),
        (&["config", "set", "account", "a b"], "", "account"),
        (&["config", "set", "model", "a\nb"], "", "line breaks"),
        (&["config", "set", "model", "m", "--keychain"], "", "--keychain is for keys"),
        (&["config", "set", "url", "http://h:1", "--profile", "../x"], "", "a profile's name"),
        (&["config", "set", "url", "http://h:1", "--profile", "work.lock"], "", "a profile's name"),
    ];
    for (arguments, input, why) in table {
        let (code, said) = ended(&ada.shell, arguments, input).await;
        assert_eq!(code, Some(64), "{arguments:?}: {said}");
        assert!(said.contains(why) && !said.contains("canary"), "{arguments:?}: {said}");
    }
    assert!(!ada.config().exists());
    let both = Person::new();
    both.write("work:\n  session: s\n");
    let (code, said) = ended(&both.shell, &["config", "set", "key", "--profile", "work"], CANARY).await;
    assert!(code == Some(64) && said.contains("can't have a key beside it"), "{said}");
}

#[tokio::test]
async fn a_change_keeps_what_people_wrote_and_their_editors_ways() {
    let ada = Person::new();
    let text = "\u{feff}# mine\r\nwork:   # at work\r\n    url: 'http://h:1'\r\n\r\n# for games\r\nplay: {url: http://p:1}\r\n";
    ada.write(text);
    ada.shell.says(&["config", "set", "url", "http://h:2", "--profile", "work"], "").await;
    assert_eq!(ada.written(), text.replace("'http://h:1'", "http://h:2"));
    ada.shell.says(&["config", "set", "model", "m", "--profile", "play"], "").await;
    assert_eq!(ada.json(&["config", "get", "model", "--profile", "play"]).await["value"], "m");
    assert!(ada.written().starts_with("\u{feff}# mine\r\nwork:   # at work\r\n"));

    ada.write("work:\n  url: http://h:1\n...\n");
    let (code, said) = ended(&ada.shell, &["config", "set", "url", "http://h:1", "--profile", "play"], "").await;
    assert!(code == Some(64) && said.contains("only an editor can change it"), "{said}");
    assert_eq!(ada.written(), "work:\n  url: http://h:1\n...\n");
}

#[tokio::test]
async fn processes_that_write_at_once_lose_none_of_their_changes() {
    let ada = Person::new();
    let running: Vec<_> =
        (0..16).map(|n| (n, ada.shell.start(&["config", "set", "account", &format!("a{n}"), "--profile", &format!("p{n}")]))).collect();
    for (n, child) in running {
        let ended = timeout(SOON, child.wait_with_output()).await.unwrap().unwrap();
        assert!(ended.status.success(), "p{n}: {}", text(&ended.stderr));
    }
    let list = ada.json(&["config", "list"]).await;
    assert_eq!(list.as_array().unwrap().len(), 16, "{}", ada.written());
    assert_eq!(names(ada.config().parent().unwrap()), ["config.yaml", "config.yaml.lock"]);
}

#[tokio::test]
async fn a_draft_that_a_killed_process_left_is_removed_and_the_file_is_whole() {
    let ada = Person::new();
    ada.write("work:\n  account: a\n");
    let draft = ada.config().with_file_name(".config.yaml.draft");
    fs::write(&draft, "work:\n  key: tg_ha").unwrap();
    ada.shell.says(&["config", "set", "account", "b", "--profile", "work"], "").await;
    assert_eq!((ada.written().as_str(), draft.exists()), ("work:\n  account: b\n", false));
}

#[tokio::test]
async fn whatever_the_umask_is_the_file_is_its_owners_alone() {
    for umask in ["000", "002", "077"] {
        let ada = Person::new();
        let script = format!("umask {umask}; exec \"$0\" config set account a");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script]).arg(binary("tollgate")).env_clear().envs(&ada.shell.environment).stdin(Stdio::null());
        let done = command.output().await.unwrap();
        assert!(done.status.success(), "{}", text(&done.stderr));
        let folder = ada.config().parent().unwrap().to_owned();
        assert_eq!((mode(&ada.config()), mode(&folder)), (0o600, 0o700), "umask {umask}");
    }
}

#[tokio::test]
async fn a_link_stays_a_link_and_what_it_leads_to_is_changed_and_counts() {
    let ada = Person::new();
    let dotfiles = ada.home.path().join("dotfiles.yaml");
    fs::write(&dotfiles, "work:\n  account: a\n").unwrap();
    fs::create_dir_all(ada.config().parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(&dotfiles, ada.config()).unwrap();
    fs::set_permissions(&dotfiles, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(ada.shell.fails(&["config", "list"], 64).await.contains("chmod 600"));
    fs::set_permissions(&dotfiles, fs::Permissions::from_mode(0o600)).unwrap();
    ada.shell.says(&["config", "set", "account", "b", "--profile", "work"], "").await;
    assert!(fs::symlink_metadata(ada.config()).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&dotfiles).unwrap(), "work:\n  account: b\n");
}

#[tokio::test]
async fn ctrl_c_while_a_key_is_waited_for_changes_nothing_and_holds_nothing_up() {
    let ada = Person::new();
    ada.write("work:\n  account: a\n");
    let child = ada.shell.start(&["config", "set", "key", "--profile", "work"]);
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
    let ended = timeout(SOON, child.wait_with_output()).await.unwrap().unwrap();
    assert!(!ended.status.success());
    assert_eq!(ada.written(), "work:\n  account: a\n");
    ada.shell.says(&["config", "set", "account", "b", "--profile", "work"], "").await;
}

#[tokio::test]
async fn paths_in_a_profile_mean_the_same_wherever_the_command_runs() {
    let ada = Person::new();
    ada.write("work:\n  ca: ca.pem\n  session: ~/s\n");
    let config = ada.json(&["config", "--profile", "work"]).await;
    let value = |name: &str| {
        let values = config["values"].as_array().unwrap();
        values.iter().find(|value| value["name"] == name).unwrap()["value"].as_str().unwrap().to_owned()
    };
    assert_eq!(value("ca"), ada.config().with_file_name("ca.pem").to_str().unwrap());
    assert_eq!(value("session"), ada.home.path().join("s").to_str().unwrap());
    let mut set = Command::new(binary("tollgate"));
    set.args(["config", "set", "ca", "here.pem"]).current_dir(ada.home.path()).env_clear().envs(&ada.shell.environment);
    assert!(set.output().await.unwrap().status.success());
    let kept = ada.json(&["config", "get", "ca"]).await["value"].as_str().unwrap().to_owned();
    assert_eq!(fs::canonicalize(ada.home.path()).unwrap().join("here.pem"), std::path::Path::new(&kept));
}

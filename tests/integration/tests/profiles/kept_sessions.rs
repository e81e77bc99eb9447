//! The session that `login` keeps for a profile: used, refreshed, and given to no other server.

use std::fs;

use integration::polling::until;
use integration::scripted_upstream::ScriptedUpstream;
use integration::shell::{SOON, field, text};
use integration::stack::{PASSWORD, Plan, Stack};

use super::{Person, ended, mode, names};

async fn stack(upstream: &ScriptedUpstream) -> Stack {
    Plan::with_upstream(&upstream.url()).start().await
}

impl Person {
    async fn signs_up(&self, name: &str) {
        self.shell.says(&["signup", name], format!("{PASSWORD}\n")).await;
    }

    async fn signs_in(&self, arguments: &[&str]) -> String {
        let (out, said) = self.shell.says(&[&["login"], arguments].concat(), format!("{PASSWORD}\n")).await;
        assert_eq!(out, "", "nothing of the session is shown");
        said
    }

    fn kept(&self, profile: &str) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.session(profile)).unwrap()).unwrap()
    }
}

#[tokio::test]
async fn login_keeps_its_session_for_the_profile_and_every_command_uses_and_refreshes_it_until_logout() {
    let upstream = ScriptedUpstream::start().await;
    let stack = stack(&upstream).await;
    let ada = Person::at(&stack);
    ada.signs_up("ada").await;
    let said = ada.signs_in(&["ada"]).await;
    let file = ada.session("default");
    assert!(said.contains(file.to_str().unwrap()) && !said.contains("tgr_"), "{said}");
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    assert_eq!(field(&ada.shell.says(&["me"], "").await.0, "user"), "ada");
    for command in [&["balance"][..], &["models", "list"], &["sessions", "list"], &["keys", "create"]] {
        let mut kept = ada.kept("default");
        let before = kept["refresh_token"].clone();
        (kept["expires_at_ms"], kept["refresh_at_ms"]) = (1.into(), 1.into());
        fs::write(&file, kept.to_string()).unwrap();
        ada.shell.says(command, "").await;
        assert_ne!(ada.kept("default")["refresh_token"], before, "{command:?} refreshed it");
        assert_eq!(ada.kept("default")["auth_url"], ada.shell.environment["TOLLGATE_AUTH_URL"].as_str());
    }
    let config = ada.json(&["config"]).await;
    let session = config["values"].as_array().unwrap().iter().find(|value| value["name"] == "session").unwrap();
    assert_eq!((&session["source"], &session["isCredential"]), (&"login".into(), &true.into()));
    assert_eq!(ada.json(&["config", "list"]).await[0]["signedIn"], true);

    // A second login ends the first one.
    let before = ada.kept("default")["access_token"].as_str().unwrap().to_owned();
    ada.signs_in(&["ada"]).await;
    assert!(ada.shell.with_key(&before).fails(&["me"], 77).await.contains("CREDENTIAL_REVOKED"));

    ada.shell.says(&["logout"], "").await;
    assert!(!file.exists());
    let gone = ada.shell.fails(&["me"], 77).await;
    assert!(gone.contains("CREDENTIAL_MISSING") && gone.contains("tollgate login NAME"), "{gone}");
    assert_eq!(names(file.parent().unwrap()), ["default.lock"]);
}

#[tokio::test]
async fn commands_at_once_refresh_the_kept_session_one_after_the_other() {
    let upstream = ScriptedUpstream::start().await;
    let stack = stack(&upstream).await;
    let ada = Person::at(&stack);
    ada.signs_up("ada").await;
    ada.signs_in(&["ada"]).await;
    let mut kept = ada.kept("default");
    (kept["expires_at_ms"], kept["refresh_at_ms"]) = (1.into(), 1.into());
    fs::write(ada.session("default"), kept.to_string()).unwrap();
    for child in (0..8).map(|_| ada.shell.start(&["me"])).collect::<Vec<_>>() {
        let ended = child.wait_with_output().await.unwrap();
        assert!(ended.status.success(), "{}", text(&ended.stderr));
    }
    ada.shell.says(&["me"], "").await;
}

#[tokio::test]
async fn profiles_have_sessions_of_their_own_and_a_key_in_one_goes_on_paying_beside_it() {
    let upstream = ScriptedUpstream::start().await;
    let stack = stack(&upstream).await;
    let person = Person::at(&stack);
    person.signs_up("ada").await;
    person.signs_up("bob").await;
    person.write("work:\nplay:\n");
    person.signs_in(&["ada", "--profile", "work"]).await;
    person.signs_in(&["bob", "--profile", "play"]).await;
    for (profile, name) in [("work", "ada"), ("play", "bob")] {
        assert_eq!(field(&person.shell.says(&["me", "--profile", profile], "").await.0, "user"), name);
    }
    assert!(person.shell.fails(&["me"], 77).await.contains("CREDENTIAL_MISSING"), "the default profile has none");
    let unknown = person.shell.run(&["login", "ada", "--profile", "home"], format!("{PASSWORD}\n")).await;
    assert_eq!(unknown.status.code(), Some(64));

    // Bob's key in ada's profile: it pays, and ada's session manages keys.
    let (key, _) = person.shell.says(&["keys", "create", "--profile", "play"], "").await;
    person.shell.says(&["config", "set", "key", "--profile", "work"], key).await;
    assert_eq!(field(&person.shell.says(&["me", "--profile", "work"], "").await.0, "user"), "bob");
    let (list, _) = person.shell.says(&["sessions", "list", "--profile", "work"], "").await;
    assert!(list.contains("current"), "{list}");
    let said = person.signs_in(&["ada", "--profile", "work"]).await;
    assert!(said.contains("has a key, which goes on asking and paying"), "{said}");
    // While somebody is signed in a profile stays.
    assert!(person.shell.fails(&["config", "remove", "work"], 64).await.contains("tollgate logout --profile work"));
    person.shell.says(&["logout", "--profile", "work"], "").await;
    assert!(!person.session("work").exists() && person.session("play").exists());
    person.shell.says(&["config", "remove", "work"], "").await;
}

#[tokio::test]
async fn a_kept_session_is_never_shown_to_another_server_than_the_one_that_began_it() {
    let upstream = ScriptedUpstream::start().await;
    let (here, elsewhere) = (stack(&upstream).await, stack(&upstream).await);
    let ada = Person::at(&here);
    ada.signs_up("ada").await;
    ada.signs_in(&["ada"]).await;
    let other = Person::at(&elsewhere).shell.environment["TOLLGATE_AUTH_URL"].clone();
    for command in ["me", "logout"] {
        let refused = ada.shell.fails(&[command, "--auth-url", &other], 77).await;
        assert!(refused.contains(&other) && refused.contains(&ada.shell.environment["TOLLGATE_AUTH_URL"]), "{refused}");
    }
    // A login elsewhere takes its place, and doesn't tell the other server what was there.
    ada.shell.says(&["signup", "ada", "--auth-url", &other], format!("{PASSWORD}\n")).await;
    let (_, said) = ada.shell.says(&["login", "ada", "--auth-url", &other], format!("{PASSWORD}\n")).await;
    assert!(!said.contains("could not be ended"), "{said}");
    ada.shell.says(&["me", "--auth-url", &other], "").await;
    let named = ada.session("default");
    let (out, _) = ada.shell.says(&["me", "--auth-url", &other, "--session", named.to_str().unwrap()], "").await;
    assert_eq!(field(&out, "user"), "ada", "whoever names a file answers for it");
}

#[tokio::test]
async fn a_script_gets_an_access_token_and_nothing_is_kept() {
    let upstream = ScriptedUpstream::start().await;
    let stack = stack(&upstream).await;
    let ada = Person::at(&stack);
    ada.signs_up("ada").await;
    let (token, _) = ada.shell.says(&["login", "ada", "--print-token"], format!("{PASSWORD}\n")).await;
    assert_eq!((token.lines().count(), token.trim().split('.').count()), (1, 3));
    assert!(!ada.session("default").exists() && !ada.home.path().join(".local").exists());
    assert_eq!(field(&ada.shell.with_key(token.trim()).says(&["me"], "").await.0, "user"), "ada");
    let named = ada.home.path().join("session");
    let shell = ada.shell.with("TOLLGATE_SESSION", named.to_str().unwrap());
    shell.says(&["login", "ada", "--print-token"], format!("{PASSWORD}\n")).await;
    assert!(!named.exists());
}

#[tokio::test]
async fn a_login_that_is_killed_leaves_no_draft_behind_the_next_one() {
    let upstream = ScriptedUpstream::start().await;
    let stack = stack(&upstream).await;
    let ada = Person::at(&stack);
    ada.signs_up("ada").await;
    ada.signs_in(&["ada"]).await;
    let draft = ada.session(".default.draft");
    fs::write(&draft, "half a sess").unwrap();
    let mut kept = ada.kept("default");
    (kept["expires_at_ms"], kept["refresh_at_ms"]) = (1.into(), 1.into());
    fs::write(ada.session("default"), kept.to_string()).unwrap();
    ada.shell.says(&["me"], "").await;
    assert!(!draft.exists(), "the refresh removed it");
    // Killed at any moment, the next command finds a session, or is told what to do.
    let mut child = ada.shell.start(&["login", "ada"]);
    drop(child.stdin.take());
    child.kill().await.unwrap();
    ada.shell.says(&["me"], "").await;
    let sessions = until("the folder", SOON, || async { Some(names(ada.session("default").parent().unwrap())) }).await;
    assert_eq!(sessions, ["default", "default.lock"]);
    let (code, said) = ended(&ada.shell, &["logout"], "").await;
    assert_eq!(code, Some(0), "{said}");
}

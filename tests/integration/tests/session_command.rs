//! The `tollgate` command in a session that it keeps in a file, and with keys that leaked.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use auth_service::api_key::ApiKey;
use auth_service::ids::AccountId;
use integration::scripted_upstream::ScriptedUpstream;
use integration::shell::{Shell, field, text};
use integration::stack::{PASSWORD, Plan, Stack};

const NEW_PASSWORD: &str = "another pass phrase of mine";

/// A shell whose commands share a session file.
struct SignedIn {
    shell: Shell,
    file: PathBuf,
}

impl SignedIn {
    /// Signs a new user up and in.
    async fn new(stack: &Stack, name: &str) -> Self {
        let shell = Shell::at(stack);
        shell.says(&["signup", name], format!("{PASSWORD}\n")).await;
        let signed_in = Self::at(stack, name);
        signed_in.log_in(name).await;
        signed_in
    }

    fn at(stack: &Stack, file: &str) -> Self {
        let file = stack.folder().join(format!("{file}.session"));
        Self { shell: Shell::at(stack).with("TOLLGATE_SESSION", file.to_str().unwrap()), file }
    }

    async fn log_in(&self, name: &str) {
        let (out, hint) = self.shell.says(&["login", name], format!("{PASSWORD}\n")).await;
        assert_eq!(out, "", "the session goes into its file alone");
        for secret in ["access_token", "refresh_token"] {
            assert!(!hint.contains(&self.kept(secret)), "{hint}");
        }
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(&self.file).unwrap()).unwrap()
    }

    /// What the file says under a name.
    fn kept(&self, name: &str) -> String {
        self.json()[name].as_str().unwrap().to_owned()
    }

    /// Makes the next command refresh: the token's time is over.
    fn let_the_token_end(&self) {
        let mut kept = self.json();
        kept["expires_at_ms"] = 1.into();
        kept["refresh_at_ms"] = 1.into();
        fs::write(&self.file, kept.to_string()).unwrap();
    }
}

#[tokio::test]
async fn a_session_from_login_to_logout_is_kept_in_a_file_and_refreshed_by_every_command() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let ada = SignedIn::new(&stack, "ada").await;
    assert_eq!(fs::metadata(&ada.file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(field(&ada.shell.says(&["me"], "").await.0, "user"), "ada");

    let first = ada.kept("refresh_token");
    assert!(first.starts_with("tgr_") && first.len() == 82, "its form");
    for command in [&["me"][..], &["balance"], &["models", "list"], &["keys", "list"]] {
        let before = ada.kept("refresh_token");
        ada.let_the_token_end();
        ada.shell.says(command, "").await;
        assert_ne!(ada.kept("refresh_token"), before, "{command:?} refreshed the session");
        assert_eq!(fs::metadata(&ada.file).unwrap().permissions().mode() & 0o777, 0o600);
        ada.shell.says(command, "").await;
    }

    let (list, _) = ada.shell.says(&["sessions", "list"], "").await;
    let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    let current: Vec<_> = rows.iter().filter(|row| row[1] == "current").collect();
    assert_eq!((current.len(), current[0][0]), (1, ada.kept("session_id").as_str()), "{list}");
    assert!(list.contains("127.0.0.1") && list.contains("password  *       tollgate 0.1") && !list.contains("tgr_"), "{list}");

    // A flag names it as well, and wins over the key in the environment.
    let path = ada.file.to_str().unwrap();
    let elsewhere = Shell::at(&stack).with_key("tg_nonsense");
    assert_eq!(field(&elsewhere.says(&["me", "--session", path], "").await.0, "user"), "ada");
    assert!(elsewhere.fails(&["me"], 77).await.contains("CREDENTIAL_INVALID"));

    let kept = ada.kept("access_token");
    assert_eq!(ada.shell.says(&["logout"], "").await.0, "signed out\n");
    assert!(!ada.file.exists());
    let gone = ada.shell.fails(&["me"], 77).await;
    assert!(gone.contains("no session") && gone.contains("tollgate login"), "{gone}");
    assert!(Shell::at(&stack).with_key(&kept).fails(&["me"], 77).await.contains("CREDENTIAL_REVOKED"));
}

#[tokio::test]
async fn commands_that_refresh_at_once_with_one_file_refresh_one_after_the_other_and_all_succeed() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let ada = SignedIn::new(&stack, "ada").await;
    for _ in 0..3 {
        let before = ada.kept("refresh_token");
        ada.let_the_token_end();
        let running: Vec<_> = (0..8).map(|_| ada.shell.start(&["me"])).collect();
        for child in running {
            let ended = child.wait_with_output().await.unwrap();
            assert!(ended.status.success(), "{}", text(&ended.stderr));
        }
        assert_ne!(ada.kept("refresh_token"), before);
    }
    // Had one token been used by two of them, the session would be gone by now.
    ada.let_the_token_end();
    ada.shell.says(&["me"], "").await;
}

#[tokio::test]
async fn a_session_file_that_others_can_open_is_refused_until_a_new_login() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let ada = SignedIn::new(&stack, "ada").await;
    fs::set_permissions(&ada.file, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = ada.shell.fails(&["me"], 1).await;
    assert!(refused.contains("mode 600") && !refused.contains(&ada.kept("refresh_token")), "{refused}");
    let open_to_others = ada.kept("access_token");
    ada.log_in("ada").await;
    ada.shell.says(&["me"], "").await;
    let ended = Shell::at(&stack).with_key(&open_to_others).fails(&["me"], 77).await;
    assert!(ended.contains("CREDENTIAL_REVOKED"), "the session that others could have is no more: {ended}");

    fs::write(&ada.file, "no session at all").unwrap();
    assert!(ada.shell.fails(&["me"], 1).await.contains("log in again"));
    let nowhere = Path::new("/nonexistent/session");
    let shell = Shell::at(&stack).with("TOLLGATE_SESSION", nowhere.to_str().unwrap());
    let refused = shell.run(&["login", "ada"], format!("{PASSWORD}\n")).await;
    assert_eq!((refused.status.code(), text(&refused.stdout).as_str()), (Some(1), ""), "{}", text(&refused.stderr));
}

#[tokio::test]
async fn a_login_into_a_file_ends_the_session_that_was_in_it() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let ada = SignedIn::new(&stack, "ada").await;
    let before = ada.kept("access_token");
    ada.log_in("ada").await;
    assert!(Shell::at(&stack).with_key(&before).fails(&["me"], 77).await.contains("CREDENTIAL_REVOKED"));
    let (list, _) = ada.shell.says(&["sessions", "list"], "").await;
    assert_eq!(list.lines().count(), 2, "{list}");
}

#[tokio::test]
async fn sessions_are_ended_one_by_one_or_all_and_what_was_signed_in_there_says_so() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let laptop = SignedIn::new(&stack, "ada").await;
    let phone = SignedIn::at(&stack, "phone");
    phone.shell.says(&["login", "ada", "--client", "my phone"], format!("{PASSWORD}\n")).await;
    let (list, _) = laptop.shell.says(&["sessions", "list"], "").await;
    let row = list.lines().find(|line| line.ends_with("my phone")).unwrap_or_else(|| panic!("{list}"));
    let id = row.split_whitespace().next().unwrap();
    assert_eq!(laptop.shell.says(&["sessions", "revoke", id], "").await.0, format!("session {id} is ended\n"));
    let ended = phone.shell.fails(&["me"], 77).await;
    assert!(ended.contains("the session has ended") && ended.contains("tollgate login"), "{ended}");
    assert_eq!(phone.shell.says(&["logout"], "").await.0, "signed out\n");
    assert!(!phone.file.exists());

    phone.log_in("ada").await;
    let (key, _) = laptop.shell.says(&["keys", "create"], "").await;
    assert_eq!(laptop.shell.says(&["logout", "--everywhere"], "").await.0, "signed out everywhere: 2 sessions are ended\n");
    assert!(!laptop.file.exists());
    assert!(phone.shell.fails(&["balance"], 77).await.contains("the session has ended"));
    Shell::at(&stack).with_key(key.trim()).says(&["balance"], "").await;
}

#[tokio::test]
async fn a_password_is_changed_and_chosen_anew_after_a_reset_and_never_shown() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let laptop = SignedIn::new(&stack, "ada").await;
    let phone = SignedIn::at(&stack, "phone");
    phone.log_in("ada").await;
    let both = format!("{PASSWORD}\n{NEW_PASSWORD}\n");
    let (out, error) = laptop.shell.says(&["password", "change"], &both).await;
    assert_eq!(out, "the password is changed; 1 other session is ended\n");
    assert!(!error.contains(PASSWORD) && !error.contains(NEW_PASSWORD), "{error}");
    phone.shell.fails(&["me"], 77).await;
    laptop.shell.says(&["me"], "").await;
    let wrong = laptop.shell.run(&["password", "change"], &both).await;
    assert_ne!(wrong.status.code(), Some(0), "the old one is no more");

    let admin = stack.admin_token().await;
    let reset = shared::proto::auth::ResetPasswordRequest { user_name: "ada".into() };
    let one_time = stack.admin(&admin).reset_password(reset).await.unwrap().into_inner().one_time_password;
    let early = phone.shell.run(&["login", "ada"], format!("{one_time}\n")).await;
    assert!(text(&early.stderr).contains("tollgate password complete-reset"), "{}", text(&early.stderr));
    phone.shell.says(&["password", "complete-reset", "ada"], format!("{one_time}\n{PASSWORD}\n")).await;
    phone.shell.says(&["me"], "").await;
    let again = phone.shell.run(&["password", "complete-reset", "ada"], format!("{one_time}\n{PASSWORD} 2\n")).await;
    assert_eq!(again.status.code(), Some(77), "it is good once: {}", text(&again.stderr));
}

#[tokio::test]
async fn a_key_is_made_with_networks_rotated_and_one_of_its_secrets_revoked() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let ada = SignedIn::new(&stack, "ada").await;
    let shell = |key: &str| Shell::at(&stack).with_key(key.trim());
    let create = ["keys", "create", "--name", "laptop", "--network", "127.0.0.0/8", "--network", "::1", "--expires-in", "30d"];
    let (first, hint) = ada.shell.says(&create, "").await;
    assert!(hint.contains("until"), "{hint}");
    shell(&first).says(&["balance"], "").await;
    let (elsewhere, _) =
        ada.shell.says(&["keys", "create", "--network", "10.0.0.0/8", "--scope", "list_models", "--scope", "account"], "").await;
    assert!(shell(&elsewhere).fails(&["balance"], 77).await.contains("NETWORK_NOT_ALLOWED"));

    let rows = async || -> Vec<Vec<String>> {
        let (list, _) = ada.shell.says(&["keys", "list"], "").await;
        list.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    let before = rows().await;
    assert_eq!(before[0], ["ID", "KEY", "STATE", "SCOPES", "MODELS", "NETWORKS", "CREATED", "EXPIRES", "USED", "SECRET", "NAME"]);
    assert!(before[1][5].contains("127.0.0.0/8"), "{before:?}");
    let id = before[1][0].clone();

    let (second, hint) = ada.shell.says(&["keys", "rotate", &id, "--grace", "1h"], "").await;
    assert!(hint.contains("is good until") && hint.contains("can't be shown again") && !hint.contains(second.trim()), "{hint}");
    assert_ne!(first, second);
    for key in [&first, &second] {
        shell(key).says(&["balance"], "").await;
    }
    let states = |rows: &[Vec<String>]| -> Vec<(String, String)> {
        let of_it = rows.iter().filter(|row| row[0] == id);
        of_it.map(|row| (row[9].clone(), row[2].clone())).collect()
    };
    let active = |number: &str| (number.to_owned(), "active".to_owned());
    assert_eq!(states(&rows().await), [active("2"), active("1")]);
    let (out, _) = ada.shell.says(&["keys", "revoke", &id, "--secret", "1"], "").await;
    assert_eq!(out, format!("secret 1 of key {id} is revoked\n"));
    assert!(shell(&first).fails(&["balance"], 77).await.contains("CREDENTIAL_REVOKED"));
    shell(&second).says(&["balance"], "").await;

    let (third, _) = ada.shell.says(&["keys", "rotate", &id, "--grace", "0"], "").await;
    shell(&second).fails(&["balance"], 77).await;
    shell(&third).says(&["balance"], "").await;
    ada.shell.says(&["keys", "revoke", &id], "").await;
    shell(&third).fails(&["balance"], 77).await;
}

#[tokio::test]
async fn a_request_id_makes_one_key_and_a_lost_secret_is_replaced() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let ada = SignedIn::new(&stack, "ada").await;
    let create = ["keys", "create", "--name", "ci", "--request-id", "order-7"];
    let (lost, _) = ada.shell.says(&create, "").await;
    let (key, _) = ada.shell.says(&create, "").await;
    assert_ne!(lost, key);
    let shell = |key: &str| Shell::at(&stack).with_key(key.trim());
    shell(&lost).fails(&["balance"], 77).await;
    shell(&key).says(&["balance"], "").await;
    let (list, _) = ada.shell.says(&["keys", "list"], "").await;
    let ids: std::collections::BTreeSet<_> = list.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(ids.len(), 1, "{list}");
    assert!(ada.shell.fails(&["keys", "create", "--name", "other", "--request-id", "order-7"], 64).await.contains("REQUEST_ID_REUSED"));
}

/// A text with a credential at each place where a reader could lose it, and what is in it.
fn dump(secrets: &[&str]) -> Vec<u8> {
    let mut dump = b"\xff\xfe\x00\x80 tg_ tgr_ tg_notakey \n".to_vec();
    for (number, secret) in secrets.iter().enumerate() {
        // Across the border of the command's pieces of 256 KiB, wherever within the credential it falls.
        let border = (number + 1) * (256 << 10);
        dump.resize(border - 1 - number * 7 % secret.len(), b"xyzt"[number % 4]);
        dump.extend_from_slice(secret.as_bytes());
        dump.extend_from_slice(b"glued\xc3(");
        dump.extend_from_slice(secret.as_bytes());
    }
    dump
}

#[tokio::test]
async fn every_leaked_key_and_refresh_token_in_any_bytes_is_revoked_and_none_is_shown() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (ada, bob) = (SignedIn::new(&stack, "ada").await, SignedIn::new(&stack, "bob").await);
    let mut keys = Vec::new();
    for owner in [&ada, &bob, &ada, &bob, &ada] {
        keys.push(owner.shell.says(&["keys", "create"], "").await.0.trim().to_owned());
    }
    let token = bob.kept("refresh_token");
    let stranger = ApiKey::random(AccountId::random().unwrap()).unwrap().reveal().to_owned();
    let (good, leaked) = keys.split_last().unwrap();
    let secrets: Vec<&str> = leaked.iter().map(String::as_str).chain([token.as_str(), stranger.as_str()]).collect();

    // Whatever credential stands beside it, such as one that is no more.
    let shell = Shell::at(&stack).with_key("tg_nonsense");
    let done = shell.run(&["keys", "revoke", "--leaked", "-"], dump(&secrets)).await;
    let (out, error) = (text(&done.stdout), text(&done.stderr));
    assert!(done.status.success(), "{error}");
    assert_eq!(out.lines().filter(|line| line.contains("is revoked (key ")).count(), 4, "{out}");
    assert_eq!(out.lines().filter(|line| line.contains("is revoked (session ")).count(), 1, "{out}");
    assert_eq!(out.lines().filter(|line| line.contains("is unknown")).count(), 1, "{out}");
    assert!(error.contains("6 found: 5 revoked, 1 unknown, 0 failed"), "{error}");
    for secret in &secrets {
        assert!(!format!("{out}{error}").contains(&secret[20..40]), "{out}{error}");
        assert!(out.contains(&secret[secret.len() - 4..]), "people find it by its hint: {out}");
    }
    for key in leaked {
        assert!(Shell::at(&stack).with_key(key).fails(&["balance"], 77).await.contains("CREDENTIAL_REVOKED"));
    }
    assert!(bob.shell.fails(&["me"], 77).await.contains("the session has ended"));
    Shell::at(&stack).with_key(good).says(&["balance"], "").await;
    ada.shell.says(&["me"], "").await;

    // Again, of a file: what is revoked stays so.
    let path = stack.folder().join("dump");
    fs::write(&path, dump(&secrets)).unwrap();
    let (again, _) = shell.says(&["keys", "revoke", "--leaked", path.to_str().unwrap()], "").await;
    assert_eq!(again.lines().filter(|line| line.contains("is revoked (key ")).count(), 4, "{again}");
    // Nobody knows a session that has ended.
    assert_eq!(again.lines().filter(|line| line.contains("is unknown")).count(), 2, "{again}");
}

#[tokio::test]
async fn what_becomes_of_a_search_for_leaked_keys_is_its_exit_status() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let shell = Shell::at(&stack);
    let revoke = ["keys", "revoke", "--leaked", "-"];
    let (out, said) = shell.says(&revoke, "nothing here\n").await;
    assert_eq!((out.as_str(), said.trim()), ("", "0 found: 0 revoked, 0 unknown, 0 failed"));
    assert!(shell.fails(&["keys", "revoke", "--leaked", "/nonexistent"], 1).await.contains("/nonexistent"));
    let nobody = integration::reserved_port::ReservedPort::new();
    let away = shell.with("TOLLGATE_AUTH_URL", &format!("http://{}", nobody.address()));
    let key = ApiKey::random(AccountId::random().unwrap()).unwrap();
    let others: Vec<_> = (0..20).map(|_| ApiKey::random(AccountId::random().unwrap()).unwrap()).collect();
    let all: Vec<&str> = others.iter().chain([&key]).map(ApiKey::reveal).collect();
    let failed = away.run(&revoke, all.join("\n")).await;
    let said = text(&failed.stderr);
    assert_eq!(failed.status.code(), Some(69), "{said}");
    for secret in all {
        // What was found is told, so that somebody knows what is in force still.
        let line = said.lines().find(|line| line.contains(&secret[45..]) && line.contains(&secret[..7]));
        assert!(line.is_some_and(|line| line.contains("is NOT revoked") && line.contains("can't be reached")), "{said}");
        assert!(!said.contains(&secret[8..40]));
    }
    assert!(said.contains("21 found: 0 revoked, 0 unknown, 21 failed"), "{said}");
}

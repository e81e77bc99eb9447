//! The binary itself: configuration, exit statuses, and its commands.

#![expect(clippy::unwrap_used, reason = "the parts that the tests share")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

use auth_service::config::VARIABLES;
use tokio::net::TcpSocket;

/// The binary with an environment of its own and a data folder.
fn auth_service(folder: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_auth-service"));
    command.env_clear().env("TOLLGATE_DATA_DIR", folder).env("TOLLGATE_AUTH_LISTEN", "127.0.0.1:0").stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn every_documented_variable_with_a_bad_value_exits_64_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for variable in VARIABLES {
        let output = auth_service(folder.path()).env(variable.name, variable.bad).output().unwrap();
        let said = text(&output);
        assert_eq!(output.status.code(), Some(64), "{}: {said}", variable.name);
        assert!(said.contains(variable.name), "{}: {said}", variable.name);
    }
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = auth_service(folder.path());
    for variable in VARIABLES {
        command.env(variable.name, variable.bad);
    }
    // A wrong Redis URL would take the data folder out of use.
    let output = command.env("TOLLGATE_REDIS_URL", "").output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(64));
    for variable in VARIABLES.iter().filter(|variable| variable.name != "TOLLGATE_REDIS_URL") {
        assert!(said.contains(variable.name), "{}: {said}", variable.name);
    }
}

#[test]
fn every_variable_that_is_read_is_documented() {
    let source = include_str!("../../src/config.rs");
    let read = source
        .split('"')
        .filter(|text| text.starts_with("TOLLGATE_") && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'));
    for name in read {
        assert!(VARIABLES.iter().any(|variable| variable.name == name), "{name}");
    }
}

fn create_admin(folder: &std::path::Path, name: &str, input: &str) -> Output {
    let mut command = auth_service(folder);
    command.args(["create-admin", name]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A child that refuses before it reads has closed its end.
    let _written = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn create_admin_makes_an_operator_once_and_refuses_weak_passwords() {
    let folder = tempfile::tempdir().unwrap();
    let secret = "it is me, the plumber";
    let refused = create_admin(folder.path(), "root", "short\n");
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert_eq!(create_admin(folder.path(), "root", &"x ".repeat(2000)).status.code(), Some(1));
    for (weak, why) in [("root-tollgate-2026", "names"), ("1qaz2wsx3edc4rfv", "first")] {
        let refused = create_admin(folder.path(), "root", weak);
        assert!(refused.status.code() == Some(1) && text(&refused).contains(why) && !text(&refused).contains(weak), "{}", text(&refused));
    }
    assert_eq!(create_admin(folder.path(), "?", secret).status.code(), Some(1));
    let made = create_admin(folder.path(), "Root", &format!("{secret}\n"));
    assert_eq!(made.status.code(), Some(0), "{}", text(&made));
    assert!(!text(&made).contains(secret));
    let again = create_admin(folder.path(), "root", &format!("{secret}\n"));
    assert_eq!(again.status.code(), Some(1), "{}", text(&again));
}

#[test]
fn a_redis_that_is_not_there_exits_69() {
    let folder = tempfile::tempdir().unwrap();
    let secret = "00112233445566778899aabbccddeeff102132435465768798a9bacbdcedfe0f";
    // Bound and not listened on: nothing answers there, and nobody else is given the port.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = nobody.local_addr().unwrap();
    let output = auth_service(folder.path())
        .env("TOLLGATE_REDIS_URL", format!("redis://:canary-password@{address}"))
        .env("TOLLGATE_JWT_SECRETS", format!("k:{secret}"))
        .env("TOLLGATE_SERVICE_CREDENTIALS", secret)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(69), "{}", text(&output));
    assert!(!text(&output).contains("canary-password"));
}

#[test]
fn an_unknown_argument_exits_64_and_help_exits_0() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(auth_service(folder.path()).arg("--nonsense").output().unwrap().status.code(), Some(64));
    assert_eq!(auth_service(folder.path()).arg("--help").output().unwrap().status.code(), Some(0));
}

#[test]
fn the_binary_serves_answers_its_health_check_and_drains_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    // On a port of its own choice, which its log tells.
    let mut serving = auth_service(folder.path()).env("TOLLGATE_LOG_FORMAT", "json").stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(serving.stderr.take().unwrap()).lines().map_while(Result::ok);
    let listens = log.find(|line| line.contains("\"address\"")).expect("it says where it listens");
    let address = serde_json::from_str::<serde_json::Value>(&listens).unwrap()["address"].as_str().unwrap().to_owned();
    let health = || auth_service(folder.path()).env("TOLLGATE_AUTH_LISTEN", &address).arg("healthcheck").output().unwrap();
    let healthy = health();
    assert!(healthy.status.success(), "{}", text(&healthy));
    let killed = Command::new("kill").args(["-TERM", &serving.id().to_string()]).status().unwrap();
    assert!(killed.success());
    log.for_each(drop);
    assert_eq!(serving.wait().unwrap().code(), Some(0));
    assert_eq!(health().status.code(), Some(1));
}

/// Turns a second factor on in the store of this folder, and closes it.
fn enroll(folder: &std::path::Path, name: &str) {
    use auth_service::ids::SessionId;
    use auth_service::second_factor::{
        AttemptId, FactorAnswer, FactorChange, FactorChangeRequest, PresentedCode, RecoveryCodes, TotpSecret,
    };
    use auth_service::session::{NewSession, SessionStart, Shown, SignInMethod};
    use auth_service::store::clock::Clock;
    use auth_service::store::sqlite::SqliteStore;
    use auth_service::store::{Store, StoreLimits};
    let secret = TotpSecret::draw().unwrap();
    let totp = totp_rs::Builder::new().with_secret(secret.to_bytes().to_vec()).build().unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = SqliteStore::open(&folder.join("tollgate.db"), StoreLimits::default(), Clock::fixed(1_700_000_000_000).0).unwrap();
        let user = store.user_by_name(&auth_service::user::UserName::parse(name).unwrap()).await.unwrap().unwrap();
        let new = NewSession {
            session_id: SessionId::random().unwrap(),
            family_hash: [7; 32],
            token_hash: [0; 32],
            client: String::new(),
            address: None,
            method: SignInMethod::Password,
            scopes: auth_service::token_scopes::TokenScopes::All,
        };
        let session = new.session_id.clone();
        let begun = store.begin_session(&user.user_id, Shown::password(&user.password_hash), new, crate::support::event()).await.unwrap();
        assert!(matches!(begun, SessionStart::Begun(_)));
        let recovery_codes = RecoveryCodes::draw().unwrap().hashes();
        let code = PresentedCode::App(totp.generate(1_700_000_000).to_string());
        for change in
            [FactorChange::Begin { secret, verified_hash: user.password_hash.clone() }, FactorChange::Confirm { code, recovery_codes }]
        {
            let request = FactorChangeRequest { session: session.clone(), attempt: AttemptId::draw().unwrap(), change };
            let answer = store.change_second_factor(&user.user_id, request, crate::support::event()).await.unwrap();
            assert!(matches!(answer, Some(FactorAnswer::Done { .. })), "{answer:?}");
        }
    });
}

#[test]
fn reset_second_factor_on_the_stores_host_lets_an_operator_in_who_has_lost_it() {
    let folder = tempfile::tempdir().unwrap();
    let made = create_admin(folder.path(), "root", "it is me, the plumber");
    assert!(made.status.success(), "{}", text(&made));
    let reset = |name: &str| auth_service(folder.path()).args(["reset-second-factor", name]).output().unwrap();
    let none = reset("Root");
    assert!(none.status.success() && text(&none).contains("root had no second factor"), "{}", text(&none));
    enroll(folder.path(), "root");
    let done = reset("root");
    assert!(done.status.success() && text(&done).contains("root has no second factor now"), "{}", text(&done));
    assert!(text(&reset("root")).contains("had no second factor"), "it is gone");
    for name in ["nobody", "?", ""] {
        let unknown = reset(name);
        assert_eq!((unknown.status.code(), text(&unknown).contains("no user of that name")), (Some(1), true), "{}", text(&unknown));
    }
}

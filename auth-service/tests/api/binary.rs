//! The binary itself: configuration, exit statuses, and its commands.

#![expect(clippy::unwrap_used, reason = "the parts that the tests share")]

use std::io::Write;
use std::process::{Command, Output, Stdio};

use auth_service::config::VARIABLES;

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
    assert_eq!(create_admin(folder.path(), "?", secret).status.code(), Some(1));
    let made = create_admin(folder.path(), "Root", &format!("{secret}\n"));
    assert_eq!(made.status.code(), Some(0), "{}", text(&made));
    assert!(!text(&made).contains(secret));
    let again = create_admin(folder.path(), "root", &format!("{secret}\n"));
    assert_eq!(again.status.code(), Some(1), "{}", text(&again));
}

#[test]
fn a_redis_that_is_not_there_exits_69_after_about_ten_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let secret = "00112233445566778899aabbccddeeff102132435465768798a9bacbdcedfe0f";
    // A port that was free a moment ago: nothing answers there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let output = auth_service(folder.path())
        .env("TOLLGATE_REDIS_URL", format!("redis://:canary-password@127.0.0.1:{port}"))
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

#[tokio::test]
async fn the_binary_serves_answers_its_health_check_and_drains_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut serving = auth_service(folder.path()).env("TOLLGATE_AUTH_LISTEN", address.to_string()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let healthy = auth_service(folder.path()).env("TOLLGATE_AUTH_LISTEN", address.to_string()).arg("healthcheck").output().unwrap();
        if healthy.status.success() {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{}", text(&healthy));
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let killed = Command::new("kill").args(["-TERM", &serving.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let status = tokio::task::spawn_blocking(move || serving.wait().unwrap()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    let unhealthy = auth_service(folder.path()).env("TOLLGATE_AUTH_LISTEN", address.to_string()).arg("healthcheck").output().unwrap();
    assert_eq!(unhealthy.status.code(), Some(1));
}

//! The forms of credentials that SECURITY.md publishes for secret scanners, against credentials as they are made.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use auth_service::api_key::ApiKey;
use auth_service::device_sign_in::DeviceCode;
use auth_service::ids::{AccountId, SessionId, UserId};
use auth_service::organization::invitation_code::InvitationCode;
use auth_service::refresh_token::RefreshToken;
use integration::scripted_upstream::ScriptedUpstream;
use integration::stack::{Plan, Stack};
use regex::Regex;

/// The published regular expressions, by what they find.
fn published() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../SECURITY.md")).unwrap();
    let table = text.split("<!-- forms: ").nth(1).and_then(|rest| rest.split("<!-- end of forms -->").next()).expect("the table");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix("` |")?.split_once(" | `"));
    rows.map(|(what, expression)| (what.to_owned(), expression.to_owned())).collect()
}

/// Some of what a row is about, as auth-service makes them.
async fn made(what: &str, stack: &Stack) -> Vec<String> {
    let keys = || ApiKey::random(AccountId::random().unwrap()).unwrap().reveal().to_owned();
    let tokens = || RefreshToken::random(UserId::random().unwrap(), SessionId::random().unwrap()).unwrap().reveal().to_owned();
    match what {
        "API key" => (0..100).map(|_| keys()).collect(),
        "invitation code" => (0..100).map(|_| InvitationCode::random(AccountId::random().unwrap()).unwrap().reveal().to_owned()).collect(),
        "device code" => (0..100).map(|_| DeviceCode::random().unwrap().reveal().to_owned()).collect(),
        "refresh token" => (0..100).map(|_| tokens()).collect(),
        "one-time password" => {
            stack.user("ada").await;
            let admin = stack.admin_token().await;
            let mut passwords = Vec::new();
            for _ in 0..5 {
                let request = shared::proto::auth::ResetPasswordRequest { user_name: "ada".to_owned() };
                passwords.push(stack.admin(&admin).reset_password(request).await.unwrap().into_inner().one_time_password);
            }
            passwords
        }
        unknown => panic!("SECURITY.md publishes the form of {unknown}, which this test makes none of"),
    }
}

/// A text in which scanners look: credentials in JSON, between signs, at ends, and such as have a checksum in the middle of words.
fn text_of(credentials: &[String], glue: &str) -> String {
    credentials
        .iter()
        .map(|one| format!("{{\"a\":\"Bearer {one}\"}}{glue}{one}/{one}\nkey={one}&tg_no 019e0c6a-5b1e-7c33-9d0c-7a5a2f6f6c11\n"))
        .collect()
}

fn found_by_python(expression: &str, text: &str) -> Vec<String> {
    let script = "import re, sys\nprint('\\n'.join(re.findall(sys.argv[1], sys.stdin.read())))";
    let mut python = Command::new("python3").args(["-c", script, expression]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    python.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let found = python.wait_with_output().unwrap();
    assert!(found.status.success());
    String::from_utf8(found.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn what_security_md_publishes_finds_every_credential_in_python_and_in_rust() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let published = published();
    let forms: Vec<&str> = published.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(forms, ["API key", "refresh token", "invitation code", "device code", "one-time password"]);
    for (what, expression) in &published {
        let credentials = made(what, &stack).await;
        // Without a checksum, what is part of a word is no match: a UUID would hold one.
        let text = text_of(&credentials, if expression.starts_with(r"\b") { " " } else { "x" });
        let expected: Vec<&String> = credentials.iter().flat_map(|credential| [credential; 4]).collect();
        let in_rust: Vec<String> = Regex::new(expression).unwrap().find_iter(&text).map(|found| found.as_str().to_owned()).collect();
        assert!(in_rust.iter().eq(expected.iter().copied()), "{what} in Rust: {in_rust:?}");
        assert!(found_by_python(expression, &text).iter().eq(expected), "{what} in Python");
        for (other, of_another) in &published {
            let mistaken = other != what && Regex::new(of_another).unwrap().is_match(&text);
            assert!(!mistaken, "{what} is taken for {other}");
        }
    }
}

//! The forms of credentials that SECURITY.md publishes for secret scanners, against credentials as they are made.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use auth_service::api_key::ApiKey;
use auth_service::ids::{AccountId, SessionId, UserId};
use auth_service::refresh_token::RefreshToken;
use regex::Regex;

/// The published regular expressions, by what they find.
fn published() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../SECURITY.md")).unwrap();
    let table = text.split("<!-- forms: ").nth(1).and_then(|rest| rest.split("<!-- end of forms -->").next()).expect("the table");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix("` |")?.split_once(" | `"));
    rows.map(|(what, expression)| (what.to_owned(), expression.to_owned())).collect()
}

/// A hundred of what a row is about, as auth-service makes them.
fn made(what: &str) -> Vec<String> {
    let one = || match what {
        "API key" => ApiKey::random(AccountId::random().unwrap()).unwrap().reveal().to_owned(),
        "refresh token" => RefreshToken::random(UserId::random().unwrap(), SessionId::random().unwrap()).unwrap().reveal().to_owned(),
        unknown => panic!("SECURITY.md publishes the form of {unknown}, which this test makes none of"),
    };
    (0..100).map(|_| one()).collect()
}

/// A text in which scanners look: credentials in the middle of words, in JSON, at an end.
fn text_of(credentials: &[String]) -> String {
    credentials
        .iter()
        .map(|credential| format!("{{\"a\":\"Bearer {credential}\"}}x{credential}/{credential}\nkey={credential}&tg_no\n"))
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

#[test]
fn what_security_md_publishes_finds_every_credential_in_python_and_in_rust() {
    let published = published();
    assert_eq!(published.iter().map(|(what, _)| what.as_str()).collect::<Vec<_>>(), ["API key", "refresh token"]);
    for (what, expression) in &published {
        let credentials = made(what);
        let text = text_of(&credentials);
        let expected: Vec<&String> = credentials.iter().flat_map(|credential| [credential; 4]).collect();
        let in_rust: Vec<String> = Regex::new(expression).unwrap().find_iter(&text).map(|found| found.as_str().to_owned()).collect();
        assert!(in_rust.iter().eq(expected.iter().copied()), "{what} in Rust");
        assert!(found_by_python(expression, &text).iter().eq(expected), "{what} in Python");
        for (other, of_another) in &published {
            let mistaken = other != what && Regex::new(of_another).unwrap().is_match(&text);
            assert!(!mistaken, "{what} is taken for {other}");
        }
    }
}

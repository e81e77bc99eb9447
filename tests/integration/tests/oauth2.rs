//! OAuth2's `/token` on real processes: what it logs, what it opens, and what it says while the store is away.

use std::process::Command;
use std::time::Duration;

use integration::polling::until;
use integration::process_pair::ProcessPair;
use integration::redis_server::RedisServer;
use integration::scripted_upstream::{Script, ScriptedUpstream};
use integration::stack::PASSWORD;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(15);

/// What curl was answered: the status and the JSON.
fn curl(arguments: &[&str]) -> (u16, Value) {
    let done = Command::new("curl").args(["-sS", "--max-time", "20", "-w", "\n%{http_code}"]).args(arguments).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let said = String::from_utf8(done.stdout).unwrap();
    let (body, status) = said.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

fn token(url: &str, name: &str, password: &str) -> (u16, Value) {
    let (url, name, password) = (format!("{url}/token"), format!("username={name}"), format!("password={password}"));
    curl(&[&url, "-d", "grant_type=password", "--data-urlencode", &name, "--data-urlencode", &password])
}

#[tokio::test(flavor = "multi_thread")]
async fn who_signs_in_by_token_chats_with_it_and_neither_password_nor_token_is_ever_logged() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::chat(&["Hello", " there."]));
    let mut processes = ProcessPair::start(&upstream.url(), &[("TOLLGATE_LOG", "trace")]);
    processes.user().await;
    let auth = processes.auth.url();
    for wrong in ["canary-one, a wrong pass phrase", "canary-two\u{e9}, another"] {
        let (status, said) = token(&auth, "ada", wrong);
        assert_eq!((status, &said["error"]), (400, &json!("invalid_grant")), "{said}");
    }
    let in_url = format!("{auth}/token?grant_type=password&username=ada&password=canary-three");
    assert_eq!(curl(&["-X", "POST", &in_url]).0, 400);
    let secret = ["-d", "grant_type=password", "-d", "username=ada", "-d", "password=canary-four", "-d", "client_secret=canary-five"];
    assert_eq!(curl(&[&[&*format!("{auth}/token")], &secret[..]].concat()).0, 401);
    let as_json = r#"{"grant_type":"password","username":"ada","password":"canary-six"}"#;
    assert_eq!(curl(&[&format!("{auth}/token"), "-H", "content-type: application/json", "-d", as_json]).0, 415);
    assert_eq!(curl(&[&format!("{auth}/users/me?access_token=canary-seven")]).0, 401);

    let (status, granted) = token(&auth, "ada", PASSWORD);
    assert_eq!(status, 200, "{granted}");
    let access_token = granted["access_token"].as_str().unwrap().to_owned();
    let bearer = format!("authorization: Bearer {access_token}");
    let chat = json!({ "model": "smollm2", "messages": [{ "role": "user", "content": "canary-eight" }] }).to_string();
    let (status, answer) = curl(&[&format!("{}/v1/chat/completions", processes.inference.url()), "-H", &bearer, "-d", &chat]);
    assert_eq!((status, &answer["choices"][0]["message"]["content"]), (200, &json!("Hello there.")), "{answer}");
    let (status, me) = curl(&[&format!("{auth}/users/me"), "-H", &bearer]);
    let credits = (&me["balance"]["available_credits"], &me["balance"]["spent_credits"]);
    assert_eq!((status, &me["user_name"], credits), (200, &json!("ada"), (&json!(9), &json!(1))), "{me}");

    let _ended = (processes.inference.stop(), processes.auth.stop());
    let signature = access_token.rsplit('.').next().unwrap();
    for log in [processes.auth.log(), processes.inference.log()] {
        assert!(!log.contains("canary") && !log.contains(PASSWORD) && !log.contains(signature), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_away_token_is_temporarily_unavailable_and_the_guess_does_not_count() {
    let mut redis = RedisServer::start();
    let upstream = ScriptedUpstream::start().await;
    let secret = || shared::secret::Secret::generate().unwrap().1;
    let (jwt, service, url) = (format!("k1:{}", secret()), secret(), redis.url());
    let more =
        [("TOLLGATE_REDIS_URL", url.as_str()), ("TOLLGATE_JWT_SECRETS", jwt.as_str()), ("TOLLGATE_SERVICE_CREDENTIAL", service.as_str())];
    let processes = ProcessPair::start(&upstream.url(), &more);
    processes.user().await;
    let auth = processes.auth.url();
    let (_, granted) = token(&auth, "ada", PASSWORD);
    let bearer = format!("authorization: Bearer {}", granted["access_token"].as_str().unwrap());
    redis.kill();
    for number in 0..8 {
        let (status, said) = token(&auth, "ada", &format!("a guess, number {number}"));
        let said = (status, &said["error"], &said["code"]);
        assert_eq!(said, (503, &json!("temporarily_unavailable"), &json!("STORE_UNAVAILABLE")));
    }
    let head = Command::new("curl").args(["-sSi", &format!("{auth}/users/me"), "-H", &bearer]).output().unwrap();
    let head = String::from_utf8(head.stdout).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 503 ") && head.contains("\nretry-after: "), "{head}");
    redis.start_again();
    until("the store to be used again", SOON, || async { (token(&auth, "ada", PASSWORD).0 == 200).then_some(()) }).await;
}

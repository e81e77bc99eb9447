//! What the log says of a call over HTTP, and what it never says.

use integration::hostile_http1::HostileHttp1;
use integration::process_pair::ProcessPair;
use integration::scripted_upstream::ScriptedUpstream;
use serde_json::{Value, json};
use shared::credential_form::to_bearer;

use crate::metered_door::DOORS;

/// The lines that say how calls ended.
fn call_lines(log: &str, request_id: &str) -> Vec<Value> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["target"] == "call" && line.to_string().contains(request_id)).collect()
}

#[tokio::test]
async fn each_call_leaves_one_line_in_each_service_with_its_path_as_method() {
    let upstream = ScriptedUpstream::start().await;
    let mut pair = ProcessPair::start(&upstream.url(), &[("TOLLGATE_STARTING_CREDITS", "1000")]);
    let bearer = to_bearer(&pair.user().await);
    for (number, door) in DOORS.iter().enumerate() {
        upstream.script(door.upstream, door.answer(&["one"]));
        let mut http1 = HostileHttp1::connect(pair.inference.address()).await;
        for (what, body) in [("good", (door.body)(false)), ("stream", (door.body)(true)), ("wrong", json!({}))] {
            let id = format!("x-{what}-{number}");
            let text = body.to_string();
            http1.call("POST", door.path, &[("authorization", &bearer), ("x-request-id", &id)], text.as_bytes()).await;
        }
        let id = format!("x-unknown-{number}");
        http1.call("POST", door.path, &[("authorization", "Bearer nonsense"), ("x-request-id", &id)], b"{}").await;
    }
    assert!(pair.inference.stop().success() && pair.auth.stop().success());
    let (of_inference, of_auth) = (pair.inference.log(), pair.auth.log());
    for (number, door) in DOORS.iter().enumerate() {
        for (what, outcome, in_auth) in
            [("good", "completed", 1), ("stream", "completed", 1), ("wrong", "refused", 0), ("unknown", "refused", 0)]
        {
            let id = format!("x-{what}-{number}");
            let lines = call_lines(&of_inference, &id);
            assert_eq!(lines.len(), 1, "{} {what}: {lines:#?}", door.path);
            assert!(
                lines[0].to_string().contains(&format!("\"{}\"", door.path))
                    || lines[0].to_string().contains(&format!("method={}", door.path)),
                "{}",
                lines[0]
            );
            assert!(lines[0].to_string().contains(outcome), "{}", lines[0]);
            assert_eq!(call_lines(&of_auth, &id).len(), in_auth, "{} {what}", door.path);
        }
    }
}

#[tokio::test]
async fn what_somebody_sends_never_appears_in_a_log() {
    const CANARY: &str = "canary7f3a";
    let upstream = ScriptedUpstream::start().await;
    let mut pair = ProcessPair::start(&upstream.url(), &[]);
    let key = pair.user().await;
    let bearer = to_bearer(&key);
    let secret = format!("tg_{CANARY}");
    for door in &DOORS {
        upstream.script(door.upstream, door.answer(&[CANARY]));
        let mut http1 = HostileHttp1::connect(pair.inference.address()).await;
        let good = (door.body)(false).to_string().replace("count", CANARY);
        let wrong_kind = (door.body)(false).to_string().replace("\"smollm2\"", &format!("{{\"{CANARY}\":\"{CANARY}\"}}"));
        let no_json = format!("{{\"{CANARY}");
        let query = format!("{}?api_key={CANARY}", door.path);
        let authorization = format!("Bearer {CANARY}");
        for (path, headers, body) in [
            (door.path, vec![("authorization", bearer.as_str())], good.as_str()),
            (door.path, vec![("authorization", bearer.as_str())], &wrong_kind),
            (door.path, vec![("authorization", bearer.as_str())], &no_json),
            (&query, vec![("authorization", bearer.as_str())], &good),
            (door.path, vec![("authorization", authorization.as_str())], &good),
            (door.path, vec![("x-api-key", secret.as_str())], &good),
            (door.path, vec![("authorization", bearer.as_str()), ("x-api-key", CANARY)], &good),
            (door.path, vec![("authorization", bearer.as_str()), ("cookie", CANARY), ("x-forwarded-for", CANARY)], &good),
        ] {
            let answer = http1.call("POST", path, &headers, body.as_bytes()).await;
            if answer.status != 200 {
                assert!(!answer.text().contains(CANARY) || body == wrong_kind, "a refusal repeats what was sent: {}", answer.text());
            }
        }
    }
    assert!(pair.inference.stop().success() && pair.auth.stop().success());
    for log in [pair.inference.log(), pair.auth.log()] {
        let found: Vec<&str> = log.lines().filter(|line| line.contains(CANARY) || line.contains(&key)).collect();
        assert!(found.is_empty(), "{found:#?}");
    }
}

//! Every door says in its own form that an answer was cut, and why.

use integration::http_client::{HttpAnswer, HttpCall};
use integration::polling::until;
use integration::scripted_upstream::{Script, chat_line};
use integration::stack::chat_request;
use prost::Message;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::moment::Moment;
use crate::stage::{AT_ONCE, CUT, Payer, SOON, Stage};

/// A door, and a request for an answer.
pub(crate) struct Door {
    pub(crate) path: &'static str,
    upstream: &'static str,
    pub(crate) body: fn(stream: bool) -> Value,
    /// What a stream says that its protocol calls an error.
    error: &'static str,
}

pub(crate) const DOORS: [Door; 6] = [
    Door { path: "/v1/chat/completions", upstream: "/api/chat", body: chat, error: "\"type\":\"permission_error\"" },
    Door { path: "/v1/completions", upstream: "/api/generate", body: prompt, error: "\"type\":\"permission_error\"" },
    Door { path: "/v1/responses", upstream: "/api/chat", body: response, error: "event: response.failed" },
    Door { path: "/v1/messages", upstream: "/api/chat", body: message, error: "\"type\":\"permission_error\"" },
    Door { path: "/api/chat", upstream: "/api/chat", body: ollama_chat, error: "\"error\":" },
    Door { path: "/api/generate", upstream: "/api/generate", body: ollama_prompt, error: "\"error\":" },
];

fn messages() -> Value {
    json!([{ "role": "user", "content": "count" }])
}

fn chat(stream: bool) -> Value {
    json!({ "model": "smollm2", "messages": messages(), "max_tokens": 64, "stream": stream })
}

fn prompt(stream: bool) -> Value {
    json!({ "model": "smollm2", "prompt": "count", "max_tokens": 64, "stream": stream })
}

fn response(stream: bool) -> Value {
    json!({ "model": "smollm2", "input": "count", "max_output_tokens": 64, "stream": stream })
}

fn message(stream: bool) -> Value {
    json!({ "model": "smollm2", "messages": messages(), "max_tokens": 64, "stream": stream })
}

fn ollama_chat(stream: bool) -> Value {
    json!({ "model": "smollm2", "messages": messages(), "options": { "num_predict": 64 }, "stream": stream })
}

fn ollama_prompt(stream: bool) -> Value {
    json!({ "model": "smollm2", "prompt": "count", "options": { "num_predict": 64 }, "stream": stream })
}

/// Two tokens, and silence.
fn two_tokens(upstream: &str) -> Script {
    let line =
        |text| if upstream == "/api/generate" { json!({ "model": "smollm2", "response": text, "done": false }) } else { chat_line(text) };
    ["one ", "two "].into_iter().fold(Script::stream(), |script, text| script.line(&line(text))).stall()
}

/// A body's rest, within its time.
async fn rest(answer: &mut HttpAnswer) -> String {
    tokio::time::timeout(SOON, answer.text()).await.expect("it ends")
}

#[tokio::test]
async fn every_door_cuts_a_stream_in_its_own_form_and_a_whole_answer_with_a_403() {
    let stage = Stage::on_sqlite(&[]).await;
    // What comes too late is not told.
    let (mut person, mut untold) = (0, 0);
    for door in &DOORS {
        for stream in [true, false] {
            person += 1;
            let user = stage.person(&format!("ada{person}")).await;
            let next = stage.upstream.requests_to(door.upstream).len();
            stage.upstream.script(door.upstream, two_tokens(door.upstream));
            let call = HttpCall::post(stage.inferences[0].address(), door.path, &(door.body)(stream)).bearer(&user.keys[0].key);
            let calling = tokio::spawn(call.send());
            let request = stage.upstream.request(door.upstream, next).await;
            let (told, least) = if stream {
                let mut answer = calling.await.unwrap();
                assert_eq!(answer.status, 200, "{}", door.path);
                answer.wait_for("two ").await;
                stage.revoke_key(&user, 0).await;
                let (revoked, text) = (Moment::now(), rest(&mut answer).await);
                assert!(revoked.elapsed() < AT_ONCE, "{}: {:?}", door.path, revoked.elapsed());
                assert!(text.contains("CREDENTIAL_REVOKED") && text.contains(door.error), "{}: {text}", door.path);
                let is_priced = text.contains("\"charged_credits\":12") || text.contains("\"cost\":12");
                (is_priced.then_some(CUT), CUT)
            } else {
                stage.revoke_key(&user, 0).await;
                let revoked = Moment::now();
                let mut refused = tokio::time::timeout(SOON, calling).await.expect("it ends").unwrap();
                assert!(revoked.elapsed() < AT_ONCE, "{}: {:?}", door.path, revoked.elapsed());
                assert_eq!((refused.status, refused.header("www-authenticate")), (403, None), "{}", door.path);
                // How many of the tokens were read before is the network's to say.
                let told: Option<i64> = refused.header("x-tollgate-charged-credits").map(|charged| charged.parse().unwrap());
                let text = rest(&mut refused).await;
                assert!(text.contains("CREDENTIAL_REVOKED"), "{}: {text}", door.path);
                (told, 10)
            };
            request.client_closed().await;
            let spent = stage.spent(user.credential(Payer::Session(0))).await;
            assert!((least..=CUT).contains(&spent) && told.is_none_or(|told| told == spent), "{}: {told:?} {spent}", door.path);
            untold += usize::from(told.is_none());
        }
    }
    assert!(untold < person / 2, "{untold} of {person} were not told what they cost");
}

/// All of this is said, at once.
async fn is_said(answer: &mut HttpAnswer, parts: &[&str]) {
    let revoked = Moment::now();
    for part in parts {
        tokio::time::timeout(SOON, answer.wait_for(part)).await.expect("it is said");
    }
    assert!(revoked.elapsed() < AT_ONCE, "{:?}", revoked.elapsed());
}

#[tokio::test]
async fn connect_and_grpc_web_cut_a_stream_with_permission_denied_and_its_reason() {
    let stage = Stage::on_sqlite(&[]).await;
    let sent = json!({ "model": "smollm2", "messages": messages(), "maxOutputTokens": 64 }).to_string();
    let mut framed = vec![0];
    framed.extend(u32::try_from(sent.len()).unwrap().to_be_bytes());
    framed.extend(sent.as_bytes());
    let user = stage.person("ada").await;
    stage.upstream.script("/api/chat", two_tokens("/api/chat"));
    let call = HttpCall::new(stage.inferences[0].address(), "POST", "/tollgate.inference.v1.Inference/Chat");
    let call = call.header("content-type", "application/connect+json").body(framed).bearer(&user.keys[0].key);
    let mut answer = call.send().await;
    assert_eq!(answer.status, 200);
    answer.wait_for("two ").await;
    stage.revoke_key(&user, 0).await;
    is_said(&mut answer, &["\"permission_denied\"", "CREDENTIAL_REVOKED"]).await;
    stage.has_spent(user.credential(Payer::Session(0)), CUT).await;

    let user = stage.person("eve").await;
    let message = chat_request("smollm2", "hi").encode_to_vec();
    let framed = [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), &message].concat();
    let call = HttpCall::new(stage.inferences[0].address(), "POST", "/tollgate.inference.v1.Inference/Chat");
    let call = call.header("content-type", "application/grpc-web+proto").header("x-grpc-web", "1").body(framed).bearer(&user.keys[0].key);
    let mut answer = call.send().await;
    answer.wait_for("two ").await;
    stage.revoke_key(&user, 0).await;
    is_said(&mut answer, &["grpc-status:7"]).await;
    stage.has_spent(user.credential(Payer::Session(0)), CUT).await;
}

#[tokio::test]
async fn embeddings_and_answers_that_wait_for_their_first_token_are_cut_and_cost_what_leaving_costs() {
    let stage = Stage::on_redis(&[]).await;
    let embed = json!({ "model": "smollm2", "input": "one text" });
    for (number, path, upstream, body, stream) in [
        (0, "/v1/embeddings", "/api/embed", &embed, false),
        (1, "/api/embed", "/api/embed", &embed, false),
        (2, "/api/chat", "/api/chat", &ollama_chat(true), true),
        (3, "/v1/chat/completions", "/api/chat", &chat(false), false),
    ] {
        let user = stage.person(&format!("ada{number}")).await;
        let next = stage.upstream.requests_to(upstream).len();
        stage.upstream.script(upstream, Script::silence());
        let calling = tokio::spawn(HttpCall::post(stage.inferences[0].address(), path, body).bearer(&user.keys[0].key).send());
        let request = stage.upstream.request(upstream, next).await;
        stage.revoke_key(&user, 0).await;
        let revoked = Moment::now();
        let mut answer = tokio::time::timeout(SOON, calling).await.expect("it ends").unwrap();
        let text = rest(&mut answer).await;
        assert!(revoked.elapsed() < AT_ONCE, "{path}: {:?}", revoked.elapsed());
        // A stream's head waits a second for its first piece.
        assert!(answer.status == 403 || (stream && answer.status == 200), "{path}: {}", answer.status);
        assert!(text.contains("CREDENTIAL_REVOKED"), "{path}: {text}");
        request.client_closed().await;
        // The price of the call: it had gone upstream.
        stage.has_spent(user.credential(Payer::Session(0)), 10).await;
    }
}

#[tokio::test]
async fn an_answer_that_never_went_upstream_is_cut_and_costs_nothing() {
    let mut stage = Stage::on_sqlite(&[]).await;
    // Its connections are never taken: the call waits to be sent.
    let full = TcpSocket::new_v4().unwrap();
    full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = full.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    let user = stage.person("ada").await;
    let url = stage.auths[0].url();
    stage.environment.insert("OLLAMA_HOST".to_owned(), format!("http://{address}"));
    let _taken = fill(&full).await;
    stage.start_inference(&url);
    let waiting = HttpCall::post(stage.inferences[2].address(), "/api/chat", &ollama_chat(false)).bearer(&user.keys[0].key);
    let waiting = tokio::spawn(waiting.send());
    until("the call to be held for", SOON, || async { (stage.balance(&user.keys[1].key).await.held_credits() > 0).then_some(()) }).await;
    stage.revoke_key(&user, 0).await;
    let revoked = Moment::now();
    let mut refused = tokio::time::timeout(SOON, waiting).await.expect("it ends").unwrap();
    assert!(revoked.elapsed() < AT_ONCE, "{:?}", revoked.elapsed());
    let (status, text) = (refused.status, rest(&mut refused).await);
    assert!(status == 403 && text.contains("CREDENTIAL_REVOKED"), "{status}: {text}");
    stage.has_spent(&user.keys[1].key, 0).await;
}

/// Connections until the listener takes no more.
async fn fill(listener: &TcpListener) -> Vec<TcpStream> {
    let address = listener.local_addr().unwrap();
    let mut taken = Vec::new();
    while let Ok(connected) = tokio::time::timeout(std::time::Duration::from_millis(200), TcpStream::connect(address)).await {
        taken.push(connected.unwrap());
    }
    taken
}

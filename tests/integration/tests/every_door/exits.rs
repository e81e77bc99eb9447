//! Every way in which a call over HTTP can end gives back what was held, and charges what it does over gRPC.

use integration::hostile_http1::{HostileHttp1, request};
use integration::http_client::{HttpAnswer, HttpCall};
use integration::polling::{SOON, until};
use integration::scripted_upstream::{Gate, Script, ScriptedUpstream};
use integration::stack::{Plan, Stack, TestUser};
use serde_json::{Value, json};
use shared::credential_form::to_bearer;

use crate::metered_door::{DOORS, MeteredDoor};

/// A stack whose prices tell how many tokens were charged: ten credits a call and one each token.
struct Scene {
    upstream: ScriptedUpstream,
    stack: Stack,
    user: TestUser,
    replica: usize,
    spent: i64,
}

impl Scene {
    async fn start() -> Self {
        let upstream = ScriptedUpstream::start().await;
        let stack = Plan::with_upstream(&upstream.url())
            .set("TOLLGATE_PRICES", "*=10/0/1000")
            .set("TOLLGATE_STARTING_CREDITS", "10000")
            .start()
            .await;
        let user = stack.user("ada").await;
        Self { upstream, stack, user, replica: 0, spent: 0 }
    }

    fn call(&self, path: &str, body: &Value) -> HttpCall {
        HttpCall::post(self.stack.inferences[self.replica].address(), path, body).bearer(&self.user.key)
    }

    async fn send(&self, door: &MeteredDoor, stream: bool) -> HttpAnswer {
        self.call(door.path, &(door.body)(stream)).send().await
    }

    /// Waits until nothing is held, and answers what was spent since this was asked last.
    async fn charged(&mut self) -> i64 {
        let spent = until("the hold to be settled", SOON, || async {
            let balance = self.stack.balance(&self.user.key).await;
            (balance.held_credits() == 0).then_some(balance.spent_credits())
        })
        .await;
        spent - std::mem::replace(&mut self.spent, spent)
    }

    /// The next request that goes upstream from now on.
    fn next_request(&self, door: &MeteredDoor) -> usize {
        self.upstream.requests_to(door.upstream).len()
    }
}

#[tokio::test]
async fn a_whole_answer_and_a_stream_to_its_end_are_charged_once_and_say_so() {
    let mut scene = Scene::start().await;
    for door in &DOORS {
        scene.upstream.script(door.upstream, door.answer(&["one ", "two ", "three"]));
        let mut whole = scene.send(door, false).await;
        assert_eq!((whole.status, whole.header("x-tollgate-charged-credits")), (200, Some("13")), "{}", door.path);
        let left = scene.stack.balance(&scene.user.key).await.available_credits().to_string();
        assert_eq!(whole.header("x-tollgate-remaining-credits"), Some(left.as_str()));
        let text = whole.text().await;
        assert!(text.contains("one two three") && text.contains("\"cost\":13"), "{text}");
        assert_eq!(scene.charged().await, 13, "{}", door.path);

        let text = scene.send(door, true).await.text().await;
        assert!(text.contains("three") && text.contains("\"cost\":13"), "{text}");
        assert_eq!(scene.charged().await, 13, "{}", door.path);
    }
}

#[tokio::test]
async fn a_caller_that_leaves_before_the_first_token_pays_the_call_and_the_model_is_free_again() {
    let mut scene = Scene::start().await;
    for door in &DOORS {
        for stream in [false, true] {
            let next = scene.next_request(door);
            scene.upstream.script(door.upstream, Script::silence());
            let calling = tokio::spawn(scene.call(door.path, &(door.body)(stream)).send());
            let request = scene.upstream.request(door.upstream, next).await;
            calling.abort();
            request.client_closed().await;
            assert_eq!(scene.charged().await, 10, "{} {stream}", door.path);
        }
    }
}

#[tokio::test]
async fn a_caller_that_leaves_in_mid_stream_pays_the_call_and_the_tokens() {
    let mut scene = Scene::start().await;
    for door in &DOORS {
        let (next, gate) = (scene.next_request(door), Gate::new());
        scene.upstream.script(door.upstream, door.gated(&gate, &["one ", "two ", "three "]).stall());
        gate.open(2);
        let mut answer = scene.send(door, true).await;
        let request = scene.upstream.request(door.upstream, next).await;
        answer.wait_for("two ").await;
        drop(answer);
        request.client_closed().await;
        assert_eq!(scene.charged().await, 12, "{}", door.path);
    }
}

#[tokio::test]
async fn a_caller_that_leaves_during_a_whole_answer_pays_the_call_and_what_was_generated() {
    let mut scene = Scene::start().await;
    for door in &DOORS {
        let (next, gate) = (scene.next_request(door), Gate::new());
        scene.upstream.script(door.upstream, door.gated(&gate, &["one ", "two "]).stall());
        gate.open(2);
        let calling = tokio::spawn(scene.call(door.path, &(door.body)(false)).send());
        let request = scene.upstream.request(door.upstream, next).await;
        assert!(!calling.is_finished());
        calling.abort();
        request.client_closed().await;
        // How many of the pieces were read before is the network's to say.
        let charged = scene.charged().await;
        assert!((10..=12).contains(&charged), "{} {charged}", door.path);
    }
}

#[tokio::test]
async fn a_caller_that_leaves_is_missed_though_it_has_said_something_behind_its_request() {
    let mut scene = Scene::start().await;
    let authorization = to_bearer(&scene.user.key);
    for door in &DOORS {
        for behind in ["\r\n", "GET / HTTP/1.1\r\nhost: tollgate\r\n\r\n"] {
            let next = scene.next_request(door);
            scene.upstream.script(door.upstream, Script::silence());
            let body = (door.body)(false).to_string();
            let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
            let mut connection = HostileHttp1::connect(scene.stack.inferences[scene.replica].address()).await;
            connection.send(&[request("POST", door.path, &headers, body.as_bytes()), behind.into()].concat()).await;
            let upstream = scene.upstream.request(door.upstream, next).await;
            drop(connection);
            upstream.client_closed().await;
            assert_eq!(scene.charged().await, 10, "{} {behind:?}", door.path);
        }
    }
}

#[tokio::test]
async fn an_upstream_that_dies_before_its_first_token_is_a_503_and_costs_nothing() {
    let mut scene = Scene::start().await;
    for door in &DOORS {
        for stream in [false, true] {
            for script in
                [Script::stream().error_line("open /models/blobs/sha256-1: no such file"), Script::stream().cut(), Script::stream()]
            {
                scene.upstream.script(door.upstream, script);
                let mut answer = scene.send(door, stream).await;
                assert_eq!(answer.status, 503, "{} {stream}", door.path);
                assert!(answer.header("retry-after").is_some_and(|after| after.parse::<u32>().is_ok_and(|after| after >= 1)));
                assert_ne!(answer.header("x-tollgate-charged-credits"), Some("10"));
                let text = answer.text().await;
                assert!(!text.contains("/models"), "upstream's text is for the log: {text}");
                assert_eq!(scene.charged().await, 0, "{} {stream}", door.path);
            }
        }
    }
}

#[tokio::test]
async fn an_upstream_that_dies_after_its_first_token_costs_what_was_read_and_says_so() {
    let mut scene = Scene::start().await;
    for door in &DOORS {
        scene.upstream.script(door.upstream, Script::stream().line(&door.piece("one ")).cut());
        let mut whole = scene.send(door, false).await;
        assert_eq!((whole.status, whole.header("x-tollgate-charged-credits")), (503, Some("11")), "{}", door.path);
        assert!(!whole.text().await.is_empty());
        assert_eq!(scene.charged().await, 11, "{}", door.path);

        let gate = Gate::new();
        scene.upstream.script(door.upstream, Script::stream().line(&door.piece("one ")).gate(&gate).cut());
        let mut stream = scene.send(door, true).await;
        assert_eq!(stream.status, 200, "{}", door.path);
        gate.open_for_good();
        let text = stream.text().await;
        assert!(text.contains("one ") && text.contains("UPSTREAM_UNAVAILABLE"), "{}: {text}", door.path);
        assert_eq!(scene.charged().await, 11, "{}", door.path);
    }
}

#[tokio::test]
async fn a_drain_lets_running_answers_finish_and_takes_no_new_call() {
    let mut scene = Scene::start().await;
    for door in &DOORS {
        for stream in [false, true] {
            let (next, gate) = (scene.next_request(door), Gate::new());
            scene.upstream.script(door.upstream, door.gated(&gate, &["one ", "two"]).line(&door.done(2)));
            let running = tokio::spawn(scene.call(door.path, &(door.body)(stream)).send());
            scene.upstream.request(door.upstream, next).await;
            scene.stack.inferences[scene.replica].begin_stop();
            gate.open_for_good();
            let mut answer = running.await.unwrap();
            assert_eq!(answer.status, 200, "{}", door.path);
            assert!(answer.text().await.contains("two"), "{}", door.path);
            until("the end of the process", SOON, || async { scene.stack.inferences[scene.replica].is_over().then_some(()) }).await;
            assert_eq!(scene.charged().await, 12, "{} {stream}", door.path);
            scene.stack.start_inference(0).await;
            scene.replica += 1;
        }
    }
}

#[tokio::test]
async fn what_is_refused_holds_nothing_costs_nothing_and_is_not_remembered() {
    let scene = Scene::start().await;
    for door in &DOORS {
        let missing = {
            let mut body = (door.body)(false);
            body["model"] = json!("nobody-has-it");
            body
        };
        let wrong_type = {
            let mut body = (door.body)(false);
            body["model"] = json!({ "a": 1 });
            body
        };
        let bodies = [
            missing.to_string(),
            String::new(),
            "{".to_owned(),
            "[]".to_owned(),
            "null".to_owned(),
            wrong_type.to_string(),
            "{}".to_owned(),
        ];
        for (number, body) in bodies.into_iter().enumerate() {
            let mut answer = scene.call(door.path, &Value::Null).body(body.clone()).send().await;
            let expected = if number == 0 { 404 } else { 400 };
            assert_eq!(answer.status, expected, "{} {body}", door.path);
            assert!(answer.text().await.contains("error"), "{} {body}", door.path);
        }
    }
    let snapshot = scene.stack.snapshot(&scene.user).await;
    assert_eq!((snapshot.balance.available, snapshot.balance.held, snapshot.balance.spent), (10_000, 0, 0));
    assert!(snapshot.remembered.is_empty(), "{:?}", snapshot.remembered.len());
}

#[tokio::test]
async fn a_request_that_was_answered_before_is_a_409_that_no_sdk_repeats_and_never_an_empty_answer() {
    let mut scene = Scene::start().await;
    for (number, door) in DOORS.iter().enumerate() {
        for stream in [false, true] {
            let id = format!("once-{number}-{stream}");
            scene.upstream.script(door.upstream, door.answer(&["one"]));
            let call = || scene.call(door.path, &(door.body)(stream)).header("idempotency-key", &id);
            assert!(call().send().await.text().await.contains("one"));
            let mut again = call().send().await;
            assert_eq!((again.status, again.header("x-should-retry")), (409, Some("false")), "{}", door.path);
            assert_eq!(again.header("x-tollgate-charged-credits"), Some("11"), "what it cost then");
            assert!(again.text().await.contains("REQUEST_RESOLVED"), "{}", door.path);
            assert_eq!(scene.charged().await, 11, "{} {stream}", door.path);
        }
        // The same id at the same time.
        let (next, gate) = (scene.next_request(door), Gate::new());
        scene.upstream.script(door.upstream, door.gated(&gate, &["one"]).line(&door.done(1)));
        let call = || scene.call(door.path, &(door.body)(false)).header("idempotency-key", &format!("together-{number}"));
        let first = tokio::spawn(call().send());
        scene.upstream.request(door.upstream, next).await;
        let mut second = call().send().await;
        assert_eq!((second.status, second.header("x-should-retry")), (409, None), "{}", door.path);
        assert!(second.header("retry-after").is_some());
        assert!(second.text().await.contains("REQUEST_IN_PROGRESS"), "{}", door.path);
        gate.open_for_good();
        assert_eq!(first.await.unwrap().status, 200);
        assert_eq!(scene.charged().await, 11, "{}", door.path);
    }
}

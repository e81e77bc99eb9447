//! The log of the real services: nobody waits for it, and nothing of it is lost at a stop.

use futures_util::future::join_all;
use integration::polling::SOON;
use integration::process_pair::ProcessPair;
use integration::processes::ServiceProcess;
use integration::scripted_upstream::ScriptedUpstream;
use serde_json::Value;

/// The lines of a log, each of which must be one JSON object.
fn lines(process: &ServiceProcess) -> Vec<Value> {
    let line = |line: &str| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("no whole line of JSON ({error}): {line}"));
    process.log().lines().map(line).collect()
}

fn with_message<'a>(lines: &'a [Value], message: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["message"] == message).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_the_log_that_does_not_read_stops_no_call_and_is_told_how_many_lines_were_dropped() {
    let upstream = ScriptedUpstream::start().await;
    let mut processes = ProcessPair::start(&upstream.url(), &[("TOLLGATE_LOG", "trace"), ("TOLLGATE_STARTING_CREDITS", "100000")]);
    let key = processes.user().await;
    processes.auth.pause_log(true);
    processes.inference.pause_log(true);
    // Some hundred lines each: more than the buffer takes.
    for _ in 0..40 {
        let answers = tokio::time::timeout(SOON, join_all((0..10).map(|_| processes.chat(&key)))).await;
        for answer in answers.expect("calls are answered while nobody reads the log") {
            assert_eq!(answer.unwrap().charged(), Some(1));
        }
    }
    processes.auth.pause_log(false);
    processes.inference.pause_log(false);
    let _ = processes.inference.wait_for_log("\"dropped_lines\":");
    assert!(processes.inference.stop().success() && processes.auth.stop().success());
    let said = lines(&processes.inference);
    let dropped: u64 = said.iter().filter_map(|line| line["dropped_lines"].as_u64()).sum();
    assert!(dropped > 0, "and how many");
    assert_eq!(with_message(&said, "stopped").len(), 1, "what came when there was room again");
    let told_of_each = lines(&processes.auth).iter().all(|line| line["timestamp"].is_string() && line["level"].is_string());
    assert!(told_of_each);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_is_there_after_a_sigterm_and_whole() {
    let upstream = ScriptedUpstream::start().await;
    let more = [("TOLLGATE_LOG", "info"), ("TOLLGATE_STARTING_CREDITS", "1000"), ("TOLLGATE_MAX_OPEN_HOLDS", "100")];
    let mut processes = ProcessPair::start(&upstream.url(), &more);
    let key = processes.user().await;
    let answers = join_all((0..100).map(|_| processes.chat(&key))).await;
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.charged() == Some(1))));
    assert!(processes.inference.stop().success() && processes.auth.stop().success());

    let (inference, auth) = (lines(&processes.inference), lines(&processes.auth));
    for lines in [&inference, &auth] {
        let settled = with_message(lines, "a call is over");
        assert_eq!(settled.len(), 100, "a line for each answer");
        assert!(settled.iter().all(|line| line["request_id"].is_string() && line["charged_credits"] == 1));
    }
    assert_eq!(inference.last().map(|line| &line["message"]), Some(&Value::from("stopped")));
    let audited: Vec<&str> = auth.iter().filter(|line| line["target"] == "audit").filter_map(|line| line["action"].as_str()).collect();
    assert_eq!(audited, ["sign_up", "create_api_key"]);
}

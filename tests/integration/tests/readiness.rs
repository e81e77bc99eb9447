//! `grpc.health.v1` of real processes: for a service's name, whether its calls can be answered; for the empty name, whether the process
//! lives.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use integration::polling::{SOON, until};
use integration::process_pair::{AUTH, ProcessPair};
use integration::processes::{ServiceProcess, run};
use integration::redis_server::RedisServer;
use integration::reserved_port::ReservedPort;
use integration::scripted_upstream::{Script, ScriptedUpstream};
use integration::stack::channel;
use shared::healthcheck::{self, PROCESS};
use tonic::{Code, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

const INFERENCE: &str = "tollgate.inference.v1.Inference";
const MODELS: &str = "tollgate.inference.v1.Models";

async fn is_serving(process: &ServiceProcess, service: &str) -> bool {
    healthcheck::check(process.address(), service).await.is_ok()
}

async fn until_serving(process: &ServiceProcess, service: &str, serving: bool) {
    let what = format!("{service} to be {}", if serving { "SERVING" } else { "NOT_SERVING" });
    until(&what, SOON, || async { (is_serving(process, service).await == serving).then_some(()) }).await;
    assert!(is_serving(process, PROCESS).await, "the process lives all the time");
}

/// Exit codes of the health check of a container, and of the one for liveness.
fn exit_codes(name: &str, variable: &str, process: &ServiceProcess) -> [Option<i32>; 2] {
    let environment = [(variable.to_owned(), process.address().to_string())].into();
    [&["healthcheck"][..], &["healthcheck", "--live"]].map(|arguments| run(name, arguments, &environment, "").status.code())
}

async fn watch(process: &ServiceProcess, service: &str) -> Streaming<HealthCheckResponse> {
    let mut health = HealthClient::new(channel(process.address()));
    health.watch(HealthCheckRequest { service: service.to_owned() }).await.unwrap().into_inner()
}

async fn next(watch: &mut Streaming<HealthCheckResponse>) -> ServingStatus {
    tokio::time::timeout(SOON, watch.message()).await.expect("a change in time").unwrap().expect("the watch goes on").status()
}

/// The variables of both services on one data folder.
fn environment(folder: &tempfile::TempDir, auth: &ReservedPort, upstream: &str) -> BTreeMap<String, String> {
    let data = folder.path().join("data").to_string_lossy().into_owned();
    let (url, listen) = (format!("http://{}", auth.address()), auth.address().to_string());
    [
        ("TOLLGATE_DATA_DIR", data.as_str()),
        ("TOLLGATE_ENGINE", "ollama"),
        ("OLLAMA_HOST", upstream),
        ("TOLLGATE_AUTH_URL", url.as_str()),
        ("TOLLGATE_AUTH_LISTEN", listen.as_str()),
        ("TOLLGATE_LOG", "info"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

#[tokio::test(flavor = "multi_thread")]
async fn inference_service_is_ready_while_auth_service_and_a_model_server_can_be_asked_and_lives_all_the_time() {
    let (folder, auth_port, ollama_port) = (tempfile::tempdir().unwrap(), ReservedPort::new(), ReservedPort::new());
    let environment = environment(&folder, &auth_port, &ollama_port.address().to_string());
    let inference = ServiceProcess::start("inference-service", &environment);
    let check = || exit_codes("inference-service", "TOLLGATE_LISTEN", &inference);

    // Neither is there: the log says where each was looked for.
    let _ = inference.wait_for_log("auth-service can't be asked");
    let _ = inference.wait_for_log("the model server can't be asked");
    for (who, address) in [("auth-service can't be asked", auth_port.address()), ("the model server can't be asked", ollama_port.address())]
    {
        let line = inference.wait_for_log(who);
        assert!(line.contains("\"WARN\"") && line.contains(&format!("\"asked\":\"http://{address}\"")), "{line}");
    }
    until_serving(&inference, INFERENCE, false).await;
    assert!(!is_serving(&inference, MODELS).await);
    assert_eq!(check(), [Some(1), Some(0)]);
    let mut watched = watch(&inference, INFERENCE).await;
    assert_eq!(next(&mut watched).await, ServingStatus::NotServing);

    // One of the two is not enough.
    let mut auth = ServiceProcess::start("auth-service", &environment);
    let _ = inference.wait_for_log("auth-service can be asked");
    assert!(!is_serving(&inference, INFERENCE).await);
    let upstream = ScriptedUpstream::start_at(ollama_port.address()).await;
    assert_eq!(next(&mut watched).await, ServingStatus::Serving);
    assert!(is_serving(&inference, MODELS).await);
    assert_eq!(check(), [Some(0), Some(0)]);

    // A stopped auth-service, and one that is there again.
    assert!(auth.stop().success());
    assert_eq!(next(&mut watched).await, ServingStatus::NotServing);
    assert_eq!(check(), [Some(1), Some(0)]);
    let auth = ServiceProcess::start("auth-service", &environment);
    assert_eq!(next(&mut watched).await, ServingStatus::Serving);

    // One that stands still.
    auth.signal("STOP");
    assert_eq!(next(&mut watched).await, ServingStatus::NotServing);
    auth.signal("CONT");
    assert_eq!(next(&mut watched).await, ServingStatus::Serving);

    // A model server that is gone, and one that is there again.
    drop(upstream);
    assert_eq!(next(&mut watched).await, ServingStatus::NotServing);
    let upstream = ScriptedUpstream::start_at(ollama_port.address()).await;
    assert_eq!(next(&mut watched).await, ServingStatus::Serving);
    assert!(is_serving(&inference, PROCESS).await);
    // What it was asked loads no model.
    assert!(upstream.requests().iter().all(|request| (request.method.as_str(), request.path.as_str()) == ("GET", "/api/version")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_slow_answer_of_the_model_server_changes_nothing_and_a_server_that_is_no_ollama_does() {
    let upstream = ScriptedUpstream::start().await;
    let processes = ProcessPair::start(&upstream.url(), &[]);
    until_serving(&processes.inference, INFERENCE, true).await;
    let mut watched = watch(&processes.inference, INFERENCE).await;
    assert_eq!(next(&mut watched).await, ServingStatus::Serving);
    upstream.script_once("/api/version", Script::silence());
    let asked = upstream.requests_to("/api/version").len();
    // The silent one, the one that is asked after it, and one more, which is not asked before the second was answered.
    upstream.request("/api/version", asked + 2).await;
    assert!(watched.message().now_or_never().is_none(), "nothing has changed");
    assert!(is_serving(&processes.inference, INFERENCE).await);
    for other in [Script::error(502, "bad gateway"), Script::json(200, &serde_json::json!({ "hello": "world" }))] {
        upstream.script("/api/version", other);
        assert_eq!(next(&mut watched).await, ServingStatus::NotServing);
        upstream.script("/api/version", Script::json(200, &serde_json::json!({ "version": "0.32.15" })));
        assert_eq!(next(&mut watched).await, ServingStatus::Serving);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_credential_that_auth_service_refuses_is_no_readiness_and_the_log_names_the_variable() {
    let upstream = ScriptedUpstream::start().await;
    let mut processes = ProcessPair::start(&upstream.url(), &[]);
    let other = shared::secret::Secret::generate().unwrap().1;
    processes.environment.insert("TOLLGATE_SERVICE_CREDENTIAL".to_owned(), other.clone());
    let inference = ServiceProcess::start("inference-service", &processes.environment);
    let line = inference.wait_for_log("auth-service can't be asked");
    assert!(line.contains("TOLLGATE_SERVICE_CREDENTIAL") && line.contains(&processes.auth.url()), "{line}");
    assert!(!line.contains(&other));
    assert!(!is_serving(&inference, INFERENCE).await && is_serving(&inference, PROCESS).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_store_auth_service_lives_and_neither_service_is_ready() {
    let mut redis = RedisServer::start();
    let upstream = ScriptedUpstream::start().await;
    let secret = || shared::secret::Secret::generate().unwrap().1;
    let (jwt, service, url) = (format!("k1:{}", secret()), secret(), redis.url());
    let more = [
        ("TOLLGATE_REDIS_URL", url.as_str()),
        ("TOLLGATE_JWT_SECRETS", jwt.as_str()),
        ("TOLLGATE_SERVICE_CREDENTIALS", service.as_str()),
        ("TOLLGATE_SERVICE_CREDENTIAL", service.as_str()),
        ("TOLLGATE_LOG", "info"),
    ];
    let processes = ProcessPair::start(&upstream.url(), &more);
    let place = url.trim_start_matches("redis://");
    let started = processes.auth.wait_for_log("auth-service serves");
    assert!(started.contains(&format!("\"store\":\"{place}\"")), "{started}");
    let services = [AUTH, "tollgate.auth.v1.Accounts", "tollgate.auth.v1.Admin"];
    let check = || exit_codes("auth-service", "TOLLGATE_AUTH_LISTEN", &processes.auth);
    for service in services {
        assert!(is_serving(&processes.auth, service).await, "{service}, from its first answer on");
    }
    assert_eq!(check(), [Some(0), Some(0)]);
    until_serving(&processes.inference, INFERENCE, true).await;

    redis.kill();

    for service in services {
        until_serving(&processes.auth, service, false).await;
    }
    assert_eq!(check(), [Some(1), Some(0)]);
    until_serving(&processes.inference, INFERENCE, false).await;
    let said = processes.auth.wait_for_log("calls are refused until the store takes writes again");
    assert!(said.contains(&format!("\"store\":\"{place}\"")), "{said}");

    redis.start_again();

    until_serving(&processes.auth, AUTH, true).await;
    until_serving(&processes.inference, INFERENCE, true).await;
}

#[test]
fn a_store_that_can_not_be_reached_at_the_start_is_named_by_host_and_port_and_without_its_password() {
    let nobody = ReservedPort::new();
    let secret = shared::secret::Secret::generate().unwrap().1;
    let url = format!("redis://:canary@{}", nobody.address());
    let environment = [
        ("TOLLGATE_REDIS_URL", url.as_str()),
        ("TOLLGATE_JWT_SECRETS", &format!("k1:{secret}")),
        ("TOLLGATE_SERVICE_CREDENTIALS", &secret),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let ended = run("auth-service", &[], &environment, "");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(69), "{said}");
    let named = said.lines().filter(|line| line.contains(&nobody.address().to_string())).count();
    assert_eq!(named, said.lines().count(), "each line names it: {said}");
    assert!(!said.contains("canary"), "{said}");
}

#[tokio::test]
async fn a_process_that_drains_serves_nothing_by_any_name() {
    let upstream = ScriptedUpstream::start().await;
    let processes = ProcessPair::start(&upstream.url(), &[]);
    until_serving(&processes.inference, INFERENCE, true).await;
    let mut watches = Vec::new();
    for (process, service) in
        [(&processes.inference, INFERENCE), (&processes.inference, PROCESS), (&processes.auth, AUTH), (&processes.auth, PROCESS)]
    {
        let mut watched = watch(process, service).await;
        assert_eq!(next(&mut watched).await, ServingStatus::Serving, "{service:?}");
        watches.push((service, watched));
    }
    processes.inference.signal("TERM");
    processes.auth.signal("TERM");
    for (service, mut watched) in watches {
        assert_eq!(next(&mut watched).await, ServingStatus::NotServing, "{service:?}");
        let end = watched.message().await;
        assert!(matches!(&end, Ok(None)) || end.is_err_and(|status| status.code() != Code::Ok), "{service:?} is over");
    }
}

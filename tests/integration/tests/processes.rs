//! What only real processes can show: crashes, signals, exit codes, logs.

use std::collections::BTreeMap;

use integration::polling::{SOON, until};
use integration::process_pair::{AUTH, ProcessPair, bearer};
use integration::processes::{ServiceProcess, run};
use integration::redis_server::RedisServer;
use integration::scripted_upstream::{Gate, Script, ScriptedUpstream};
use integration::stack::{PASSWORD, chat_request, read_all};
use shared::ErrorReason;
use shared::error::reason_of;
use tonic::Code;

#[tokio::test]
async fn inference_service_killed_in_mid_stream_the_hold_goes_by_its_expiry_and_the_balance_is_right() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::stream().token("one").stall());
    let mut processes = ProcessPair::start(&upstream.url(), &[("TOLLGATE_HOLD_TTL", "3s")]);
    let key = processes.user().await;
    let mut stream = processes.inference().chat(bearer(&key, chat_request("smollm2", "hi"))).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    upstream.request("/api/chat", 0).await;
    assert_eq!(processes.balance(&key).await.unwrap().held_credits(), 1);

    processes.inference.kill();

    assert_eq!(read_all(&mut stream).await.failure.map(|status| status.code() == Code::Ok), Some(false));
    let balance =
        until("the hold's expiry", SOON, || async { processes.balance(&key).await.filter(|balance| balance.held_credits() == 0) }).await;
    assert_eq!((balance.available_credits(), balance.spent_credits(), balance.granted_credits()), (10, 0, 10));
}

#[tokio::test]
async fn sigterm_with_a_running_stream_lets_it_finish_and_exits_0_with_no_hold_open() {
    let upstream = ScriptedUpstream::start().await;
    let gate = Gate::new();
    upstream.script("/api/chat", Script::stream().token("one").gate(&gate).token(" two").done("stop", 5, 2));
    let mut processes = ProcessPair::start(&upstream.url(), &[("TOLLGATE_DRAIN_DEADLINE", "10s")]);
    let key = processes.user().await;
    let mut stream = processes.inference().chat(bearer(&key, chat_request("smollm2", "hi"))).await.unwrap().into_inner();
    upstream.request("/api/chat", 0).await;

    processes.inference.signal("TERM");

    let _ = processes.inference.wait_for_log("draining");
    let refused = processes.inference().chat(bearer(&key, chat_request("smollm2", "hi"))).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    gate.open_for_good();
    let answer = read_all(&mut stream).await;
    assert_eq!((answer.text().as_str(), answer.charged()), ("one two", Some(1)));
    assert_eq!(processes.inference.wait(SOON).code(), Some(0));
    assert_eq!(processes.balance(&key).await.unwrap().held_credits(), 0);

    processes.auth.signal("INT");
    assert_eq!(processes.auth.wait(SOON).code(), Some(0));
}

#[tokio::test]
async fn a_stopped_store_fails_closed_and_comes_back() {
    let mut redis = RedisServer::start();
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::chat(&["x"]));
    let secret = || shared::secret::Secret::generate().unwrap().1;
    let (jwt, service, url) = (format!("k1:{}", secret()), secret(), redis.url());
    let more = [
        ("TOLLGATE_REDIS_URL", url.as_str()),
        ("TOLLGATE_JWT_SECRETS", jwt.as_str()),
        ("TOLLGATE_SERVICE_CREDENTIALS", service.as_str()),
        ("TOLLGATE_SERVICE_CREDENTIAL", service.as_str()),
    ];
    let processes = ProcessPair::start(&upstream.url(), &more);
    let key = processes.user().await;
    redis.kill();
    let refused = processes.inference().chat(bearer(&key, chat_request("smollm2", "hi"))).await.unwrap_err();
    assert_eq!((refused.code(), reason_of(&refused)), (Code::Unavailable, Some(ErrorReason::StoreUnavailable)));
    assert!(upstream.requests_to("/api/chat").is_empty());
    let healthy = || async { shared::healthcheck::check(processes.auth.address(), AUTH).await.is_ok() };
    until("health to say so", SOON, || async { (!healthy().await).then_some(()) }).await;
    redis.start_again();
    until("health to be well again", SOON, || async { healthy().await.then_some(()) }).await;
    let answer = until("the store to be used again", SOON, || async {
        let stream = processes.inference().chat(bearer(&key, chat_request("smollm2", "hi"))).await.ok()?;
        Some(read_all(&mut stream.into_inner()).await)
    })
    .await;
    assert_eq!(answer.charged(), Some(1));
    assert_eq!(processes.balance(&key).await.unwrap().available_credits(), 9, "what was written before the crash is there");
}

/// Both services on a Redis, and what a store that takes no writes does to them.
struct OnRedis {
    redis: RedisServer,
    processes: ProcessPair,
    key: String,
}

impl OnRedis {
    async fn start(upstream: &str) -> Self {
        let redis = RedisServer::start();
        let secret = || shared::secret::Secret::generate().unwrap().1;
        let (jwt, service, url) = (format!("k1:{}", secret()), secret(), redis.url());
        let more = [
            ("TOLLGATE_REDIS_URL", url.as_str()),
            ("TOLLGATE_JWT_SECRETS", jwt.as_str()),
            ("TOLLGATE_SERVICE_CREDENTIALS", service.as_str()),
            ("TOLLGATE_SERVICE_CREDENTIAL", service.as_str()),
        ];
        let processes = ProcessPair::start(upstream, &more);
        let key = processes.user().await;
        Self { redis, processes, key }
    }
}

#[tokio::test]
async fn a_redis_whose_snapshots_could_stop_all_writes_is_told_of_at_the_start_with_the_command_that_mends_it() {
    let upstream = ScriptedUpstream::start().await;
    let secret = || shared::secret::Secret::generate().unwrap().1;
    for (save, is_told) in [("3600 1 300 100", true), ("", false)] {
        let redis = RedisServer::start();
        redis_command(&redis, &["CONFIG", "SET", "save", save]);
        let (jwt, service, url) = (format!("k1:{}", secret()), secret(), redis.url());
        let more = [
            ("TOLLGATE_REDIS_URL", url.as_str()),
            ("TOLLGATE_JWT_SECRETS", jwt.as_str()),
            ("TOLLGATE_SERVICE_CREDENTIAL", service.as_str()),
        ];
        let processes = ProcessPair::start(&upstream.url(), &more);
        processes.user().await;
        let log = processes.auth.log();
        assert_eq!(log.contains("3600 1 300 100") && log.contains("config set save"), is_told, "{log}");
    }
}

fn redis_command(redis: &RedisServer, words: &[&str]) {
    let mut command = redis::cmd(words[0]);
    words[1..].iter().for_each(|word| {
        command.arg(word);
    });
    command.exec(&mut redis::Client::open(redis.url()).unwrap().get_connection().unwrap()).unwrap();
}

#[tokio::test]
async fn a_full_redis_refuses_new_calls_settles_those_that_run_and_is_used_again_when_there_is_room() {
    let upstream = ScriptedUpstream::start().await;
    let gate = Gate::new();
    upstream.script_once("/api/chat", Script::stream().token("one").gate(&gate).done("stop", 5, 1));
    upstream.script("/api/chat", Script::chat(&["x"]));
    let OnRedis { redis, processes, key } = OnRedis::start(&upstream.url()).await;
    let mut running = processes.inference().chat(bearer(&key, chat_request("smollm2", "hi"))).await.unwrap().into_inner();
    upstream.request("/api/chat", 0).await;
    redis_command(&redis, &["CONFIG", "SET", "maxmemory", "1"]);
    processes.refuse_writes(&key, ErrorReason::StoreFull, "OOM command not allowed").await;
    // One that starts now says so from its first answer on.
    let second = ServiceProcess::start("auth-service", &processes.environment);
    assert!(shared::healthcheck::check(second.address(), AUTH).await.is_err());
    gate.open_for_good();
    assert_eq!(read_all(&mut running).await.charged(), Some(1), "its settle lands all the same");
    redis_command(&redis, &["CONFIG", "SET", "maxmemory", "0"]);
    processes.take_writes_again(&key).await;
}

#[tokio::test]
async fn a_redis_that_became_a_replica_refuses_calls_until_it_is_a_primary_and_then_what_ran_is_settled() {
    let upstream = ScriptedUpstream::start().await;
    let gate = Gate::new();
    upstream.script_once("/api/chat", Script::stream().token("one").gate(&gate).done("stop", 5, 1));
    upstream.script("/api/chat", Script::chat(&["x"]));
    let OnRedis { redis, processes, key } = OnRedis::start(&upstream.url()).await;
    let mut running = processes.inference().chat(bearer(&key, chat_request("smollm2", "hi"))).await.unwrap().into_inner();
    upstream.request("/api/chat", 0).await;
    // The other one takes over with all that is stored, and this one follows it.
    let other = RedisServer::start();
    let port = |redis: &RedisServer| redis.url().rsplit(':').next().unwrap().to_owned();
    let in_step = |replica: &RedisServer| {
        let mut connection = redis::Client::open(replica.url()).unwrap().get_connection().unwrap();
        let info: String = redis::cmd("INFO").arg("replication").query(&mut connection).unwrap();
        info.contains("master_link_status:up").then_some(())
    };
    redis_command(&other, &["REPLICAOF", "127.0.0.1", &port(&redis)]);
    until("the other one to have all", SOON, || async { in_step(&other) }).await;
    redis_command(&other, &["REPLICAOF", "NO", "ONE"]);
    redis_command(&redis, &["REPLICAOF", "127.0.0.1", &port(&other)]);
    until("this one to follow", SOON, || async { in_step(&redis) }).await;
    processes.refuse_writes(&key, ErrorReason::StoreReadOnly, "READONLY").await;
    gate.open_for_good();
    read_all(&mut running).await;
    redis_command(&redis, &["REPLICAOF", "NO", "ONE"]);
    processes.take_writes_again(&key).await;
    let balance = until("the settle", SOON, || async { processes.balance(&key).await.filter(|balance| balance.held_credits() == 0) }).await;
    assert_eq!((balance.available_credits(), balance.spent_credits()), (8, 2));
}

#[tokio::test]
async fn a_redis_that_answers_no_one_is_unavailable_and_said_so_once() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::chat(&["x"]));
    let OnRedis { redis, processes, key } = OnRedis::start(&upstream.url()).await;
    let signal = |name: &str| {
        let sent = std::process::Command::new("kill").args([name, &redis.pid().to_string()]).status().unwrap();
        assert!(sent.success());
    };
    signal("-STOP");
    processes.refuse_writes(&key, ErrorReason::StoreUnavailable, "no answer in time").await;
    signal("-CONT");
    processes.until_healthy(true).await;
    // What was asked meanwhile is looked up again, and given back.
    let balance =
        until("nothing to be held", SOON, || async { processes.balance(&key).await.filter(|balance| balance.held_credits() == 0) }).await;
    assert_eq!(balance.available_credits(), 10);
    processes.take_writes_again(&key).await;
}

#[tokio::test]
async fn a_file_that_may_not_grow_is_a_full_store_and_no_reason_to_die_or_to_be_restarted() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::chat(&["x"]));
    let processes = ProcessPair::start(&upstream.url(), &[]);
    let key = processes.user().await;
    let data = std::path::Path::new(&processes.environment["TOLLGATE_DATA_DIR"]);
    let longest = std::fs::metadata(data.join("tollgate.db-wal")).unwrap().len();
    let auth = i32::try_from(processes.auth.pid()).ok().and_then(rustix::process::Pid::from_raw);
    let limit = |current: Option<u64>| {
        let before = rustix::process::getrlimit(rustix::process::Resource::Fsize);
        let limit = rustix::process::Rlimit { current, maximum: before.maximum };
        rustix::process::prlimit(auth, rustix::process::Resource::Fsize, limit).unwrap()
    };
    let before = limit(Some(longest));
    processes.refuse_writes(&key, ErrorReason::StoreFull, "ulimit -f").await;
    limit(before.current);
    processes.take_writes_again(&key).await;
}

#[test]
fn a_redis_that_can_not_be_used_stops_the_start_in_words_that_say_what_to_do() {
    let (primary, replica) = (RedisServer::start(), RedisServer::start());
    redis_command(&replica, &["REPLICAOF", "127.0.0.1", primary.url().rsplit(':').next().unwrap()]);
    redis_command(&primary, &["CONFIG", "SET", "requirepass", "right"]);
    let with_password = primary.url().replace("//", "//:canary@");
    for (url, code, says) in [
        ("rediss://:canary@127.0.0.1:6379".to_owned(), 64, "TLS"),
        ("redis-sentinel://:canary@127.0.0.1:26379".to_owned(), 64, "Sentinel"),
        ("redis://:can/ary@127.0.0.1".to_owned(), 64, "%2F"),
        (with_password, 64, "password"),
        (replica.url(), 1, "replica"),
    ] {
        let secret = shared::secret::Secret::generate().unwrap().1;
        let environment = [
            ("TOLLGATE_REDIS_URL", url.as_str()),
            ("TOLLGATE_JWT_SECRETS", &format!("k1:{secret}")),
            ("TOLLGATE_SERVICE_CREDENTIALS", &secret),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let ended = run("auth-service", &[], &environment, "");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(code), "{url}: {said}");
        assert!(said.contains("TOLLGATE_REDIS_URL") && said.contains(says), "{url}: {said}");
        assert!(!said.contains("canary") && !said.contains("can/ary") && !said.contains(&secret), "{said}");
    }
}

#[tokio::test]
async fn a_check_that_nobody_answered_is_given_back_and_its_request_id_works_again() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::chat(&["x"]));
    let processes = ProcessPair::start(&upstream.url(), &[("TOLLGATE_CHECK_TIMEOUT", "2s")]);
    let key = processes.user().await;
    let chat = async || {
        let request = shared::proto::inference::ChatRequest { request_id: "lost".to_owned(), ..chat_request("smollm2", "hi") };
        match processes.inference().chat(bearer(&key, request)).await {
            Ok(stream) => Ok(read_all(&mut stream.into_inner()).await),
            Err(status) => Err(status),
        }
    };
    // The Check is written to a process that doesn't run; when it runs again, nobody waits for the answer.
    processes.auth.signal("STOP");
    let refused = chat().await.unwrap_err();
    assert_eq!((refused.code(), reason_of(&refused)), (Code::Unavailable, Some(ErrorReason::AuthUnavailable)));
    processes.auth.signal("CONT");
    let answer = until("the request id to be free again", SOON, || async { chat().await.ok() }).await;
    assert_eq!((answer.text().as_str(), answer.charged()), ("x", Some(1)));
    let balance =
        until("nothing to be held", SOON, || async { processes.balance(&key).await.filter(|balance| balance.held_credits() == 0) }).await;
    assert_eq!((balance.available_credits(), balance.spent_credits()), (9, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_prompts_and_answers_never_reach_a_log_and_one_request_id_reaches_both() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script_once("/api/chat", Script::chat(&["canary-in-the-answer"]));
    let words = "error parsing tool call: raw='canary-in-the-answer', err=unexpected end of JSON input";
    upstream.script("/api/chat", Script::stream().token("canary-in-the-answer").error_line(words));
    let mut processes = ProcessPair::start(&upstream.url(), &[]);
    let key = processes.user().await;
    for _ in 0..2 {
        let mut request = bearer(&key, chat_request("smollm2", "canary-in-the-prompt"));
        request.metadata_mut().insert("x-request-id", "one-id-for-both".parse().unwrap());
        let mut stream = processes.inference().chat(request).await.unwrap().into_inner();
        read_all(&mut stream).await;
    }
    let other = if key.ends_with('x') { 'y' } else { 'x' };
    let wrong = format!("{}{other}", &key[..key.len() - 1]);
    let refused = processes.inference().chat(bearer(&wrong, chat_request("smollm2", "canary-in-the-prompt"))).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);

    assert!(processes.inference.stop().success() && processes.auth.stop().success());
    let (auth, inference) = (processes.auth.log(), processes.inference.log());
    let settled: Vec<_> = inference.lines().filter(|line| line.contains("\"settled\"")).collect();
    assert_eq!(settled.len(), 2, "{inference}");
    assert!(settled.iter().all(|line| line.contains("one-id-for-both")), "{settled:?}");
    assert!(auth.contains("one-id-for-both"), "{auth}");
    let secret =
        std::fs::read_to_string(std::path::Path::new(&processes.environment["TOLLGATE_DATA_DIR"]).join("service-credential")).unwrap();
    for canary in ["canary-in-the-prompt", "canary-in-the-answer", &key, &wrong, PASSWORD, secret.trim()] {
        assert!(!auth.contains(canary) && !inference.contains(canary), "{canary}");
        assert!(!refused.message().contains(canary));
    }
}

#[test]
fn every_documented_variable_with_a_bad_value_stops_the_start_with_64_and_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").to_string_lossy().into_owned();
    let services = [("auth-service", auth_service::config::VARIABLES), ("inference-service", inference_service::config::VARIABLES)];
    for (service, variables) in services {
        for variable in variables {
            let mut environment = BTreeMap::from([("TOLLGATE_DATA_DIR".to_owned(), data.clone())]);
            environment.insert(variable.name.to_owned(), variable.bad.to_owned());
            let ended = run(service, &[], &environment, "");
            let said = String::from_utf8_lossy(&ended.stderr);
            assert_eq!(ended.status.code(), Some(64), "{service} with {}={:?}: {said}", variable.name, variable.bad);
            assert!(said.contains(variable.name), "{service} doesn't name {}: {said}", variable.name);
        }
        // With a Redis, the data folder isn't looked at.
        let variables: Vec<_> = variables.iter().filter(|variable| variable.name != "TOLLGATE_REDIS_URL").collect();
        let environment: BTreeMap<_, _> = variables.iter().map(|variable| (variable.name.to_owned(), variable.bad.to_owned())).collect();
        let said = run(service, &[], &environment, "").stderr;
        let said = String::from_utf8_lossy(&said);
        for variable in variables {
            assert!(said.contains(variable.name), "{service} reports all mistakes at once, but for {}: {said}", variable.name);
        }
    }
}

#[test]
fn the_page_of_variables_lists_every_one_with_its_default() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/variables.md")).unwrap();
    for variable in auth_service::config::VARIABLES.iter().chain(inference_service::config::VARIABLES) {
        let row = format!("| `{}` | {} | {} |", variable.name, variable.default, variable.meaning);
        assert!(page.contains(&row), "docs/variables.md lacks this row:\n{row}");
    }
}

#[test]
fn the_compose_file_passes_every_variable_on_but_those_that_it_decides_itself() {
    let compose = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docker-compose.yml")).unwrap();
    // A service's own lines: up to the next one that is indented no deeper.
    let lines_of = |service: &str| {
        let lines = compose.lines().skip_while(|line| *line != format!("  {service}:")).skip(1);
        lines.take_while(|line| line.is_empty() || line.starts_with("   ")).collect::<Vec<_>>()
    };
    for (service, variables, decided) in [
        ("auth-service", auth_service::config::VARIABLES, &["TOLLGATE_DATA_DIR"][..]),
        (
            "inference-service",
            inference_service::config::VARIABLES,
            // Other names stand for the first; the embedded engine is not in the image.
            &["OLLAMA_API_KEY", "TOLLGATE_DATA_DIR", "TOLLGATE_MODELS_DIR", "TOLLGATE_EMBEDDED_QUEUE"],
        ),
    ] {
        let lines = lines_of(service);
        for variable in variables {
            let passed = lines.iter().any(|line| line.trim_start().starts_with(&format!("{}:", variable.name)));
            assert_eq!(passed, !decided.contains(&variable.name), "{service}: {}", variable.name);
        }
    }
}

#[test]
fn a_variable_that_no_program_reads_stops_the_start_with_64_and_the_nearest_name() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").to_string_lossy().into_owned();
    for (service, arguments) in [("auth-service", &[][..]), ("inference-service", &[]), ("auth-service", &["create-admin", "root"])] {
        for (typed, nearest) in [
            ("TOLLGATE_SIGN_UP", "TOLLGATE_SIGNUP"),
            ("TOLLGATE_PRICE", "TOLLGATE_PRICES"),
            ("TOLLGATE_MAX_OUTPUT_TOKEN", "TOLLGATE_MAX_OUTPUT_TOKENS"),
            ("tollgate_redis_url", "TOLLGATE_REDIS_URL"),
        ] {
            let environment = BTreeMap::from(
                [("TOLLGATE_DATA_DIR", data.as_str()), (typed, "closed"), ("TOLLGATE_DRAIN_DEADLINE", "never")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned())),
            );
            let ended = run(service, arguments, &environment, "");
            let said = String::from_utf8_lossy(&ended.stderr);
            assert_eq!(ended.status.code(), Some(64), "{service} with {typed}: {said}");
            assert!(said.contains(&format!("{typed} is no variable of Tollgate's: is {nearest} meant?")), "{said}");
            assert!(said.contains("TOLLGATE_DRAIN_DEADLINE must"), "with all other mistakes: {said}");
        }
    }
}

#[tokio::test]
async fn both_services_start_in_one_environment_with_every_name_that_any_program_reads() {
    // Only the names that the services don't read themselves have made-up values here.
    let own = || auth_service::config::VARIABLES.iter().chain(inference_service::config::VARIABLES).map(|variable| variable.name);
    let others: Vec<_> =
        shared::env::known::NAMES.iter().filter(|name| !own().any(|own| own == **name)).map(|name| (*name, "anything")).collect();
    assert!(others.iter().any(|(name, _)| *name == "TOLLGATE_BIND") && others.iter().any(|(name, _)| *name == "TOLLGATE_API_KEY"));
    let upstream = ScriptedUpstream::start().await;
    let processes = ProcessPair::start(&upstream.url(), &others);
    processes.user().await;
}

#[test]
fn every_name_that_a_program_the_compose_file_or_its_example_reads_is_a_known_one() {
    let own = auth_service::config::VARIABLES.iter().chain(inference_service::config::VARIABLES).map(|variable| variable.name.to_owned());
    let mut named: Vec<String> = own.filter(|name| name.starts_with("TOLLGATE_")).collect();
    for file in [
        "docker-compose.yml",
        ".env.example",
        "README.md",
        "docs/variables.md",
        "docs/users-and-keys.md",
        "docs/deployment.md",
        "docs/openwebui.md",
        "docs/cli.md",
        "scripts/run",
        "scripts/demo",
        "docker-compose.replicas.yml",
        "docker-compose.tls.yml",
    ] {
        let text = std::fs::read_to_string(format!("{}/../../{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map(|word| word.trim_end_matches('_'));
        named.extend(words.filter(|word| word.starts_with("TOLLGATE_")).map(str::to_owned));
    }
    assert!(named.len() > 100, "{named:?}");
    for name in named {
        assert!(shared::env::known::NAMES.contains(&name.as_str()), "{name} is to be added to shared/src/env/known.rs");
    }
}

#[test]
fn both_services_exit_64_on_wrong_arguments_and_0_on_help() {
    let nothing = BTreeMap::new();
    for service in ["auth-service", "inference-service"] {
        for wrong in [&["--nonsense"][..], &["nonsense"], &["healthcheck", "--now"], &["healthcheck", "now"], &["--", "x"], &["-x"]] {
            let ended = run(service, wrong, &nothing, "");
            assert_eq!(ended.status.code(), Some(64), "{service} {wrong:?}: {}", String::from_utf8_lossy(&ended.stderr));
            assert!(!ended.stderr.is_empty() && ended.stdout.is_empty(), "{service} {wrong:?}");
        }
        for right in ["--help", "--version"] {
            let ended = run(service, &[right], &nothing, "");
            assert_eq!(ended.status.code(), Some(0), "{service} {right}");
            assert!(!ended.stdout.is_empty(), "{service} {right}");
        }
    }
}

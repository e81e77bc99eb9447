//! Before a credential has proved good, a caller costs bounded memory and bounded time: shown on real processes, by what `/proc` says of
//! them.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use integration::polling::{SOON, until};
use integration::process_pair::{ProcessPair, bearer};
use integration::processes::{ServiceProcess, run};
use integration::raw_http2::{OpenCall, RawHttp2, prefixed};
use integration::scripted_upstream::{Script, ScriptedUpstream};
use integration::stack::{PASSWORD, channel, chat_request};
use prost::Message;
use shared::ErrorReason;
use shared::credential_form::{API_KEY_PREFIX, checksum, to_bearer};
use shared::error::violations_of;
use shared::proto::auth::accounts_client::AccountsClient;
use shared::proto::auth::{self};
use shared::proto::inference::inference_client::InferenceClient;
use shared::proto::inference::{ChatRequest, ListModelsRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Code;
use tonic::codec::CompressionEncoding;

const CHAT: &str = "/tollgate.inference.v1.Inference/Chat";
const LOGIN: &str = "/tollgate.auth.v1.Accounts/Login";
const MIB: usize = 1 << 20;
/// A message of two bytes is an element of 170 in memory.
const BOMB: [u8; 2] = [0x12, 0];

/// A figure of a process in KiB, by its name in `/proc/PID/status`.
fn memory_kib(process: &ServiceProcess, figure: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(figure)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// From here on the peak counts anew.
fn reset_peak(process: &ServiceProcess) {
    std::fs::write(format!("/proc/{}/clear_refs", process.pid()), "5").unwrap();
}

fn descriptors(process: &ServiceProcess) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", process.pid())).unwrap().count()
}

/// A key whose form and checksum are right, and which nobody has.
fn made_up_key() -> String {
    let body = format!("{API_KEY_PREFIX}{}", "Zz19".repeat(10));
    format!("{body}{}", std::str::from_utf8(&checksum(&body)).unwrap())
}

fn healthy(name: &str, variable: &str, process: &ServiceProcess) -> bool {
    let environment = [(variable.to_owned(), process.address().to_string())].into();
    run(name, &["healthcheck"], &environment, "").status.success()
}

/// The longest time that a process needed to answer while something else went on.
async fn longest_answer(address: SocketAddr, work: impl Future<Output = ()>) -> Duration {
    let mut work = std::pin::pin!(work);
    let mut longest = Duration::ZERO;
    let mut inference = InferenceClient::new(channel(address));
    loop {
        let began = Instant::now();
        // Refused by its metadata, which is an answer.
        let mut asked = std::pin::pin!(inference.list_models(ListModelsRequest {}));
        let mut over = false;
        tokio::select! {
            biased;
            () = &mut work => over = true,
            _ = &mut asked => {}
        }
        longest = longest.max(began.elapsed());
        if over {
            return longest;
        }
    }
}

#[tokio::test]
async fn a_long_message_costs_nothing_until_its_caller_is_confirmed_and_little_after() {
    let upstream = ScriptedUpstream::start().await;
    let pair = ProcessPair::start(&upstream.url(), &[]);
    let key = pair.user().await;
    let bomb = prefixed(&BOMB.repeat(16 * MIB - 8));
    let mistyped = key.replace(&key[key.len() - 1..], if key.ends_with('0') { "1" } else { "0" });
    let (paying, made_up, mistyped) = (to_bearer(&key), to_bearer(&made_up_key()), to_bearer(&mistyped));
    let before = memory_kib(&pair.inference, "VmRSS");
    reset_peak(&pair.inference);
    let attack = async {
        for (authorization, refusal) in [
            (None, (Code::Unauthenticated, Some(ErrorReason::CredentialMissing))),
            (Some("Bearer nonsense"), (Code::Unauthenticated, Some(ErrorReason::CredentialInvalid))),
            (Some("Basic dXNlcjpwYXNz"), (Code::Unauthenticated, Some(ErrorReason::CredentialInvalid))),
            (Some(mistyped.as_str()), (Code::Unauthenticated, Some(ErrorReason::CredentialInvalid))),
            (Some(made_up.as_str()), (Code::Unauthenticated, Some(ErrorReason::CredentialInvalid))),
        ] {
            let headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
            for path in [CHAT, "/tollgate.inference.v1.Inference/Generate", "/tollgate.inference.v1.Inference/Embed"] {
                let refused = RawHttp2::connect(pair.inference.address()).await.call(path, &headers, &bomb).await;
                assert_eq!(refused.refusal(), refusal, "{authorization:?} {path}");
            }
        }
    };
    let longest = longest_answer(pair.inference.address(), attack).await;
    let peak = memory_kib(&pair.inference, "VmHWM") - before;
    assert!(peak < 16 * 1024, "{peak} KiB");
    assert!(longest < Duration::from_secs(10), "another call waited for {longest:?}");

    let refused = RawHttp2::connect(pair.inference.address()).await.call(CHAT, &[("authorization", &paying)], &bomb).await;
    assert_eq!(refused.refusal(), (Code::InvalidArgument, Some(ErrorReason::InvalidArgument)));
    assert_eq!(violations_of(&refused.status)[0].0, "messages");
    let peak = memory_kib(&pair.inference, "VmHWM") - before;
    assert!(peak < 100 * 1024, "{peak} KiB: the bytes themselves, and not what they would become");
    assert!(upstream.requests_to("/api/chat").is_empty());
}

#[tokio::test]
async fn two_authorization_headers_are_refused_by_both_services() {
    let upstream = ScriptedUpstream::start().await;
    let pair = ProcessPair::start(&upstream.url(), &[]);
    let key = to_bearer(&pair.user().await);
    let secret = std::fs::read_to_string(format!("{}/service-credential", pair.environment["TOLLGATE_DATA_DIR"])).unwrap();
    let service = to_bearer(secret.trim());
    let joined = format!("{key}, {key}");
    let (auth, inference) = (pair.auth.address(), pair.inference.address());
    let balance = "/tollgate.auth.v1.Accounts/GetBalance";
    let chat = prefixed(&chat_request("smollm2", "hi").encode_to_vec());
    let (end_users, services) = (ErrorReason::CredentialInvalid, ErrorReason::ServiceCredentialInvalid);
    for (address, path, body, first, second, reason) in [
        (inference, CHAT, &chat, &key, Some(&key), end_users),
        (inference, CHAT, &chat, &key, Some(&service), end_users),
        (inference, CHAT, &chat, &joined, None, end_users),
        (auth, balance, &prefixed(&[]), &key, Some(&key), end_users),
        (auth, balance, &prefixed(&[]), &joined, None, end_users),
        (auth, "/tollgate.auth.v1.Auth/Check", &prefixed(&[]), &service, Some(&service), services),
    ] {
        let headers: Vec<_> = [Some(first), second].into_iter().flatten().map(|value| ("authorization", value.as_str())).collect();
        let refused = RawHttp2::connect(address).await.call(path, &headers, body).await;
        assert_eq!(refused.refusal(), (Code::Unauthenticated, Some(reason)), "{path}");
    }
    assert!(upstream.requests_to("/api/chat").is_empty());
}

/// Calls whose bodies never end: all of this, less what would end it.
async fn endless(address: SocketAddr, path: &str, headers: &[(&str, &str)], prefix: &[u8], calls: usize) -> Vec<(RawHttp2, OpenCall)> {
    join_all((0..calls).map(|_| async {
        let connection = RawHttp2::connect(address).await;
        let mut call = connection.open(path, headers).await.unwrap();
        call.body.send_data(Bytes::copy_from_slice(prefix), false).unwrap();
        (connection, call)
    }))
    .await
}

#[tokio::test]
async fn bodies_that_never_end_are_refused_or_given_up_and_leave_nothing() {
    let upstream = ScriptedUpstream::start().await;
    let pair = ProcessPair::start(&upstream.url(), &[]);
    let made_up = to_bearer(&made_up_key());
    let begun = [&[0][..], &u32::try_from(31 * MIB).unwrap().to_be_bytes(), &[0; 32 << 10]].concat();
    let little = [&[0][..], &16_000_u32.to_be_bytes(), &[0; 8_000]].concat();
    let before = (memory_kib(&pair.inference, "VmRSS"), memory_kib(&pair.auth, "VmRSS"));
    let [missing, unconfirmed, refused, login] = [
        endless(pair.inference.address(), CHAT, &[], &begun, 40).await,
        endless(pair.inference.address(), CHAT, &[("authorization", &made_up)], &begun, 40).await,
        endless(pair.auth.address(), LOGIN, &[], &begun, 40).await,
        endless(pair.auth.address(), LOGIN, &[], &little, 40).await,
    ];
    let ends = async |calls: Vec<(RawHttp2, OpenCall)>| {
        join_all(calls.into_iter().map(|(connection, call)| async move {
            let answered = call.send(&[], false).await;
            drop(connection);
            answered.refusal()
        }))
        .await
    };
    assert!(ends(missing).await.iter().all(|end| *end == (Code::Unauthenticated, Some(ErrorReason::CredentialMissing))));
    let ended = ends(unconfirmed).await;
    assert!(ended.iter().all(|end| *end == (Code::Unauthenticated, Some(ErrorReason::CredentialInvalid))), "{ended:?}");
    assert!(ends(refused).await.iter().all(|end| *end == (Code::ResourceExhausted, Some(ErrorReason::MessageTooLarge))));
    // These are as long as they may be: their time ends them.
    let ended = timeout(SOON, ends(login)).await.expect("their time ends them");
    assert!(ended.iter().all(|end| *end == (Code::DeadlineExceeded, Some(ErrorReason::MessageTooSlow))));
    for (process, before) in [(&pair.inference, before.0), (&pair.auth, before.1)] {
        let peak = memory_kib(process, "VmHWM").saturating_sub(before);
        assert!(peak < 40 * 1024, "{peak} KiB");
    }
}

#[tokio::test]
async fn what_a_paying_caller_never_ends_is_within_the_budget_and_the_others_are_told_to_come_again() {
    let upstream = ScriptedUpstream::start().await;
    let pair = ProcessPair::start(&upstream.url(), &[]);
    let key = to_bearer(&pair.user().await);
    let headers = [("authorization", key.as_str())];
    let begun = [&[0][..], &u32::try_from(31 * MIB).unwrap().to_be_bytes()].concat();
    let calls = endless(pair.inference.address(), CHAT, &headers, &begun, 8).await;
    let busy = (Code::ResourceExhausted, Some(ErrorReason::ServerBusy));
    // What is over the budget is refused at once, the rest waits for its body.
    let mut answers: FuturesUnordered<_> = calls
        .into_iter()
        .map(|(connection, call)| async move {
            let answered = call.send(&[], false).await;
            drop(connection);
            answered
        })
        .collect();
    for _ in 0..4 {
        let answered = timeout(SOON, answers.next()).await.expect("four are refused").unwrap();
        assert_eq!(answered.refusal(), busy);
        assert!(shared::error::retry_delay_of(&answered.status).is_some());
    }
    // Whoever comes now finds the four others' places taken.
    let one_more = async || {
        let calls = endless(pair.inference.address(), CHAT, &headers, &begun, 1).await;
        let (_connection, call) = calls.into_iter().next().unwrap();
        // Ends its body, so that it is answered whether or not there is room for it.
        call.send(&[], true).await.refusal()
    };
    assert_eq!(one_more().await, busy, "four times 31 MiB are all of one address's 128 MiB");
    assert!(answers.next().now_or_never().is_none(), "and these four wait");
    drop(answers);
    // Given back with their connections.
    until("the budget's return", SOON, || async { (one_more().await != busy).then_some(()) }).await;
}

#[tokio::test]
async fn ten_thousand_silent_connections_shut_nobody_out_and_the_health_check_gets_in() {
    let upstream = ScriptedUpstream::start().await;
    let pair = ProcessPair::start(&upstream.url(), &[("TOLLGATE_MAX_CONNECTIONS_PER_ADDRESS", "50")]);
    let key = pair.user().await;
    // A connection that has proved itself.
    let mut known = AccountsClient::new(channel(pair.auth.address()));
    known.get_balance(bearer(&key, auth::GetBalanceRequest {})).await.unwrap();
    let before = descriptors(&pair.auth);
    let mut silent = Vec::new();
    for _ in 0..10_000 {
        let mut stream = TcpStream::connect(pair.auth.address()).await.unwrap();
        // One that was displaced is closed by now; the test has descriptors for some thousands only.
        let _ = stream.write_all(b"P").await;
        silent.push(stream);
        if silent.len() > 200 {
            silent.remove(0);
        }
    }
    assert!(healthy("auth-service", "TOLLGATE_AUTH_LISTEN", &pair.auth), "the health check gets in");
    known.get_balance(bearer(&key, auth::GetBalanceRequest {})).await.unwrap();
    let held = descriptors(&pair.auth);
    assert!(held <= before + 60, "{held} descriptors, {before} before");
    let warning = pair.auth.wait_for_log("places for connections run short");
    assert!(warning.contains("127.0.0.1"), "{warning}");
}

#[tokio::test]
async fn a_connection_that_sent_one_byte_is_closed_in_time() {
    let upstream = ScriptedUpstream::start().await;
    let pair = ProcessPair::start(&upstream.url(), &[]);
    let streams = join_all((0..20).map(|_| async {
        let mut stream = TcpStream::connect(pair.inference.address()).await.unwrap();
        stream.write_all(b"P").await.unwrap();
        stream
    }))
    .await;
    let ends = join_all(streams.into_iter().map(|mut stream| async move { stream.read(&mut [0; 64]).await.unwrap_or(0) }));
    let ended = timeout(SOON, ends).await.expect("they are closed after 10 s");
    assert!(ended.iter().all(|read| *read < 64));
}

#[tokio::test]
async fn a_connection_without_calls_and_an_old_one_get_goaway_and_a_running_call_finishes() {
    let upstream = ScriptedUpstream::start().await;
    let gate = integration::scripted_upstream::Gate::new();
    upstream.script("/api/chat", Script::stream().token("one").gate(&gate).token(" two").done("stop", 5, 2));
    let pair = ProcessPair::start(&upstream.url(), &[("TOLLGATE_CONNECTION_IDLE", "3s"), ("TOLLGATE_CONNECTION_AGE", "6s")]);
    let key = to_bearer(&pair.user().await);
    let idle = RawHttp2::connect(pair.inference.address()).await;
    let ended = timeout(SOON, idle.connection).await.expect("it is ended").unwrap();
    assert!(ended.is_ok(), "GOAWAY without an error: {ended:?}");

    let old = RawHttp2::connect(pair.inference.address()).await;
    let body = prefixed(&chat_request("smollm2", "hi").encode_to_vec());
    let mut call = old.open(CHAT, &[("authorization", &key)]).await.unwrap();
    call.body.send_data(body.into(), true).unwrap();
    let answered = tokio::spawn(call.send(&[], false));
    upstream.request("/api/chat", 0).await;
    // Asked to end by its age: no new call is taken, and the one that runs goes on.
    until("the old connection's GOAWAY", SOON, || async { old.open(CHAT, &[]).await.err() }).await;
    assert!(!answered.is_finished());
    gate.open_for_good();
    assert_eq!(answered.await.unwrap().status.code(), Code::Ok);
}

#[tokio::test]
async fn few_calls_run_on_a_connection_until_one_was_authenticated() {
    let upstream = ScriptedUpstream::start().await;
    let pair = ProcessPair::start(&upstream.url(), &[]);
    let key = to_bearer(&pair.user().await);
    let connection = RawHttp2::connect(pair.auth.address()).await;
    let little = [&[0][..], &16_000_u32.to_be_bytes(), &[0; 100]].concat();
    let mut open = Vec::new();
    for _ in 0..40 {
        let mut call = connection.open(LOGIN, &[]).await.unwrap();
        call.body.send_data(Bytes::copy_from_slice(&little), false).unwrap();
        open.push(call);
    }
    let balance = "/tollgate.auth.v1.Accounts/GetBalance";
    let (headers, empty) = ([("authorization", key.as_str())], prefixed(&[]));
    // Once the 32 others run, the next one waits: the same call on another connection, made later, is answered again and again before it.
    let (sign_up, other) = ("/tollgate.auth.v1.Accounts/SignUp", RawHttp2::connect(pair.auth.address()).await);
    until("a call that waits for its permit", SOON, || async {
        let mut waiting = std::pin::pin!(connection.call(sign_up, &[], &empty));
        if waiting.as_mut().now_or_never().is_some() {
            return None;
        }
        let later = async {
            for _ in 0..20 {
                other.call(sign_up, &[], &empty).await;
            }
        };
        tokio::select! {
            biased;
            _ = waiting => None,
            () = later => Some(()),
        }
    })
    .await;
    drop(open);
    let answered = connection.call(balance, &headers, &empty).await;
    assert_eq!(answered.status.code(), Code::Ok);
    // From now on as many as there are streams.
    let begun = join_all((0..100).map(|_| async {
        let mut call = connection.open(LOGIN, &[]).await.unwrap();
        call.body.send_data(Bytes::copy_from_slice(&little), false).unwrap();
        call
    }));
    let begun = begun.await;
    assert_eq!(connection.call(balance, &headers, &empty).await.status.code(), Code::Ok);
    drop(begun);
}

#[tokio::test]
async fn every_error_of_the_framework_has_one_reason() {
    let upstream = ScriptedUpstream::start().await;
    let pair = ProcessPair::start(&upstream.url(), &[]);
    let key = to_bearer(&pair.user().await);
    let (auth, inference) = (pair.auth.address(), pair.inference.address());
    let chat = prefixed(&chat_request("smollm2", "hi").encode_to_vec());
    let compressed = [&[1][..], &chat[1..]].concat();
    let long = |bytes: usize| prefixed(&ChatRequest { model: "x".repeat(bytes), ..Default::default() }.encode_to_vec());
    let deflate = [("grpc-encoding", "deflate")];
    type Case<'a> = (SocketAddr, &'a str, &'a [(&'a str, &'a str)], Vec<u8>, Code, ErrorReason);
    let cases: Vec<Case<'_>> = vec![
        (auth, LOGIN, &[], long(20_000), Code::ResourceExhausted, ErrorReason::MessageTooLarge),
        (auth, "/tollgate.auth.v1.Accounts/GetBalance", &[], long(70_000), Code::ResourceExhausted, ErrorReason::MessageTooLarge),
        (inference, CHAT, &[], long(33 * MIB), Code::ResourceExhausted, ErrorReason::MessageTooLarge),
        (inference, CHAT, &[], prefixed(&[0x0a, 0xff]), Code::InvalidArgument, ErrorReason::MessageMalformed),
        (inference, CHAT, &[], prefixed(&[0x0a, 1, 0xff]), Code::InvalidArgument, ErrorReason::MessageMalformed),
        (inference, CHAT, &[], chat[..10].to_vec(), Code::InvalidArgument, ErrorReason::MessageMalformed),
        (inference, CHAT, &[], Vec::new(), Code::InvalidArgument, ErrorReason::MessageMalformed),
        (inference, CHAT, &[], [&chat[..], &chat].concat(), Code::InvalidArgument, ErrorReason::MessageMalformed),
        (inference, CHAT, &[], compressed, Code::InvalidArgument, ErrorReason::MessageMalformed),
        (inference, CHAT, &deflate, chat.clone(), Code::Unimplemented, ErrorReason::CompressionUnknown),
        (inference, "/tollgate.inference.v1.Inference/Nope", &[], chat.clone(), Code::Unimplemented, ErrorReason::MethodUnknown),
        (inference, "/no.such.Service/Nope", &[], chat.clone(), Code::Unimplemented, ErrorReason::MethodUnknown),
        (inference, "/", &[], Vec::new(), Code::Unimplemented, ErrorReason::MethodUnknown),
        (inference, LOGIN, &[], chat.clone(), Code::Unimplemented, ErrorReason::MethodUnknown),
        (inference, "/grpc.health.v1.Health/Check", &[], prefixed(b"\x0a\x01x"), Code::NotFound, ErrorReason::ServiceUnknown),
        (inference, CHAT, &[("grpc-timeout", "soon")], chat.clone(), Code::InvalidArgument, ErrorReason::InvalidArgument),
    ];
    for (address, path, headers, body, code, reason) in cases {
        let headers = [headers, &[("authorization", key.as_str())]].concat();
        let answered = RawHttp2::connect(address).await.call(path, &headers, &body).await;
        assert_eq!(answered.refusal(), (code, Some(reason)), "{path} {} bytes: {:?}", body.len(), answered.status);
        assert!(!answered.status.message().is_empty());
        assert!(answered.headers.contains_key("x-request-id"), "{path}");
    }
    assert!(upstream.requests_to("/api/chat").is_empty());
}

#[tokio::test]
async fn gzip_requests_are_accepted_and_answers_compressed_when_asked_for() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::stream().token("hello").done("stop", 5, 1));
    let pair = ProcessPair::start(&upstream.url(), &[]);
    let key = pair.user().await;
    let gzip = CompressionEncoding::Gzip;
    let mut accounts = AccountsClient::new(channel(pair.auth.address())).send_compressed(gzip).accept_compressed(gzip);
    let answer = accounts.get_me(bearer(&key, auth::GetMeRequest {})).await.unwrap();
    assert_eq!(answer.metadata().get("grpc-encoding").unwrap(), "gzip");
    assert_eq!(answer.into_inner().user.unwrap().user_name, "ada");
    let login = auth::LoginRequest { user_name: "ada".into(), password: PASSWORD.into(), ..Default::default() };
    assert!(accounts.login(login).await.is_ok());

    let mut inference = InferenceClient::new(channel(pair.inference.address())).send_compressed(gzip).accept_compressed(gzip);
    let mut stream = inference.chat(bearer(&key, chat_request("smollm2", &"hi ".repeat(40_000)))).await.unwrap();
    assert_eq!(stream.metadata().get("grpc-encoding").unwrap(), "gzip");
    let answer = integration::stack::read_all(stream.get_mut()).await;
    assert!(answer.failure.is_none() && answer.finished.is_some());

    // Who only could read it isn't sent each piece of an answer compressed, which would make it longer.
    let mut inference = InferenceClient::new(channel(pair.inference.address())).accept_compressed(gzip);
    let stream = inference.chat(bearer(&key, chat_request("smollm2", "hi"))).await.unwrap();
    assert!(stream.metadata().get("grpc-encoding").is_none());
}

#[tokio::test]
async fn a_little_gzip_that_stands_for_much_is_refused_before_it_takes_memory() {
    let upstream = ScriptedUpstream::start().await;
    let pair = ProcessPair::start(&upstream.url(), &[]);
    let made_up = to_bearer(&made_up_key());
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![0; MIB];
    (0..1024).for_each(|_| encoder.write_all(&zeros).unwrap());
    let mut bomb = prefixed(&encoder.finish().unwrap());
    bomb[0] = 1;
    let paying = to_bearer(&pair.user().await);
    reset_peak(&pair.inference);
    let before = memory_kib(&pair.inference, "VmRSS");
    for (authorization, refusal) in [
        (made_up.as_str(), (Code::Unauthenticated, Some(ErrorReason::CredentialInvalid))),
        (paying.as_str(), (Code::ResourceExhausted, Some(ErrorReason::MessageTooLarge))),
    ] {
        let headers = [("authorization", authorization), ("grpc-encoding", "gzip")];
        let refused = RawHttp2::connect(pair.inference.address()).await.call(CHAT, &headers, &bomb).await;
        assert_eq!(refused.refusal(), refusal);
    }
    let peak = memory_kib(&pair.inference, "VmHWM").saturating_sub(before);
    assert!(peak < 80 * 1024, "{peak} KiB");
}

#[tokio::test]
async fn a_health_watch_ends_with_the_drain_after_it_has_said_so_and_keeps_no_stop_waiting() {
    let upstream = ScriptedUpstream::start().await;
    let mut pair = ProcessPair::start(&upstream.url(), &[]);
    for process in [&mut pair.inference, &mut pair.auth] {
        let mut health = tonic_health::pb::health_client::HealthClient::new(channel(process.address()));
        let mut watch = health.watch(tonic_health::pb::HealthCheckRequest::default()).await.unwrap().into_inner();
        let serving = |status: Option<tonic_health::pb::HealthCheckResponse>| status.map(|status| status.status);
        assert_eq!(serving(watch.message().await.unwrap()), Some(1));
        process.signal("TERM");
        assert_eq!(serving(watch.message().await.unwrap()), Some(2), "NOT_SERVING");
        assert_eq!(serving(watch.message().await.unwrap()), None);
        // Before its drain's deadline, which is after half a minute.
        assert!(process.wait(Duration::from_secs(20)).success());
    }
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::stream().token("one").stall());
    let mut pair = ProcessPair::start(&upstream.url(), &[]);
    let key = pair.user().await;
    let mut stream = pair.inference().chat(bearer(&key, chat_request("smollm2", "hi"))).await.unwrap().into_inner();
    stream.message().await.unwrap();
    pair.inference.signal("TERM");
    let _ = pair.inference.wait_for_log("draining");
    pair.inference.signal("TERM");
    assert_eq!(pair.inference.wait(SOON).code(), Some(128 + 15));
    let _ = pair.inference.wait_for_log("a second signal");
}

#[tokio::test]
async fn a_listed_proxy_says_who_calls_and_nobody_else_does() {
    let upstream = ScriptedUpstream::start().await;
    let wrong = |guess: u32| {
        prefixed(
            &auth::LoginRequest { user_name: "ada".into(), password: format!("guess number {guess}"), ..Default::default() }
                .encode_to_vec(),
        )
    };
    let right = prefixed(&auth::LoginRequest { user_name: "ada".into(), password: PASSWORD.into(), ..Default::default() }.encode_to_vec());
    let proxied = |last: u8| [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", &[203, 0, 113, last, 127, 0, 0, 1, 1, 0, 1, 0][..]].concat();
    for trusted in [true, false] {
        let more = [("TOLLGATE_TRUSTED_PROXIES", "127.0.0.0/8"), ("TOLLGATE_SIGNUP", "open")];
        let pair = ProcessPair::start(&upstream.url(), &more[usize::from(!trusted)..]);
        let _ = pair.user().await;
        // Somebody guesses from one address, by either way of saying so, until he has to wait.
        for by_header in [true, false] {
            let login = async |last: u8, body: &[u8]| {
                let mut stream = TcpStream::connect(pair.auth.address()).await.unwrap();
                if !by_header {
                    stream.write_all(&proxied(last)).await.unwrap();
                }
                let named = format!("203.0.113.{last}");
                let headers: &[(&str, &str)] = if by_header { &[("x-forwarded-for", &named)] } else { &[] };
                RawHttp2::over(stream, pair.auth.address()).await.call(LOGIN, headers, body).await.refusal().1
            };
            let mut guesses = 0;
            while login(7, &wrong(guesses)).await != Some(ErrorReason::RateLimited) {
                guesses += 1;
                assert!(guesses < 200);
            }
            let elsewhere = login(8, &right).await;
            if trusted {
                assert_eq!(elsewhere, None, "another caller of the same proxy isn't shut out");
            } else {
                assert_eq!(elsewhere, Some(ErrorReason::RateLimited), "whatever it calls itself, it is the same address");
                break;
            }
        }
    }
}

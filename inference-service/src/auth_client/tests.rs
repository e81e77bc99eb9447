//! Calls on one connection, to a server that the tests script.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use h2::{Reason, RecvStream};
use http::{Method, Request};
use prost::Message;
use shared::ErrorReason;
use shared::call_record::CallRecord;
use shared::error::{CallError, reason_of};
use shared::proto::auth as wire;
use shared::secret::Secret;
use tokio::net::{TcpListener, lookup_host};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Code, Status};

use super::balancer::Timing;
use super::connection::KeepAlive;
use super::stub::{RetryableCheck, Stub};
use super::test_server::*;
use super::{Admission, AuthClient, AuthClientConfig, AuthUrls, Charge};
use crate::caller::Caller;
use crate::tcp::silent_forwarder::SilentForwarder;
use crate::timers::Timers;

/// A call that has come in, and how to answer it.
type Incoming = (Request<RecvStream>, Reply);

/// A server that does this with each call, and a client of it.
async fn server<F>(each: impl FnMut(usize, Request<RecvStream>, Reply) -> F + Send + Clone + 'static) -> (Arc<Stub>, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (listener, client) = listener("127.0.0.1:0").await;
    (client, serve_all(listener, each))
}

/// One connection that takes so many calls at a time, which the test answers.
async fn served_by_hand(streams: u32) -> (Arc<Stub>, mpsc::UnboundedReceiver<Incoming>) {
    let (listener, client) = listener("127.0.0.1:0").await;
    let (came, calls) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        drop(listener);
        let pass = |_, request, reply| {
            came.send((request, reply)).unwrap();
            std::future::ready(())
        };
        serve(stream, streams, pass).await;
    });
    (client, calls)
}

/// Many calls that have come in and wait for their answers.
async fn begun(client: &Arc<Stub>, calls: &mut mpsc::UnboundedReceiver<Incoming>) -> (JoinSet<Result<String, Status>>, Vec<Reply>) {
    let (mut waiting, mut replies) = (JoinSet::new(), Vec::new());
    for _ in 0..500 {
        let client = Arc::clone(client);
        waiting.spawn(async move { call(&client).await });
    }
    while replies.len() < waiting.len() {
        replies.push(calls.recv().await.unwrap().1);
    }
    (waiting, replies)
}

#[tokio::test]
async fn a_connection_that_a_forwarder_has_lost_is_noticed_in_time_for_the_same_check_to_succeed_on_a_new_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let forwarder = SilentForwarder::to(listener.local_addr().unwrap()).await;
    let connections = serve_all(listener, |_, _, reply| answer(reply, settled("e"), 1));
    let client = client_of(&format!("http://{}", forwarder.address));
    assert_eq!(call(&client).await.unwrap(), "e");
    forwarder.forget_connections();
    let asked = Instant::now();
    assert_may_be_tried_again(&call(&client).await.unwrap_err());
    assert_eq!(call(&client).await.unwrap(), "e");
    // Long before a lost connection is noticed by itself. A Check may take 5 s, unless it is configured: pings leave one for the new one.
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    let KeepAlive { interval, timeout } = KeepAlive::default();
    assert_eq!(interval + timeout, Duration::from_secs(4));
    assert_eq!(connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_connection_whose_pings_are_answered_is_kept_and_one_whose_pings_are_not_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let forwarder = SilentForwarder::to(listener.local_addr().unwrap()).await;
    let (came, mut calls) = mpsc::unbounded_channel();
    let connections = serve_all(listener, move |_, _, reply: Reply| {
        came.send(reply).unwrap();
        std::future::ready(())
    });
    let keep_alive = KeepAlive { interval: Duration::from_millis(5), timeout: Duration::from_secs(5) };
    let address = forwarder.address;
    let client = client_with("http://auth:1", Timing { keep_alive, ..Timing::default() }, move |_| std::future::ready(Ok(vec![address])));

    // Nothing but answers to pings passes meanwhile.
    let (late, ()) = tokio::join!(call(&client), async {
        let reply = calls.recv().await.unwrap();
        let before = forwarder.passed_bytes();
        while forwarder.passed_bytes() < before + 500 {
            tokio::task::yield_now().await;
        }
        answer(reply, settled("late"), 1).await;
    });
    assert_eq!((late.unwrap().as_str(), connections.load(Ordering::Relaxed)), ("late", 1));

    let (lost, _reply) = tokio::join!(call(&client), async {
        let reply = calls.recv().await.unwrap();
        forwarder.forget_connections();
        reply
    });
    let status = lost.unwrap_err();
    assert_may_be_tried_again(&status);
    assert!(status.message().contains("broke"), "{status}: given up before the call's own time was over");
}

#[tokio::test]
async fn a_call_has_its_headers_and_its_message_and_calls_share_a_connection() {
    let (client, connections) = server(|number, request, reply| async move {
        let of = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        assert_eq!((request.method(), request.uri().path()), (&Method::POST, "/tollgate.auth.v1.Auth/Settle"));
        assert_eq!(
            [of("content-type"), of("te"), of("authorization"), of("x-request-id")],
            ["application/grpc", "trailers", &format!("Bearer {CREDENTIAL}"), "r-1"]
        );
        assert!(of("user-agent").starts_with("tollgate-inference-service/"), "{}", of("user-agent"));
        assert!(request.uri().authority().unwrap().as_str().starts_with("127.0.0.1:"), "{}", request.uri());
        let timeout = shared::request_context::deadline(request.headers()).unwrap().unwrap();
        assert!((PATIENCE / 2..=PATIENCE).contains(&timeout), "{timeout:?}");
        let body = read(request.into_body()).await.unwrap();
        assert_eq!(wire::SettleRequest::decode(&body[5..]).unwrap().hold, "h");
        answer(reply, settled(&format!("entry {number}")), number + 1).await;
    })
    .await;
    let (first, second) = tokio::join!(call(&client), call(&client));
    let mut both = [first.unwrap(), second.unwrap()];
    both.sort();
    assert_eq!(both, ["entry 0", "entry 1"]);
    assert_eq!(call(&client).await.unwrap(), "entry 2");
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_refusal_keeps_its_code_its_words_and_its_reason() {
    let (client, _) = server(|number, _, mut reply| async move {
        let refusal = CallError::new(Code::ResourceExhausted, ErrorReason::InsufficientCredits, "no credits left");
        let refusal = Status::from(refusal).into_http::<()>();
        if number == 0 {
            reply.send_response(refusal, true).unwrap();
            return;
        }
        let mut stream = reply.send_response(head(200, GRPC_HEAD), false).unwrap();
        stream.send_trailers(refusal.into_parts().0.headers).unwrap();
    })
    .await;
    for _ in 0..2 {
        let status = call(&client).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "no credits left"));
        assert_eq!(reason_of(&status), Some(ErrorReason::InsufficientCredits));
    }
}

#[tokio::test]
async fn what_is_no_answer_of_auth_services_is_unavailable_and_breaks_no_other_call() {
    /// More of them than the connection's window holds, each longer than is taken.
    const LONG: &[u8] = &{
        let mut long = [0; 5 + (2 << 16)];
        long[2] = 2;
        long
    };
    type Answer = (u16, &'static [(&'static str, &'static str)], &'static [u8], Option<&'static [(&'static str, &'static str)]>);
    const ANSWERS: &[(&str, Answer)] = &[
        ("HTTP status 503", (503, &[], b"", Some(&[]))),
        ("HTTP status 404", (404, GRPC_HEAD, b"\0\0\0\0\0", Some(OK))),
        ("invalid compression flag", (200, &[("content-type", "text/html")], b"<html>", Some(&[]))),
        ("missing grpc-status", (200, GRPC_HEAD, b"\0\0\0\0\0", Some(&[]))),
        ("Missing response message", (200, &[("content-type", "application/grpc"), ("grpc-status", "0")], b"", None)),
        ("not allowed here", (200, &[("grpc-status", "7"), ("grpc-message", "not allowed here")], b"", None)),
        ("no such route", (200, &[("grpc-status", "5"), ("grpc-message", "no such route")], b"", None)),
        ("Missing response message", (200, GRPC_HEAD, b"", Some(OK))),
        ("Missing response message", (200, GRPC_HEAD, b"\0\0\0\0", Some(OK))),
        ("compressed-flag", (200, GRPC_HEAD, b"\x01\0\0\0\0", Some(OK))),
        ("`gzip`", (200, &[("grpc-encoding", "gzip")], b"\x01\0\0\0\0", Some(OK))),
        ("Missing response message", (200, GRPC_HEAD, b"\0\0\0\0\x02x", Some(OK))),
        ("the bytes are no message", (200, GRPC_HEAD, b"\0\0\0\0\x01\xff", Some(OK))),
        ("length too large", (200, GRPC_HEAD, LONG, Some(OK))),
        ("length too large", (200, GRPC_HEAD, LONG, Some(OK))),
    ];
    const ROUNDS: usize = 10;
    let (client, connections) = server(|number, _, mut reply| async move {
        if number == ROUNDS * ANSWERS.len() {
            return answer(reply, settled("entry"), 1).await;
        }
        let (_, (status, pairs, body, trailers)) = ANSWERS[number % ANSWERS.len()];
        let mut stream = reply.send_response(head(status, pairs), trailers.is_none()).unwrap();
        if let Some(trailers) = trailers {
            // The caller may have gone by now.
            let _ = stream.send_data(Bytes::from_static(body), false);
            let _ = stream.send_trailers(headers(trailers));
        }
    })
    .await;
    for (what, _) in ANSWERS.iter().cycle().take(ROUNDS * ANSWERS.len()) {
        let status = call(&client).await.unwrap_err();
        assert_may_be_tried_again(&status);
        assert!(status.message().contains(what), "{status} doesn't say {what:?}");
    }
    assert_eq!(call(&client).await.unwrap(), "entry");
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn many_short_answers_at_once_and_late_ones_to_calls_that_were_given_up_do_not_cost_the_connection() {
    let (client, mut calls) = served_by_hand(4096).await;
    let (waiting, replies) = begun(&client, &mut calls).await;
    for reply in replies {
        answer(reply, settled("e"), 1).await;
    }
    assert!(waiting.join_all().await.iter().all(|answered| answered.as_deref().ok() == Some("e")));

    // A thousand: h2 counts them, and closes a connection after 1,024.
    for _ in 0..2 {
        let (mut waiting, replies) = begun(&client, &mut calls).await;
        // Answered and given up in the same turn: the answers come when nobody waits.
        for mut reply in replies {
            let mut stream = reply.send_response(head(200, GRPC_HEAD), false).unwrap();
            stream.send_data(settled("e"), false).unwrap();
        }
        waiting.shutdown().await;
    }
    let (last, ()) = tokio::join!(call(&client), async {
        answer(calls.recv().await.unwrap().1, settled("last"), 1).await;
    });
    assert_eq!(last.unwrap(), "last", "on the same connection: the server takes no other");
}

#[tokio::test]
async fn a_caller_that_gives_up_cancels_its_own_call_and_no_other() {
    let (client, mut calls) = served_by_hand(4096).await;
    let given_up = tokio::spawn({
        let client = Arc::clone(&client);
        async move { call(&client).await }
    });
    let (_request, mut reply) = calls.recv().await.unwrap();
    given_up.abort();
    let (other, ()) = tokio::join!(call(&client), async {
        assert_eq!(std::future::poll_fn(|cx| reply.poll_reset(cx)).await.unwrap(), Reason::CANCEL);
        answer(calls.recv().await.unwrap().1, settled("entry"), 1).await;
    });
    assert_eq!(other.unwrap(), "entry");

    let status = settle_within(&client, Duration::from_millis(20)).await.unwrap_err();
    assert_may_be_tried_again(&status);
    assert_eq!(status.message(), "auth-service did not answer in time");
}

#[tokio::test]
async fn beyond_what_auth_service_takes_at_a_time_calls_wait_and_may_be_given_up() {
    let (client, mut calls) = served_by_hand(1).await;
    // The first one comes before the server has said how many it takes.
    let (first, ()) = tokio::join!(call(&client), async { answer(calls.recv().await.unwrap().1, settled("first"), 1).await });
    assert_eq!(first.unwrap(), "first");

    let calling = |client: &Arc<Stub>| {
        let client = Arc::clone(client);
        tokio::spawn(async move { call(&client).await })
    };
    let second = calling(&client);
    let (_, reply) = calls.recv().await.unwrap();
    let (given_up, third) = (calling(&client), calling(&client));
    tokio::task::yield_now().await;
    given_up.abort();
    assert!(given_up.await.unwrap_err().is_cancelled());
    assert!(calls.try_recv().is_err(), "one at a time");
    answer(reply, settled("second"), 1).await;
    assert_eq!(second.await.unwrap().unwrap(), "second");
    // One that was given up before its turn may still come, without its message: nobody does anything for it.
    let reply = loop {
        let (request, reply) = calls.recv().await.unwrap();
        if read(request.into_body()).await.is_ok() {
            break reply;
        }
    };
    answer(reply, settled("third"), 1).await;
    assert_eq!(third.await.unwrap().unwrap(), "third");
}

#[tokio::test]
async fn a_connection_that_goes_away_finishes_the_calls_it_has_and_the_next_one_has_a_new_one() {
    let (listener, client) = listener("127.0.0.1:0").await;
    let server = tokio::spawn(async move {
        for _ in 0..2 {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let (_, reply) = connection.accept().await.unwrap().unwrap();
            connection.graceful_shutdown();
            tokio::spawn(answer(reply, settled("entry"), 1));
            assert!(connection.accept().await.is_none());
        }
    });
    assert_eq!(call(&client).await.unwrap(), "entry");
    // Whether or not the caller knows by now that the first one is gone.
    let second = match call(&client).await {
        Err(status) => {
            assert_may_be_tried_again(&status);
            call(&client).await
        }
        settled => settled,
    };
    assert_eq!(second.unwrap(), "entry");
    server.await.unwrap();
}

#[tokio::test]
async fn who_waits_for_a_connection_learns_that_there_is_none_and_the_next_call_tries_again() {
    // Nobody listens, and nobody else can meanwhile take the port.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let client = client_of(&format!("http://{}", socket.local_addr().unwrap()));
    let (first, second) = tokio::join!(call(&client), call(&client));
    for status in [first.unwrap_err(), second.unwrap_err()] {
        assert_may_be_tried_again(&status);
        assert!(status.message().starts_with("connecting: "), "{status}");
    }
    let connections = serve_all(socket.listen(8).unwrap(), |_, _, reply| answer(reply, settled("entry"), 1));
    assert_eq!(call(&client).await.unwrap(), "entry");
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_check_goes_to_nobody_who_only_accepts_connections() {
    let (listener, client) = listener("127.0.0.1:0").await;
    let check = RetryableCheck::new(wire::CheckRequest::default(), "r-1");
    let (checked, _mute) = tokio::join!(client.check(&check, Instant::now() + PATIENCE), listener.accept());
    let status = checked.unwrap_err();
    assert_may_be_tried_again(&status);
    assert!(status.message().starts_with("connecting: "), "{status}");
    assert!(!check.was_sent());
}

#[tokio::test]
async fn a_caller_that_goes_away_while_connecting_takes_the_connection_from_nobody() {
    let (client, connections) = server(|_, _, reply| answer(reply, settled("entry"), 1)).await;
    assert!(call(&client).now_or_never().is_none(), "it had to connect, and went away");
    assert_eq!(call(&client).await.unwrap(), "entry");
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_url_may_have_an_address_of_ipv6_or_a_name() {
    let (listener, by_address) = listener("[::1]:0").await;
    let by_name = client_of(&format!("http://localhost:{}", listener.local_addr().unwrap().port()));
    serve_all(listener, |_, _, reply| answer(reply, settled("entry"), 1));
    assert_eq!(call(&by_address).await.unwrap(), "entry");
    // Where the name has both kinds of addresses, the other one has nobody listening.
    if lookup_host(("localhost", 0)).await.unwrap().any(|address| address.is_ipv6()) {
        assert_eq!(call(&by_name).await.unwrap(), "entry");
    }
}

#[tokio::test]
async fn a_check_whose_connection_broke_is_sent_to_another_replica_under_the_same_attempt() {
    let (came, mut checks) = mpsc::unbounded_channel();
    let is_first = Arc::new(AtomicBool::new(true));
    let mut urls = Vec::new();
    for address in ["127.0.0.1:0", "127.0.0.2:0"] {
        let listener = TcpListener::bind(address).await.unwrap();
        urls.push(format!("http://{}", listener.local_addr().unwrap()));
        let (came, is_first) = (came.clone(), Arc::clone(&is_first));
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            drop(listener);
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, reply))) = connection.accept().await {
                let body = tokio::spawn(read(request.into_body()));
                // The body comes in while the connection is polled.
                tokio::select! {
                    body = body => came.send((address, wire::CheckRequest::decode(&body.unwrap().unwrap()[5..]).unwrap())).unwrap(),
                    _ = connection.accept() => return,
                }
                if is_first.swap(false, Ordering::SeqCst) {
                    return;
                }
                let result = Some(wire::check_response::Result::Recorded(wire::Receipt::default()));
                answer(reply, framed(&wire::CheckResponse { result, ..Default::default() }), 1).await;
            }
        });
    }
    let config = AuthClientConfig {
        urls: AuthUrls::parse(&urls.join(",")).unwrap(),
        tls: None,
        service_credential: Some(Secret::parse(CREDENTIAL).unwrap()),
        check_timeout: PATIENCE,
        settle_retry_for: PATIENCE,
    };
    let tasks = TaskTracker::new();
    let client = AuthClient::new(config, tasks.clone(), Timers::new(CancellationToken::new())).unwrap();
    let mut request = tonic::Request::new(());
    request.metadata_mut().insert("authorization", "Bearer tg_x".parse().unwrap());
    let charge =
        Charge { request_id: "r-1".to_owned(), fingerprint: vec![1], max_input_tokens: 1, max_output_tokens: 1, require_full: false };
    let admitted =
        client.admit(&Caller::from_request(&request).unwrap(), wire::Operation::Chat, "llama3.2", charge, CallRecord::begin()).await;
    assert!(matches!(admitted, Ok(Admission::Recorded(_))), "{admitted:?}");
    let (first, second) = (checks.recv().await.unwrap(), checks.recv().await.unwrap());
    assert_ne!(first.0, second.0, "another replica");
    assert_eq!(first.1, second.1, "the same attempt");
    assert!(!first.1.charge.unwrap().attempt_id.is_empty());
    assert_eq!(tasks.len(), 0, "nothing is left to be released");
}

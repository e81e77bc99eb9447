//! Several replicas, each a server on a real socket.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use h2::server::Connection as ServerConnection;
use shared::ErrorReason;
use shared::error::CallError;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{mpsc, oneshot};
use tonic::Code;

use super::super::stub::Stub;
use super::super::test_server::*;
use super::*;

/// A replica that answers each call with its own name.
async fn replica(address: &str, name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    serve_all(listener, move |_, _, reply| answer(reply, settled(name), 1));
    address
}

/// A replica that sends each call to the test, with its own name.
async fn held_replica(address: &str, name: &'static str, came: &mpsc::UnboundedSender<(&'static str, Reply)>) -> SocketAddr {
    let listener = TcpListener::bind(address).await.unwrap();
    let (address, came) = (listener.local_addr().unwrap(), came.clone());
    serve_all(listener, move |_, _, reply| {
        came.send((name, reply)).unwrap();
        std::future::ready(())
    });
    address
}

fn calling(client: &Arc<Stub>) -> tokio::task::JoinHandle<Result<String, Status>> {
    let client = Arc::clone(client);
    tokio::spawn(async move { call(&client).await })
}

fn urls(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(|address| format!("http://{address}")).collect::<Vec<_>>().join(",")
}

/// Timing for tests that change what a name means.
fn quick_lookups() -> Timing {
    Timing { lookup_interval: Duration::ZERO, ..Timing::default() }
}

/// Calls until this replica answers.
async fn call_until(client: &Stub, wanted: &str) {
    let calling = async { while call(client).await.ok().as_deref() != Some(wanted) {} };
    timeout(PATIENCE, calling).await.unwrap_or_else(|_| panic!("{wanted} got no call"));
}

/// Who answered so many calls, one after the other.
async fn answered(client: &Stub, calls: usize) -> HashMap<String, usize> {
    let mut by_name = HashMap::new();
    for _ in 0..calls {
        *by_name.entry(call(client).await.unwrap()).or_default() += 1;
    }
    by_name
}

fn counts(pairs: &[(&str, usize)]) -> HashMap<String, usize> {
    pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[tokio::test]
async fn the_replicas_of_a_list_share_the_calls() {
    let client = client_of(&urls(&[replica("127.0.0.1:0", "a").await, replica("127.0.0.2:0", "b").await, replica("[::1]:0", "c").await]));
    for name in ["a", "b", "c"] {
        call_until(&client, name).await;
    }
    assert_eq!(answered(&client, 30).await, counts(&[("a", 10), ("b", 10), ("c", 10)]));
}

#[tokio::test]
async fn the_addresses_of_one_name_share_the_calls_and_one_that_two_names_have_counts_once() {
    let (a, b) = (replica("127.0.0.1:0", "a").await, replica("127.0.0.2:0", "b").await);
    let client = client_with("http://auth:1,http://same:1", Timing::default(), move |host| {
        std::future::ready(Ok(if host == "auth" { vec![a, b, a] } else { vec![b] }))
    });
    for name in ["a", "b"] {
        call_until(&client, name).await;
    }
    assert_eq!(answered(&client, 30).await, counts(&[("a", 15), ("b", 15)]));
}

#[tokio::test]
async fn a_call_goes_to_the_replica_with_the_fewest_calls_in_progress() {
    let (came, mut calls) = mpsc::unbounded_channel();
    let addresses = [held_replica("127.0.0.1:0", "a", &came).await, held_replica("127.0.0.2:0", "b", &came).await];
    let client = client_of(&urls(&addresses));
    // One of them is connected first. It has all calls until the other one is.
    let (mut waiting, mut held) = (Vec::new(), Vec::new());
    let mut next = async || {
        waiting.push(calling(&client));
        let (name, reply) = calls.recv().await.unwrap();
        held.push(reply);
        name
    };
    let first = next().await;
    let mut lead = 1;
    while next().await == first {
        lead += 1;
    }
    for _ in 1..lead {
        assert_ne!(next().await, first, "the other one has fewer");
    }
    let equals = [next().await, next().await];
    assert_ne!(equals[0], equals[1], "equals take turns");
    for reply in held {
        answer(reply, settled("entry"), 1).await;
    }
    for call in waiting {
        assert_eq!(call.await.unwrap().unwrap(), "entry");
    }
}

#[tokio::test]
async fn a_replica_that_answers_with_unavailable_is_passed_over_and_is_asked_when_no_other_is_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let unavailable = listener.local_addr().unwrap();
    serve_all(listener, |_, _, mut reply: Reply| async move {
        let refusal = CallError::new(Code::Unavailable, ErrorReason::StoreUnavailable, "no store");
        reply.send_response(Status::from(refusal).into_http::<()>(), true).unwrap();
    });
    let both = client_of(&urls(&[unavailable, replica("127.0.0.2:0", "well").await]));
    call_until(&both, "well").await;
    let started = Instant::now();
    let mut refused = 0;
    for _ in 0..200 {
        refused += u64::from(call(&both).await.is_err());
    }
    assert!(refused <= 2 + started.elapsed().as_secs(), "{refused} of 200 were refused");

    let alone = client_of(&urls(&[unavailable]));
    for _ in 0..3 {
        assert_eq!(call(&alone).await.unwrap_err().message(), "no store");
    }
}

#[tokio::test]
async fn a_replica_that_can_not_verify_a_foreign_issuers_token_is_not_passed_over() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refusing = listener.local_addr().unwrap();
    serve_all(listener, |_, _, mut reply: Reply| async move {
        let refusal = CallError::new(Code::Unavailable, ErrorReason::AuthUnavailable, "no keys of that issuer");
        reply.send_response(Status::from(refusal).into_http::<()>(), true).unwrap();
    });
    let both = client_of(&urls(&[refusing, replica("127.0.0.2:0", "well").await]));
    call_until(&both, "well").await;
    until_refused(&both).await;
    let mut refused = 0;
    for _ in 0..200 {
        refused += u64::from(call(&both).await.is_err());
    }
    assert_eq!(refused, 100);
}

/// Calls until the one that refuses is connected too.
async fn until_refused(client: &Stub) {
    let give_up = Instant::now() + PATIENCE;
    while call(client).await.is_ok() {
        assert!(Instant::now() < give_up);
    }
}

#[tokio::test]
async fn a_replica_that_drains_finishes_its_calls_and_gets_no_new_one_and_no_call_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let draining = listener.local_addr().unwrap();
    let (drain, mut told_to_drain) = oneshot::channel::<()>();
    let (came, mut held) = mpsc::unbounded_channel();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        drop(listener);
        let mut connection: ServerConnection<_, bytes::Bytes> = h2::server::handshake(stream).await.unwrap();
        loop {
            tokio::select! {
                told = &mut told_to_drain, if !told_to_drain.is_terminated() => {
                    told.unwrap();
                    connection.graceful_shutdown();
                }
                call = connection.accept() => match call {
                    None => break,
                    Some(call) => came.send(call.unwrap().1).unwrap(),
                },
            }
        }
    });
    let client = client_of(&urls(&[draining, replica("127.0.0.2:0", "stays").await]));
    // Until one is held by the replica that will drain.
    let mut calls = Vec::new();
    let reply = loop {
        calls.push(calling(&client));
        tokio::task::yield_now().await;
        if let Ok(reply) = held.try_recv() {
            break reply;
        }
    };
    drain.send(()).unwrap();
    // The drain may meet some on their way: it takes them still.
    let others = tokio::spawn(async move {
        while let Some(reply) = held.recv().await {
            answer(reply, settled("drains"), 1).await;
        }
    });
    let started = Instant::now();
    while answered(&client, 20).await != counts(&[("stays", 20)]) {
        assert!(started.elapsed() < PATIENCE);
    }
    answer(reply, settled("drains"), 1).await;
    for call in calls {
        call.await.unwrap().unwrap();
    }
    timeout(PATIENCE, server).await.unwrap().unwrap();
    others.await.unwrap();
}

#[tokio::test]
async fn a_replica_that_is_down_costs_no_call_and_is_used_once_it_listens() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let client = client_of(&urls(&[socket.local_addr().unwrap(), replica("127.0.0.2:0", "up").await]));
    assert_eq!(answered(&client, 50).await, counts(&[("up", 50)]));
    serve_all(socket.listen(8).unwrap(), |_, _, reply| answer(reply, settled("back"), 1));
    call_until(&client, "back").await;
    assert_eq!(answered(&client, 20).await, counts(&[("up", 10), ("back", 10)]));
}

#[tokio::test]
async fn a_replica_that_is_down_is_tried_with_backoff_while_others_serve() {
    // Accepts, and closes at once.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let down = listener.local_addr().unwrap();
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&attempts);
    tokio::spawn(async move {
        loop {
            drop(listener.accept().await.unwrap());
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let client = client_of(&urls(&[down, replica("127.0.0.2:0", "up").await]));
    let started = Instant::now();
    while attempts.load(Ordering::SeqCst) < 3 {
        assert_eq!(call(&client).await.unwrap(), "up");
        assert!(started.elapsed() < PATIENCE);
    }
    // The pauses before the second and the third.
    assert!(started.elapsed() >= backoff(1) + backoff(2), "{:?}", started.elapsed());
    let pauses: Vec<_> = [1, 2, 3, 7, 8, 100, u32::MAX].map(|failures| backoff(failures).as_millis()).into();
    assert_eq!(pauses, [100, 200, 400, 6_400, 10_000, 10_000, 10_000]);
}

#[tokio::test]
async fn a_name_that_can_not_be_looked_up_or_takes_long_keeps_no_other_from_being_used() {
    let up = replica("127.0.0.1:0", "up").await;
    let client = client_with("http://missing:1,http://slow:1,http://empty:1,http://auth:1", Timing::default(), move |host| async move {
        match host.as_str() {
            "missing" => Err(io::Error::other("no such name")),
            "slow" => std::future::pending().await,
            "empty" => Ok(vec![]),
            _ => Ok(vec![up]),
        }
    });
    let answered = timeout(LOOKUP_TIMEOUT * 9 / 10, call(&client)).await.expect("it waits for no other name");
    assert_eq!(answered.unwrap(), "up");
    let missing = client_with("http://missing:1", Timing::default(), |_| std::future::ready(Err(io::Error::other("no such name"))));
    let status = call(&missing).await.unwrap_err();
    assert_may_be_tried_again(&status);
    assert_eq!(status.message(), "connecting: missing can't be looked up: no such name");
}

#[tokio::test]
async fn an_address_that_a_name_gets_later_is_used_and_one_that_it_loses_is_not() {
    assert_eq!(Timing::default().lookup_interval, Duration::from_secs(30));
    let (a, b) = (replica("127.0.0.1:0", "a").await, replica("127.0.0.2:0", "b").await);
    let addresses = Arc::new(Mutex::new(vec![a]));
    let resolved = Arc::clone(&addresses);
    let client = client_with("http://auth:1", quick_lookups(), move |_| std::future::ready(Ok(resolved.lock().unwrap().clone())));
    assert_eq!(answered(&client, 5).await, counts(&[("a", 5)]));
    *addresses.lock().unwrap() = vec![a, b];
    call_until(&client, "b").await;
    assert_eq!(answered(&client, 10).await, counts(&[("a", 5), ("b", 5)]));
    *addresses.lock().unwrap() = vec![b];
    let started = Instant::now();
    while answered(&client, 4).await != counts(&[("b", 4)]) {
        assert!(started.elapsed() < PATIENCE);
    }
}

#[tokio::test]
async fn a_lost_connection_has_the_name_looked_up_again() {
    // A replica that can be stopped at once, as a crash does.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let first = listener.local_addr().unwrap();
    let crashing = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        drop(listener);
        serve(stream, 100, |_, _, reply| answer(reply, settled("first"), 1)).await;
    });
    let second = replica("127.0.0.2:0", "second").await;
    let addresses = Arc::new(Mutex::new(vec![first]));
    let resolved = Arc::clone(&addresses);
    let client = client_with("http://auth:1", Timing::default(), move |_| std::future::ready(Ok(resolved.lock().unwrap().clone())));
    assert_eq!(call(&client).await.unwrap(), "first");
    *addresses.lock().unwrap() = vec![second];
    crashing.abort();
    // The one that meets the crash may fail, and no other.
    if let Err(status) = call(&client).await {
        assert_may_be_tried_again(&status);
    }
    assert_eq!(answered(&client, 5).await, counts(&[("second", 5)]));
}

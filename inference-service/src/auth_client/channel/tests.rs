use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};

use h2::server::SendResponse;
use http::Response;
use shared::ErrorReason;
use shared::error::{CallError, reason_of};
use shared::proto::auth as wire;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::*;

type Reply = SendResponse<Bytes>;
/// A call that has come in, and how to answer it.
type Incoming = (Request<RecvStream>, Reply);

const PATIENCE: Duration = Duration::from_secs(10);
const GRPC_HEAD: &[(&str, &str)] = &[("content-type", "application/grpc")];
const OK: &[(&str, &str)] = &[("grpc-status", "0")];

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

fn head(status: u16, pairs: &[(&'static str, &'static str)]) -> Response<()> {
    let mut head = Response::new(());
    (*head.status_mut(), *head.headers_mut()) = (StatusCode::from_u16(status).unwrap(), headers(pairs));
    head
}

fn settled(ledger_entry_id: &str) -> Bytes {
    let receipt = wire::Receipt { ledger_entry_id: ledger_entry_id.to_owned(), ..Default::default() };
    let message = wire::SettleResponse { receipt: Some(receipt) };
    let mut framed = vec![0, 0, 0, 0, u8::try_from(message.encoded_len()).unwrap()];
    message.encode_raw(&mut framed);
    framed.into()
}

/// Answers as auth-service does, in so many pieces.
async fn answer(mut reply: Reply, mut message: Bytes, pieces: usize) {
    let mut stream = reply.send_response(head(200, GRPC_HEAD), false).unwrap();
    let piece = message.len().div_ceil(pieces);
    while message.len() > piece {
        stream.send_data(message.split_to(piece), false).unwrap();
        tokio::task::yield_now().await;
    }
    stream.send_data(message, false).unwrap();
    stream.send_trailers(headers(OK)).unwrap();
}

async fn serve<F>(stream: TcpStream, streams: u32, mut each: impl FnMut(usize, Request<RecvStream>, Reply) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connection = h2::server::Builder::new().max_concurrent_streams(streams).handshake(stream).await.unwrap();
    let mut number = 0;
    while let Some(Ok((request, reply))) = connection.accept().await {
        tokio::spawn(each(number, request, reply));
        number += 1;
    }
}

/// A server that does this with each call, whose number on its connection it is told, and counts connections.
async fn server<F>(each: impl FnMut(usize, Request<RecvStream>, Reply) -> F + Send + Copy + 'static) -> (Channel, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (listener, channel) = listener("127.0.0.1:0").await;
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(serve(stream, 4096, each));
        }
    });
    (channel, connections)
}

/// One connection that takes so many calls at a time, which the test answers.
async fn served_by_hand(streams: u32) -> (Arc<Channel>, mpsc::UnboundedReceiver<Incoming>) {
    let (listener, channel) = listener("127.0.0.1:0").await;
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
    (Arc::new(channel), calls)
}

async fn listener(address: &str) -> (TcpListener, Channel) {
    let listener = TcpListener::bind(address).await.unwrap();
    let channel = Channel::new(format!("http://{}", listener.local_addr().unwrap()).parse().unwrap());
    (listener, channel)
}

fn settle(channel: &Channel) -> Call {
    let method = channel.method("/tollgate.auth.v1.Auth/Settle", &HeaderValue::from_static("Bearer x")).unwrap();
    Call::new(&method, &wire::SettleRequest { hold: "h".to_owned(), ..Default::default() }, "r-1")
}

/// The ledger entry in the answer.
async fn call(channel: &Channel) -> Result<String, Status> {
    let settled: wire::SettleResponse = channel.unary(&settle(channel), Instant::now() + PATIENCE).await?;
    Ok(settled.receipt.unwrap().ledger_entry_id)
}

/// Many calls that have come in and wait for their answers.
async fn begun(channel: &Arc<Channel>, calls: &mut mpsc::UnboundedReceiver<Incoming>) -> (JoinSet<Result<String, Status>>, Vec<Reply>) {
    let (mut waiting, mut replies) = (JoinSet::new(), Vec::new());
    for _ in 0..500 {
        let channel = Arc::clone(channel);
        waiting.spawn(async move { call(&channel).await });
    }
    while replies.len() < waiting.len() {
        replies.push(calls.recv().await.unwrap().1);
    }
    (waiting, replies)
}

fn assert_may_be_tried_again(status: &Status) {
    assert_eq!((status.code(), reason_of(status)), (Code::Unavailable, None), "{status}");
}

#[tokio::test]
async fn a_connection_that_a_forwarder_has_lost_is_noticed_in_time_for_the_same_check_to_succeed_on_a_new_one() {
    let (direct, connections) = server(|_, _, reply| answer(reply, settled("e"), 1)).await;
    let target = format!("127.0.0.1:{}", direct.target.url.port_u16().unwrap()).parse().unwrap();
    let forwarder = crate::tcp::silent_forwarder::SilentForwarder::to(target).await;
    let channel = Channel::new(format!("http://{}", forwarder.address).parse().unwrap());
    assert_eq!(call(&channel).await.unwrap(), "e");
    forwarder.forget_connections();
    let asked = Instant::now();
    assert_may_be_tried_again(&call(&channel).await.unwrap_err());
    assert_eq!(call(&channel).await.unwrap(), "e");
    // How long a Check may take, unless it is configured.
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert_eq!(connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_call_has_its_headers_and_its_message_and_calls_share_a_connection() {
    let (channel, connections) = server(|number, request, reply| async move {
        let of = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        assert_eq!((request.method(), request.uri().path()), (&Method::POST, "/tollgate.auth.v1.Auth/Settle"));
        assert_eq!(
            [of("content-type"), of("te"), of("authorization"), of("x-request-id")],
            ["application/grpc", "trailers", "Bearer x", "r-1"]
        );
        let timeout = shared::request_context::deadline(request.headers()).unwrap().unwrap();
        assert!((PATIENCE / 2..=PATIENCE).contains(&timeout), "{timeout:?}");
        let (body, trailers) = read(request.into_body()).await.unwrap();
        let message = wire::SettleRequest::decode(unframed(body).unwrap()).unwrap();
        assert_eq!((message.hold.as_str(), trailers.len()), ("h", 0));
        answer(reply, settled(&format!("entry {number}")), number + 1).await;
    })
    .await;
    let (first, second) = tokio::join!(call(&channel), call(&channel));
    let mut both = [first.unwrap(), second.unwrap()];
    both.sort();
    assert_eq!(both, ["entry 0", "entry 1"]);
    assert_eq!(call(&channel).await.unwrap(), "entry 2");
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[test]
fn a_deadline_is_told_in_milliseconds_of_eight_digits_at_most() {
    let call = settle(&Channel::new(Uri::from_static("http://[::1]:1")));
    for (patience, told) in [(0, "1m"), (999, "1m"), (1_500_000, "1500m"), (u64::MAX, "99999999m")] {
        assert_eq!(call.request(Duration::from_micros(patience)).headers()[GRPC_TIMEOUT], told);
    }
}

#[tokio::test]
async fn a_refusal_keeps_its_code_its_words_and_its_reason() {
    let (channel, _) = server(|number, _, mut reply| async move {
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
        let status = call(&channel).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "no credits left"));
        assert_eq!(reason_of(&status), Some(ErrorReason::InsufficientCredits));
    }
}

#[tokio::test]
async fn what_is_no_answer_of_auth_services_is_unavailable_and_breaks_no_other_call() {
    type Answer = (u16, &'static [(&'static str, &'static str)], &'static [u8], Option<&'static [(&'static str, &'static str)]>);
    const ANSWERS: &[(&str, Answer)] = &[
        ("HTTP status 503", (503, &[], b"", Some(&[]))),
        ("HTTP status 404", (404, GRPC_HEAD, b"\0\0\0\0\0", Some(OK))),
        ("doesn't speak gRPC", (200, &[("content-type", "text/html")], b"<html>", Some(&[]))),
        ("has no status", (200, GRPC_HEAD, b"\0\0\0\0\0", Some(&[]))),
        ("has no status", (200, &[("content-type", "application/grpc"), ("grpc-status", "0")], b"", None)),
        ("has no message", (200, GRPC_HEAD, b"", Some(OK))),
        ("has no message", (200, GRPC_HEAD, b"\0\0\0\0", Some(OK))),
        ("is compressed", (200, GRPC_HEAD, b"\x01\0\0\0\0", Some(OK))),
        ("is not one message", (200, GRPC_HEAD, b"\0\0\0\0\x02x", Some(OK))),
        ("is not one message", (200, GRPC_HEAD, b"\0\0\0\0\0\0\0\0\0\0", Some(OK))),
        ("can't be read", (200, GRPC_HEAD, b"\0\0\0\0\x01\xff", Some(OK))),
        // More of them than the connection's window holds.
        ("is longer than", (200, GRPC_HEAD, &[0; 2 * MAX_MESSAGE_BYTES], Some(OK))),
        ("is longer than", (200, GRPC_HEAD, &[0; 2 * MAX_MESSAGE_BYTES], Some(OK))),
    ];
    const ROUNDS: usize = 10;
    let (channel, connections) = server(|number, _, mut reply| async move {
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
        let status = call(&channel).await.unwrap_err();
        assert_may_be_tried_again(&status);
        assert!(status.message().contains(what), "{status} doesn't say {what:?}");
    }
    assert_eq!(call(&channel).await.unwrap(), "entry");
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn many_short_answers_at_once_and_late_ones_to_calls_that_were_given_up_do_not_cost_the_connection() {
    let (channel, mut calls) = served_by_hand(4096).await;
    let (waiting, replies) = begun(&channel, &mut calls).await;
    for reply in replies {
        answer(reply, settled("e"), 1).await;
    }
    assert!(waiting.join_all().await.iter().all(|answered| answered.as_deref().ok() == Some("e")));

    // A thousand: h2 counts them, and closes a connection after 1,024.
    for _ in 0..2 {
        let (mut waiting, replies) = begun(&channel, &mut calls).await;
        // Answered and given up in the same turn: the answers come when nobody waits.
        for mut reply in replies {
            let mut stream = reply.send_response(head(200, GRPC_HEAD), false).unwrap();
            stream.send_data(settled("e"), false).unwrap();
        }
        waiting.shutdown().await;
    }
    let (last, ()) = tokio::join!(call(&channel), async {
        answer(calls.recv().await.unwrap().1, settled("last"), 1).await;
    });
    assert_eq!(last.unwrap(), "last", "on the same connection: the server takes no other");
}

#[tokio::test]
async fn a_caller_that_gives_up_cancels_its_own_call_and_no_other() {
    let (channel, mut calls) = served_by_hand(4096).await;
    let given_up = tokio::spawn({
        let channel = Arc::clone(&channel);
        async move { call(&channel).await }
    });
    let (_request, mut reply) = calls.recv().await.unwrap();
    given_up.abort();
    let (other, ()) = tokio::join!(call(&channel), async {
        assert_eq!(std::future::poll_fn(|cx| reply.poll_reset(cx)).await.unwrap(), Reason::CANCEL);
        answer(calls.recv().await.unwrap().1, settled("entry"), 1).await;
    });
    assert_eq!(other.unwrap(), "entry");

    let late: Result<wire::SettleResponse, _> = channel.unary(&settle(&channel), Instant::now() + Duration::from_millis(20)).await;
    let status = late.unwrap_err();
    assert_may_be_tried_again(&status);
    assert_eq!(status.message(), "auth-service did not answer in time");
}

#[tokio::test]
async fn beyond_what_auth_service_takes_at_a_time_calls_wait_and_may_be_given_up() {
    let (channel, mut calls) = served_by_hand(1).await;
    // The first one comes before the server has said how many it takes.
    let (first, ()) = tokio::join!(call(&channel), async { answer(calls.recv().await.unwrap().1, settled("first"), 1).await });
    assert_eq!(first.unwrap(), "first");

    let calling = |channel: &Arc<Channel>| {
        let channel = Arc::clone(channel);
        tokio::spawn(async move { call(&channel).await })
    };
    let second = calling(&channel);
    let (_, reply) = calls.recv().await.unwrap();
    let (given_up, third) = (calling(&channel), calling(&channel));
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
    let (listener, channel) = listener("127.0.0.1:0").await;
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
    assert_eq!(call(&channel).await.unwrap(), "entry");
    // Whether or not the caller knows by now that the first one is gone.
    let second = match call(&channel).await {
        Err(status) => {
            assert_may_be_tried_again(&status);
            call(&channel).await
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
    let channel = Channel::new(format!("http://{}", socket.local_addr().unwrap()).parse().unwrap());
    let (first, second) = tokio::join!(call(&channel), call(&channel));
    for status in [first.unwrap_err(), second.unwrap_err()] {
        assert_may_be_tried_again(&status);
        assert!(status.message().starts_with("connecting: "), "{status}");
    }
    let listener = socket.listen(8).unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, 4096, |_, _, reply| answer(reply, settled("entry"), 1)).await;
    });
    assert_eq!(call(&channel).await.unwrap(), "entry");
}

#[tokio::test]
async fn a_caller_that_goes_away_while_connecting_takes_the_connection_from_nobody() {
    let (channel, connections) = server(|_, _, reply| answer(reply, settled("entry"), 1)).await;
    assert!(call(&channel).now_or_never().is_none(), "it had to connect, and went away");
    assert_eq!(call(&channel).await.unwrap(), "entry");
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_url_may_have_an_address_of_ipv6_or_a_name() {
    let (listener, by_address) = listener("[::1]:0").await;
    let by_name = Channel::new(format!("http://localhost:{}", listener.local_addr().unwrap().port()).parse().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, 4096, |_, _, reply| answer(reply, settled("entry"), 1)));
        }
    });
    assert_eq!(call(&by_address).await.unwrap(), "entry");
    // Where the name has both kinds of addresses, the other one has nobody listening.
    if lookup_host(("localhost", 0)).await.unwrap().any(|address| address.is_ipv6()) {
        assert_eq!(call(&by_name).await.unwrap(), "entry");
    }
    assert!(Channel::new(Uri::from_static("/no-server")).method("/x", &HeaderValue::from_static("")).is_err());
}

#[tokio::test]
async fn a_connection_on_which_nothing_comes_back_is_given_up_and_one_that_answers_pings_is_kept() {
    // Takes a connection and says nothing at all, as a network that lost it does; the second one is served.
    let (listener, mut channel) = listener("127.0.0.1:0").await;
    channel.target.pings = Pings { every: Duration::from_millis(20), timeout: Duration::from_secs(1) };
    let (came, mut calls) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let _mute = listener.accept().await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let pass = |_, _, reply: Reply| {
            came.send(reply).unwrap();
            std::future::ready(())
        };
        serve(stream, 4096, pass).await;
    });
    let status = call(&channel).await.unwrap_err();
    assert_may_be_tried_again(&status);
    assert!(status.message().contains("broke"), "{status}: given up before the call's own time was over");

    // A call that lasts longer than a connection whose pings are not answered would: there is nothing to wait for but that time.
    let (late, ()) = tokio::join!(call(&channel), async {
        let reply = calls.recv().await.unwrap();
        tokio::time::sleep(2 * (channel.target.pings.every + channel.target.pings.timeout)).await;
        answer(reply, settled("entry"), 1).await;
    });
    assert_eq!(late.unwrap(), "entry");
}

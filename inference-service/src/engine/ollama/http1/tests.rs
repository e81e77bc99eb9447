//! Against servers on real sockets.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::response_head::MAX_HEAD_BYTES;
use super::*;
use crate::tcp::silent_forwarder::SilentForwarder;

/// Until what a test waits for must have come.
const DEADLINE: Duration = Duration::from_secs(40);

async fn client_of(address: SocketAddr) -> Client {
    Client::new(Origin::parse(&format!("http://{address}")).unwrap(), None, Duration::from_secs(5)).unwrap()
}

/// A client of a server that answers each connection's requests with these bytes in turn, and counts connections.
async fn client(answers: Vec<Vec<u8>>) -> (Client, JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut left, mut connections) = (answers.iter(), 0);
        while left.len() > 0 {
            let (mut stream, _) = listener.accept().await.unwrap();
            connections += 1;
            let mut request = vec![0; 4096];
            while let Ok(1..) = stream.read(&mut request).await {
                let Some(answer) = left.next() else { break };
                // A client that has seen enough doesn't read the rest.
                let written = stream.write_all(answer).await;
                if written.is_err() || answer.starts_with(b"HTTP/1.0") || answer.windows(5).any(|word| word == b"close") {
                    break;
                }
            }
        }
        connections
    });
    (client_of(address).await, server)
}

async fn read_all(mut response: Response) -> Result<String, HttpError> {
    let mut data = Vec::new();
    while poll_fn(|context| response.body.poll_read(context, &mut data)).await? {}
    Ok(String::from_utf8(data).unwrap())
}

async fn ask(client: &Client) -> Result<(u16, String), HttpError> {
    let response = client.send(&Method::POST, "/x", Some(b"{}"), None).await?;
    Ok((response.status.as_u16(), read_all(response).await?))
}

/// What a client makes of these bytes, in answer to its request.
async fn answered(answer: &[u8]) -> Result<(u16, String), HttpError> {
    let (client, server) = client(vec![answer.to_vec()]).await;
    let asked = timeout(DEADLINE, ask(&client)).await.unwrap();
    drop(client);
    timeout(DEADLINE, server).await.unwrap().unwrap();
    asked
}

/// Asserts that each of these answers is refused for what it is, and not for how its connection ended.
async fn assert_refused(answers: &[&[u8]]) {
    for answer in answers {
        let asked = answered(answer).await;
        assert!(matches!(asked, Err(HttpError::Protocol(_))), "{:?} → {asked:?}", String::from_utf8_lossy(answer));
    }
}

/// A chunked answer with this body.
fn chunked(body: impl AsRef<[u8]>) -> Vec<u8> {
    [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", body.as_ref()].concat()
}

#[tokio::test]
async fn every_framing_is_read_and_a_connection_serves_the_next_request() {
    let answers: [&[u8]; 6] = [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil close",
        b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    ];
    let (client, server) = client(answers.map(<[u8]>::to_vec).to_vec()).await;
    for expected in [(200, "abcde"), (404, "no"), (204, ""), (200, "until close"), (200, "old"), (200, "")] {
        let (status, body) = ask(&client).await.unwrap();
        assert_eq!((status, body.as_str()), expected);
    }
    drop(client);
    // One for the first four, one for each of the others.
    assert_eq!(server.await.unwrap(), 3);
}

#[tokio::test]
async fn what_the_grammar_allows_is_read() {
    for (answer, expected) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"[..], "ok"),
        (b"HTTP/1.1 200 OK\r\nContent-Length:2 \r\nX:\tt\xe9xt\t\xff\r\n\r\nok", "ok"),
        (b"HTTP/1.1 200 \r\nTRANSFER-ENCODING: Chunked\r\n\r\n002 ;a=\"b;c\" ; d\r\nok\r\n000\r\nA: b\r\nC:\r\n\r\n", "ok"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\nok", "ok"),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", ""),
    ] {
        assert_eq!(answered(answer).await.unwrap().1, expected, "{:?}", String::from_utf8_lossy(answer));
    }
}

#[tokio::test]
async fn what_is_no_response_is_refused() {
    assert_refused(&[
        b"SSH-2.0-OpenSSH\r\n",
        b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 2 close",
        b"HTTP/1.1 099 No\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 +20 No\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 2000 No\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ])
    .await;
    for (answer, why) in [
        (&b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\nshort"[..], "body's end"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n", "body's end"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n", "before a response"),
    ] {
        let broken = answered(answer).await.unwrap_err();
        assert!(matches!(&broken, HttpError::Broken(error) if error.to_string().contains(why)), "{broken:?}");
    }
}

#[tokio::test]
async fn a_response_whose_length_can_be_read_in_two_ways_is_refused() {
    assert_refused(&[
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\ncontent-length: 1\r\nContent-Length: 02x\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ])
    .await;
}

#[tokio::test]
async fn a_content_length_that_is_not_digits_alone_is_refused() {
    for length in ["+5", "-5", "5 5", "0x5", "5x", "x", "5.0", "5,", ",5", "", "\"5\"", "٥", "18446744073709551616"] {
        assert_refused(&[format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nhello").as_bytes()]).await;
    }
}

#[tokio::test]
async fn a_head_with_a_bare_line_feed_or_carriage_return_is_refused() {
    assert_refused(&[
        b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\nConnection: close",
        b"HTTP/1.1 200 OK\rContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\rContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\r\n\r\n",
        b"HTTP/1.1 100 Continue\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ])
    .await;
}

#[tokio::test]
async fn a_header_that_is_folded_or_has_no_proper_name_or_holds_control_characters_is_refused() {
    for line in [
        "X: a\r\n b",
        "X: a\r\n\tb",
        "Content-Length : 0",
        "Content-Length\t: 0",
        " Content-Length: 0",
        ": 0",
        "Content Length: 0",
        "Content-Length",
        "X\0: 0",
        "X: \0",
        "X: a\x01b",
        "X: \x7f",
        "X: \x1b[0m",
        "Ünkown: 0",
    ] {
        assert_refused(&[format!("HTTP/1.1 200 OK\r\n{line}\r\nContent-Length: 0\r\n\r\n").as_bytes()]).await;
    }
    assert_refused(&[b"HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 O\x7fK\r\nContent-Length: 0\r\n\r\n"]).await;
}

#[tokio::test]
async fn a_chunk_whose_size_is_not_hexadecimal_digits_alone_is_refused() {
    for size in ["+5", "-5", " 5", "5 ", "\t5", "5\t", "5 5", "0x5", "5x", "5_", "g", "zz", "", "5 x", "5,", "5\r", "5\0"] {
        assert_refused(&[&chunked(format!("{size}\r\nhello\r\n0\r\n\r\n"))]).await;
    }
    // Seventeen digits are beyond 64 bits.
    assert_refused(&[&chunked("fffffffffffffffff\r\n")]).await;
}

#[tokio::test]
async fn a_chunk_whose_lines_do_not_end_with_cr_lf_is_refused() {
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5;a=b\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\r\n\rX",
        "5\r\nhello\r\n0\r\nX: y\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\rZ: z\r\n\r\n",
    ] {
        assert_refused(&[&chunked(body)]).await;
    }
}

#[tokio::test]
async fn an_extension_or_a_trailer_that_is_none_is_refused() {
    for body in [
        "5;a=\0\r\nhello\r\n0\r\n\r\n",
        "5;a=\x7f\r\nhello\r\n0\r\n\r\n",
        "0\r\nX: y\r\n folded\r\n\r\n",
        "0\r\nX : y\r\n\r\n",
        "0\r\n: y\r\n\r\n",
        "0\r\nno colon\r\n\r\n",
        "0\r\nX: \0\r\n\r\n",
        "0\r\nHTTP/1.1 200 OK\r\n\r\n",
    ] {
        assert_refused(&[&chunked(body)]).await;
    }
}

#[tokio::test]
async fn heads_extensions_and_trailers_are_bounded() {
    let long = "x".repeat(MAX_HEAD_BYTES);
    assert_refused(&[
        format!("HTTP/1.1 200 OK\r\nX: {long}").as_bytes(),
        format!("HTTP/1.1 200 OK\r\nX: {long}\r\nContent-Length: 0\r\n\r\n").as_bytes(),
        format!("HTTP/1.1 200 {long}").as_bytes(),
        format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", "X: y\r\n".repeat(101)).as_bytes(),
        "HTTP/1.1 100 Continue\r\n\r\n".repeat(MAX_HEAD_BYTES / 25 + 1).as_bytes(),
        &chunked(format!("1;{long}")),
        &chunked(format!("1{}", " ".repeat(MAX_HEAD_BYTES))),
        &chunked(format!("1;{}\r\nx\r\n", "x".repeat(100)).repeat(100)),
        &chunked(format!("0\r\nX: {long}")),
        &chunked(format!("0\r\n{long}")),
        &chunked(format!("0\r\n{}", "X: y\r\n".repeat(MAX_HEAD_BYTES))),
    ])
    .await;
}

#[tokio::test]
async fn a_connection_that_says_more_than_it_was_asked_serves_no_other_request() {
    for (answer, expected) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"[..], "x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong", ""),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nwrong", ""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n\r\n", "x"),
    ] {
        let (client, server) = client(vec![answer.to_vec(), b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright".to_vec()]).await;
        assert_eq!(ask(&client).await.unwrap().1, expected, "{:?}", String::from_utf8_lossy(answer));
        assert_eq!(ask(&client).await.unwrap().1, "right", "{:?}", String::from_utf8_lossy(answer));
        drop(client);
        assert_eq!(server.await.unwrap(), 2);
    }
}

/// A server that says `100 Continue` to each request when it has its head, as Ollama's does, and answers when it is told to.
struct ContinuingServer {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    /// One for each answer.
    answers: Arc<Semaphore>,
}

impl ContinuingServer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, answers) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let server = Self { address, requests: Arc::clone(&requests), answers: Arc::clone(&answers) };
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (requests, answers) = (Arc::clone(&requests), Arc::clone(&answers));
                tokio::spawn(async move {
                    let mut request = vec![0; 4096];
                    while let Ok(count @ 1..) = stream.read(&mut request).await {
                        requests.fetch_add(1, Ordering::SeqCst);
                        assert!(String::from_utf8_lossy(&request[..count]).contains("expect: 100-continue"));
                        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
                        answers.acquire().await.unwrap().forget();
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx").await.unwrap();
                    }
                });
            }
        });
        server
    }

    /// Asks it, and lets it answer.
    async fn ask(&self, client: &Client) -> String {
        self.answers.add_permits(1);
        ask(client).await.unwrap().1
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Moves the clock, which goes on by itself after that.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// Polls a call until it has been woken up so many times, and is still waiting.
async fn woken<T>(call: &mut (impl Future<Output = T> + Unpin), times: usize) {
    let mut polls = 0;
    let polled = poll_fn(|context| {
        assert!(Pin::new(&mut *call).poll(context).is_pending());
        polls += 1;
        if polls > times { Poll::Ready(()) } else { Poll::Pending }
    });
    timeout(DEADLINE, polled).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_a_forwarder_has_lost_is_noticed_in_seconds_and_the_request_is_not_sent_twice() {
    let server = ContinuingServer::start().await;
    let forwarder = SilentForwarder::to(server.address).await;
    let client = client_of(forwarder.address).await;
    assert_eq!(server.ask(&client).await, "x");
    forwarder.forget_connections();
    let mut asking = Box::pin(ask(&client));
    woken(&mut asking, 0).await;
    pass(CONTINUE_TIMEOUT).await;
    let lost = timeout(DEADLINE, asking).await.unwrap().unwrap_err();
    assert!(matches!(&lost, HttpError::Broken(error) if error.kind() == io::ErrorKind::TimedOut), "{lost:?}");
    // The next one has a new connection.
    assert_eq!(server.ask(&client).await, "x");
    assert_eq!((server.requests(), forwarder.accepted()), (2, 2));
}

#[tokio::test]
async fn a_confirmed_request_may_wait_for_its_answer_on_a_connection_that_was_used_before() {
    let server = ContinuingServer::start().await;
    let client = client_of(server.address).await;
    assert_eq!(server.ask(&client).await, "x");
    let mut asking = Box::pin(ask(&client));
    // By what the server says when the request has come.
    woken(&mut asking, 1).await;
    pass(2 * CONTINUE_TIMEOUT).await;
    woken(&mut asking, 0).await;
    server.answers.add_permits(1);
    assert_eq!(timeout(DEADLINE, asking).await.unwrap().unwrap().1, "x");
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn a_first_request_may_wait_without_a_confirmation() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client_of(listener.local_addr().unwrap()).await;
    let mut asking = Box::pin(ask(&client));
    let mut stream = tokio::select! {
        accepted = listener.accept() => accepted.unwrap().0,
        asked = &mut asking => panic!("{asked:?}"),
    };
    let mut request = vec![0; 4096];
    let read = tokio::select! {
        read = stream.read(&mut request) => read.unwrap(),
        asked = &mut asking => panic!("{asked:?}"),
    };
    assert!(read > 0);
    pass(2 * CONTINUE_TIMEOUT).await;
    woken(&mut asking, 0).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx").await.unwrap();
    assert_eq!(timeout(DEADLINE, asking).await.unwrap().unwrap().1, "x");
}

#[tokio::test]
async fn a_connection_that_has_waited_for_some_seconds_is_not_used_again() {
    let server = ContinuingServer::start().await;
    let forwarder = SilentForwarder::to(server.address).await;
    let client = client_of(forwarder.address).await;
    assert_eq!(server.ask(&client).await, "x");
    assert_eq!(server.ask(&client).await, "x");
    assert_eq!(forwarder.accepted(), 1);
    forwarder.forget_connections();
    pass(pool::IDLE_TIMEOUT).await;
    assert_eq!(server.ask(&client).await, "x");
    assert_eq!(forwarder.accepted(), 2);
}

#[tokio::test]
async fn a_body_that_is_finished_before_its_end_leaves_its_connection_to_the_next_request() {
    let (client, server) = client(vec![
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx".to_vec(),
    ])
    .await;
    client.send(&Method::GET, "/", None, None).await.unwrap().body.finish();
    assert_eq!(ask(&client).await.unwrap().1, "x");
    drop(client);
    assert_eq!(server.await.unwrap(), 1);
}

#[tokio::test]
async fn a_request_is_dispatched_once_its_body_is_written_and_not_before() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client_of(listener.local_addr().unwrap()).await;
    // Longer than the sockets' buffers.
    let (body, dispatched) = (vec![b'x'; 64 << 20], Dispatched::default());
    let mut sending = Box::pin(client.send(&Method::POST, "/", Some(&body), Some(&dispatched)));
    let mut stream = tokio::select! {
        accepted = listener.accept() => accepted.unwrap().0,
        sent = &mut sending => panic!("{sent:?}"),
    };
    let mut beginning = vec![0; 4096];
    tokio::select! {
        read = stream.read_exact(&mut beginning) => assert_eq!(read.unwrap(), 4096),
        sent = &mut sending => panic!("{sent:?}"),
    }
    woken(&mut sending, 0).await;
    assert!(!dispatched.is_marked(), "the server has not read it");
    let answering = async {
        let mut left = vec![0; 1 << 20];
        while !dispatched.is_marked() {
            assert!(stream.read(&mut left).await.unwrap() > 0);
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    };
    let (sent, ()) = timeout(DEADLINE, async { tokio::join!(sending, answering) }).await.unwrap();
    assert_eq!(sent.unwrap().status, 204);
}

#[tokio::test]
async fn nobody_there_is_told_from_a_connection_that_broke() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client_of(listener.local_addr().unwrap()).await;
    drop(listener);
    let dispatched = Dispatched::default();
    let refused = client.send(&Method::POST, "/", Some(b""), Some(&dispatched)).await;
    assert!(matches!(refused, Err(HttpError::Connect(_))));
    assert!(!dispatched.is_marked(), "nothing was sent");
}

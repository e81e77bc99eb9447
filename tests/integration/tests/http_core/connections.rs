//! How an HTTP/1.1 connection lives and ends, and how its caller's leaving is noticed.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::StatusCode;
use integration::hostile_http1::{HostileHttp1, head, request};
use integration::polling::SOON;
use shared::credential_form::to_bearer;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::server::{Plan, Server, Told, good_key, text_of};

async fn told(server: &mut Server) -> Told {
    timeout(SOON, server.told.recv()).await.expect("it is told").unwrap()
}

#[tokio::test]
async fn a_caller_that_leaves_drops_the_running_handler_before_the_head_and_in_mid_stream() {
    let mut server = Server::start().await;
    let key = to_bearer(&good_key());
    for (method, path) in [("POST", "/never"), ("GET", "/endless")] {
        let mut http1 = HostileHttp1::connect(server.address).await;
        http1.send(&request(method, path, &[("authorization", &key)], b"")).await;
        assert_eq!(told(&mut server).await, Told::Begun);
        if path == "/endless" {
            assert_eq!(http1.head().await.0, StatusCode::OK);
            assert_eq!(http1.chunk().await.unwrap(), "one");
        }
        assert!(server.told.try_recv().is_err(), "it runs as long as its caller is there");
        drop(http1);
        assert_eq!(told(&mut server).await, Told::Dropped, "{path}");
    }
}

#[tokio::test]
async fn a_caller_that_leaves_over_http_2_drops_the_running_handler() {
    let mut server = Server::start().await;
    for (method, path) in [("POST", "/never"), ("GET", "/endless")] {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let (calls, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = http::Request::builder().method(method).uri(format!("http://{}{path}", server.address));
        let request = request.header("x-api-key", good_key()).body(()).unwrap();
        let (answer, _) = calls.ready().await.unwrap().send_request(request, true).unwrap();
        assert_eq!(told(&mut server).await, Told::Begun);
        // Resets the stream; the connection stays.
        drop(answer);
        assert_eq!(told(&mut server).await, Told::Dropped, "{path}");
        connection.abort();
    }
}

#[tokio::test]
async fn a_head_that_is_not_whole_in_10_s_ends_its_connection_also_when_it_is_not_the_first() {
    let server = Server::start().await;
    let partial = b"GET /item/a HTTP/1.1\r\nhost: a\r\n";
    let began = Instant::now();
    let beginnings: [&[u8]; 5] = [b"", b"P", b"PRI * HTTP/2.0\r\n", b"GE", partial];
    let first = beginnings.map(|said| async move {
        let mut http1 = HostileHttp1::connect(server.address).await;
        http1.send(said).await;
        assert!(http1.is_closed().await, "{said:?}");
    });
    let dripping = async {
        let mut http1 = HostileHttp1::connect(server.address).await;
        http1.send(partial).await;
        // A byte now and then keeps nothing alive.
        while http1.stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    let second = async {
        let mut http1 = HostileHttp1::connect(server.address).await;
        assert_eq!(http1.call("GET", "/item/a", &[], b"").await.text(), "a");
        http1.send(partial).await;
        assert!(http1.is_closed().await);
    };
    let all = async { tokio::join!(join_all(first), dripping, second) };
    timeout(SOON, all).await.expect("they are closed after 10 s");
    assert!(began.elapsed() > Duration::from_secs(9));
}

#[tokio::test]
async fn a_connection_is_kept_between_requests_and_closed_when_it_is_idle_or_old() {
    let server = Server::planned(Plan { idle: Duration::from_secs(3), ..Plan::default() }).await;
    let mut http1 = HostileHttp1::connect(server.address).await;
    let key = to_bearer(&good_key());
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(7) {
        let echoed = http1.call("POST", "/echo", &[("authorization", &key)], &text_of(1)).await;
        assert_eq!((echoed.status, echoed.header("connection")), (StatusCode::OK, ""));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(timeout(SOON, http1.is_closed()).await.expect("it was idle for three seconds"));

    let mut server = Server::planned(Plan { age: Duration::from_secs(3), ..Plan::default() }).await;
    let mut http1 = HostileHttp1::connect(server.address).await;
    http1.send(&request("GET", "/endless", &[("authorization", &key)], b"")).await;
    assert_eq!(told(&mut server).await, Told::Begun);
    assert_eq!(http1.head().await.0, StatusCode::OK);
    let mut idle = HostileHttp1::connect(server.address).await;
    assert_eq!(idle.call("GET", "/item/a", &[], b"").await.text(), "a");
    assert!(timeout(SOON, idle.is_closed()).await.expect("it is old"));
    assert!(server.told.try_recv().is_err(), "what runs on an old connection may finish");
}

#[tokio::test]
async fn a_drain_closes_idle_connections_and_the_others_after_their_response() {
    let mut server = Server::planned(Plan { drain: Duration::from_secs(60), ..Plan::default() }).await;
    let silent = TcpStream::connect(server.address).await.unwrap();
    let mut begun = HostileHttp1::connect(server.address).await;
    begun.send(b"GET /item").await;
    let mut idle = HostileHttp1::connect(server.address).await;
    assert_eq!(idle.call("GET", "/item/a", &[], b"").await.text(), "a");
    let mut running = HostileHttp1::connect(server.address).await;
    let text = text_of(100);
    let (length, key) = (text.len().to_string(), good_key());
    running.send(&head("POST", "/echo", &[("x-api-key", &key), ("content-length", &length), ("expect", "100-continue")])).await;
    assert_eq!(running.head().await.0, StatusCode::CONTINUE);
    let began = Instant::now();
    server.drain();
    assert!(idle.is_closed().await && begun.is_closed().await && HostileHttp1::over(silent).is_closed().await);
    assert!(began.elapsed() < SOON, "those have nothing that runs");
    running.send(&text).await;
    let answer = running.response(false).await;
    assert_eq!((answer.json()["bytes"].as_u64(), answer.header("connection")), (Some(100), "close"));
    assert!(running.is_closed().await);
    timeout(SOON, &mut server.task).await.expect("nothing runs any more").unwrap();
}

#[tokio::test]
async fn a_drain_cuts_off_what_still_runs_at_its_deadline() {
    let mut server = Server::planned(Plan { drain: Duration::from_millis(500), ..Plan::default() }).await;
    let mut http1 = HostileHttp1::connect(server.address).await;
    http1.send(&request("GET", "/endless", &[("x-api-key", &good_key())], b"")).await;
    assert_eq!(told(&mut server).await, Told::Begun);
    server.drain();
    assert_eq!(told(&mut server).await, Told::Dropped);
    timeout(SOON, &mut server.task).await.expect("its deadline has passed").unwrap();
}

#[tokio::test]
async fn ten_thousand_silent_connections_leave_room_for_one_that_speaks_http_1_1() {
    let server = Server::planned(Plan { per_network: 50, ..Plan::default() }).await;
    let mut known = HostileHttp1::connect(server.address).await;
    let key = to_bearer(&good_key());
    assert_eq!(known.call("POST", "/echo", &[("authorization", &key)], &text_of(1)).await.status, StatusCode::OK);
    let mut silent = Vec::new();
    for number in 0..10_000 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        // One that was displaced is closed by now.
        let _ = stream.write_all(if number % 2 == 0 { b"GET /item/a HTTP/1.1\r\n" } else { b"P" }).await;
        silent.push(stream);
        if silent.len() > 200 {
            silent.remove(0);
        }
    }
    let mut fresh = HostileHttp1::connect(server.address).await;
    assert_eq!(fresh.call("GET", "/item/a", &[], b"").await.text(), "a");
    let echoed = known.call("POST", "/echo", &[("authorization", &key)], &text_of(1)).await;
    assert_eq!(echoed.status, StatusCode::OK, "one that has proved itself is never displaced");
}

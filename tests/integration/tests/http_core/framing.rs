//! Nobody gets two requests out of one, or an answer to what can be read in two ways.

use http::StatusCode;
use integration::hostile_http1::{HostileHttp1, chunk, head, request};
use shared::credential_form::to_bearer;
use tokio::time::timeout;

use crate::server::{Server, good_key, text_of};

/// Sends a request with these headers, and behind its body the beginning of another one.
async fn answers(server: &Server, headers: &[(&str, &str)], body: &[u8]) -> Vec<StatusCode> {
    let mut http1 = HostileHttp1::connect(server.address).await;
    http1.send(&[&head("POST", "/open", headers)[..], body].concat()).await;
    let mut statuses = Vec::new();
    statuses.push(http1.response(false).await.status);
    while !http1.is_closed().await {
        statuses.push(http1.response(false).await.status);
    }
    statuses
}

#[tokio::test]
async fn a_body_that_can_be_read_in_two_ways_is_refused_and_what_stands_behind_is_never_a_request() {
    let server = Server::start().await;
    let text = text_of(3);
    let length = text.len().to_string();
    let smuggled = request("GET", "/item/smuggled", &[], b"");
    let chunked = [chunk(&text), b"0\r\n\r\n".to_vec(), smuggled.clone()].concat();
    let plain = [text.clone(), smuggled].concat();
    let longer = (text.len() + 1).to_string();
    let bad = vec![StatusCode::BAD_REQUEST];
    for (headers, body) in [
        (vec![("content-length", length.as_str()), ("content-length", &longer)], &plain),
        (vec![("content-length", "+14")], &plain),
        (vec![("content-length", "14, 14")], &plain),
        (vec![("content-length", "0x0e")], &plain),
        (vec![("content-length", "-1")], &plain),
        (vec![("content-length", "")], &plain),
        (vec![("content-length", "99999999999999999999999")], &plain),
        (vec![("transfer-encoding", "xchunked")], &chunked),
        (vec![("transfer-encoding", "chunked, identity")], &chunked),
        (vec![("transfer-encoding", "identity")], &chunked),
        (vec![("transfer-encoding", "chunked"), ("transfer-encoding", "identity")], &chunked),
        (vec![("transfer-encoding", "chunked"), ("content-length", &length)], &chunked),
        (vec![("content-length", &length), ("transfer-encoding", "chunked")], &chunked),
    ] {
        assert_eq!(answers(&server, &headers, body).await, bad, "{headers:?}");
    }
}

#[tokio::test]
async fn what_is_no_header_is_refused() {
    let server = Server::start().await;
    for wrong in [
        "GET /item/a HTTP/1.1\r\nhost: a\r\nx-a: 1\r\n folded: 2\r\n\r\n",
        "GET /item/a HTTP/1.1\r\nhost: a\r\n\tx-a: 1\r\n\r\n",
        "GET /item/a HTTP/1.1\r\nhost: a\r\ncontent-length : 3\r\n\r\nabc",
        "GET /item/a HTTP/1.1\r\nhost: a\r\nx a: 1\r\n\r\n",
        "GET /item/a HTTP/1.1\r\nhost: a\r\nx-a\r\n\r\n",
        "GET /item/a HTTP/1.1\r\nhost: a\r\nx-a: \0\r\n\r\n",
        "GET  /item/a HTTP/1.1\r\n\r\n",
        "GET /item/a HTTP/1.2\r\n\r\n",
        "GET /item/a HTTP/2.0\r\n\r\n",
        "GET /item/a\r\n\r\n",
        "G\u{e9}T /item/a HTTP/1.1\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}",
    ] {
        let mut http1 = HostileHttp1::connect(server.address).await;
        http1.send(wrong.as_bytes()).await;
        let refused = http1.response(false).await.status;
        assert!(refused.is_client_error() || refused.is_server_error(), "{refused} {wrong:?}");
        assert!(http1.is_closed().await, "{wrong:?}");
    }
}

#[tokio::test]
async fn headers_have_a_bound_in_bytes_and_in_number() {
    let server = Server::start().await;
    let long = "x".repeat(17 << 10);
    let many: Vec<(String, String)> = (0..101).map(|number| (format!("x-{number}"), String::new())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for headers in [vec![("x-long", long.as_str())], many] {
        let mut http1 = HostileHttp1::connect(server.address).await;
        http1.send_what_is_taken(&head("GET", "/item/a", &headers)).await;
        assert_eq!(http1.response(false).await.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    let mut http1 = HostileHttp1::connect(server.address).await;
    let answer = http1.call("GET", "/item/a", &[("x-long", &long[..15 << 10])], b"").await;
    assert_eq!(answer.status, StatusCode::OK);
    let mut endless = HostileHttp1::connect(server.address).await;
    endless.send_what_is_taken(&[b"GET /item/a HTTP/1.1\r\nx-endless: ".to_vec(), vec![b'x'; 1 << 20]].concat()).await;
    let answer = timeout(integration::polling::SOON, endless.response(false)).await.expect("it isn't read to its end");
    assert_eq!(answer.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
}

#[tokio::test]
async fn requests_that_come_together_are_answered_in_their_order() {
    let server = Server::start().await;
    let mut http1 = HostileHttp1::connect(server.address).await;
    let key = to_bearer(&good_key());
    let three = [
        request("GET", "/item/a", &[], b""),
        request("POST", "/echo", &[("authorization", &key)], &text_of(5)),
        request("GET", "/item/c", &[], b""),
    ];
    http1.send(&three.concat()).await;
    assert_eq!(http1.response(false).await.text(), "a");
    assert_eq!(http1.response(false).await.json()["bytes"], 5);
    assert_eq!(http1.response(false).await.text(), "c");
}

#[tokio::test]
async fn a_body_in_chunks_is_whole_wherever_it_is_cut_and_one_that_is_cut_off_is_refused() {
    let server = Server::start().await;
    let key = to_bearer(&good_key());
    let headers = [("authorization", key.as_str()), ("transfer-encoding", "chunked")];
    let text = text_of(100);
    for size in [1, 7, 50, 200] {
        let mut http1 = HostileHttp1::connect(server.address).await;
        let mut sent = head("POST", "/echo", &headers);
        text.chunks(size).for_each(|piece| sent.extend(chunk(piece)));
        sent.extend(b"0\r\nx-trailer: 1\r\n\r\n");
        for piece in sent.chunks(11) {
            http1.send(piece).await;
        }
        assert_eq!(http1.response(false).await.json()["bytes"], 100, "{size}");
        assert_eq!(http1.call("GET", "/item/next", &[], b"").await.text(), "next");
    }
    for wrong in ["5\r\nabc", "zz\r\nabc\r\n0\r\n\r\n", "-1\r\n\r\n", "ffffffffffffffffff\r\nabc"] {
        let mut http1 = HostileHttp1::connect(server.address).await;
        http1.send(&[head("POST", "/echo", &headers), wrong.as_bytes().to_vec()].concat()).await;
        if wrong.starts_with('5') {
            tokio::io::AsyncWriteExt::shutdown(&mut http1.stream).await.unwrap();
        }
        assert_eq!(http1.response(false).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

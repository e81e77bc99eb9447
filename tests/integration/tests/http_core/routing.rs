//! Where a request goes, and what it is told when it goes nowhere.

use http::{Method, Request, StatusCode};
use integration::hostile_http1::{HostileHttp1, head};
use integration::raw_http2::RawHttp2;
use shared::ErrorReason;
use shared::credential_form::to_bearer;
use tonic::Code;

use crate::server::{Plan, Server, good_key, refusal, text_of};

/// A plain request over HTTP/2: status, and body.
async fn over_http2(server: &Server, method: Method, path: &str, body: Vec<u8>) -> (StatusCode, Vec<u8>) {
    let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let (calls, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::builder().method(method).uri(format!("http://{}{path}", server.address));
    let request = request.header("x-api-key", good_key()).body(()).unwrap();
    let (answer, mut sending) = calls.ready().await.unwrap().send_request(request, false).unwrap();
    sending.send_data(body.into(), true).unwrap();
    let (parts, mut body) = answer.await.unwrap().into_parts();
    let mut read = Vec::new();
    while let Some(piece) = body.data().await {
        read.extend_from_slice(&piece.unwrap());
    }
    connection.abort();
    (parts.status, read)
}

#[tokio::test]
async fn http_1_1_and_http_2_and_grpc_are_answered_on_one_port() {
    let server = Server::start().await;
    let mut http1 = HostileHttp1::connect(server.address).await;
    let key = to_bearer(&good_key());
    for bytes in [0, 5, 1000] {
        let echoed = http1.call("POST", "/echo", &[("authorization", &key)], &text_of(bytes)).await;
        assert_eq!((echoed.status, echoed.json()["bytes"].as_u64()), (StatusCode::OK, Some(bytes as u64)));
        assert!(!echoed.header("x-request-id").is_empty());
        assert_eq!(echoed.header("content-type"), "application/json");
    }
    let (status, body) = over_http2(&server, Method::POST, "/echo", text_of(7)).await;
    assert_eq!((status, &body[..10]), (StatusCode::OK, &b"{\"bytes\":7"[..]));
    let unknown = RawHttp2::connect(server.address).await.call("/no.such.Service/Nope", &[], &[]).await;
    assert_eq!(unknown.refusal(), (Code::Unimplemented, Some(ErrorReason::MethodUnknown)));
    let health = RawHttp2::connect(server.address).await.call("/grpc.health.v1.Health/Check", &[], &[0; 5]).await;
    assert_eq!(health.status.code(), Code::Ok);
}

#[tokio::test]
async fn a_wrong_path_answers_404_with_the_list_of_doors() {
    let server = Server::start().await;
    let mut http1 = HostileHttp1::connect(server.address).await;
    for path in ["/v1", "/echo/", "/ECHO", "/item", "/item/", "//echo", "/%65cho", "/..%2fecho", "/favicon.ico"] {
        let answer = http1.call("GET", path, &[], b"").await;
        assert_eq!((answer.status, answer.header("content-type")), (StatusCode::NOT_FOUND, "application/json"), "{path}");
        let said = answer.json();
        assert_eq!(said["error"]["code"], "METHOD_UNKNOWN");
        assert!(said["error"]["message"].as_str().unwrap().contains(path), "{said}");
        let doors: Vec<&str> = said["doors"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
        assert!(doors.contains(&"POST /echo  Says how long a text is.") && doors.len() == 6, "{doors:?}");
    }
    let (status, body) = over_http2(&server, Method::GET, "/nope", Vec::new()).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(String::from_utf8(body).unwrap().contains("POST /echo"));
}

#[tokio::test]
async fn a_wrong_method_answers_405_with_those_that_are_allowed() {
    let server = Server::start().await;
    let mut http1 = HostileHttp1::connect(server.address).await;
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "PROPFIND"] {
        let answer = http1.call(method, "/echo", &[], b"").await;
        assert_eq!(refusal(&answer), (StatusCode::METHOD_NOT_ALLOWED, "METHOD_UNKNOWN".to_owned()), "{method}");
        assert_eq!(answer.header("allow"), "POST");
        assert!(answer.json()["message"].as_str().unwrap().contains("/echo"));
    }
    let answer = http1.call("POST", "/endless", &[], b"").await;
    assert_eq!((answer.status, answer.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "GET,HEAD"));
}

#[tokio::test]
async fn the_root_names_the_service_and_its_doors_and_answers_a_heartbeat() {
    let server = Server::start().await;
    let mut http1 = HostileHttp1::connect(server.address).await;
    let answer = http1.call("GET", "/", &[], b"").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.text().starts_with("The test's server is running.") && answer.text().contains("POST /echo"), "{}", answer.text());
    let beat = http1.call("HEAD", "/", &[], b"").await;
    assert_eq!((beat.status, beat.body.len()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn a_part_of_a_path_is_decoded_and_stays_one_part() {
    let server = Server::start().await;
    let mut http1 = HostileHttp1::connect(server.address).await;
    for (path, name) in [("/item/a", "a"), ("/item/a%3Ab", "a:b"), ("/item/hf.co%2Fx%2Fy", "hf.co/x/y"), ("/item/..%2F..", "../..")] {
        assert_eq!(http1.call("GET", path, &[], b"").await.text(), name);
    }
    let answer = http1.call("GET", "/item/%ff", &[], b"").await;
    assert_eq!(refusal(&answer), (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT".to_owned()));
}

#[tokio::test]
async fn grpc_over_http_1_1_is_refused_by_words() {
    let server = Server::start().await;
    let mut http1 = HostileHttp1::connect(server.address).await;
    let answer = http1.call("POST", "/grpc.health.v1.Health/Check", &[("content-type", "application/grpc")], &[0; 5]).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("HTTP/2"));
}

#[tokio::test]
async fn a_page_of_a_listed_origin_may_call_and_no_other() {
    let server = Server::planned(Plan { cors: "https://app.example.com, http://localhost:3000", ..Plan::default() }).await;
    let mut http1 = HostileHttp1::connect(server.address).await;
    let asking = [("access-control-request-method", "POST"), ("access-control-request-headers", "authorization, content-type")];
    for origin in ["https://app.example.com", "http://localhost:3000"] {
        let preflight = http1.call("OPTIONS", "/echo", &[&[("origin", origin)], &asking[..]].concat(), b"").await;
        assert_eq!(preflight.status, StatusCode::OK);
        assert_eq!(preflight.header("access-control-allow-origin"), origin);
        assert_eq!(preflight.header("access-control-allow-headers"), "authorization, content-type");
        assert!(preflight.header("access-control-allow-methods").contains("POST"));
        assert_eq!(preflight.header("access-control-allow-credentials"), "");
        // A refusal is for the page to read as well.
        let refused = http1.call("POST", "/echo", &[("origin", origin)], &text_of(1)).await;
        assert_eq!((refused.status, refused.header("access-control-allow-origin")), (StatusCode::UNAUTHORIZED, origin));
        assert!(refused.header("access-control-expose-headers").contains("x-tollgate-charged-credits"));
    }
    for origin in ["https://evil.example.com", "https://app.example.com.evil.com", "null", "http://app.example.com"] {
        let preflight = http1.call("OPTIONS", "/echo", &[&[("origin", origin)], &asking[..]].concat(), b"").await;
        assert_eq!(preflight.header("access-control-allow-origin"), "", "{origin}");
    }
}

#[tokio::test]
async fn no_page_may_call_where_no_origin_is_listed() {
    let server = Server::start().await;
    let mut http1 = HostileHttp1::connect(server.address).await;
    for method in ["OPTIONS", "POST"] {
        let answer = http1.call(method, "/open", &[("origin", "https://app.example.com")], &text_of(1)).await;
        assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control")), "{:?}", answer.headers);
    }
}

#[tokio::test]
async fn an_absolute_uri_and_http_1_0_are_understood() {
    let server = Server::start().await;
    let mut http1 = HostileHttp1::connect(server.address).await;
    http1.send(b"GET http://anywhere/item/a?x=1 HTTP/1.1\r\nhost: anywhere\r\n\r\n").await;
    assert_eq!(http1.response(false).await.text(), "a");
    http1.send(b"GET /item/b HTTP/1.0\r\n\r\n").await;
    assert_eq!(http1.response(false).await.text(), "b");
    assert!(http1.is_closed().await, "HTTP/1.0 keeps no connection alive");
    let mut http1 = HostileHttp1::connect(server.address).await;
    http1.send(&head("CONNECT", "/echo", &[])).await;
    assert!(http1.response(false).await.status.is_client_error());
}

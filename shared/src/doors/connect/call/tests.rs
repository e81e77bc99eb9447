use tonic::Status;

use super::super::contract::method;
use super::*;
use crate::error::reason_of;

const LOGIN: &str = "/tollgate.auth.v1.Accounts/Login";
const BALANCE: &str = "/tollgate.auth.v1.Accounts/GetBalance";
const CHAT: &str = "/tollgate.inference.v1.Inference/Chat";

fn request(http: Method, path_and_query: &str, headers: &[(&'static str, &'static str)]) -> Request<Body> {
    let request = Request::builder().method(http).uri(format!("http://host{path_and_query}"));
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(Body::empty()).unwrap()
}

fn translated(request: Request<Body>) -> (Request<Body>, AnswerForm) {
    let method = method(request.uri().path()).unwrap();
    translate(method, request)
}

fn post(path: &str, headers: &[(&'static str, &'static str)]) -> (Request<Body>, AnswerForm) {
    translated(request(Method::POST, path, headers))
}

/// The reason, the HTTP status of what is no call, and the sentence; `None`: it is a call.
fn refusal(translated: &(Request<Body>, AnswerForm)) -> Option<(ErrorReason, Option<u16>, String)> {
    let (request, form) = translated;
    let EarlyRefusal(refused) = request.extensions().get::<EarlyRefusal>()?.clone();
    let status = Status::from(refused);
    Some((reason_of(&status).unwrap(), form.refused.map(|no_call| no_call.status().as_u16()), status.message().to_owned()))
}

#[test]
fn a_call_becomes_the_same_call_over_grpc() {
    let sent = [
        ("content-type", "application/json; charset=UTF-8"),
        ("authorization", "Bearer x"),
        ("content-length", "2"),
        ("connect-protocol-version", "1"),
        ("connect-timeout-ms", "5000"),
        ("content-encoding", "gzip"),
        ("accept-encoding", "br, gzip"),
        ("grpc-timeout", "1n"),
        ("x-mine", "stays"),
    ];
    let (request, form) = post(LOGIN, &sent);
    let (headers, extensions) = (request.headers(), request.extensions());
    assert_eq!((headers["content-type"].as_bytes(), headers["te"].as_bytes()), (&b"application/grpc"[..], &b"trailers"[..]));
    for (name, value) in [("grpc-timeout", "5000m"), ("grpc-encoding", "gzip"), ("authorization", "Bearer x"), ("x-mine", "stays")] {
        assert_eq!(headers[name], value, "{name}");
    }
    assert_eq!(headers.len(), 6, "{headers:?}");
    let message = extensions.get::<MessageForm>().unwrap();
    assert!(message.is_bare && message.json.is_some() && extensions.get::<EarlyRefusal>().is_none());
    let expected = AnswerForm { codec: Codec::Json, is_stream: false, takes_gzip: true, is_get: false, refused: None };
    assert_eq!(form, expected);
    let (request, form) = post(CHAT, &[("content-type", "application/connect+proto"), ("connect-content-encoding", "gzip")]);
    let message = request.extensions().get::<MessageForm>().unwrap();
    assert!(!message.is_bare && message.json.is_none() && form.is_stream && form.codec == Codec::Proto);
    assert_eq!(request.headers()["grpc-encoding"], "gzip");
}

#[test]
fn a_method_that_only_reads_may_be_called_by_get_and_its_message_stays_out_of_the_path() {
    for (query, sent) in [
        ("encoding=json&message=%7B%7D", &b"{}"[..]),
        ("connect=v1&base64=1&encoding=json&message=e30", b"{}"),
        ("message=e30%3D&base64=1&encoding=json&unknown=1", b"{}"),
        ("encoding=json&message=%7B+%7D&base64=0", b"{ }"),
        ("encoding=proto&message=&base64=1", b""),
        ("encoding=proto&message=", b""),
    ] {
        let (request, form) = translated(request(Method::GET, &format!("{BALANCE}?{query}"), &[]));
        assert_eq!((request.method(), request.uri().to_string()), (&Method::POST, format!("http://host{BALANCE}")), "{query}");
        assert!(form.is_get && form.refused.is_none() && request.extensions().get::<EarlyRefusal>().is_none(), "{query}");
        let body = futures_util::FutureExt::now_or_never(http_body_util::BodyExt::collect(request.into_body()));
        assert_eq!(body.unwrap().unwrap().to_bytes(), sent, "{query}");
    }
    for (query, http, reason) in [
        ("message=%7B%7D", None, ErrorReason::InvalidArgument),
        ("encoding=xml&message=", Some(415), ErrorReason::InvalidArgument),
        ("encoding=json", None, ErrorReason::InvalidArgument),
        ("encoding=json&message=!&base64=1", None, ErrorReason::MessageMalformed),
        ("encoding=proto&message=%FF", None, ErrorReason::MessageMalformed),
        ("encoding=json&message=%7B%7D&connect=v2", None, ErrorReason::InvalidArgument),
        ("encoding=json&message=%7B%7D&compression=br", None, ErrorReason::CompressionUnknown),
    ] {
        let refused = refusal(&translated(request(Method::GET, &format!("{BALANCE}?{query}"), &[]))).unwrap();
        assert_eq!((refused.0, refused.1), (reason, http), "{query}");
    }
}

#[test]
fn another_http_method_is_told_which_ones_there_are() {
    for (http, path, get_allowed) in [
        (Method::GET, LOGIN, false),
        (Method::GET, CHAT, false),
        (Method::PUT, LOGIN, false),
        (Method::HEAD, BALANCE, true),
        (Method::DELETE, BALANCE, true),
    ] {
        let translated = translated(request(http, path, &[("content-type", "application/json")]));
        assert_eq!(translated.1.refused, Some(NoCall::WrongMethod { get_allowed }), "{path}");
        assert_eq!(refusal(&translated).unwrap().1, Some(405));
    }
}

#[test]
fn another_content_type_is_told_which_header_to_send() {
    for (path, kind, words) in [
        (LOGIN, "text/plain", "content-type: application/json"),
        (LOGIN, "", "content-type: application/json"),
        (LOGIN, "application/connect+json", "content-type: application/json"),
        (LOGIN, "application/json; charset=latin1", "UTF-8"),
        (LOGIN, "application/xml", "content-type: application/json"),
        (CHAT, "application/json", "application/connect+json"),
        (CHAT, "application/proto", "application/connect+proto"),
        (CHAT, "application/x-www-form-urlencoded", "application/connect+json"),
    ] {
        let (reason, http, message) = refusal(&post(path, &[("content-type", kind)])).unwrap();
        assert_eq!((reason, http), (ErrorReason::InvalidArgument, Some(415)), "{kind}");
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(refusal(&post(LOGIN, &[])).unwrap().1, Some(415), "without a type");
    assert_eq!(refusal(&post(LOGIN, &[("content-type", "application/json"), ("content-type", "application/proto")])).unwrap().1, Some(415));
}

#[test]
fn what_curl_sends_is_json_and_what_a_page_of_another_origin_may_send_unasked_is_not() {
    const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
    assert_eq!(refusal(&post(LOGIN, &[FORM])), None);
    for browser in [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site"), ("sec-fetch-site", "none")] {
        let (_, http, message) = refusal(&post(LOGIN, &[FORM, browser])).unwrap();
        assert_eq!(http, Some(415), "{browser:?}");
        assert!(message.contains("content-type: application/json"), "{message}");
        assert_eq!(refusal(&post(LOGIN, &[("content-type", "application/json"), browser])), None, "for this type browsers ask first");
    }
}

#[test]
fn what_the_protocol_does_not_allow_is_refused_by_the_headers_name() {
    const JSON: (&str, &str) = ("content-type", "application/json");
    for (header, name, reason) in [
        (("connect-protocol-version", "2"), "connect-protocol-version", ErrorReason::InvalidArgument),
        (("connect-protocol-version", ""), "connect-protocol-version", ErrorReason::InvalidArgument),
        (("connect-timeout-ms", ""), "connect-timeout-ms", ErrorReason::InvalidArgument),
        (("connect-timeout-ms", "-1"), "connect-timeout-ms", ErrorReason::InvalidArgument),
        (("connect-timeout-ms", "12345678901"), "connect-timeout-ms", ErrorReason::InvalidArgument),
        (("connect-timeout-ms", "1s"), "connect-timeout-ms", ErrorReason::InvalidArgument),
        (("content-encoding", "br"), "content-encoding", ErrorReason::CompressionUnknown),
        (("content-encoding", "gzip, gzip"), "content-encoding", ErrorReason::CompressionUnknown),
    ] {
        let (refused, http, message) = refusal(&post(LOGIN, &[JSON, header])).unwrap();
        assert_eq!((refused, http), (reason, None), "{header:?}");
        assert!(message.contains(name), "{message}");
    }
    let stream = |header| refusal(&post(CHAT, &[("content-type", "application/connect+json"), header]));
    assert_eq!(stream(("connect-content-encoding", "zstd")).unwrap().0, ErrorReason::CompressionUnknown);
    assert_eq!(stream(("content-encoding", "gzip")).unwrap().0, ErrorReason::CompressionUnknown, "each message by itself");
    for kept in [("connect-protocol-version", "1"), ("content-encoding", "identity"), ("connect-timeout-ms", "0")] {
        assert_eq!(refusal(&post(LOGIN, &[JSON, kept])), None, "{kept:?}");
    }
}

#[test]
fn a_deadline_has_as_many_digits_as_grpc_takes() {
    for (sent, grpc) in [("0", "0m"), ("99999999", "99999999m"), ("100000000", "100000S"), ("9999999999", "9999999S")] {
        let headers = HeaderMap::from_iter([(TIMEOUT, HeaderValue::from_static(sent))]);
        assert_eq!(timeout(&headers).unwrap().unwrap(), grpc);
        let grpc = HeaderMap::from_iter([(GRPC_TIMEOUT, HeaderValue::from_static(grpc))]);
        assert!(crate::request_context::deadline(&grpc).unwrap().is_some());
    }
}

#[test]
fn gzip_is_given_to_who_takes_it() {
    for (sent, takes) in [("gzip", true), ("br, GZIP;q=0.5", true), ("gzip;q=0", false), ("identity", false), ("*", false), ("", false)] {
        assert_eq!(takes_gzip(&HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(sent))])), takes, "{sent}");
    }
}

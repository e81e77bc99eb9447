//! gRPC-Web: binary and text, with the trailers in the body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use integration::raw_http2::{RawHttp2, prefixed};
use integration::scripted_upstream::{Gate, Script};
use integration::stack::PASSWORD;
use prost::Message;
use shared::error::reason_of;
use shared::proto::auth::{GetBalanceResponse, LoginRequest, LoginResponse};
use shared::proto::inference::ChatEvent;
use shared::{ErrorReason, proto::inference::chat_event::Event};
use tonic::{Code, Status};

use crate::stage::*;

const TYPES: [&str; 4] =
    ["application/grpc-web", "application/grpc-web+proto", "application/grpc-web-text", "application/grpc-web-text+proto"];

fn is_text(kind: &str) -> bool {
    kind.contains("-text")
}

fn sent(kind: &str, message: &[u8]) -> Vec<u8> {
    let framed = prefixed(message);
    if is_text(kind) { STANDARD.encode(framed).into_bytes() } else { framed }
}

/// The bytes of a body; of text, each piece is encoded by itself.
fn bytes_of(kind: &str, body: &[u8]) -> Vec<u8> {
    if !is_text(kind) {
        return body.to_vec();
    }
    // Padding ends a piece.
    let text = std::str::from_utf8(body).unwrap();
    let mut decoded = Vec::new();
    for quantum in text.as_bytes().chunks(4) {
        decoded.extend(STANDARD.decode(quantum).unwrap());
    }
    decoded
}

/// Messages, and the status of the trailers.
fn read(kind: &str, headers: &HeaderMap, body: &[u8]) -> (Vec<Vec<u8>>, Status) {
    let bytes = bytes_of(kind, body);
    let (mut rest, mut messages, mut status) = (bytes.as_slice(), Vec::new(), Status::from_header_map(headers));
    while let [flag, a, b, c, d, more @ ..] = rest {
        let (message, more) = more.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        rest = more;
        if flag & 0x80 == 0 {
            messages.push(message.to_vec());
            continue;
        }
        let lines = std::str::from_utf8(message).unwrap().lines().filter_map(|line| line.split_once(':'));
        let trailers: HeaderMap =
            lines.map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value.trim()).unwrap())).collect();
        status = Status::from_header_map(&trailers);
        assert!(rest.is_empty(), "trailers come last");
    }
    (messages, status.expect("a status"))
}

#[tokio::test]
async fn both_forms_work_on_both_services_over_both_versions_of_http() {
    let stage = Stage::set().await;
    let login = LoginRequest { user_name: "ada".to_owned(), password: PASSWORD.to_owned(), ..Default::default() }.encode_to_vec();
    let bearer = ("authorization", stage.bearer.as_str());
    for kind in TYPES {
        let headers = [("content-type", kind), ("x-grpc-web", "1"), ("accept", "*/*")];
        let answer = call(stage.auth(), "POST", LOGIN, &headers, &sent(kind, &login)).await;
        assert_eq!((answer.status, is_text(answer.header("content-type"))), (200, is_text(kind)), "{answer:?}");
        let (messages, status) = read(kind, &answer.headers, &answer.body);
        assert_eq!((status.code(), messages.len()), (Code::Ok, 1), "{kind}");
        assert!(LoginResponse::decode(messages[0].as_slice()).unwrap().access_token.starts_with("eyJ"));
        let http2 = RawHttp2::connect(stage.auth()).await;
        let answer = http2.plain("POST", BALANCE, &[("content-type", kind), bearer], &sent(kind, b"")).await;
        let (messages, status) = read(kind, answer.headers(), answer.body());
        assert_eq!(status.code(), Code::Ok, "{kind}");
        let balance = GetBalanceResponse::decode(messages[0].as_slice()).unwrap().balance.unwrap();
        assert_eq!(balance.available_credits(), 10);
        let answer = call(stage.inference(), "POST", MODELS, &[("content-type", kind), bearer], &sent(kind, b"")).await;
        assert_eq!(read(kind, &answer.headers, &answer.body).1.code(), Code::Ok, "{kind}");
    }
}

#[tokio::test]
async fn errors_come_with_their_reason() {
    let stage = Stage::set().await;
    let bearer = ("authorization", stage.bearer.as_str());
    let wrong = LoginRequest { user_name: "ada".to_owned(), password: "another pass phrase of mine".to_owned(), ..Default::default() }
        .encode_to_vec();
    let kind = TYPES[0];
    let answer = call(stage.auth(), "POST", LOGIN, &[("content-type", kind)], &sent(kind, &wrong)).await;
    let (_, status) = read(kind, &answer.headers, &answer.body);
    assert_eq!((status.code(), reason_of(&status)), (Code::Unauthenticated, Some(ErrorReason::LoginFailed)));
    for kind in TYPES {
        let content_type = ("content-type", kind);
        for (path, headers, body, expected) in [
            (BALANCE, vec![content_type], sent(kind, b""), (Code::Unauthenticated, ErrorReason::CredentialMissing)),
            ("/tollgate.auth.v1.Accounts/Nope", vec![content_type], sent(kind, b""), (Code::Unimplemented, ErrorReason::MethodUnknown)),
            (BALANCE, vec![content_type, bearer], Vec::new(), (Code::InvalidArgument, ErrorReason::MessageMalformed)),
            (BALANCE, vec![content_type, bearer], sent(kind, b"\xff"), (Code::InvalidArgument, ErrorReason::MessageMalformed)),
            (
                BALANCE,
                vec![content_type, bearer, ("grpc-timeout", "soon")],
                sent(kind, b""),
                (Code::InvalidArgument, ErrorReason::InvalidArgument),
            ),
        ] {
            let answer = call(stage.auth(), "POST", path, &headers, &body).await;
            let (_, status) = read(kind, &answer.headers, &answer.body);
            assert_eq!((status.code(), reason_of(&status).unwrap()), expected, "{kind} {path}: {status:?}");
            assert!(!answer.header("x-request-id").is_empty());
        }
    }
    let text = ("content-type", "application/grpc-web-text");
    for malformed in [&b"!!!!"[..], b"AAAAA", b"AAA"] {
        let answer = call(stage.auth(), "POST", BALANCE, &[text, bearer], malformed).await;
        let (_, status) = read(text.1, &answer.headers, &answer.body);
        assert_eq!(reason_of(&status), Some(ErrorReason::MessageMalformed), "{malformed:?}: {status:?}");
    }
    let json = call(stage.auth(), "POST", BALANCE, &[("content-type", "application/grpc-web+json"), bearer], b"").await;
    assert_eq!((json.status, json.header("accept-post").is_empty()), (415, false));
    let get = call(stage.auth(), "GET", BALANCE, &[text, bearer], b"").await;
    assert_eq!((get.status, get.header("allow")), (405, "POST"));
}

#[tokio::test]
async fn a_chat_comes_piece_by_piece() {
    let stage = Stage::set().await;
    let bearer = ("authorization", stage.bearer.as_str());
    let request = integration::stack::chat_request("smollm2", "count").encode_to_vec();
    for kind in ["application/grpc-web+proto", "application/grpc-web-text"] {
        let gate = Gate::new();
        stage.upstream.script_once("/api/chat", Script::stream().gated_tokens(&gate, &["one"]).gate(&gate).done("stop", 14, 1));
        let mut answer = Begun::call(stage.inference(), CHAT, &[("content-type", kind), bearer], &sent(kind, &request)).await;
        let mut body = Vec::new();
        let mut events = Vec::new();
        for opened in 0..3 {
            while events.len() <= opened {
                body.extend_from_slice(&answer.piece().await.unwrap());
                let (messages, _) = read(kind, &HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]), &body);
                events = messages.iter().map(|message| ChatEvent::decode(message.as_slice()).unwrap().event.unwrap()).collect();
            }
            gate.open(1);
        }
        assert!(
            matches!(&events[..], [Event::Started(_), Event::Delta(delta), Event::Finished(_)] if delta.content == "one"),
            "{events:?}"
        );
        while let Some(piece) = answer.piece().await {
            body.extend_from_slice(&piece);
        }
        assert_eq!(read(kind, &HeaderMap::new(), &body).1.code(), Code::Ok);
    }
}

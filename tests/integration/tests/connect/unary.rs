//! Calls of one message and one answer.

use std::io::{Read, Write};
use std::process::Stdio;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use integration::raw_http2::RawHttp2;
use integration::stack::PASSWORD;
use prost::Message;
use serde_json::{Value, json};
use shared::credential_form::to_bearer;
use shared::proto::auth::{GetBalanceResponse, LoginRequest};
use tokio::process::Command;

use crate::stage::*;

/// What curl printed, and its exit code.
async fn curl(arguments: &[&str]) -> (String, Option<i32>) {
    let run = Command::new("curl").args(["-sS"]).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = run.unwrap_or_else(|error| panic!("curl can't be run: {error}"));
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

#[tokio::test]
async fn the_line_of_curl_logs_in_as_it_is_typed_and_errors_come_with_words() {
    let stage = Stage::set().await;
    let url = |path: &str| format!("http://{}{path}", stage.auth());
    let login = json!({ "user_name": "ada", "password": PASSWORD }).to_string();
    let (printed, _) = curl(&["-d", &login, &url(LOGIN)]).await;
    let token = serde_json::from_str::<Value>(&printed).unwrap()["accessToken"].as_str().unwrap().to_owned();
    let authorization = format!("authorization: {}", to_bearer(&token));
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let (printed, _) = curl(&[version, "-H", &authorization, "-d", "{}", &url(BALANCE)]).await;
        let balance: Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(balance["balance"]["availableCredits"], "10", "{printed}");
    }
    let wrong = json!({ "user_name": "ada", "password": "another pass phrase of some length" }).to_string();
    let (printed, _) = curl(&["-d", &wrong, &url(LOGIN)]).await;
    let error: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&error["code"], reason(&error).as_str()), (&json!("unauthenticated"), "LOGIN_FAILED"));
    assert!(error["message"].as_str().unwrap().contains("password"), "{printed}");
    let (_, code) = curl(&["--fail", "-d", &wrong, &url(LOGIN)]).await;
    assert_eq!(code, Some(22), "scripts see that it failed");
    let (printed, _) = curl(&["-d", "user_name=ada", &url(LOGIN)]).await;
    assert!(serde_json::from_str::<Value>(&printed).unwrap()["message"].as_str().unwrap().contains("no JSON"), "{printed}");
}

#[tokio::test]
async fn every_mistake_has_its_status_its_code_and_its_reason_on_both_services() {
    let stage = Stage::set().await;
    let token = to_bearer(&stage.token().await);
    let key = stage.bearer.as_str();
    let mistyped = to_bearer(&format!("{}0", stage.key));
    const CREATE_KEY: &str = "/tollgate.auth.v1.Accounts/CreateApiKey";
    const VERIFY: &str = "/tollgate.auth.v1.Admin/VerifyLedger";
    const CHECK: &str = "/tollgate.auth.v1.Auth/Check";
    const SHOW: &str = "/tollgate.inference.v1.Inference/ShowModel";
    const DELETE: &str = "/tollgate.inference.v1.Models/DeleteModel";
    let (auth, inference) = (stage.auth(), stage.inference());
    let missing = "CREDENTIAL_MISSING";
    let invalid = "INVALID_ARGUMENT";
    // service, HTTP method, path, authorization, another header, body; status, code, reason
    let table = [
        (auth, "POST", BALANCE, "", JSON, "{}", 401, "unauthenticated", missing),
        (auth, "POST", BALANCE, mistyped.as_str(), JSON, "{}", 401, "unauthenticated", "CREDENTIAL_INVALID"),
        (auth, "POST", BALANCE, "Basic eDp5", JSON, "{}", 401, "unauthenticated", "CREDENTIAL_INVALID"),
        (auth, "POST", CHECK, key, JSON, "{}", 401, "unauthenticated", "SERVICE_CREDENTIAL_INVALID"),
        (auth, "POST", CREATE_KEY, key, JSON, "{}", 403, "permission_denied", "ACCESS_TOKEN_REQUIRED"),
        (auth, "POST", "/tollgate.auth.v1.Admin/DisableUser", token.as_str(), JSON, "{}", 403, "permission_denied", "ROLE_REQUIRED"),
        (auth, "POST", "/tollgate.auth.v1.Accounts/GetReceipt", key, JSON, r#"{"requestId":"x"}"#, 404, "not_found", "REQUEST_NOT_FOUND"),
        (auth, "POST", VERIFY, token.as_str(), JSON, "{}", 501, "unimplemented", "NOT_IMPLEMENTED"),
        (auth, "POST", "/tollgate.auth.v1.Accounts/Nope", key, JSON, "{}", 404, "unimplemented", "METHOD_UNKNOWN"),
        (auth, "POST", "/tollgate.nobody.v1.Knows/It", key, JSON, "{}", 404, "unimplemented", "METHOD_UNKNOWN"),
        (auth, "POST", MODELS, key, JSON, "{}", 404, "unimplemented", "METHOD_UNKNOWN"),
        (inference, "POST", BALANCE, key, JSON, "{}", 404, "unimplemented", "METHOD_UNKNOWN"),
        (auth, "POST", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "", JSON, "{}", 404, "unimplemented", "METHOD_UNKNOWN"),
        (auth, "GET", LOGIN, "", JSON, "", 405, "invalid_argument", invalid),
        (inference, "GET", CHAT, key, JSON, "", 405, "invalid_argument", invalid),
        (inference, "PUT", MODELS, key, JSON, "{}", 405, "invalid_argument", invalid),
        (inference, "POST", MODELS, key, ("content-type", "text/plain"), "{}", 415, "invalid_argument", invalid),
        (inference, "POST", MODELS, key, STREAM_JSON, "{}", 415, "invalid_argument", invalid),
        (inference, "POST", CHAT, key, JSON, "{}", 415, "invalid_argument", invalid),
        (auth, "POST", LOGIN, "", JSON, "", 400, "invalid_argument", "MESSAGE_MALFORMED"),
        (auth, "POST", LOGIN, "", JSON, "{", 400, "invalid_argument", "MESSAGE_MALFORMED"),
        (auth, "POST", LOGIN, "", ("content-type", "application/proto"), "\u{1}", 400, "invalid_argument", "MESSAGE_MALFORMED"),
        (auth, "POST", LOGIN, "", JSON, r#"{"userName":[]}"#, 400, "invalid_argument", invalid),
        (inference, "POST", SHOW, key, JSON, r#"{"model":"nope"}"#, 404, "not_found", "MODEL_NOT_FOUND"),
        (inference, "POST", DELETE, key, JSON, r#"{"model":"smollm2"}"#, 403, "permission_denied", "ROLE_REQUIRED"),
        (inference, "POST", "/tollgate.inference.v1.Models/CopyModel", key, JSON, "{}", 501, "unimplemented", "NOT_IMPLEMENTED"),
        (inference, "GET", MODELS, key, JSON, "", 400, "invalid_argument", invalid),
    ];
    for (service, method, path, authorization, header, body, status, code, expected) in table {
        let mut headers = vec![header];
        headers.extend((!authorization.is_empty()).then_some(("authorization", authorization)));
        let answer = call(service, method, path, &headers, body.as_bytes()).await;
        let error = answer.json();
        let case = format!("{method} {path} {body}: {error}");
        assert_eq!((answer.status, error["code"].as_str()), (status, Some(code)), "{case}");
        assert_eq!(reason(&error), expected, "{case}");
        assert_eq!(answer.header("content-type"), "application/json", "{case}");
        assert!(!answer.header("x-request-id").is_empty() && !error["message"].as_str().unwrap().is_empty(), "{case}");
    }
}

#[tokio::test]
async fn what_the_protocol_says_in_headers_is_kept_to() {
    let stage = Stage::set().await;
    let (bearer, login) = (("authorization", stage.bearer.as_str()), json!({ "user_name": "ada", "password": PASSWORD }));
    for (header, status, code) in [
        (("connect-protocol-version", "1"), 200, None),
        (("connect-protocol-version", "2"), 400, Some("invalid_argument")),
        (("connect-timeout-ms", "20000"), 200, None),
        (("connect-timeout-ms", "0"), 504, Some("deadline_exceeded")),
        (("connect-timeout-ms", "soon"), 400, Some("invalid_argument")),
        (("connect-timeout-ms", "12345678901"), 400, Some("invalid_argument")),
        (("content-encoding", "identity"), 200, None),
        (("content-encoding", "br"), 501, Some("unimplemented")),
        (("accept-encoding", "br, zstd"), 200, None),
        (("grpc-timeout", "1n"), 200, None),
        (("content-type", "application/json; charset=utf-8"), 200, None),
    ] {
        let headers = if header.0 == "content-type" { vec![header] } else { vec![JSON, header] };
        let answer = post(stage.auth(), LOGIN, &headers, &login).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (status, code), "{header:?}");
    }
    let wrong = call(stage.auth(), "DELETE", BALANCE, &[JSON, bearer], b"").await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, "GET, POST"));
    let wrong = call(stage.auth(), "GET", LOGIN, &[], b"").await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, "POST"));
    let wrong = call(stage.auth(), "POST", LOGIN, &[("content-type", "text/plain")], b"{}").await;
    assert_eq!((wrong.status, wrong.header("accept-post")), (415, "application/json, application/proto"));
    let unknown = post(stage.auth(), LOGIN, &[JSON, ("content-encoding", "br")], &login).await;
    assert!(unknown.json()["message"].as_str().unwrap().contains("gzip"), "it lists what is read: {unknown:?}");
}

#[tokio::test]
async fn json_and_protobuf_say_the_same_over_both_versions_of_http_and_by_get() {
    let stage = Stage::set().await;
    let bearer = ("authorization", stage.bearer.as_str());
    let expected = stage.pair.balance(&stage.key).await.unwrap();
    let is_it = |json: &Value| json["balance"]["availableCredits"] == "10" && json["balance"]["grantedCredits"] == "10";
    let in_protobuf = |body: &[u8]| GetBalanceResponse::decode(body).unwrap().balance.unwrap();
    const PROTO: (&str, &str) = ("content-type", "application/proto");
    let answer = post(stage.auth(), BALANCE, &[JSON, bearer], &json!({})).await;
    assert!(is_it(&answer.json()), "{answer:?}");
    let answer = call(stage.auth(), "POST", BALANCE, &[PROTO, bearer], b"").await;
    assert_eq!((answer.header("content-type"), in_protobuf(&answer.body)), ("application/proto", expected));
    let http2 = RawHttp2::connect(stage.auth()).await;
    let answer = http2.plain("POST", BALANCE, &[JSON, bearer], b"{}").await;
    assert!(answer.status() == 200 && is_it(&serde_json::from_slice(answer.body()).unwrap()), "{answer:?}");
    let answer = http2.plain("POST", BALANCE, &[PROTO, bearer], b"").await;
    assert_eq!(in_protobuf(answer.body()), expected);
    for query in ["encoding=json&message=%7B%7D", "message=e30&base64=1&encoding=json&connect=v1"] {
        let path = format!("{BALANCE}?{query}");
        let answer = call(stage.auth(), "GET", &path, &[bearer], b"").await;
        assert!(answer.status == 200 && is_it(&answer.json()), "{query}: {answer:?}");
        assert_eq!((answer.header("vary"), answer.header("cache-control")), ("accept-encoding", "no-store"));
        let answer = http2.plain("GET", &path, &[bearer], b"").await;
        assert!(is_it(&serde_json::from_slice(answer.body()).unwrap()), "{query}: {answer:?}");
    }
    let answer = call(stage.auth(), "GET", &format!("{BALANCE}?encoding=proto&message=&base64=1"), &[bearer], b"").await;
    assert_eq!(in_protobuf(&answer.body), expected);
    // The key where SDKs put it, and one credential only.
    let answer = post(stage.auth(), BALANCE, &[JSON, ("x-api-key", &stage.key)], &json!({})).await;
    assert!(is_it(&answer.json()), "{answer:?}");
    let answer = post(stage.auth(), BALANCE, &[JSON, ("x-api-key", "another"), bearer], &json!({})).await;
    assert_eq!((answer.status, reason(&answer.json()).as_str()), (401, "CREDENTIAL_INVALID"));
    let models = post(stage.inference(), MODELS, &[JSON, bearer], &json!({})).await.json();
    assert_eq!(models["models"][0]["name"], "smollm2", "{models}");
    let health = post(stage.inference(), "/grpc.health.v1.Health/Check", &[JSON], &json!({})).await.json();
    assert_eq!(health, json!({ "status": "SERVING" }));
}

#[tokio::test]
async fn gzip_is_read_and_given_to_who_takes_it() {
    let stage = Stage::set().await;
    let gzipped = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    const GZIP: (&str, &str) = ("content-encoding", "gzip");
    let login = json!({ "user_name": "ada", "password": PASSWORD }).to_string();
    let answer = call(stage.auth(), "POST", LOGIN, &[JSON, GZIP], &gzipped(login.as_bytes())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let login = LoginRequest { user_name: "ada".to_owned(), password: PASSWORD.to_owned(), ..Default::default() }.encode_to_vec();
    let proto = ("content-type", "application/proto");
    let answer = RawHttp2::connect(stage.auth()).await.plain("POST", LOGIN, &[proto, GZIP], &gzipped(&login)).await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    let answer = call(stage.auth(), "POST", LOGIN, &[JSON, GZIP], b"no gzip").await;
    assert_eq!((answer.status, reason(&answer.json()).as_str()), (400, "MESSAGE_MALFORMED"));
    // An empty body isn't compressed, whatever its header says.
    let answer = call(stage.auth(), "POST", LOGIN, &[proto, GZIP], b"").await;
    assert_eq!(reason(&answer.json()), "LOGIN_FAILED", "an empty message is one");
    let bearer = ("authorization", stage.bearer.as_str());
    // In a stream each message is compressed by itself.
    let mut zipped = integration::raw_http2::prefixed(&gzipped(chat("hi").to_string().as_bytes()));
    zipped[0] = 1;
    let stream_gzip = ("connect-content-encoding", "gzip");
    let answer = call(stage.inference(), "POST", CHAT, &[STREAM_JSON, stream_gzip, bearer], &zipped).await;
    assert_eq!(envelopes(&answer.body).last().unwrap(), &(2, json!({})), "{answer:?}");
    for number in 0..20 {
        stage.upstream.model(&format!("a-model-with-a-long-name-{number}"), &["completion"], 8192);
    }
    let plain = post(stage.inference(), MODELS, &[JSON, bearer], &json!({})).await;
    assert_eq!((plain.header("content-encoding"), plain.header("accept-encoding")), ("", "gzip"));
    let zipped = post(stage.inference(), MODELS, &[JSON, bearer, ("accept-encoding", "gzip")], &json!({})).await;
    assert_eq!(zipped.header("content-encoding"), "gzip");
    let mut unzipped = Vec::new();
    GzDecoder::new(&zipped.body[..]).read_to_end(&mut unzipped).unwrap();
    assert!(zipped.body.len() < plain.body.len());
    assert_eq!(unzipped, plain.body);
}

#[tokio::test]
async fn a_page_of_another_origin_signs_nobody_up_with_a_form() {
    let stage = Stage::set().await;
    const SIGN_UP: &str = "/tollgate.auth.v1.Accounts/SignUp";
    let sign_up = |name: &str| json!({ "user_name": name, "password": PASSWORD });
    // What a browser sends without asking first: three content types, and never without saying from where.
    for kind in ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"] {
        for from in [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
            let answer = post(stage.auth(), SIGN_UP, &[("content-type", kind), from], &sign_up("eve")).await;
            assert_eq!(answer.status, 415, "{kind} {from:?}");
        }
    }
    let answer = post(stage.auth(), SIGN_UP, &[("content-type", "application/x-www-form-urlencoded")], &sign_up("eve")).await;
    assert_eq!(answer.status, 200, "nobody had taken the name: {answer:?}");
}

#[tokio::test]
async fn a_page_of_a_listed_origin_may_call_and_any_other_may_not() {
    const PAGE: &str = "https://app.example.com";
    let stage = Stage::set_with(&[("TOLLGATE_CORS_ORIGINS", PAGE)]).await;
    let asks = [
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,connect-protocol-version,connect-timeout-ms,content-type"),
    ];
    let bearer = ("authorization", stage.bearer.as_str());
    let grpc_web = ("content-type", "application/grpc-web+proto");
    for (address, path) in [(stage.auth(), BALANCE), (stage.inference(), CHAT)] {
        let asked = call(address, "OPTIONS", path, &[&[("origin", PAGE)], &asks[..]].concat(), b"").await;
        assert!((200..300).contains(&asked.status), "{asked:?}");
        assert_eq!(asked.header("access-control-allow-origin"), PAGE);
        let allowed = asked.header("access-control-allow-headers").to_ascii_lowercase();
        assert!(asks[1].1.split(',').all(|header| allowed.contains(header)), "{allowed}");
        assert!(
            asked.header("access-control-allow-methods").contains("POST") && asked.header("access-control-allow-credentials").is_empty()
        );
        let other = call(address, "OPTIONS", path, &[&[("origin", "https://evil.example")], &asks[..]].concat(), b"").await;
        assert_eq!(other.header("access-control-allow-origin"), "", "{other:?}");
    }
    for kind in [JSON, grpc_web] {
        let body: &[u8] = if kind == JSON { b"{}" } else { &[0; 5] };
        let answer = call(stage.auth(), "POST", BALANCE, &[kind, bearer, ("origin", PAGE)], body).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, PAGE), "{answer:?}");
        let exposed = answer.header("access-control-expose-headers").to_ascii_lowercase();
        assert!(["grpc-status", "grpc-message", "grpc-status-details-bin", "x-request-id"].iter().all(|name| exposed.contains(name)));
        // Refusals can be read, too.
        let answer = call(stage.auth(), "POST", BALANCE, &[kind, ("origin", PAGE)], body).await;
        assert_eq!(answer.header("access-control-allow-origin"), PAGE);
    }
    let closed = Stage::set().await;
    let asked = call(closed.auth(), "OPTIONS", BALANCE, &[&[("origin", PAGE)], &asks[..]].concat(), b"").await;
    assert_eq!((asked.status, asked.header("access-control-allow-origin")), (405, ""), "off unless origins are listed");
}

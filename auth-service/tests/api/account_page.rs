//! The account page as a browser meets it: its files, and the sessions that it keeps in a cookie.

use std::net::IpAddr;

use serde_json::{Value, json};
use shared::ErrorReason;
use shared::proto::auth as pb;
use tonic::Code;

use crate::http::{Reply, http, http_from};
use crate::support::*;

/// What the page's browser sends, over plaintext: `http` asks the host `tollgate`.
const PAGE: [(&str, &str); 2] = [JSON, ("origin", "http://tollgate")];
const JSON: (&str, &str) = ("content-type", "application/json");
const SAME_ORIGIN: (&str, &str) = ("sec-fetch-site", "same-origin");
const REFRESH: &str = "POST /account/session/refresh";
const SIGN_IN: &str = "POST /account/session";
const SIGN_OUT: &str = "DELETE /account/session";

fn credentials(name: &str, password: &str) -> String {
    json!({ "user_name": name, "password": password }).to_string()
}

/// The reason of a refusal, in Connect's form.
fn reason(reply: &Reply) -> String {
    let details = reply.json()["details"].clone();
    let info = details.as_array().and_then(|details| details.iter().find(|detail| detail["type"] == "google.rpc.ErrorInfo").cloned());
    info.unwrap_or_default()["debug"]["reason"].as_str().unwrap_or_default().to_owned()
}

/// What `Set-Cookie` sets: `name=value`.
fn cookie(reply: &Reply) -> String {
    reply.header("set-cookie").split(';').next().unwrap_or_default().to_owned()
}

async fn signed_in(server: &Server, name: &str) -> Reply {
    let reply = http(server.address, SIGN_IN, &PAGE, &credentials(name, PASSWORD)).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply
}

async fn call(server: &Server, request: &str, cookie: &str) -> Reply {
    http(server.address, request, &[PAGE[0], PAGE[1], ("cookie", cookie)], "").await
}

#[tokio::test]
async fn the_page_is_at_the_root_and_its_files_have_types_and_tags_and_are_not_sent_twice() {
    let server = start().await;
    let page = http(server.address, "GET /", &[], "").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.body.starts_with("<!doctype html>"));
    for line in page.body.split(['"', ' ']).filter(|word| word.starts_with("/account-page/")) {
        let file = http(server.address, &format!("GET {line}"), &[], "").await;
        let kind = if line.ends_with(".js") { "text/javascript; charset=utf-8" } else { file.header("content-type") };
        assert_eq!((file.status, file.header("content-type")), (200, kind), "{line}");
        assert!(!kind.is_empty() && file.header("cache-control") == "no-cache", "{line}");
        let tag = file.header("etag");
        assert!(tag.len() > 10 && tag.starts_with('"'));
        let again = http(server.address, &format!("GET {line}"), &[("if-none-match", tag)], "").await;
        assert_eq!((again.status, again.body.as_str(), again.header("etag")), (304, "", tag), "{line}");
        let head = http(server.address, &format!("HEAD {line}"), &[], "").await;
        assert_eq!((head.status, head.body.as_str(), head.header("etag")), (200, "", tag));
        assert_eq!(head.header("content-length"), file.body.len().to_string());
    }
}

#[tokio::test]
async fn nothing_but_the_files_of_the_folder_is_there_whatever_path_is_tried() {
    let server = start().await;
    let paths =
        ["", "index.html", "..", "../Cargo.toml", "%2e%2e/Cargo.toml", "..%2fCargo.toml", "%2e%2e%2fCargo.toml", "./main.js", "main.js/"];
    for path in
        paths.into_iter().chain(["main.js%00", "MAIN.JS", "/main.js", "%6dain.js.map", "..\\Cargo.toml", "%c0%ae%c0%ae/x", "a/b", "~"])
    {
        let reply = http(server.address, &format!("GET /account-page/{path}"), &[], "").await;
        assert!([404, 400].contains(&reply.status), "{path}: {}", reply.status);
        assert!(!reply.body.contains("[workspace]"), "{path}");
        assert!(reply.header("content-security-policy").starts_with("default-src 'none'"), "{path}");
    }
}

#[tokio::test]
async fn every_answer_at_the_pages_paths_has_the_strict_headers_and_no_other_origin_gets_leave() {
    let server = start_with(&[("TOLLGATE_CORS_ORIGINS", "https://app.example.com")]).await;
    let other = ("origin", "https://app.example.com");
    let ask = ("access-control-request-method", "POST");
    let mut statuses = Vec::new();
    for request in [
        "GET /",
        "GET /account-page/main.js",
        "GET /account-page/settings",
        "GET /account-page/none",
        "GET /account-page",
        "POST /account-page/main.js",
        "GET /account",
        "GET /account/x/y",
        "GET /account/session",
        "PUT /account/session",
        SIGN_IN,
        REFRESH,
        SIGN_OUT,
        "OPTIONS /",
        "OPTIONS /account/session",
        "OPTIONS /account-page/main.js",
    ] {
        let reply = http(server.address, request, &[other, ask], "").await;
        statuses.push(reply.status);
        let policy = reply.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            "connect-src 'self' http://tollgate:50052",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.split("; ").any(|each| each == part), "{request}: {part} in {policy}");
        }
        assert!(!policy.contains("unsafe"));
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(reply.header(name), value, "{request}");
        }
        assert!(reply.header("permissions-policy").contains("camera=()"));
        assert!(!reply.headers.keys().any(|name| name.starts_with("access-control-")), "{request}: {reply:?}");
    }
    for status in [200, 403, 404, 405] {
        assert!(statuses.contains(&status), "{statuses:?}");
    }
    // Beside the page's paths the origin has its leave.
    let beside = http(server.address, "OPTIONS /token", &[other, ask], "").await;
    assert_eq!(beside.header("access-control-allow-origin"), other.1);
    assert!(beside.header("content-security-policy").is_empty());
}

#[tokio::test]
async fn without_the_page_its_paths_are_as_if_it_had_never_been() {
    let server = start_with(&[("TOLLGATE_ACCOUNT_PAGE", "false"), ("TOLLGATE_CORS_ORIGINS", "https://app.example.com")]).await;
    let root = http(server.address, "GET /", &[], "").await;
    assert!(root.status == 200 && root.body.starts_with("Tollgate's auth-service is running."), "{}", root.body);
    assert!(!root.body.contains("/account"), "{}", root.body);
    for request in ["GET /account-page/main.js", "GET /account-page/settings", SIGN_IN, REFRESH, SIGN_OUT] {
        let reply = http(server.address, request, &[PAGE[0], ("origin", "https://app.example.com")], "").await;
        assert_eq!((reply.status, reply.json()["error"]["code"].as_str()), (404, Some("METHOD_UNKNOWN")), "{request}");
        assert!(reply.header("content-security-policy").is_empty(), "{request}");
        assert_eq!(reply.header("access-control-allow-origin"), "https://app.example.com", "{request}");
    }
}

#[tokio::test]
async fn settings_say_before_a_sign_in_who_may_sign_up_and_where_the_models_are() {
    let here = [("host", "127.0.0.1")];
    let settings = async |server: &Server, headers: &[(&str, &str)]| {
        let reply = http(server.address, "GET /account-page/settings", headers, "").await;
        assert_eq!((reply.status, reply.header("cache-control")), (200, "no-store"));
        let connect = reply.header("content-security-policy").split("; ").find(|part| part.starts_with("connect-src")).unwrap().to_owned();
        (reply.json(), connect)
    };
    let server = start().await;
    let (told, _) = settings(&server, &here).await;
    assert_eq!(told["sign_up"], "open", "this host's own page");
    assert_eq!(
        (told["inference_url"].as_str(), told["version"].as_str()),
        (Some("http://127.0.0.1:50052"), Some(env!("CARGO_PKG_VERSION")))
    );
    let (told, _) = settings(&server, &[("host", "localhost:50051")]).await;
    assert_eq!((told["sign_up"].as_str(), told["inference_url"].as_str()), (Some("open"), Some("http://localhost:50052")));
    // By a name that is made to lead here, and through a proxy, nobody is on this host.
    for elsewhere in [&[("host", "evil.example")][..], &[here[0], ("x-forwarded-for", "192.0.2.1")]] {
        assert_eq!(settings(&server, elsewhere).await.0["sign_up"], "closed", "{elsewhere:?}");
    }
    // A host in which a policy could be ended is none.
    for host in ["a;script-src *", "a b", "[::1]:50051", "x'y", "u@h", "a,b", ""] {
        let (told, connect) = settings(&server, &[("host", host)]).await;
        assert_eq!((told["inference_url"].clone(), connect.as_str()), (Value::Null, "connect-src 'self'"), "{host}");
    }
    let server = start_with(&[("TOLLGATE_INFERENCE_URL", "https://models.example.com/v/"), ("TOLLGATE_SIGNUP", "closed")]).await;
    let (told, connect) = settings(&server, &here).await;
    assert_eq!((told["sign_up"].as_str(), told["inference_url"].as_str()), (Some("closed"), Some("https://models.example.com/v")));
    assert_eq!(connect, "connect-src 'self' https://models.example.com");
}

#[tokio::test]
async fn a_sign_in_gives_the_access_token_to_the_page_and_the_refresh_token_to_the_cookie_alone() {
    let mut server = start().await;
    let user = server.sign_up("mario").await;
    let reply = signed_in(&server, "mario").await;
    let told = reply.json();
    assert_eq!((told["user"]["user_id"].as_str(), told["user"]["user_name"].as_str()), (Some(user.user_id.as_str()), Some("mario")));
    assert_eq!((told["user"]["role"].as_str(), told["account_id"].as_str()), (Some("user"), Some(user.user_id.as_str())));
    assert_eq!((told["expires_in"].as_u64(), reply.header("cache-control")), (Some(1800), "no-store"));
    server.balance(told["access_token"].as_str().unwrap()).await.unwrap();
    let set: Vec<&str> = reply.header("set-cookie").split("; ").collect();
    assert!(set[0].starts_with("tollgate_refresh=tgr_"), "{set:?}");
    assert_eq!(set[1..], ["Path=/account/session", "Max-Age=1209600", "HttpOnly", "SameSite=Strict"]);
    assert!(!reply.body.contains("tgr_") && !reply.body.contains("refresh"), "{}", reply.body);

    let next = call(&server, REFRESH, &cookie(&reply)).await;
    assert_eq!((next.status, next.json()["session_id"].clone()), (200, told["session_id"].clone()));
    assert!(cookie(&next) != cookie(&reply) && !next.body.contains("tgr_"));
    assert_ne!(next.text("access_token"), told["access_token"].as_str().unwrap());

    let out = call(&server, SIGN_OUT, &cookie(&next)).await;
    assert_eq!((out.status, out.body.as_str()), (204, ""));
    let cleared = "tollgate_refresh=; Path=/account/session; Max-Age=0; HttpOnly; SameSite=Strict";
    assert_eq!(out.header("set-cookie"), cleared);
    assert_refused(server.balance(&next.text("access_token")).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    let after = call(&server, REFRESH, &cookie(&next)).await;
    assert_eq!((after.status, reason(&after).as_str(), after.header("set-cookie")), (401, "CREDENTIAL_REVOKED", cleared));
    // Whoever is signed out already is signed out.
    for cookie in [cookie(&next).as_str(), "tollgate_refresh=nonsense", "other=1"] {
        assert_eq!(call(&server, SIGN_OUT, cookie).await.status, 204);
    }
}

#[tokio::test]
async fn only_a_request_that_its_browser_says_is_of_this_origin_is_answered_at_every_door_of_sessions() {
    let mut server = start().await;
    server.sign_up("mario").await;
    let cookie = cookie(&signed_in(&server, "mario").await);
    let cookie = ("cookie", cookie.as_str());
    let origin = |value: &'static str| ("origin", value);
    let site = |value: &'static str| ("sec-fetch-site", value);
    let reset = json!({ "user_name": "mario", "one_time_password": "x", "new_password": "y" }).to_string();
    let doors = [(SIGN_IN, credentials("mario", PASSWORD)), (REFRESH, String::new()), (SIGN_OUT, String::new())];
    let doors = doors.into_iter().chain([("POST /account/session/reset", reset)]).collect::<Vec<_>>();
    let forged: [&[(&str, &str)]; 22] = [
        // Nothing says who asks.
        &[JSON],
        &[],
        // Another origin, by each of both headers.
        &[JSON, origin("http://evil.example")],
        &[JSON, origin("null")],
        &[JSON, origin("")],
        &[JSON, origin("http://tollgate:81")],
        &[JSON, origin("http://tollgate.evil.example")],
        &[JSON, origin("http://eviltollgate")],
        &[JSON, origin("http://user@tollgate")],
        &[JSON, origin("https://tollgate:80")],
        &[JSON, origin("file://tollgate")],
        &[JSON, origin("tollgate")],
        &[JSON, site("cross-site"), origin("http://tollgate")],
        &[JSON, site("same-site"), origin("http://tollgate")],
        &[JSON, site("none"), origin("http://tollgate")],
        &[JSON, site(""), origin("http://tollgate")],
        &[JSON, site("same-origin, cross-site"), origin("http://tollgate")],
        // Each of them twice.
        &[JSON, SAME_ORIGIN, site("cross-site")],
        &[JSON, origin("http://tollgate"), origin("http://evil.example")],
        // What a form of another site can send.
        &[("content-type", "text/plain"), PAGE[1]],
        &[("content-type", "application/x-www-form-urlencoded"), SAME_ORIGIN],
        &[("content-type", "application/jsonp"), SAME_ORIGIN],
    ];
    for (door, body) in &doors {
        for headers in forged {
            let reply = http(server.address, door, &[headers, &[cookie]].concat(), body).await;
            assert_eq!((reply.status, reason(&reply).as_str()), (403, "CROSS_ORIGIN_REQUEST"), "{door} {headers:?}: {}", reply.body);
            assert!(reply.header("set-cookie").is_empty(), "{door} {headers:?}");
        }
    }
    // It has changed nothing, and each way of saying so is taken.
    for own in [
        &[JSON, origin("http://tollgate")][..],
        &[JSON, origin("http://tollgate:80")],
        &[JSON, origin("http://TOLLGATE")],
        &[JSON, SAME_ORIGIN],
        // A proxy may have rewritten the host, and a page may keep its origin to itself.
        &[JSON, SAME_ORIGIN, origin("http://public.example")],
        &[JSON, SAME_ORIGIN, origin("null")],
        &[("content-type", "Application/JSON; charset=utf-8"), SAME_ORIGIN],
    ] {
        let reply = http(server.address, REFRESH, &[own, &[cookie]].concat(), "").await;
        assert_eq!(reply.status, 200, "{own:?}: {}", reply.body);
    }
}

#[tokio::test]
async fn the_cookie_is_secure_where_the_browser_says_that_it_speaks_tls_and_no_proxys_header_counts() {
    let mut server = start().await;
    server.sign_up("mario").await;
    let sign_in = async |headers: &[(&str, &str)]| {
        let reply = http(server.address, SIGN_IN, &[&[JSON][..], headers].concat(), &credentials("mario", PASSWORD)).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply
    };
    let behind_tls = [("origin", "https://tollgate")];
    let reply = sign_in(&behind_tls).await;
    let set: Vec<&str> = reply.header("set-cookie").split("; ").collect();
    assert!(set[0].starts_with("__Secure-tollgate_refresh=tgr_"), "{set:?}");
    assert_eq!(set[1..], ["Path=/account/session", "Max-Age=1209600", "HttpOnly", "SameSite=Strict", "Secure"]);
    for proxy in [("x-forwarded-proto", "https"), ("forwarded", "proto=https"), ("x-forwarded-ssl", "on"), ("front-end-https", "on")] {
        let reply = sign_in(&[proxy, ("origin", "http://tollgate")]).await;
        assert!(cookie(&reply).starts_with("tollgate_refresh=tgr_") && !reply.header("set-cookie").contains("Secure"), "{proxy:?}");
    }
    // Each is looked for under its own name: what somebody planted in plaintext is no session over TLS.
    let planted = cookie(&sign_in(&[("origin", "http://tollgate")]).await);
    let over_tls = http(server.address, REFRESH, &[JSON, behind_tls[0], ("cookie", &planted)], "").await;
    assert_eq!((over_tls.status, reason(&over_tls).as_str()), (401, "CREDENTIAL_MISSING"));
    let both = format!("{planted}; {}", cookie(&reply));
    let over_tls = http(server.address, REFRESH, &[JSON, behind_tls[0], ("cookie", &both)], "").await;
    assert_eq!((over_tls.status, over_tls.text("session_id")), (200, reply.text("session_id")));
}

#[tokio::test]
async fn a_cookie_that_is_none_of_ours_signs_nobody_in_and_two_of_them_are_refused_without_ending_either() {
    let mut server = start().await;
    server.sign_up("mario").await;
    server.sign_up("luigi").await;
    let (mario, luigi) = (cookie(&signed_in(&server, "mario").await), cookie(&signed_in(&server, "luigi").await));
    let token = mario.split_once('=').unwrap().1;
    // None: it isn't cleared, since another tab may be signing in.
    for none in ["", "other=1", "TOLLGATE_REFRESH=x", &format!("x{mario}"), &format!("tollgate_refresh {token}")] {
        let reply = call(&server, REFRESH, none).await;
        assert_eq!((reply.status, reason(&reply).as_str()), (401, "CREDENTIAL_MISSING"), "{none}");
        assert!(reply.header("set-cookie").is_empty(), "{none}");
    }
    // Nonsense is cleared.
    let long = "a".repeat(3000);
    let typed = format!("{}x", &token[..81]);
    for nonsense in ["", " ", "x", "\"\"", &long, &typed, &format!("{token}{token}"), &format!("\"{token}\"")] {
        let reply = call(&server, REFRESH, &format!("tollgate_refresh={nonsense}")).await;
        assert_eq!((reply.status, reason(&reply).as_str()), (401, "CREDENTIAL_INVALID"), "{nonsense}");
        assert!(reply.header("set-cookie").starts_with("tollgate_refresh=; ") && !reply.body.contains(&token[20..40]), "{nonsense}");
    }
    // Whose is meant? In one header, and in two.
    let two = format!("{mario}; {luigi}");
    let replies = [
        call(&server, REFRESH, &two).await,
        http(server.address, REFRESH, &[PAGE[0], PAGE[1], ("cookie", &mario), ("cookie", &luigi)], "").await,
    ];
    for reply in replies {
        assert_eq!((reply.status, reason(&reply).as_str(), reply.header("set-cookie")), (401, "CREDENTIAL_INVALID", ""));
    }
    for (whose, name) in [(&mario, "mario"), (&luigi, "luigi")] {
        let reply = call(&server, REFRESH, &format!("other=1; {whose};x=y")).await;
        assert_eq!((reply.status, reply.json()["user"]["user_name"].as_str()), (200, Some(name)));
    }
    // Whoever signs out is signed out of both.
    assert_eq!(call(&server, SIGN_OUT, &two).await.status, 204);
    for whose in [&mario, &luigi] {
        assert_eq!(reason(&call(&server, REFRESH, whose).await), "CREDENTIAL_REVOKED");
    }
}

#[tokio::test]
async fn cookies_of_others_in_any_bytes_keep_nobody_from_refreshing_and_signing_out() {
    let mut server = start().await;
    server.sign_up("mario").await;
    let mario = cookie(&signed_in(&server, "mario").await);
    let reply = call(&server, REFRESH, &format!("lang=Zoë; {mario}; x=ü")).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    // Ours in other bytes is nonsense, and not absent.
    assert_eq!(reason(&call(&server, REFRESH, "tollgate_refresh=Zoë").await), "CREDENTIAL_INVALID");
    assert_eq!(call(&server, SIGN_OUT, &format!("lang=Zoë; {mario}")).await.status, 204);
    assert_eq!(reason(&call(&server, REFRESH, &mario).await), "CREDENTIAL_REVOKED");
    // So many are some other site's doing: nobody is told that they are signed out who may not be.
    let many = "tollgate_refresh=x; ".repeat(9);
    let reply = call(&server, SIGN_OUT, &format!("{many}{mario}")).await;
    assert_eq!((reply.status, reason(&reply).as_str()), (401, "CREDENTIAL_INVALID"));
}

#[tokio::test]
async fn the_cookie_of_another_installation_on_the_host_stays_and_signs_nobody_in() {
    let (mut server, mut other) = (start().await, start().await);
    server.sign_up("mario").await;
    other.sign_up("luigi").await;
    let luigi = cookie(&signed_in(&other, "luigi").await);
    let reply = call(&server, REFRESH, &luigi).await;
    assert_eq!((reply.status, reason(&reply).as_str(), reply.header("set-cookie")), (401, "CREDENTIAL_INVALID", ""));
    assert_eq!(call(&other, REFRESH, &luigi).await.status, 200);
}

#[tokio::test]
async fn a_sign_in_ends_the_session_that_the_browser_had_before() {
    let mut server = start().await;
    server.sign_up("mario").await;
    let before = cookie(&signed_in(&server, "mario").await);
    let body = format!(r#"{{"user_name": "mario", "password": "{PASSWORD}"}}"#);
    let again = http(server.address, SIGN_IN, &[PAGE[0], PAGE[1], ("cookie", &before)], &body).await;
    assert_eq!(again.status, 200, "{}", again.body);
    assert_eq!(reason(&call(&server, REFRESH, &before).await), "CREDENTIAL_REVOKED");
    assert_eq!(call(&server, REFRESH, &cookie(&again)).await.status, 200);
}

#[tokio::test]
async fn tabs_that_refresh_at_once_and_a_page_that_is_loaded_again_and_again_stay_signed_in_by_one_cookie() {
    let mut server = start().await;
    server.sign_up("mario").await;
    let first = cookie(&signed_in(&server, "mario").await);
    let tabs = (0..12).map(|_| call(&server, REFRESH, &first));
    let answers = futures_util::future::join_all(tabs).await;
    let next = cookie(&answers[0]);
    for answer in &answers {
        assert_eq!((answer.status, cookie(answer)), (200, next.clone()), "{}", answer.body);
        server.balance(&answer.text("access_token")).await.unwrap();
    }
    assert_ne!(next, first);
    // In whichever order their requests come, and with whichever of both cookies.
    for cookie_then in [&next, &first, &next, &next, &first, &first] {
        let answer = call(&server, REFRESH, cookie_then).await;
        assert_eq!((answer.status, cookie(&answer)), (200, next.clone()));
    }
}

#[tokio::test]
async fn a_session_that_was_ended_elsewhere_is_ended_for_the_page_and_its_cookie_is_cleared() {
    let mut server = start().await;
    let operator = server.operator().await;
    for (name, why) in
        [("mario", "CREDENTIAL_REVOKED"), ("luigi", "USER_DISABLED"), ("peach", "USER_LOCKED"), ("toad", "PASSWORD_CHANGE_REQUIRED")]
    {
        server.sign_up(name).await;
        let reply = signed_in(&server, name).await;
        let user_name = name.to_owned();
        match why {
            "CREDENTIAL_REVOKED" => {
                server.accounts.logout_everywhere(with(&reply.text("access_token"), pb::LogoutEverywhereRequest {})).await.unwrap();
            }
            "USER_DISABLED" => {
                server.admin.disable_user(with(&operator, pb::DisableUserRequest { user_name, ..Default::default() })).await.unwrap();
            }
            "USER_LOCKED" => {
                server.admin.lock_user(with(&operator, pb::LockUserRequest { user_name, ..Default::default() })).await.unwrap();
            }
            _ => {
                server.admin.reset_password(with(&operator, pb::ResetPasswordRequest { user_name })).await.unwrap();
            }
        }
        let refused = call(&server, REFRESH, &cookie(&reply)).await;
        assert_eq!(reason(&refused), why);
        assert!(refused.header("set-cookie").starts_with("tollgate_refresh=; Path=/account/session; Max-Age=0"), "{why}");
    }
}

#[tokio::test]
async fn a_reset_is_completed_by_the_page_which_is_signed_in_then_as_by_a_sign_in() {
    let mut server = start().await;
    let operator = server.operator().await;
    server.sign_up("mario").await;
    let user_name = "mario".to_owned();
    let given = server.admin.reset_password(with(&operator, pb::ResetPasswordRequest { user_name })).await.unwrap();
    let one_time = given.into_inner().one_time_password;
    let refused = http(server.address, SIGN_IN, &PAGE, &credentials("mario", &one_time)).await;
    assert_eq!(reason(&refused), "PASSWORD_CHANGE_REQUIRED");
    let body = |new: &str| json!({ "user_name": "mario", "one_time_password": one_time, "new_password": new }).to_string();
    let short = http(server.address, "POST /account/session/reset", &PAGE, &body("short")).await;
    assert_eq!((short.status, reason(&short).as_str()), (400, "INVALID_ARGUMENT"));
    let reply = http(server.address, "POST /account/session/reset", &PAGE, &body("a longer password of mine")).await;
    assert_eq!((reply.status, reply.json()["user"]["user_name"].as_str()), (200, Some("mario")), "{}", reply.body);
    assert!(!reply.body.contains("tgr_"));
    assert_eq!(call(&server, REFRESH, &cookie(&reply)).await.status, 200);
}

#[tokio::test]
async fn the_page_signs_in_by_the_rules_of_login_with_its_limits_its_audit_and_its_errors() {
    let mut server = start().await;
    let operator = server.operator().await;
    let user = server.sign_up("mario").await;
    let from = IpAddr::from([127, 0, 0, 7]);
    // Attempts by both doors are counted together, and refused in one form.
    let mut by_connect = None;
    for attempt in 0..3 {
        let body = json!({ "userName": "mario", "password": format!("wrong by connect {attempt}") }).to_string();
        by_connect = Some(http_from(from, server.address, "POST /tollgate.auth.v1.Accounts/Login", &[JSON], &body).await);
    }
    let mut by_page = None;
    for attempt in 0..2 {
        let body = credentials("mario", &format!("wrong by the page {attempt}"));
        by_page = Some(http_from(from, server.address, SIGN_IN, &PAGE, &body).await);
    }
    let (by_connect, by_page) = (by_connect.unwrap(), by_page.unwrap());
    assert_eq!((by_page.status, by_page.json()), (by_connect.status, by_connect.json()));
    assert_eq!(reason(&by_page), "LOGIN_FAILED");
    let throttled = http_from(from, server.address, SIGN_IN, &PAGE, &credentials("mario", "one more")).await;
    assert_eq!((throttled.status, reason(&throttled).as_str()), (429, "RATE_LIMITED"));
    assert!(!throttled.header("retry-after").is_empty());
    for (body, field) in [(r#"{"user_name":"mario"}"#, "password"), (r#"{"user_name":"m","password":"p","client":"x"}"#, "client")] {
        let reply = http(server.address, SIGN_IN, &PAGE, body).await;
        assert_eq!((reply.status, reason(&reply).as_str()), (400, "INVALID_ARGUMENT"));
        assert!(reply.json()["message"].as_str().unwrap().starts_with(field), "{}", reply.body);
    }
    let reply = signed_in(&server, "mario").await;
    call(&server, SIGN_OUT, &cookie(&reply)).await;
    let list = pb::ListAuditEventsRequest { page_size: 50, ..Default::default() };
    let events = server.admin.list_audit_events(with(&operator, list)).await.unwrap().into_inner().events;
    let has = |action: &str, failure: &str| {
        events.iter().any(|event| event.action == action && event.failure == failure && event.subject_user_id == user.user_id)
    };
    assert!(has("sign_in", "") && has("sign_in", "LOGIN_FAILED") && has("sign_out", ""), "{events:#?}");
    let out = events.iter().find(|event| event.action == "sign_out").unwrap();
    assert_eq!((&out.actor_user_id, &out.subject_id), (&user.user_id, &reply.text("session_id")));
}

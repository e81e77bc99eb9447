//! The account page's part of signing in with an issuer, as a browser meets it.

#![expect(clippy::unwrap_used, reason = "the parts that the tests share")]

use serde_json::{Value, json};
use shared::proto::auth as pb;

use crate::http::{Reply, http};
use crate::issuer_sign_in::server_of;
use crate::oidc_issuer::OidcIssuer;
use crate::support::{Server, with};

const PAGE: [(&str, &str); 2] = [("content-type", "application/json"), ("origin", "http://tollgate")];
const BEGIN: &str = "POST /account/session/issuer";

struct Begun {
    /// Where the browser is sent.
    authorization_url: String,
    /// `name=value`.
    cookie: String,
}

async fn begin(server: &Server, headers: &[(&str, &str)], body: Value) -> Begun {
    let reply = http(server.address, BEGIN, headers, &body.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let set = reply.header("set-cookie");
    assert!(set.contains("; HttpOnly; SameSite=Lax") && set.contains("Max-Age=600"), "{set}");
    assert_eq!(reply.header("cache-control"), "no-store");
    Begun { authorization_url: reply.text("authorization_url"), cookie: set.split(';').next().unwrap().to_owned() }
}

/// What the browser sends after the issuer sent it back.
async fn come_back(server: &Server, address: &str, headers: &[(&str, &str)]) -> Reply {
    let target = &address[address.find("/account/").unwrap()..];
    let reply = http(server.address, &format!("GET {target}"), headers, "").await;
    assert_eq!((reply.status, reply.header("cache-control")), (303, "no-store"), "{}", reply.body);
    assert!(reply.header("content-security-policy").starts_with("default-src 'none'") && reply.body.is_empty());
    assert_eq!(reply.header("referrer-policy"), "no-referrer", "the code doesn't go anywhere");
    reply
}

fn where_to(reply: &Reply) -> &str {
    reply.header("location")
}

#[tokio::test]
async fn the_page_signs_in_with_an_issuer_by_a_cookie_and_its_session_is_that_of_any_sign_in() {
    let issuer = OidcIssuer::start().await;
    let server = server_of(&[&issuer], &[("TOLLGATE_SIGNUP", "open")]).await;
    let settings = http(server.address, "GET /account-page/settings", &[], "").await.json();
    assert_eq!(settings["issuers"], json!([{ "name": "one", "issuer": issuer.url() }]));
    let begun = begin(&server, &PAGE, json!({ "issuer": "one" })).await;
    assert!(begun.cookie.starts_with("tollgate_sign_in=") && !begun.authorization_url.contains(&begun.cookie[17..]));
    let back = issuer.visit(&begun.authorization_url).await;
    assert!(back.starts_with("http://tollgate/account/sign-in/callback/one?code="), "{back}");
    let signed_in = come_back(&server, &back, &[("cookie", &begun.cookie), ("sec-fetch-mode", "navigate")]).await;
    assert_eq!(where_to(&signed_in), "/");
    let refresh = signed_in.header("set-cookie");
    assert!(refresh.starts_with("tollgate_refresh=tgr_") && refresh.contains("Path=/account/session"), "{refresh}");
    assert!(refresh.contains("HttpOnly; SameSite=Strict"), "{refresh}");
    let cookie = refresh.split(';').next().unwrap();
    let kept = http(server.address, "POST /account/session/refresh", &[PAGE[0], PAGE[1], ("cookie", cookie)], "").await;
    assert_eq!((kept.status, kept.json()["user"]["user_name"].as_str()), (200, Some("ada")), "{}", kept.body);
    // The same once more: from the browser's history, say.
    let again = come_back(&server, &back, &[("cookie", &begun.cookie)]).await;
    assert_eq!(where_to(&again), "/#/sign-in?failed=ID_TOKEN_INVALID");
    assert!(again.header("set-cookie").starts_with("tollgate_sign_in=;"), "{}", again.header("set-cookie"));
}

#[tokio::test]
async fn nobody_is_signed_in_by_a_code_that_another_browser_began() {
    let issuer = OidcIssuer::start().await;
    let server = server_of(&[&issuer], &[("TOLLGATE_SIGNUP", "open")]).await;
    let attackers = begin(&server, &PAGE, json!({})).await;
    let back = issuer.visit(&attackers.authorization_url).await;
    let victims = begin(&server, &PAGE, json!({})).await;
    let planted = format!("{}; {}", attackers.cookie, victims.cookie);
    for (cookies, failed) in [
        ("", "SIGN_IN_EXPIRED"),
        (&*victims.cookie, "ID_TOKEN_INVALID"),
        (&*planted, "SIGN_IN_EXPIRED"),
        ("tollgate_sign_in=", "SIGN_IN_EXPIRED"),
        ("tollgate_sign_in=AAAA", "SIGN_IN_EXPIRED"),
        (&*attackers.cookie.replace("tollgate", "__Host-tollgate"), "SIGN_IN_EXPIRED"),
    ] {
        let reply = come_back(&server, &back, &[("cookie", cookies)]).await;
        assert_eq!(where_to(&reply), format!("/#/sign-in?failed={failed}"), "{cookies}");
    }
    // A page that loads it, as a picture or in a frame, is no person who was sent there.
    for mode in ["no-cors", "cors", "same-origin", "websocket"] {
        let reply = come_back(&server, &back, &[("cookie", &attackers.cookie), ("sec-fetch-mode", mode)]).await;
        assert_eq!(where_to(&reply), "/#/sign-in?failed=CROSS_ORIGIN_REQUEST");
    }
    // The state is compared, the issuer that answers is the one that was asked, and nothing is there twice.
    let state = back.split("&state=").nth(1).unwrap().split('&').next().unwrap();
    for wrong in [
        back.replace(state, "another"),
        back.replace("&state=", "&other="),
        back.replace("&iss=", "&iss=https%3A%2F%2Fevil.example&x="),
        format!("{back}&code=another"),
        format!("{back}&error=access_denied"),
        back.replace("code=", "other="),
        "/account/sign-in/callback/one".to_owned(),
    ] {
        let reply = come_back(&server, &wrong, &[("cookie", &attackers.cookie)]).await;
        assert_eq!(where_to(&reply), "/#/sign-in?failed=ID_TOKEN_INVALID", "{wrong}");
    }
    assert_eq!(issuer.requests("/token"), 0, "the issuer was never asked");
    // Of all that, nothing has used it up.
    assert_eq!(where_to(&come_back(&server, &back, &[("cookie", &attackers.cookie)]).await), "/");
}

#[tokio::test]
async fn only_the_page_itself_begins_a_sign_in() {
    let issuer = OidcIssuer::start().await;
    let server = server_of(&[&issuer], &[]).await;
    for headers in [
        &[PAGE[0], ("origin", "http://evil.example")][..],
        &[PAGE[0]],
        &[PAGE[1]],
        &[PAGE[0], PAGE[1], ("sec-fetch-site", "cross-site")],
        &[("content-type", "text/plain"), PAGE[1]],
    ] {
        let reply = http(server.address, BEGIN, headers, "{}").await;
        assert_eq!((reply.status, reply.header("set-cookie")), (403, ""), "{headers:?}");
    }
    for (body, status) in [("{\"issuer\":\"none\"}", 404), ("{\"issuer\":1}", 400), ("{\"redirect_uri\":\"x\"}", 400), ("", 400)] {
        let reply = http(server.address, BEGIN, &PAGE, body).await;
        assert_eq!((reply.status, reply.header("set-cookie")), (status, ""), "{body}: {}", reply.body);
    }
    assert_eq!(issuer.requests("*"), 0);
}

#[tokio::test]
async fn whoever_says_no_is_back_at_the_page_and_what_fails_says_its_reason_alone() {
    let issuer = OidcIssuer::start().await;
    let server = server_of(&[&issuer], &[("TOLLGATE_SIGNUP", "closed")]).await;
    let begun = begin(&server, &PAGE, json!({})).await;
    let closed = come_back(&server, &issuer.visit(&begun.authorization_url).await, &[("cookie", &begun.cookie)]).await;
    assert_eq!(where_to(&closed), "/#/sign-in?failed=SIGN_UP_CLOSED");
    issuer.behaviour().denies = true;
    let begun = begin(&server, &PAGE, json!({})).await;
    let denied = come_back(&server, &issuer.visit(&begun.authorization_url).await, &[("cookie", &begun.cookie)]).await;
    assert_eq!(where_to(&denied), "/#/sign-in");
    issuer.behaviour().denies = false;
    let begun = begin(&server, &PAGE, json!({})).await;
    let back = issuer.visit(&begun.authorization_url).await;
    issuer.trouble("/token", Some(crate::oidc_issuer::Trouble::Garbage));
    let unavailable = come_back(&server, &back, &[("cookie", &begun.cookie)]).await;
    assert_eq!(where_to(&unavailable), "/#/sign-in?failed=ISSUER_UNAVAILABLE");
}

#[tokio::test]
async fn where_an_operator_says_the_public_address_people_come_back_there_over_tls_by_a_cookie_that_no_other_site_can_plant() {
    let issuer = OidcIssuer::start().await;
    let set = [("TOLLGATE_SIGNUP", "open"), ("TOLLGATE_AUTH_PUBLIC_URL", "https://tollgate.example.com/")];
    let server = server_of(&[&issuer], &set).await;
    let page = [PAGE[0], ("origin", "https://tollgate.example.com"), ("sec-fetch-site", "same-origin")];
    let begun = begin(&server, &page, json!({})).await;
    assert!(begun.cookie.starts_with("__Host-tollgate_sign_in="), "{}", begun.cookie);
    let back = issuer.visit(&begun.authorization_url).await;
    assert!(back.starts_with("https://tollgate.example.com/account/sign-in/callback/one?"), "{back}");
    let plain = begun.cookie.replace("__Host-", "");
    let refused = come_back(&server, &back, &[("cookie", &plain)]).await;
    assert_eq!(where_to(&refused), "/#/sign-in?failed=SIGN_IN_EXPIRED", "anybody on the way could have set that one");
    let signed_in = come_back(&server, &back, &[("cookie", &begun.cookie)]).await;
    let refresh = signed_in.header("set-cookie");
    assert!(refresh.starts_with("__Secure-tollgate_refresh=") && refresh.ends_with("; Secure"), "{refresh}");
}

#[tokio::test]
async fn the_page_links_an_identity_to_the_session_that_began_it_while_that_is_recent_and_in_force() {
    let issuer = OidcIssuer::start().await;
    let mut server = server_of(&[&issuer], &[("TOLLGATE_SIGNUP", "open")]).await;
    let bob = server.user("bob").await;
    let authorization = format!("Bearer {bob}");
    let page = [PAGE[0], PAGE[1], ("authorization", authorization.as_str())];
    let without = http(server.address, BEGIN, &PAGE, "{\"link\":true}").await;
    assert_eq!(without.status, 401, "{}", without.body);
    let begun = begin(&server, &page, json!({ "issuer": "one", "link": true })).await;
    let back = issuer.visit(&begun.authorization_url).await;
    let linked = come_back(&server, &back, &[("cookie", &begun.cookie)]).await;
    assert_eq!(where_to(&linked), "/#/security?linked=1");
    assert!(!linked.header("set-cookie").contains("tollgate_refresh"), "nobody is signed in by it");
    assert_eq!(server.sign_in_by_code(&issuer, "one").await.unwrap().user_name, "bob");
    // What was begun to link signs nobody in, by whichever door.
    let carol = server.user("carol").await;
    let authorization = format!("Bearer {carol}");
    let page = [PAGE[0], PAGE[1], ("authorization", authorization.as_str())];
    issuer.person(json!({ "sub": "2002" }));
    let begun = begin(&server, &page, json!({ "link": true })).await;
    let back = issuer.visit(&begun.authorization_url).await;
    let (authorization_code, state) = crate::oidc_issuer::code_and_state(&back);
    let sign_in = begun.cookie.split_once('=').unwrap().1.to_owned();
    let proof = pb::IssuerProof { sign_in, authorization_code, state, ..Default::default() };
    let refused = server.exchange(proof.clone()).await.unwrap_err();
    assert_eq!(shared::error::reason_of(&refused), Some(shared::ErrorReason::SignInExpired));
    let bobs = server.accounts.link_identity(with(&bob, pb::LinkIdentityRequest { proof: Some(proof) })).await.unwrap_err();
    assert_eq!(shared::error::reason_of(&bobs), Some(shared::ErrorReason::SignInExpired), "it was begun by another user");
    // It outlives its session, and links nothing.
    server.accounts.logout(with(&carol, pb::LogoutRequest {})).await.unwrap();
    let ended = come_back(&server, &back, &[("cookie", &begun.cookie)]).await;
    assert_eq!(where_to(&ended), "/#/security?failed=CREDENTIAL_REVOKED");
}

#[tokio::test]
async fn an_issuer_that_says_nothing_of_itself_is_not_mistaken_for_another_one_that_wants_its_codes() {
    let (honest, hostile) = (OidcIssuer::start().await, OidcIssuer::start().await);
    let server = server_of(&[&honest, &hostile], &[("TOLLGATE_SIGNUP", "open")]).await;
    // As an operator registers it. It sends people nowhere else.
    honest.behaviour().redirect_uris = vec!["http://tollgate/account/sign-in/callback/one".to_owned()];
    honest.behaviour().says_who = false;
    // The hostile one begins a sign-in with the other, and has its own user end that: the proofs of the code are its own then.
    let attackers = begin(&server, &PAGE, json!({ "issuer": "one" })).await;
    hostile.behaviour().sends_on_to = Some(attackers.authorization_url.clone());
    let victims = begin(&server, &PAGE, json!({ "issuer": "two" })).await;
    let on = hostile.visit(&victims.authorization_url).await;
    let back = honest.visit(&on).await;
    let code = crate::oidc_issuer::code_and_state(&back).0;
    assert!(!code.is_empty() && !back.contains("iss="), "{back}");
    let refused = come_back(&server, &back, &[("cookie", &victims.cookie)]).await;
    assert_eq!(where_to(&refused), "/#/sign-in?failed=ID_TOKEN_INVALID");
    assert_eq!((hostile.requests("/token"), honest.requests("/token")), (0, 0), "nobody got the code");
    // Nor is a path another one's by being written in another way.
    for written in ["callback/two/../one?", "callback/%6fne?", "callback/one/?", "callback/two%2F..%2Fone?", "callback/ONE?"] {
        let other = back.replace("callback/one?", written);
        let target = &other[other.find("/account/").unwrap()..];
        let reply = http(server.address, &format!("GET {target}"), &[("cookie", &victims.cookie)], "").await;
        let is_refused = reply.status == 404 || where_to(&reply) == "/#/sign-in?failed=ID_TOKEN_INVALID";
        assert!(is_refused, "{written}: {} {}", reply.status, reply.body);
    }
    assert_eq!((hostile.requests("/token"), honest.requests("/token")), (0, 0));
    // Each is good by itself.
    hostile.behaviour().sends_on_to = None;
    for (issuer, name) in [(&honest, "one"), (&hostile, "two")] {
        let begun = begin(&server, &PAGE, json!({ "issuer": name })).await;
        let back = issuer.visit(&begun.authorization_url).await;
        assert!(back.starts_with(&format!("http://tollgate/account/sign-in/callback/{name}?")), "{back}");
        assert_eq!(where_to(&come_back(&server, &back, &[("cookie", &begun.cookie)]).await), "/");
    }
}

#[tokio::test]
async fn signing_in_with_an_issuer_ends_the_session_that_the_browser_had_and_nothing_less_does() {
    let issuer = OidcIssuer::start().await;
    let server = server_of(&[&issuer], &[("TOLLGATE_SIGNUP", "open")]).await;
    let signed_in = async |cookies: &str| {
        let begun = begin(&server, &[PAGE[0], PAGE[1], ("cookie", cookies)], json!({})).await;
        let back = issuer.visit(&begun.authorization_url).await;
        // Its own cookie alone: the session's is not sent to the callback.
        let reply = come_back(&server, &back, &[("cookie", &begun.cookie)]).await;
        reply.header("set-cookie").split(';').next().unwrap().to_owned()
    };
    let refresh = async |cookie: &str| {
        let reply = http(server.address, "POST /account/session/refresh", &[PAGE[0], PAGE[1], ("cookie", cookie)], "").await;
        (reply.status, reply.header("set-cookie").split(';').next().unwrap_or_default().to_owned(), reply.body)
    };
    let first = signed_in("").await;
    let (status, first, body) = refresh(&first).await;
    assert_eq!(status, 200, "{body}");
    // What is no token ends nothing, nor does a sign-in that comes to nothing.
    let other = signed_in("tollgate_refresh=tgr_0").await;
    issuer.behaviour().denies = true;
    let begun = begin(&server, &[PAGE[0], PAGE[1], ("cookie", &first)], json!({})).await;
    come_back(&server, &issuer.visit(&begun.authorization_url).await, &[("cookie", &begun.cookie)]).await;
    issuer.behaviour().denies = false;
    let (status, first, body) = refresh(&first).await;
    assert_eq!(status, 200, "{body}");
    // Also when it was refreshed while the person was at the issuer.
    let begun = begin(&server, &[PAGE[0], PAGE[1], ("cookie", &first)], json!({})).await;
    let (status, first, body) = refresh(&first).await;
    assert_eq!(status, 200, "{body}");
    let back = issuer.visit(&begun.authorization_url).await;
    let reply = come_back(&server, &back, &[("cookie", &begun.cookie)]).await;
    let second = reply.header("set-cookie").split(';').next().unwrap().to_owned();
    let (status, _, body) = refresh(&first).await;
    assert!(status == 401 && body.contains("CREDENTIAL_REVOKED"), "{status} {body}");
    for alive in [second, other] {
        let (status, _, body) = refresh(&alive).await;
        assert_eq!(status, 200, "{body}");
    }
}

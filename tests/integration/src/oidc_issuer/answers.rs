//! What the issuer answers to a request, and what it is told by `POST /control`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Behaviour, Granted, IssuerKey, Trouble, change, decoded, encoded, header, lock, object, pairs, random, usual_claims};

/// What a request may hold, in bytes.
const MOST_BYTES: usize = 1 << 20;

struct Asked {
    method: String,
    path: String,
    query: String,
    authorization: String,
    body: String,
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 || bytes.len() > MOST_BYTES {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let field = |name: &str| {
        let mut lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let length: usize = field("content-length").parse().unwrap_or_default();
    while bytes.len() < end + length.min(MOST_BYTES) {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let mut line = head.lines().next()?.split(' ');
    let (method, target) = (line.next()?.to_owned(), line.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let body = String::from_utf8_lossy(&bytes[end..]).into_owned();
    Some(Asked { method, path: path.to_owned(), query: query.to_owned(), authorization: field("authorization"), body })
}

pub(super) async fn answer(mut stream: TcpStream, address: SocketAddr, behaviour: Arc<Mutex<Behaviour>>) {
    let Some(asked) = read(&mut stream).await else { return };
    let trouble = {
        let mut behaviour = lock(&behaviour);
        *behaviour.requests.entry(asked.path.clone()).or_default() += 1;
        let all = behaviour.trouble.get("*").filter(|_| asked.path != "/control").cloned();
        behaviour.trouble.get(&asked.path).cloned().or(all)
    };
    let reply = match trouble {
        None => reply(&asked, &format!("http://{address}"), &mut lock(&behaviour)),
        Some(Trouble::Status(status)) => whole(&status, "application/json", "", "{\"error\":\"server_error\"}"),
        Some(Trouble::Garbage) => whole("200 OK", "application/json", "", "<html>{{{"),
        Some(Trouble::Redirect(to)) => whole("302 Found", "text/plain", &format!("location: {to}\r\n"), ""),
        Some(Trouble::Silence) => return std::future::pending().await,
        Some(Trouble::Late(by)) => {
            tokio::time::sleep(by).await;
            reply(&asked, &format!("http://{address}"), &mut lock(&behaviour))
        }
        Some(Trouble::Endless) => {
            let mut piece = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{\"keys\":[".to_vec();
            while stream.write_all(&piece).await.is_ok() {
                lock(&behaviour).sent += piece.len();
                piece = vec![b' '; 16 << 10];
            }
            return;
        }
    };
    let _ = stream.write_all(reply.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn whole(status: &str, kind: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}")
}

fn json_reply(status: &str, cache_control: &str, body: &Value) -> String {
    let cache = if cache_control.is_empty() { String::new() } else { format!("cache-control: {cache_control}\r\n") };
    whole(status, "application/json", &cache, &body.to_string())
}

fn reply(asked: &Asked, url: &str, behaviour: &mut Behaviour) -> String {
    match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/.well-known/openid-configuration") => {
            let issuer = if behaviour.issuer.is_empty() { url.to_owned() } else { behaviour.issuer.clone() };
            let mut document = object(json!({
                "issuer": issuer,
                "authorization_endpoint": format!("{url}/authorize"),
                "token_endpoint": format!("{url}/token"),
                "jwks_uri": format!("{url}/jwks"),
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256", "ES256", "EdDSA", "HS256", "none"],
                "scopes_supported": ["openid", "email", "profile"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": true
            }));
            change(&mut document, &behaviour.document);
            json_reply("200 OK", &behaviour.cache_control, &Value::Object(document))
        }
        ("GET", "/jwks") => {
            let keys: Vec<Value> = behaviour.keys.iter().map(IssuerKey::jwk).collect();
            json_reply("200 OK", &behaviour.cache_control, &json!({ "keys": keys }))
        }
        ("GET", "/authorize") => authorize(asked, url, behaviour),
        ("POST", "/token") => token(asked, url, behaviour),
        ("GET", "/control") => json_reply("200 OK", "", &json!({ "requests": behaviour.requests, "key": behaviour.signer.kid })),
        ("POST", "/control") => control(asked, behaviour),
        ("POST", "/control/id-token") => {
            let mut claims = object(usual_claims(behaviour, url, &behaviour.person, ""));
            change(&mut claims, &object(serde_json::from_str(&asked.body).unwrap_or(json!({}))));
            let token = behaviour.signer.sign(&header(&behaviour.signer), &Value::Object(claims));
            json_reply("200 OK", "", &json!({ "id_token": token }))
        }
        _ => json_reply("404 Not Found", "", &json!({ "error": "not_found" })),
    }
}

/// Asks the person, or takes it that they say yes.
fn authorize(asked: &Asked, url: &str, behaviour: &mut Behaviour) -> String {
    let query = pairs(&asked.query);
    let get = |name: &str| query.get(name).cloned().unwrap_or_default();
    let is_right = get("client_id") == behaviour.client_id
        && get("response_type") == "code"
        && get("scope").split(' ').any(|scope| scope == "openid")
        && get("code_challenge_method") == "S256"
        && get("code_challenge").len() == 43
        && get("nonce").len() >= 22
        && get("state").len() >= 22
        && is_registered(&get("redirect_uri"), &behaviour.redirect_uris);
    if !is_right {
        return json_reply("400 Bad Request", "", &json!({ "error": "invalid_request" }));
    }
    if let Some((address, begun)) = behaviour.sends_on_to.as_ref().and_then(|address| address.split_once('?')) {
        let state = format!("state={}", encoded(&get("state")));
        let query: Vec<&str> = begun.split('&').map(|pair| if pair.starts_with("state=") { &state } else { pair }).collect();
        return whole("302 Found", "text/plain", &format!("location: {address}?{}\r\n", query.join("&")), "");
    }
    if behaviour.asks && !query.contains_key("agreed") {
        let name = behaviour.person.get("name").and_then(Value::as_str).unwrap_or("somebody").to_owned();
        let page = format!(
            "<!doctype html><title>Issuer</title><a href=\"/authorize?{}&amp;agreed=1\">Continue as {name}</a>",
            asked.query.replace('&', "&amp;")
        );
        return whole("200 OK", "text/html", "", &page);
    }
    let issuer = if behaviour.issuer.is_empty() { url.to_owned() } else { behaviour.issuer.clone() };
    let answer = if behaviour.denies {
        "error=access_denied".to_owned()
    } else {
        // With characters that a URL and a cookie must not have as they are.
        let code = format!("4/{}+=;\"", URL_SAFE_NO_PAD.encode(random()));
        let granted = Granted {
            redirect_uri: get("redirect_uri"),
            challenge: get("code_challenge"),
            nonce: get("nonce"),
            person: behaviour.person.clone(),
            is_used: false,
        };
        behaviour.codes.insert(code.clone(), granted);
        format!("code={}", encoded(&code))
    };
    let redirect = get("redirect_uri");
    let join = if redirect.contains('?') { '&' } else { '?' };
    let who = if behaviour.says_who { format!("&iss={}", encoded(&issuer)) } else { String::new() };
    let location = format!("{redirect}{join}{answer}&state={}{who}", encoded(&get("state")));
    whole("302 Found", "text/plain", &format!("location: {location}\r\n"), "")
}

/// By the letter, but for the port on loopback (RFC 8252, section 7.3).
fn is_registered(redirect_uri: &str, registered: &[String]) -> bool {
    let without_port = match redirect_uri.strip_prefix("http://127.0.0.1:").and_then(|rest| rest.split_once('/')) {
        Some((_, path)) => format!("http://127.0.0.1/{path}"),
        None => redirect_uri.to_owned(),
    };
    !redirect_uri.is_empty() && (registered.is_empty() || registered.iter().any(|one| *one == redirect_uri || *one == without_port))
}

/// Gives an ID token for a code: once, to the client that began, with the verifier that it has kept.
fn token(asked: &Asked, url: &str, behaviour: &mut Behaviour) -> String {
    let form = pairs(&asked.body);
    let get = |name: &str| form.get(name).cloned().unwrap_or_default();
    let refused = |error: &str| {
        json_reply("400 Bad Request", "no-store", &json!({ "error": error, "error_description": format!("refused: {}", get("code")) }))
    };
    let basic = asked.authorization.strip_prefix("Basic ").and_then(|text| STANDARD.decode(text).ok());
    let basic = basic.and_then(|bytes| String::from_utf8(bytes).ok());
    let (client, secret) = match basic.as_deref().and_then(|text| text.split_once(':')) {
        Some((client, secret)) => (decoded(client), Some(decoded(secret))),
        None => (get("client_id"), form.get("client_secret").cloned()),
    };
    if client != behaviour.client_id || secret != behaviour.client_secret {
        return json_reply("401 Unauthorized", "no-store", &json!({ "error": "invalid_client" }));
    }
    if get("grant_type") != "authorization_code" {
        return refused("unsupported_grant_type");
    }
    let Some(granted) = behaviour.codes.get_mut(&get("code")) else { return refused("invalid_grant") };
    let verified = URL_SAFE_NO_PAD.encode(Sha256::digest(get("code_verifier")));
    if granted.is_used || granted.redirect_uri != get("redirect_uri") || granted.challenge != verified {
        return refused("invalid_grant");
    }
    granted.is_used = true;
    let granted = granted.clone();
    let mut claims = object(usual_claims(behaviour, url, &granted.person, &granted.nonce));
    change(&mut claims, &behaviour.claims);
    let id_token = behaviour.signer.sign(&header(&behaviour.signer), &Value::Object(claims));
    json_reply("200 OK", "no-store", &json!({ "access_token": "unused", "token_type": "Bearer", "expires_in": 3600, "id_token": id_token }))
}

/// What another process may change. Each field is as in [`Behaviour`]; `rotate`: the name of a new key.
fn control(asked: &Asked, behaviour: &mut Behaviour) -> String {
    let Ok(Value::Object(mut body)) = serde_json::from_str(&asked.body) else {
        return json_reply("400 Bad Request", "", &json!({ "error": "no JSON object" }));
    };
    let mut take = |name: &str| body.remove(name);
    if let Some(Value::Object(person)) = take("person") {
        behaviour.person = person;
    }
    if let Some(Value::Object(claims)) = take("claims") {
        behaviour.claims = claims;
    }
    if let Some(Value::Object(document)) = take("document") {
        behaviour.document = document;
    }
    if let Some(Value::Bool(denies)) = take("denies") {
        behaviour.denies = denies;
    }
    if let Some(Value::Bool(says_who)) = take("says_who") {
        behaviour.says_who = says_who;
    }
    if let Some(Value::Array(uris)) = take("redirect_uris") {
        behaviour.redirect_uris = uris.iter().filter_map(|uri| uri.as_str().map(str::to_owned)).collect();
    }
    if let Some(address) = take("sends_on_to") {
        behaviour.sends_on_to = address.as_str().map(str::to_owned);
    }
    if let Some(Value::Bool(asks)) = take("asks") {
        behaviour.asks = asks;
    }
    if let Some(Value::String(kid)) = take("rotate") {
        let key = IssuerKey::new(&kid, behaviour.signer.algorithm);
        (behaviour.keys, behaviour.signer) = (vec![key.clone()], key);
    }
    if let Some(Value::Object(trouble)) = take("trouble") {
        let read = |kind: &Value| match kind.as_str()? {
            "down" => Some(Trouble::Status("503 Service Unavailable".to_owned())),
            "silence" => Some(Trouble::Silence),
            "garbage" => Some(Trouble::Garbage),
            "endless" => Some(Trouble::Endless),
            to => Some(Trouble::Redirect(to.to_owned())),
        };
        behaviour.trouble = trouble.iter().filter_map(|(path, kind)| Some((path.clone(), read(kind)?))).collect();
    }
    json_reply("200 OK", "", &json!({ "unknown": body.keys().collect::<Vec<_>>() }))
}

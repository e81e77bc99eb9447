//! OAuth2's endpoints on real processes: what they log, what tokens open, and what they say while the store is away.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use integration::polling::{SOON, until};
use integration::process_pair::ProcessPair;
use integration::processes::ServiceProcess;
use integration::redis_server::RedisServer;
use integration::scripted_upstream::{Script, ScriptedUpstream};
use integration::stack::PASSWORD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// What curl was answered: the status and the JSON.
fn curl(arguments: &[&str]) -> (u16, Value) {
    let done = Command::new("curl").args(["-sS", "--max-time", "20", "-w", "\n%{http_code}"]).args(arguments).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let said = String::from_utf8(done.stdout).unwrap();
    let (body, status) = said.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

fn token(url: &str, name: &str, password: &str) -> (u16, Value) {
    let (url, name, password) = (format!("{url}/token"), format!("username={name}"), format!("password={password}"));
    curl(&[&url, "-d", "grant_type=password", "--data-urlencode", &name, "--data-urlencode", &password])
}

#[tokio::test(flavor = "multi_thread")]
async fn who_signs_in_by_token_chats_with_it_and_neither_password_nor_token_is_ever_logged() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::chat(&["Hello", " there."]));
    let mut processes = ProcessPair::start(&upstream.url(), &[("TOLLGATE_LOG", "trace")]);
    processes.user().await;
    let auth = processes.auth.url();
    for wrong in ["canary-one, a wrong pass phrase", "canary-two\u{e9}, another"] {
        let (status, said) = token(&auth, "ada", wrong);
        assert_eq!((status, &said["error"]), (400, &json!("invalid_grant")), "{said}");
    }
    let in_url = format!("{auth}/token?grant_type=password&username=ada&password=canary-three");
    assert_eq!(curl(&["-X", "POST", &in_url]).0, 400);
    let secret = ["-d", "grant_type=password", "-d", "username=ada", "-d", "password=canary-four", "-d", "client_secret=canary-five"];
    assert_eq!(curl(&[&[&*format!("{auth}/token")], &secret[..]].concat()).0, 401);
    let as_json = r#"{"grant_type":"password","username":"ada","password":"canary-six"}"#;
    assert_eq!(curl(&[&format!("{auth}/token"), "-H", "content-type: application/json", "-d", as_json]).0, 415);
    assert_eq!(curl(&[&format!("{auth}/users/me?access_token=canary-seven")]).0, 401);

    let (status, granted) = token(&auth, "ada", PASSWORD);
    assert_eq!(status, 200, "{granted}");
    let access_token = granted["access_token"].as_str().unwrap().to_owned();
    let bearer = format!("authorization: Bearer {access_token}");
    let chat = json!({ "model": "smollm2", "messages": [{ "role": "user", "content": "canary-eight" }] }).to_string();
    let (status, answer) = curl(&[&format!("{}/v1/chat/completions", processes.inference.url()), "-H", &bearer, "-d", &chat]);
    assert_eq!((status, &answer["choices"][0]["message"]["content"]), (200, &json!("Hello there.")), "{answer}");
    let (status, me) = curl(&[&format!("{auth}/users/me"), "-H", &bearer]);
    let credits = (&me["balance"]["available_credits"], &me["balance"]["spent_credits"]);
    assert_eq!((status, &me["user_name"], credits), (200, &json!("ada"), (&json!(9), &json!(1))), "{me}");

    let _ended = (processes.inference.stop(), processes.auth.stop());
    let signature = access_token.rsplit('.').next().unwrap();
    for log in [processes.auth.log(), processes.inference.log()] {
        assert!(!log.contains("canary") && !log.contains(PASSWORD) && !log.contains(signature), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_away_token_is_temporarily_unavailable_and_the_guess_does_not_count() {
    let mut redis = RedisServer::start();
    let upstream = ScriptedUpstream::start().await;
    let secret = || shared::secret::Secret::generate().unwrap().1;
    let (jwt, service, url) = (format!("k1:{}", secret()), secret(), redis.url());
    let more =
        [("TOLLGATE_REDIS_URL", url.as_str()), ("TOLLGATE_JWT_SECRETS", jwt.as_str()), ("TOLLGATE_SERVICE_CREDENTIAL", service.as_str())];
    let processes = ProcessPair::start(&upstream.url(), &more);
    processes.user().await;
    let auth = processes.auth.url();
    let (_, granted) = token(&auth, "ada", PASSWORD);
    let bearer = format!("authorization: Bearer {}", granted["access_token"].as_str().unwrap());
    redis.kill();
    for number in 0..8 {
        let (status, said) = token(&auth, "ada", &format!("a guess, number {number}"));
        let said = (status, &said["error"], &said["code"]);
        assert_eq!(said, (503, &json!("temporarily_unavailable"), &json!("STORE_UNAVAILABLE")));
    }
    let head = Command::new("curl").args(["-sSi", &format!("{auth}/users/me"), "-H", &bearer]).output().unwrap();
    let head = String::from_utf8(head.stdout).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 503 ") && head.contains("\nretry-after: "), "{head}");
    redis.start_again();
    until("the store to be used again", SOON, || async { (token(&auth, "ada", PASSWORD).0 == 200).then_some(()) }).await;
}

fn refresh(url: &str, token: &str) -> (u16, Value) {
    let token = format!("refresh_token={token}");
    curl(&[&format!("{url}/token"), "-d", "grant_type=refresh_token", "-d", &token])
}

/// The status of a chat by this access token.
fn chat_status(processes: &ProcessPair, access_token: &str) -> u16 {
    let bearer = format!("authorization: Bearer {access_token}");
    let chat = json!({ "model": "smollm2", "messages": [{ "role": "user", "content": "hi" }] }).to_string();
    curl(&[&format!("{}/v1/chat/completions", processes.inference.url()), "-H", &bearer, "-d", &chat]).0
}

/// A text of an answer.
fn text(said: &Value, name: &str) -> String {
    said[name].as_str().unwrap_or_else(|| panic!("no {name}: {said}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refreshed_session_goes_on_and_a_revoked_one_stops_at_both_services_and_nothing_of_either_is_logged() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::chat(&["Hello."]));
    let mut processes = ProcessPair::start(&upstream.url(), &[("TOLLGATE_LOG", "trace"), ("TOLLGATE_TOKEN_ALGORITHM", "EdDSA")]);
    processes.user().await;
    let auth = processes.auth.url();
    let (_, first) = token(&auth, "ada", PASSWORD);
    let (status, second) = refresh(&auth, &text(&first, "refresh_token"));
    assert_eq!(status, 200, "{second}");
    let access = text(&second, "access_token");
    assert_eq!(chat_status(&processes, &access), 200);
    let credential = std::fs::read_to_string(format!("{}/service-credential", processes.environment["TOLLGATE_DATA_DIR"])).unwrap();
    let introspect = || {
        let (service, token) = (format!("authorization: Bearer {}", credential.trim()), format!("token={access}"));
        curl(&[&format!("{auth}/introspect"), "-H", &service, "-d", &token]).1
    };
    assert_eq!(introspect()["active"], json!(true));
    let shown = format!("token={}", text(&second, "refresh_token"));
    let revoked =
        Command::new("curl").args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", &format!("{auth}/revoke"), "-d", &shown]).output();
    assert_eq!(String::from_utf8(revoked.unwrap().stdout).unwrap(), "200");
    assert_eq!(introspect(), json!({ "active": false }));
    assert_eq!(chat_status(&processes, &access), 401);
    let (status, said) = refresh(&auth, &text(&second, "refresh_token"));
    assert_eq!((status, &said["error"], &said["code"]), (400, &json!("invalid_grant"), &json!("CREDENTIAL_REVOKED")));
    let _ended = (processes.inference.stop(), processes.auth.stop());
    for log in [processes.auth.log(), processes.inference.log()] {
        for said in [&first, &second] {
            let refresh_token = text(said, "refresh_token");
            let signature = text(said, "access_token").rsplit('.').next().unwrap().to_owned();
            // The ids of user and session are no secrets; what is behind them is.
            assert!(!log.contains(&refresh_token[32..]) && !log.contains(&signature) && !log.contains(credential.trim()), "{log}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_take_each_others_tokens_whichever_algorithm_each_signs_with_and_publish_the_same_keys() {
    let redis = RedisServer::start();
    let secret = || shared::secret::Secret::generate().unwrap().1;
    let mut environment: BTreeMap<String, String> = [
        ("TOLLGATE_REDIS_URL", redis.url()),
        ("TOLLGATE_JWT_SECRETS", format!("k1:{}", secret())),
        ("TOLLGATE_SERVICE_CREDENTIAL", secret()),
        ("TOLLGATE_SIGNUP", "open".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let replicas = ["HS256", "EdDSA", "EdDSA"].map(|algorithm| {
        environment.insert("TOLLGATE_TOKEN_ALGORITHM".to_owned(), algorithm.to_owned());
        ServiceProcess::start("auth-service", &environment)
    });
    let sign_up = json!({ "user_name": "ada", "password": PASSWORD }).to_string();
    let made = curl(&[&format!("{}/tollgate.auth.v1.Accounts/SignUp", replicas[0].url()), "-d", &sign_up]);
    assert_eq!(made.0, 200, "{made:?}");
    for signer in &replicas {
        let bearer = format!("authorization: Bearer {}", text(&token(&signer.url(), "ada", PASSWORD).1, "access_token"));
        for verifier in &replicas {
            let (status, me) = curl(&[&format!("{}/users/me", verifier.url()), "-H", &bearer]);
            assert_eq!((status, &me["user_name"]), (200, &json!("ada")), "{me}");
        }
    }
    let keys = replicas.each_ref().map(|replica| curl(&[&format!("{}/.well-known/jwks.json", replica.url())]).1);
    assert_eq!((&keys[0], &keys[1]), (&json!({ "keys": [] }), &keys[2]));
    assert_eq!(keys[1]["keys"].as_array().unwrap().len(), 3);
}

/// What signs the tokens of a foreign issuer of a test.
struct ForeignKey(jsonwebtoken::EncodingKey);

impl ForeignKey {
    fn new() -> Self {
        let pair = aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap();
        Self(jsonwebtoken::EncodingKey::from_ed_der(pair.to_pkcs8v1().unwrap().as_ref()))
    }

    /// What its issuer publishes.
    fn published(&self) -> Value {
        let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&self.0, jsonwebtoken::Algorithm::EdDSA).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = json!("one");
        json!({ "keys": [jwk] })
    }

    fn token_of(&self, subject: &str) -> String {
        let header = jsonwebtoken::Header { kid: Some("one".to_owned()), ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA) };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let claims = json!({ "iss": "https://id.example.com", "aud": "tollgate", "sub": subject, "iat": now, "exp": now + 60 });
        jsonwebtoken::encode(&header, &claims, &self.0).unwrap()
    }
}

/// Writes a file of issuers with one, whose keys are there.
fn issuers_file(folder: &tempfile::TempDir, keys_at: (&str, &str)) -> String {
    let mut entry = json!({
        "name": "corp", "issuer": "https://id.example.com", "audience": "tollgate", "algorithms": ["EdDSA"], "claim": "sub",
        "users": { "u-1": "ada" }
    });
    entry[keys_at.0] = json!(keys_at.1);
    let path = folder.path().join("issuers.json");
    std::fs::write(&path, json!({ "issuers": [entry] }).to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_issuers_token_chats_and_pays_from_the_account_of_the_user_whom_it_names() {
    let (folder, upstream, key) = (tempfile::tempdir().unwrap(), ScriptedUpstream::start().await, ForeignKey::new());
    upstream.script("/api/chat", Script::chat(&["Hello."]));
    std::fs::write(folder.path().join("keys.json"), key.published().to_string()).unwrap();
    let issuers = issuers_file(&folder, ("jwks_file", "keys.json"));
    let processes = ProcessPair::start(&upstream.url(), &[("TOLLGATE_TOKEN_ISSUERS_FILE", &issuers)]);
    let key_of_ada = processes.user().await;
    assert_eq!(chat_status(&processes, &key.token_of("u-1")), 200);
    assert_eq!(processes.balance(&key_of_ada).await.unwrap().spent_credits(), 1);
    assert_eq!([chat_status(&processes, &key.token_of("ada")), chat_status(&processes, &key.token_of("u-2"))], [401, 401]);
    let bearer = format!("authorization: Bearer {}", key.token_of("u-1"));
    let made = curl(&[&format!("{}/tollgate.auth.v1.Accounts/CreateApiKey", processes.auth.url()), "-H", &bearer, "-d", "{}"]);
    assert_eq!(made.0, 403, "{made:?}");
}

/// Answers every request on TLS with this body.
async fn serve_tls(body: String, certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> SocketAddr {
    let key = PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.cert.der().clone()], key).unwrap();
    let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = listener.local_addr().unwrap();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Who doesn't trust the certificate goes away.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut asked = [0; 4096];
            let _ = stream.read(&mut asked).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuers_keys_are_read_by_tls_of_a_server_whose_certificate_the_host_trusts_and_of_no_other() {
    let (folder, upstream, key) = (tempfile::tempdir().unwrap(), ScriptedUpstream::start().await, ForeignKey::new());
    let certificate = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let address = serve_tls(key.published().to_string(), &certificate).await;
    let issuers = issuers_file(&folder, ("jwks_url", &format!("https://{address}/keys")));
    let trusted = folder.path().join("trusted.pem");
    std::fs::write(&trusted, certificate.cert.pem()).unwrap();
    let file = ("TOLLGATE_TOKEN_ISSUERS_FILE", issuers.as_str());
    let me = |processes: &ProcessPair| {
        let bearer = format!("authorization: Bearer {}", key.token_of("u-1"));
        let (status, said) = curl(&[&format!("{}/users/me", processes.auth.url()), "-H", &bearer]);
        (status, said["code"].as_str().unwrap_or_default().to_owned())
    };
    let trusting = ProcessPair::start(&upstream.url(), &[file, ("SSL_CERT_FILE", trusted.to_str().unwrap())]);
    trusting.user().await;
    assert_eq!(me(&trusting), (200, String::new()));
    let other = ProcessPair::start(&upstream.url(), &[file]);
    other.user().await;
    assert_eq!(me(&other), (503, "AUTH_UNAVAILABLE".to_owned()));
    assert!(other.auth.log().contains("the keys of a foreign issuer can't be read"), "{}", other.auth.log());
}

//! An OpenID issuer of a test: keys of its own, its document, its authorization endpoint, and a token endpoint that verifies redirect URI,
//! client and PKCE. It does what it is told, also what no good issuer would.
//!
//! `src/bin/oidc-issuer.rs` is the same as a process, for browsers and for tests in other languages; what a test sets here, those set by
//! `POST /control`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// The client that it knows, unless said otherwise.
pub const CLIENT_ID: &str = "tollgate-test";

// By its path: tests of auth-service take this file by its own.
#[path = "oidc_issuer/answers.rs"]
mod answers;

/// A key that signs ID tokens.
#[derive(Clone)]
pub struct IssuerKey {
    /// Its name.
    pub kid: String,
    /// What it is for.
    pub algorithm: Algorithm,
    key: EncodingKey,
}

impl IssuerKey {
    /// A new one.
    #[must_use]
    pub fn new(kid: &str, algorithm: Algorithm) -> Self {
        let key = match algorithm {
            Algorithm::EdDSA => EncodingKey::from_ed_der(Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap().as_ref()),
            Algorithm::ES256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
                EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref())
            }
            _ => {
                let pkcs8 = RsaKeyPair::generate(KeySize::Rsa2048).unwrap().as_der().unwrap();
                // The key itself stands behind what says that it is one of RSA.
                EncodingKey::from_rsa_der(&pkcs8.as_ref()[26..])
            }
        };
        Self { kid: kid.to_owned(), algorithm, key }
    }

    /// The public half, with its name.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }

    /// Signs a header and claims as they are.
    #[must_use]
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = unsigned(header, claims);
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{signed}.{signature}")
    }
}

/// The part of a token that is signed.
#[must_use]
pub fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// What it does instead of answering as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It answers with this status, such as `500 Internal Server Error`.
    Status(String),
    /// It takes the request, and never answers.
    Silence,
    /// It answers as it should, after this time.
    Late(Duration),
    /// It answers with what is no JSON.
    Garbage,
    /// It answers without end.
    Endless,
    /// It sends whoever asks to this address.
    Redirect(String),
}

/// What a test may change of it at any time.
pub struct Behaviour {
    /// What its document says that it is; empty: its own address.
    pub issuer: String,
    /// The client that it knows.
    pub client_id: String,
    /// What that client must prove itself with; `None`: it is a public one.
    pub client_secret: Option<String>,
    /// The keys that it publishes.
    pub keys: Vec<IssuerKey>,
    /// The one that signs; it may be none of those.
    pub signer: IssuerKey,
    /// Claims about who is there: the next person who is asked says yes as this one.
    pub person: Map<String, Value>,
    /// Claims that take the place of the usual ones in the next tokens for codes; null: without it.
    pub claims: Map<String, Value>,
    /// Fields that take the place of the usual ones in the document; null: without it.
    pub document: Map<String, Value>,
    /// The `cache-control` of its document and keys; empty: none.
    pub cache_control: String,
    /// By path; `*` stands for all.
    pub trouble: HashMap<String, Trouble>,
    /// Whether the person says no.
    pub denies: bool,
    /// Where it sends people back to and nowhere else, of loopback at any port; empty: to wherever it is asked to.
    pub redirect_uris: Vec<String>,
    /// Whether it says who it is when it sends somebody back (RFC 9207).
    pub says_who: bool,
    /// Where it sends people on to in place of back, with the state that they brought: the address of a sign-in that it began itself.
    pub sends_on_to: Option<String>,
    /// Whether the person is asked, by a page with a link, in place of being sent on at once.
    pub asks: bool,
    codes: HashMap<String, Granted>,
    requests: HashMap<String, usize>,
    sent: usize,
}

/// What a code was given for.
#[derive(Clone)]
struct Granted {
    redirect_uri: String,
    challenge: String,
    nonce: String,
    person: Map<String, Value>,
    is_used: bool,
}

/// An issuer that answers. Dropping it stops it.
pub struct OidcIssuer {
    address: SocketAddr,
    behaviour: Arc<Mutex<Behaviour>>,
    serving: AbortHandle,
}

impl OidcIssuer {
    /// One that signs with RS256, on a port of this host.
    ///
    /// # Panics
    /// Nothing can be listened to.
    pub async fn start() -> Self {
        Self::start_on("127.0.0.1:0".parse().unwrap(), Algorithm::RS256).await
    }

    /// One on this address, that signs with this.
    ///
    /// # Panics
    /// It can't be listened to.
    pub async fn start_on(address: SocketAddr, algorithm: Algorithm) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let signer = IssuerKey::new("key-1", algorithm);
        let person = json!({
            "sub": "1001", "email": "ada@example.com", "email_verified": true, "name": "Ada Lovelace", "preferred_username": "ada"
        });
        let behaviour = Arc::new(Mutex::new(Behaviour {
            issuer: String::new(),
            client_id: CLIENT_ID.to_owned(),
            client_secret: None,
            keys: vec![signer.clone()],
            signer,
            person: object(person),
            claims: Map::new(),
            document: Map::new(),
            cache_control: "max-age=3600".to_owned(),
            trouble: HashMap::new(),
            denies: false,
            redirect_uris: Vec::new(),
            says_who: true,
            sends_on_to: None,
            asks: false,
            codes: HashMap::new(),
            requests: HashMap::new(),
            sent: 0,
        }));
        let shared = Arc::clone(&behaviour);
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                connections.spawn(answers::answer(stream, address, Arc::clone(&shared)));
            }
        });
        Self { address, behaviour, serving: serving.abort_handle() }
    }

    /// Its identifier, by its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `TOLLGATE_OIDC_ISSUERS` says of it under this name.
    #[must_use]
    pub fn entry(&self, name: &str) -> Value {
        let behaviour = self.behaviour();
        let mut entry = json!({ "name": name, "issuer": self.url(), "client_id": behaviour.client_id });
        if let Some(secret) = &behaviour.client_secret {
            entry["client_secret"] = json!(secret);
        }
        entry
    }

    /// What it does, to be read or changed.
    pub fn behaviour(&self) -> MutexGuard<'_, Behaviour> {
        lock(&self.behaviour)
    }

    /// Says who is there.
    pub fn person(&self, person: Value) {
        self.behaviour().person = object(person);
    }

    /// Does something else than answering at a path; `None`: no longer.
    pub fn trouble(&self, path: &str, trouble: Option<Trouble>) {
        let mut behaviour = self.behaviour();
        match trouble {
            Some(trouble) => behaviour.trouble.insert(path.to_owned(), trouble),
            None => behaviour.trouble.remove(path),
        };
    }

    /// Takes a new key, of this name. `keeps`: whether the keys before are still published.
    pub fn rotate(&self, kid: &str, keeps: bool) {
        let mut behaviour = self.behaviour();
        let key = IssuerKey::new(kid, behaviour.signer.algorithm);
        if !keeps {
            behaviour.keys.clear();
        }
        behaviour.keys.push(key.clone());
        behaviour.signer = key;
    }

    /// How often it was asked at a path; `*`: at all of them.
    #[must_use]
    pub fn requests(&self, path: &str) -> usize {
        let behaviour = self.behaviour();
        if path == "*" { behaviour.requests.values().sum() } else { behaviour.requests.get(path).copied().unwrap_or_default() }
    }

    /// How many bytes it could send of answers without end.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.behaviour().sent
    }

    /// The claims of a token about who is there, for one hour from now on.
    #[must_use]
    pub fn claims(&self) -> Value {
        let behaviour = self.behaviour();
        usual_claims(&behaviour, &self.url(), &behaviour.person, "")
    }

    /// A token about who is there, with these claims in place of the usual ones; null: without it.
    #[must_use]
    pub fn id_token(&self, changes: Value) -> String {
        let mut claims = object(self.claims());
        change(&mut claims, &object(changes));
        let signer = self.behaviour().signer.clone();
        signer.sign(&header(&signer), &Value::Object(claims))
    }

    /// What a browser does: it goes to an authorization address, and is sent back from there to the address that is answered.
    ///
    /// # Panics
    /// It was refused.
    pub async fn visit(&self, authorization_url: &str) -> String {
        let target = authorization_url.strip_prefix(&self.url()).expect("an address of this issuer");
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nhost: {}\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let location = answer.lines().find_map(|line| line.strip_prefix("location: "));
        location.unwrap_or_else(|| panic!("nobody was sent back: {answer}")).to_owned()
    }
}

impl Drop for OidcIssuer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The code and the state with which somebody was sent back.
///
/// # Panics
/// They came without.
#[must_use]
pub fn code_and_state(address: &str) -> (String, String) {
    let query = address.split_once('?').expect("a query").1;
    let pairs = pairs(query);
    (pairs["code"].clone(), pairs["state"].clone())
}

/// A form's fields, or a query's.
#[must_use]
pub fn pairs(text: &str) -> HashMap<String, String> {
    text.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (decoded(name), decoded(value))).collect()
}

fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.bytes());
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap_or_default(), 16).unwrap_or(b'?')
            }
            byte => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn encoded(text: &str) -> String {
    let one = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(one).collect()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => panic!("no object: {other}"),
    }
}

fn change(claims: &mut Map<String, Value>, changes: &Map<String, Value>) {
    for (name, value) in changes {
        if value.is_null() {
            claims.remove(name);
        } else {
            claims.insert(name.clone(), value.clone());
        }
    }
}

fn header(key: &IssuerKey) -> Value {
    json!({ "alg": format!("{:?}", key.algorithm), "typ": "JWT", "kid": key.kid })
}

/// Now, in seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn usual_claims(behaviour: &Behaviour, url: &str, person: &Map<String, Value>, nonce: &str) -> Value {
    let issuer = if behaviour.issuer.is_empty() { url } else { &behaviour.issuer };
    // No two tokens are the same.
    let jti = URL_SAFE_NO_PAD.encode(random());
    let mut claims = object(
        json!({ "iss": issuer, "aud": behaviour.client_id, "iat": now(), "exp": now() + 3600, "azp": behaviour.client_id, "jti": jti }),
    );
    if !nonce.is_empty() {
        claims.insert("nonce".to_owned(), json!(nonce));
    }
    claims.extend(person.clone());
    Value::Object(claims)
}

fn random() -> [u8; 24] {
    let mut bytes = [0; 24];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes
}

fn lock(behaviour: &Mutex<Behaviour>) -> MutexGuard<'_, Behaviour> {
    behaviour.lock().unwrap_or_else(PoisonError::into_inner)
}

//! What a network between sees.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use integration::process_pair::ProcessPair;
use integration::scripted_upstream::{Script, ScriptedUpstream};
use integration::stack::PASSWORD;
use shared::secret::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tollgate_client::Client;

use crate::stage::{NewUser, TlsPair, https, new_user, request};

const PROMPT: &str = "canary of a prompt";
const ANSWER: &str = "canary of an answer";

/// Passes connections on, and keeps every byte of both directions.
struct Recorder {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<u8>>>,
    _accepting: JoinSet<()>,
}

impl Recorder {
    async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut accepting, kept) = (JoinSet::new(), Arc::clone(&seen));
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(target).await.unwrap();
                let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
                connections.spawn(pass(near_read, far_write, Arc::clone(&kept)));
                connections.spawn(pass(far_read, near_write, Arc::clone(&kept)));
            }
        });
        Self { address, seen, _accepting: accepting }
    }

    fn has(&self, part: &str) -> bool {
        self.seen.lock().unwrap().windows(part.len()).any(|window| window == part.as_bytes())
    }

    fn bytes(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

async fn pass(mut from: impl tokio::io::AsyncRead + Unpin, mut to: impl tokio::io::AsyncWrite + Unpin, seen: Arc<Mutex<Vec<u8>>>) {
    let mut bytes = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        seen.lock().unwrap().extend_from_slice(&bytes[..count]);
        if to.write_all(&bytes[..count]).await.is_err() {
            break;
        }
    }
}

/// Makes a user and has a chat, and answers what must not be seen.
async fn use_all(auth: &str, inference: &str, ca: Option<&Path>) -> Vec<String> {
    let NewUser { token, key } = new_user(auth, ca, "ada").await;
    let builder = Client::builder().auth_url(auth).inference_url(inference).credential(&key);
    let client = ca.map_or(builder.clone(), |ca| builder.ca_file(ca)).build().unwrap();
    let answer = client.chat(request(PROMPT)).await.unwrap().complete().await.unwrap();
    assert_eq!(answer.content, ANSWER);
    [PASSWORD, &token, &key, PROMPT, ANSWER].map(str::to_owned).to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_token_key_prompt_or_answer_crosses_a_network_readable_and_in_plaintext_all_would() {
    let (_, credential) = Secret::generate().unwrap();
    let pair = TlsPair::with(&[("TOLLGATE_SERVICE_CREDENTIALS", credential.as_str())], &[]).await;
    pair.upstream.script("/api/chat", Script::chat(&[ANSWER]));
    // Over TLS, between a client and both services, and between the two.
    let between = Recorder::to(pair.auth.address()).await;
    let mut environment = crate::stage::tls_environment(pair.folder.path());
    let file = |name: &str| crate::stage::text(&pair.file(name));
    crate::stage::set(
        &mut environment,
        &[
            ("TOLLGATE_DATA_DIR", &file("data-of-second")),
            ("TOLLGATE_ENGINE", "ollama"),
            ("OLLAMA_HOST", &pair.upstream.url()),
            ("TOLLGATE_AUTH_URL", &https(between.address)),
            ("TOLLGATE_AUTH_CA", &file("ca.pem")),
            ("TOLLGATE_SERVICE_CREDENTIAL", &credential),
        ],
    );
    let inference = integration::processes::ServiceProcess::start("inference-service", &environment);
    let (to_auth, to_inference) = (Recorder::to(pair.auth.address()).await, Recorder::to(inference.address()).await);
    let (auth, of_inference) = (https(to_auth.address), https(to_inference.address));
    let mut secrets = use_all(&auth, &of_inference, Some(&pair.file("ca.pem"))).await;
    secrets.push(credential);
    for recorder in [&between, &to_auth, &to_inference] {
        assert!(recorder.bytes() > 1_000, "{}", recorder.bytes());
        for secret in &secrets {
            assert!(!recorder.has(secret), "{secret} was readable");
        }
    }
    // The same in plaintext, where the recorder sees it.
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::chat(&[ANSWER]));
    let plain = ProcessPair::start(&upstream.url(), &[]);
    let (to_auth, to_inference) = (Recorder::to(plain.auth.address()).await, Recorder::to(plain.inference.address()).await);
    let made = use_all(&format!("http://{}", to_auth.address), &format!("http://{}", to_inference.address), None).await;
    assert!(
        to_auth.has(PASSWORD) && to_auth.has(&made[1]) && to_auth.has(&made[2]) && to_inference.has(PROMPT) && to_inference.has(ANSWER)
    );
}

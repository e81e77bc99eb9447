//! What both services serve with, in front of doors of the tests' own.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use futures_util::stream;
use http::{HeaderMap, Method, Response, StatusCode};
use serde::{Deserialize, Serialize};
use shared::ErrorReason;
use shared::admission::{Confirm, MethodPolicies, MethodPolicy};
use shared::authorization::CallerKind;
use shared::caller_address::{CallerAddress, TrustedProxies};
use shared::credential_form::{API_KEY_PREFIX, bearer, checksum};
use shared::doors::{Door, DoorRequest, Refusal, Route, json};
use shared::error::CallError;
use shared::key_in_path::KeyInPath;
use shared::serving::{ConnectionLimits, CorsOrigins, Health, ServeConfig, Served, SlotLimits, serve};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::service::RoutesBuilder;

pub(crate) const MIB: usize = 1 << 20;

/// A key whose form and checksum are right.
pub(crate) fn key(letters: &str) -> String {
    let body = format!("{API_KEY_PREFIX}{}", letters.repeat(10));
    format!("{body}{}", std::str::from_utf8(&checksum(&body)).unwrap())
}

/// The one key in force.
pub(crate) fn good_key() -> String {
    key("a1B2")
}

/// What the handlers tell the test.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// A handler that never answers has begun.
    Begun,
    /// It, or the stream of one, was dropped.
    Dropped,
}

/// Tells it.
struct TellDropped(mpsc::UnboundedSender<Told>);

impl Drop for TellDropped {
    fn drop(&mut self) {
        // The test may be over.
        let _ = self.0.send(Told::Dropped);
    }
}

/// What a test changes.
pub(crate) struct Plan {
    pub(crate) proxies: &'static str,
    pub(crate) cors: &'static str,
    pub(crate) idle: Duration,
    pub(crate) age: Duration,
    pub(crate) drain: Duration,
    pub(crate) per_network: usize,
}

impl Default for Plan {
    fn default() -> Self {
        let hour = Duration::from_secs(3600);
        Self { proxies: "192.0.2.1", cors: "", idle: hour, age: hour, drain: Duration::from_secs(20), per_network: 1000 }
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) told: mpsc::UnboundedReceiver<Told>,
    /// How often a caller was confirmed.
    pub(crate) confirmed: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    pub(crate) task: JoinHandle<()>,
}

/// Knows the one key in force.
struct OneKey(Arc<AtomicUsize>);

impl Confirm for OneKey {
    fn confirm(
        &self,
        path: &str,
        headers: HeaderMap,
        _: Option<CallerAddress>,
    ) -> Pin<Box<dyn Future<Output = Result<(), CallError>> + Send>> {
        assert!(path.starts_with('/'));
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(authenticate(&headers)))
    }
}

fn authenticate(headers: &HeaderMap) -> Result<(), CallError> {
    if bearer(headers) == Ok(&good_key()) {
        return Ok(());
    }
    Err(CallError::new(Code::Unauthenticated, ErrorReason::CredentialInvalid, "nobody has this key"))
}

#[derive(Debug, Deserialize)]
struct Echo {
    text: String,
}

#[derive(Debug, Serialize)]
struct Echoed {
    bytes: usize,
    address: String,
}

const USER: MethodPolicy = MethodPolicy { caller: CallerKind::EndUser, most_bytes: 32 * MIB, is_recorded: false };
const ANYBODY: MethodPolicy = MethodPolicy { caller: CallerKind::Anybody, most_bytes: 16 << 10, is_recorded: false };

async fn echo(mut request: DoorRequest) -> Result<Response<Body>, Refusal> {
    let echo: Echo = request.json().await?;
    let address = CallerAddress::of(request.extensions()).map(|address| address.ip.to_string()).unwrap_or_default();
    Ok(json(&Echoed { bytes: echo.text.len(), address }))
}

async fn authenticated_echo(request: DoorRequest) -> Result<Response<Body>, Refusal> {
    authenticate(request.headers())?;
    echo(request).await
}

fn door(told: mpsc::UnboundedSender<Told>) -> Door {
    let (silent, streaming) = (told.clone(), told);
    let never = move |request: DoorRequest| {
        let told = silent.clone();
        async move {
            authenticate(request.headers())?;
            let _dropped = TellDropped(told.clone());
            told.send(Told::Begun).expect("the test waits");
            std::future::pending::<()>().await;
            Ok(json(&()))
        }
    };
    let endless = move |request: DoorRequest| {
        let told = streaming.clone();
        async move {
            authenticate(request.headers())?;
            let dropped = TellDropped(told.clone());
            told.send(Told::Begun).expect("the test waits");
            let mut pieces = 0;
            let body = stream::poll_fn(move |_| {
                let _held = &dropped;
                pieces += 1;
                if pieces == 1 { std::task::Poll::Ready(Some(Ok::<_, std::io::Error>("one"))) } else { std::task::Poll::Pending }
            });
            Ok(Response::new(Body::from_stream(body)))
        }
    };
    let named = |request: DoorRequest| async move { Ok(Response::new(Body::from(request.path_param("name").to_owned()))) };
    let form = |mut request: DoorRequest| async move {
        let echo: Echo = request.form().await?;
        Ok(Response::new(Body::from(echo.text)))
    };
    Door {
        name: "Test",
        refusal: |refusal| json(&serde_json::json!({ "code": refusal.code(), "message": refusal.message })),
        routes: vec![
            Route::new(Method::POST, "/echo", USER, "Says how long a text is.", authenticated_echo),
            Route::new(Method::POST, "/open", ANYBODY, "The same for anybody.", echo),
            Route::new(Method::POST, "/never", USER, "Never answers.", never),
            Route::new(Method::GET, "/endless", USER, "Never ends.", endless),
            Route::new(Method::GET, "/item/{name}", ANYBODY, "Says a name.", named),
            Route::new(Method::POST, "/form", ANYBODY, "Says what is in a form.", form),
        ],
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::planned(Plan::default()).await
    }

    pub(crate) async fn planned(plan: Plan) -> Self {
        let (sender, told) = mpsc::unbounded_channel();
        let confirmed = Arc::new(AtomicUsize::new(0));
        let policies = MethodPolicies::new(&[], |_, _| ANYBODY).with_confirmation(Arc::new(OneKey(Arc::clone(&confirmed))));
        let served = Served {
            name: "The test's server",
            routes: RoutesBuilder::default(),
            policies,
            doors: vec![door(sender)],
            site: None,
            health: Health::new(&[]).await,
        };
        let config = ServeConfig {
            reflection: false,
            drain_deadline: plan.drain,
            max_concurrent_streams: 1000,
            keys_in_paths: KeyInPath::Refused,
            connections: ConnectionLimits {
                slots: SlotLimits { total: 10_000, per_network: plan.per_network },
                trusted_proxies: TrustedProxies::parse(plan.proxies).unwrap(),
                idle: plan.idle,
                age: plan.age,
            },
            cors: if plan.cors.is_empty() { CorsOrigins::default() } else { CorsOrigins::parse(plan.cors).unwrap() },
            tls: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move {
            let _ = stopped.await;
        };
        let task = tokio::spawn(async move { serve(listener, served, config, CancellationToken::new(), shutdown).await.unwrap() });
        Self { address, told, confirmed, stop: Some(stop), task }
    }

    /// Begins its end.
    pub(crate) fn drain(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }
}

/// A JSON body with a text of so many bytes.
pub(crate) fn text_of(bytes: usize) -> Vec<u8> {
    format!("{{\"text\":\"{}\"}}", "x".repeat(bytes)).into_bytes()
}

/// Status and reason of a refusal.
pub(crate) fn refusal(response: &integration::hostile_http1::Response) -> (StatusCode, String) {
    (response.status, response.json()["code"].as_str().unwrap_or_default().to_owned())
}

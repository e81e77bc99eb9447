//! What every call carries beside its message: a request id for the logs of both services, and a deadline that is well-formed.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::ErrorReason;
use crate::error::CallError;
use crate::key_in_path;
pub use crate::request_id::REQUEST_ID_HEADER;
use crate::request_id::is_request_id;

const REQUEST_ID: HeaderName = HeaderName::from_static(REQUEST_ID_HEADER);
/// In which gRPC says how long the caller waits.
pub(crate) const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Hexadecimal digits of 256 bits.
const SERVICE_CREDENTIAL_DIGITS: usize = 64;

/// The answer must be there before the caller's own timer fires.
const DEADLINE_MARGIN: Duration = Duration::from_millis(2);

/// A call's deadline, in the extensions of each request that has one. The layer enforces it until the response's head. Within a stream, the
/// service enforces it.
#[derive(Debug, Clone, Copy)]
pub struct CallDeadline(pub Instant);

/// In the extensions of a request in which something is wrong that was found before admission: its deadline, or how its protocol tells the
/// call. It is to be refused with this.
#[derive(Debug, Clone)]
pub(crate) struct EarlyRefusal(pub(crate) CallError);

/// DEADLINE_EXCEEDED, for a call whose caller's deadline passed.
pub fn deadline_passed() -> CallError {
    CallError::new(Code::DeadlineExceeded, ErrorReason::DeadlineExceeded, "the call's deadline passed before the answer's end")
}

/// The call that the current task works on, for the lines that it logs. It is cheaper than a span of `tracing`, which is formatted for
/// every call whether or not the call logs a line.
#[derive(Debug, Clone)]
pub struct CurrentCall(Option<Arc<Call>>);

#[derive(Debug)]
struct Call {
    request_id: HeaderValue,
    method: Option<PathAndQuery>,
    arrived: Instant,
    deadline: Option<Instant>,
    is_claimed: AtomicBool,
}

tokio::task_local! {
    static CURRENT: CurrentCall;
}

impl CurrentCall {
    /// The call that this task works on, if any.
    #[must_use]
    pub fn get() -> Self {
        CURRENT.try_with(Self::clone).unwrap_or(Self(None))
    }

    /// The id in its header, which its caller gave it or which was made for it. It is not the id that a charge has in the ledger.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.as_ref().and_then(|call| call.request_id.to_str().ok())
    }

    /// Its method, such as `/tollgate.auth.v1.Auth/Check`; never a path with a key in it.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        self.0.as_ref().and_then(|call| call.method.as_ref()).map(|method| key_in_path::shown(method.path()))
    }

    /// No call.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// How long ago it arrived; `None` outside of a call.
    #[must_use]
    pub fn elapsed(&self) -> Option<Duration> {
        self.0.as_ref().map(|call| call.arrived.elapsed())
    }

    /// Whether its caller's deadline has passed.
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.0.as_ref().and_then(|call| call.deadline).is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Claims the one line that says how the call ended. False when it was claimed before.
    pub(crate) fn claim(&self) -> bool {
        self.0.as_ref().is_none_or(|call| !call.is_claimed.swap(true, Ordering::Relaxed))
    }

    /// A call that never was, for what describes the answers to calls.
    pub(crate) fn example() -> Self {
        Self::new(HeaderValue::from_static("9229a19e1a260c240000000000000001"), None, None)
    }

    /// A call with this id and method.
    #[cfg(test)]
    pub(crate) fn of(request_id: &'static str, method: &'static str) -> Self {
        Self::new(HeaderValue::from_static(request_id), Some(PathAndQuery::from_static(method)), None)
    }

    fn new(request_id: HeaderValue, method: Option<PathAndQuery>, deadline: Option<Instant>) -> Self {
        Self(Some(Arc::new(Call { request_id, method, arrived: Instant::now(), deadline, is_claimed: AtomicBool::new(false) })))
    }

    /// Works for this call: in a task of its own, say, which outlives it.
    pub fn scope<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }

    /// The same, for what doesn't wait.
    pub fn enter<T>(self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, work)
    }
}

impl fmt::Display for CurrentCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call{{x_request_id={} method={}}}", self.request_id().unwrap_or_default(), self.method().unwrap_or_default())
    }
}

/// Gives each call a request id, a place in the log and its deadline. Admission refuses a malformed `grpc-timeout`.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestContextLayer;

impl<S> Layer<S> for RequestContextLayer {
    type Service = RequestContext<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequestContext { inner }
    }
}

/// The service that [`RequestContextLayer`] makes.
#[derive(Debug, Clone)]
pub struct RequestContext<S> {
    inner: S,
}

impl<S> Service<Request<Body>> for RequestContext<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Send,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let id = request_id(request.headers());
        request.headers_mut().insert(REQUEST_ID, id.clone());
        let deadline = deadline(request.headers());
        // A deadline beyond what the clock can tell is none.
        let deadline = deadline.map(|patience| patience.and_then(|left| Instant::now().checked_add(left.saturating_sub(DEADLINE_MARGIN))));
        if let Ok(Some(at)) = deadline {
            request.extensions_mut().insert(CallDeadline(at));
        }
        let deadline = deadline.unwrap_or_else(|malformed| {
            request.extensions_mut().insert(EarlyRefusal(malformed));
            None
        });
        let call = CurrentCall::new(id.clone(), request.uri().path_and_query().cloned(), deadline);
        let answer = call.clone().enter(|| self.inner.call(request));
        Box::pin(call.scope(async move {
            let mut response = match deadline {
                None => answer.await?,
                Some(at) => match tokio::time::timeout_at(at, answer).await {
                    Ok(answer) => answer?,
                    Err(_) => Status::from(deadline_passed()).into_http(),
                },
            };
            tracing::debug!(grpc_status = ?response.headers().get("grpc-status"), "answered");
            response.headers_mut().insert(REQUEST_ID, id);
            Ok(response)
        }))
    }
}

/// The caller's request id when it sent a usable one, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    // What could be a service credential is never logged. The id of a charge may be 64 digits: it is then a SHA-256.
    let is_secret = |id: &str| id.len() == SERVICE_CREDENTIAL_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let usable = |value: &&HeaderValue| value.to_str().is_ok_and(|id| is_request_id(id) && !is_secret(id));
    let mut id = headers.get(REQUEST_ID).filter(usable).cloned().unwrap_or_else(new_request_id);
    // No secret, but different each time: as such it is kept out of the tables in which both ends of a connection remember headers.
    id.set_sensitive(true);
    id
}

/// Draws a request id: a random part of this process's and a count. Nothing has to be unpredictable about it.
fn new_request_id() -> HeaderValue {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| uuid::Uuid::now_v7().as_u64_pair().1);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let id = format!("{:016x}{:016x}", *PROCESS, COUNT.fetch_add(1, Ordering::Relaxed));
    HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("none"))
}

/// How long the caller waits, from its `grpc-timeout`; `None` when it set no deadline.
pub fn deadline(headers: &HeaderMap) -> Result<Option<Duration>, CallError> {
    let Some(value) = headers.get(TIMEOUT) else { return Ok(None) };
    let refuse =
        || CallError::new(Code::InvalidArgument, ErrorReason::InvalidArgument, "grpc-timeout must be 1 to 8 digits and one of H M S m u n");
    let text = value.to_str().map_err(|_| refuse())?;
    let unit = text.chars().last().ok_or_else(refuse)?;
    let digits = &text[..text.len() - unit.len_utf8()];
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refuse());
    }
    let number: u64 = digits.parse().map_err(|_| refuse())?;
    match unit {
        'H' => Ok(Some(Duration::from_secs(number * 3600))),
        'M' => Ok(Some(Duration::from_secs(number * 60))),
        'S' => Ok(Some(Duration::from_secs(number))),
        'm' => Ok(Some(Duration::from_millis(number))),
        'u' => Ok(Some(Duration::from_micros(number))),
        'n' => Ok(Some(Duration::from_nanos(number))),
        _ => Err(refuse()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeout(value: &'static str) -> Result<Option<Duration>, CallError> {
        deadline(&HeaderMap::from_iter([(http::HeaderName::from_static("grpc-timeout"), HeaderValue::from_static(value))]))
    }

    #[test]
    fn a_malformed_deadline_is_refused() {
        for wrong in ["", "S", "5", "123456789S", "-1S", "1s", "1.5S", "5 S"] {
            assert_eq!(timeout(wrong).unwrap_err().code(), Code::InvalidArgument, "{wrong}");
        }
        assert_eq!(timeout("1500m").unwrap(), Some(Duration::from_millis(1500)));
        assert_eq!(timeout("99999999H").unwrap(), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(deadline(&HeaderMap::new()).unwrap(), None);
    }

    /// A service that never answers.
    struct Never;

    impl Service<Request<Body>> for Never {
        type Response = Response<Body>;
        type Error = std::convert::Infallible;
        type Future = std::future::Pending<Result<Response<Body>, Self::Error>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<Body>) -> Self::Future {
            assert!(request.extensions().get::<CallDeadline>().is_some());
            std::future::pending()
        }
    }

    #[tokio::test]
    async fn a_deadline_is_answered_with_a_reason_when_the_service_is_silent() {
        let request = Request::builder().header("grpc-timeout", "20m").body(Body::empty()).unwrap();
        let response = RequestContextLayer.layer(Never).call(request).await.unwrap();
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert_eq!(crate::error::reason_of(&status), Some(ErrorReason::DeadlineExceeded));
        assert!(response.headers().contains_key(REQUEST_ID_HEADER));
    }

    #[test]
    fn an_unusable_request_id_is_replaced() {
        let header = |value: &[u8]| {
            HeaderMap::from_iter([(http::HeaderName::from_static(REQUEST_ID_HEADER), HeaderValue::from_bytes(value).unwrap())])
        };
        assert_eq!(request_id(&header(b"abc-1")), "abc-1");
        let key = "tg_7OCys7tIUO5queKLG2LOz3GnS9Ka8GMt0eI1YMSh4CyMMR";
        for unusable in [&b""[..], b"a b", &[b'x'; 129], &[b'a'; 64], key.as_bytes()] {
            assert_ne!(request_id(&header(unusable)).as_bytes(), unusable);
        }
        assert_ne!(new_request_id(), new_request_id());
    }
}

//! What every call goes through before its method: its metadata is judged before its message is read, and its message is read within
//! bounds.
//!
//! Errors that the framework makes (an unknown method, say) get a reason here, so that every error of ours has one.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::Service;

use crate::ErrorReason;
use crate::asked_host::AskedHost;
use crate::authorization::{CallerKind, ServiceCaller, judge_end_user, judge_service};
use crate::call_record::UnclaimedCall;
use crate::caller_address::{CallerAddress, TrustedProxies, network};
use crate::connection_slots::ConnectionState;
use crate::credential_form::{self, ACCOUNT_HEADER};
use crate::doors::{MessageForm, PlainBody};
use crate::error::{CallError, reason_of};
use crate::holding_body::HoldingBody;
use crate::key_in_path;
use crate::message_guard::{BodyRules, Budgets, Confirmation, GuardedBody, server_busy};
use crate::proto;
use crate::request_context::EarlyRefusal;
use crate::request_id::REQUEST_ID_HEADER;
use crate::secret::Secret;

/// How long a call may wait for its permit on a connection that has not proved itself.
const CALL_PERMIT_TIMEOUT: Duration = Duration::from_secs(10);
/// What a call costs of the budget whose connection has not proved itself: as much as its headers may take.
const UNPROVED_CALL_BYTES: usize = 16 << 10;
/// The longest message of reflection and health.
const MAX_OPEN_MESSAGE_BYTES: usize = 16 << 10;

const HEALTH: &str = "/grpc.health.v1.Health/";
const REFLECTION: [&str; 2] =
    ["/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"];
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const ACCOUNT: HeaderName = HeaderName::from_static(ACCOUNT_HEADER);
const REQUEST_ID: HeaderName = HeaderName::from_static(REQUEST_ID_HEADER);

/// What a method requires of a call.
#[derive(Debug, Clone, Copy)]
pub struct MethodPolicy {
    /// Who may call.
    pub caller: CallerKind,
    /// The longest message, in bytes.
    pub most_bytes: usize,
    /// Whether each call leaves a [`CallRecord`](crate::call_record::CallRecord), also one that is refused before its method. Its method
    /// begins one.
    pub is_recorded: bool,
}

/// Asks whether a caller's credential is in force, before much is read from the caller.
pub trait Confirm: Send + Sync + 'static {
    /// `path` is the method's, such as `/tollgate.inference.v1.Inference/Chat`; `headers` has the credential, the account and the request
    /// id; `address` is where the call comes from.
    fn confirm(&self, path: &str, headers: HeaderMap, address: Option<CallerAddress>) -> Confirmation;
}

/// The methods of a process, and what each requires of a call.
#[derive(Clone)]
pub struct MethodPolicies {
    methods: Arc<HashMap<String, Method>>,
    service_credentials: Arc<[Secret]>,
    confirm: Option<Arc<dyn Confirm>>,
}

impl fmt::Debug for MethodPolicies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MethodPolicies").field("methods", &self.methods.len()).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Method {
    pub(crate) policy: MethodPolicy,
    pub(crate) takes_many: bool,
    pub(crate) gives_many: bool,
}

impl MethodPolicies {
    /// The policies of these services' methods. `policy` is given the names of a service and a method. Until a confirmation is set, nobody
    /// may send more than [`crate::message_guard::MAX_UNCONFIRMED_BYTES`]; until credentials are, no service may call.
    #[must_use]
    pub fn new(services: &[&str], policy: impl Fn(&str, &str) -> MethodPolicy) -> Self {
        let descriptors = FileDescriptorSet::decode(proto::CONTRACT_DESCRIPTOR_SET).unwrap_or_default();
        let mut methods = HashMap::new();
        for file in &descriptors.file {
            for service in &file.service {
                let name = format!("{}.{}", file.package(), service.name());
                for method in service.method.iter().filter(|_| services.contains(&name.as_str())) {
                    let (takes_many, gives_many) = (method.client_streaming(), method.server_streaming());
                    let policy = policy(&name, method.name());
                    methods.insert(format!("/{name}/{}", method.name()), Method { policy, takes_many, gives_many });
                }
            }
        }
        let open = MethodPolicy { caller: CallerKind::Anybody, most_bytes: MAX_OPEN_MESSAGE_BYTES, is_recorded: false };
        for (method, gives_many) in [("Check", false), ("Watch", true)] {
            methods.insert(format!("{HEALTH}{method}"), Method { policy: open, takes_many: false, gives_many });
        }
        for path in REFLECTION {
            methods.insert(path.to_owned(), Method { policy: open, takes_many: true, gives_many: true });
        }
        Self { methods: Arc::new(methods), service_credentials: Arc::new([]), confirm: None }
    }

    /// Who shows one of these credentials may call as a service.
    #[must_use]
    pub fn with_service_credentials(self, credentials: Vec<Secret>) -> Self {
        Self { service_credentials: credentials.into(), ..self }
    }

    /// Who is confirmed may send more.
    #[must_use]
    pub fn with_confirmation(self, confirm: Arc<dyn Confirm>) -> Self {
        Self { confirm: Some(confirm), ..self }
    }
}

/// Lets calls in. Clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    rules: Arc<Rules>,
    inner: Routes,
}

/// What calls are judged by.
#[derive(Debug)]
pub(crate) struct Rules {
    policies: MethodPolicies,
    proxies: TrustedProxies,
    budgets: Arc<Budgets>,
}

/// Lets the calls of one connection in.
#[derive(Debug, Clone)]
pub(crate) struct AdmissionService {
    admission: Admission,
    connection: Arc<ConnectionState>,
}

/// The answer to a request.
pub(crate) type BoxedAnswer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// A permit to run on a connection that has not proved itself, and what it costs of the budget.
pub(crate) type CallPermit = (tokio::sync::OwnedSemaphorePermit, crate::receive_budget::BudgetPermit);

impl Admission {
    pub(crate) fn new(rules: Arc<Rules>, inner: Routes) -> Self {
        Self { rules, inner }
    }

    /// The service of one connection.
    pub(crate) fn service(&self, connection: Arc<ConnectionState>) -> AdmissionService {
        AdmissionService { admission: self.clone(), connection }
    }
}

impl Rules {
    pub(crate) fn new(policies: MethodPolicies, proxies: TrustedProxies) -> Self {
        Self { policies, proxies, budgets: Arc::default() }
    }

    /// The method of this path.
    pub(crate) fn method(&self, path: &str) -> Result<Method, CallError> {
        self.policies.methods.get(path).copied().ok_or_else(|| method_unknown(path))
    }

    /// Judges a call by its metadata, and bounds its body.
    fn judge(&self, method: Method, request: &mut Request<Body>, connection: &Arc<ConnectionState>) -> Result<(), CallError> {
        if let Some(EarlyRefusal(refused)) = request.extensions_mut().remove() {
            return Err(refused);
        }
        let form: Option<MessageForm> = request.extensions_mut().remove();
        if form.is_some() && method.policy.caller == CallerKind::EndUser {
            credential_form::join_api_key(request.headers_mut())?;
        }
        if let Some(service) = self.judge_caller(method.policy.caller, request.headers(), connection)? {
            request.extensions_mut().insert(service);
        }
        let gzip = is_gzip(request.headers())?;
        let address = self.proxies.caller(connection.address, request.headers());
        request.extensions_mut().insert(address);
        if let Some(asked) = asked_host(method.policy, request.uri(), request.headers()) {
            request.extensions_mut().insert(asked);
        }
        if !method.takes_many {
            request.headers_mut().remove(ENCODING);
        }
        if method.gives_many && !gzip {
            // Pieces of an answer are a few bytes each, which gzip makes longer: it is for those who compress themselves.
            request.headers_mut().remove(ACCEPT_ENCODING);
        }
        let caller = self.unconfirmed(method.policy.caller, request.uri(), request.headers(), connection);
        let rules = BodyRules {
            most_bytes: method.policy.most_bytes,
            many_messages: method.takes_many,
            gzip,
            network: network(address.ip),
            budgets: Arc::clone(&self.budgets),
            caller,
        };
        let body = std::mem::take(request.body_mut());
        *request.body_mut() = match form {
            Some(form) => form.body(body, rules),
            None => Body::new(GuardedBody::new(body, rules)),
        };
        Ok(())
    }

    /// Judges a call by its credential. A service's good one proves the connection.
    fn judge_caller(
        &self,
        caller: CallerKind,
        headers: &HeaderMap,
        connection: &ConnectionState,
    ) -> Result<Option<ServiceCaller>, CallError> {
        match caller {
            CallerKind::Anybody | CallerKind::ServiceOrOperator => Ok(None),
            CallerKind::EndUser => judge_end_user(headers).map(|()| None),
            CallerKind::Service => {
                let service = judge_service(headers, &self.policies.service_credentials, connection.certificate())?;
                connection.prove();
                Ok(Some(service))
            }
        }
    }

    /// How to confirm a caller; `None` where nobody is confirmed.
    fn unconfirmed(&self, caller: CallerKind, uri: &Uri, headers: &HeaderMap, connection: &Arc<ConnectionState>) -> Option<Unconfirmed> {
        let confirm = self.policies.confirm.clone().filter(|_| caller != CallerKind::Anybody);
        confirm.map(|confirm| Unconfirmed {
            confirm,
            uri: uri.clone(),
            headers: [AUTHORIZATION, ACCOUNT, REQUEST_ID].map(|name| (headers.get(&name).cloned(), name)),
            address: Some(self.proxies.caller(connection.address, headers)),
            connection: Some(Arc::clone(connection)),
        })
    }

    /// The same for a plain HTTP request: judges it by its metadata, waits for its permit, and bounds its body.
    pub(crate) async fn admit_plain(
        &self,
        policy: MethodPolicy,
        parts: &mut http::request::Parts,
        body: axum::body::Body,
        connection: &Arc<ConnectionState>,
    ) -> Result<(PlainBody, Option<CallPermit>), CallError> {
        if let Some(EarlyRefusal(refused)) = parts.extensions.remove() {
            return Err(refused);
        }
        if policy.caller == CallerKind::EndUser {
            credential_form::join_api_key(&mut parts.headers)?;
        }
        if let Some(service) = self.judge_caller(policy.caller, &parts.headers, connection)? {
            parts.extensions.insert(service);
        }
        let gzip = is_gzip_body(&parts.headers)?;
        let address = self.proxies.caller(connection.address, &parts.headers);
        parts.extensions.insert(address);
        if let Some(asked) = asked_host(policy, &parts.uri, &parts.headers) {
            parts.extensions.insert(asked);
        }
        let held = call_permit(connection, parts.uri.path(), &self.budgets).await?;
        let caller = self.unconfirmed(policy.caller, &parts.uri, &parts.headers, connection);
        let (network, budgets) = (network(address.ip), Arc::clone(&self.budgets));
        Ok((PlainBody { inner: body, most_bytes: policy.most_bytes, gzip, network, budgets, caller }, held))
    }
}

/// Which host a call was sent to, where anybody may make it: of all others, nobody asks.
fn asked_host(policy: MethodPolicy, uri: &Uri, headers: &HeaderMap) -> Option<AskedHost> {
    if policy.caller == CallerKind::Anybody { AskedHost::read(uri, headers) } else { None }
}

/// A caller who is not confirmed, and how to find out. Cheap to make: nearly nobody sends so much that it is asked.
pub(crate) struct Unconfirmed {
    confirm: Arc<dyn Confirm>,
    uri: Uri,
    headers: [(Option<HeaderValue>, HeaderName); 3],
    address: Option<CallerAddress>,
    connection: Option<Arc<ConnectionState>>,
}

impl Unconfirmed {
    /// A caller without headers or connection.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn of(confirm: Arc<dyn Confirm>) -> Self {
        let headers = [AUTHORIZATION, ACCOUNT, REQUEST_ID].map(|name| (None, name));
        Self { confirm, uri: Uri::from_static("/p.S/M"), headers, address: None, connection: None }
    }

    /// Asks. A yes also proves the connection.
    pub(crate) fn ask(self) -> Confirmation {
        let Self { confirm, uri, headers, address, connection } = self;
        Box::pin(async move {
            let headers = headers.into_iter().filter_map(|(value, name)| value.map(|value| (name, value))).collect();
            confirm.confirm(uri.path(), headers, address).await?;
            connection.inspect(|connection| connection.prove());
            Ok(())
        })
    }
}

/// A permit to run on a connection that has not proved itself, and what it costs of the budget. `None`: nothing to wait for.
async fn call_permit(connection: &ConnectionState, path: &str, budgets: &Budgets) -> Result<Option<CallPermit>, CallError> {
    // The health check of this host gets in whatever others do.
    if connection.is_proved() || (connection.address.is_local() && path.starts_with(HEALTH)) {
        return Ok(None);
    }
    let taken = budgets.unconfirmed.try_take(network(connection.address.ip), UNPROVED_CALL_BYTES).ok_or_else(server_busy)?;
    match tokio::time::timeout(CALL_PERMIT_TIMEOUT, Arc::clone(&connection.call_permits).acquire_owned()).await {
        Ok(Ok(permit)) => Ok(Some((permit, taken))),
        _ => Err(server_busy()),
    }
}

impl Service<Request<Body>> for AdmissionService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxedAnswer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.admission.inner, cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> BoxedAnswer {
        let refuse = |refused: CallError| -> BoxedAnswer { Box::pin(std::future::ready(Ok(Status::from(refused).into_http()))) };
        let method = match self.admission.rules.method(request.uri().path()) {
            Ok(method) => method,
            Err(unknown) => return refuse(unknown),
        };
        let unclaimed = method.policy.is_recorded.then(UnclaimedCall::begin);
        if let Err(refused) = self.admission.rules.judge(method, &mut request, &self.connection) {
            if let Some(unclaimed) = unclaimed {
                unclaimed.refused(refused.reason());
            }
            return refuse(refused);
        }
        let Self { admission: Admission { rules, mut inner }, connection } = self.clone();
        Box::pin(async move {
            let held = match call_permit(&connection, request.uri().path(), &rules.budgets).await {
                Ok(held) => held,
                Err(refused) => {
                    if let Some(unclaimed) = unclaimed {
                        unclaimed.refused(refused.reason());
                    }
                    return Ok(Status::from(refused).into_http());
                }
            };
            let response = inner.call(request).await?;
            let is_error = response.headers().contains_key(STATUS);
            if !is_error && method.policy.caller != CallerKind::Anybody {
                connection.prove();
            }
            let mut response = if is_error { with_reason(response) } else { response };
            if let Some(unclaimed) = unclaimed {
                unclaimed.answered(|| Status::from_header_map(response.headers()));
            }
            if let Some(held) = held.filter(|_| method.gives_many) {
                // A stream keeps its permit until it ends.
                response = response.map(|body| Body::new(HoldingBody::new(body, held)));
            }
            Ok(response)
        })
    }
}

/// Whether the message is compressed by gzip; what is compressed otherwise is refused.
fn is_gzip(headers: &HeaderMap) -> Result<bool, CallError> {
    let mut encodings = headers.get_all(ENCODING).iter();
    match (encodings.next().map(HeaderValue::as_bytes), encodings.next()) {
        (None | Some(b"identity"), None) => Ok(false),
        (Some(b"gzip"), None) => Ok(true),
        _ => {
            let message = "the message is compressed in a way that this server can't read; send it as it is, or with grpc-encoding: gzip";
            Err(CallError::new(Code::Unimplemented, ErrorReason::CompressionUnknown, message))
        }
    }
}

/// Whether a plain request's body is compressed by gzip; what is compressed otherwise is refused.
fn is_gzip_body(headers: &HeaderMap) -> Result<bool, CallError> {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter().map(HeaderValue::as_bytes);
    let is = |encoding: &[u8], name: &str| encoding.eq_ignore_ascii_case(name.as_bytes());
    match (encodings.next(), encodings.next()) {
        (None, None) => Ok(false),
        (Some(one), None) if is(one, "identity") => Ok(false),
        (Some(one), None) if is(one, "gzip") => Ok(true),
        _ => {
            let message = "the body is compressed in a way that this server can't read; send it as it is, or with content-encoding: gzip";
            Err(CallError::new(Code::Unimplemented, ErrorReason::CompressionUnknown, message))
        }
    }
}

pub(crate) fn method_unknown(path: &str) -> CallError {
    let shown: String = key_in_path::shown(path).chars().filter(char::is_ascii_graphic).take(100).collect();
    let message = format!("there is no method {shown} here; reflection lists those that there are, and the other service has others");
    CallError::new(Code::Unimplemented, ErrorReason::MethodUnknown, message)
}

/// An error that the framework made, with the reason that it lacks.
fn with_reason(response: Response<Body>) -> Response<Body> {
    let Some(status) = Status::from_header_map(response.headers()).filter(|status| status.code() != Code::Ok) else { return response };
    if reason_of(&status).is_some() {
        return response;
    }
    let reason = match status.code() {
        Code::NotFound => ErrorReason::ServiceUnknown,
        Code::Unimplemented => ErrorReason::MethodUnknown,
        Code::ResourceExhausted | Code::OutOfRange => ErrorReason::MessageTooLarge,
        Code::InvalidArgument => ErrorReason::InvalidArgument,
        Code::Cancelled => ErrorReason::Cancelled,
        Code::DeadlineExceeded => ErrorReason::DeadlineExceeded,
        _ => ErrorReason::Internal,
    };
    let code = if status.code() == Code::OutOfRange { Code::ResourceExhausted } else { status.code() };
    Status::from(CallError::new(code, reason, status.message())).into_http()
}

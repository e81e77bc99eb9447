//! Where a request that is no gRPC goes: to gRPC-Web, to Connect, or to the route of a door. What no door has is told what there is.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::ready;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request};
use axum::response::Response;
use axum::routing::{MethodFilter, get, on};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use tower::{Layer, Service};
use tower_http::cors::CorsLayer;

use super::long_body::in_pieces;
use super::refusal::{Refusal, json, plain_form};
use super::request::DoorRequest;
use super::site::Site;
use super::{Door, RefusalForm, Route, connect, grpc_web};
use crate::ErrorReason;
use crate::admission::{AdmissionService, BoxedAnswer, Rules};
use crate::authorization::CallerKind;
use crate::call_record::UnclaimedCall;
use crate::connection_slots::ConnectionState;
use crate::error::CallError;
use crate::holding_body::HoldingBody;
use crate::key_in_path;
use crate::request_context::{RequestContext, RequestContextLayer, TIMEOUT};

/// What requests are routed by. Clones are one.
#[derive(Clone)]
pub(crate) struct Routing {
    pub(crate) rules: Arc<Rules>,
    doors: Router,
    /// What answers browsers of other origins, where that is allowed.
    cors: Option<CorsLayer>,
    /// The service's own pages, which no other origin's may use.
    site: Option<Site>,
}

/// A route with its door's form of a refusal.
struct Entrance {
    route: Route,
    form: RefusalForm,
}

/// By which connection a request came, in its extensions.
#[derive(Clone)]
struct Arrival {
    rules: Arc<Rules>,
    connection: Arc<ConnectionState>,
}

impl Routing {
    /// `service`: the process, as people call it.
    pub(crate) fn new(service: &str, doors: Vec<Door>, cors: Option<CorsLayer>, rules: Arc<Rules>) -> Self {
        let list: Arc<[String]> = doors.iter().flat_map(|door| &door.routes).map(|route| format!("{route:?}  {}", route.summary)).collect();
        let greeting: Arc<str> = greeting(service, &list).into();
        let mut router = Router::new();
        // A page may be there instead.
        if !doors.iter().flat_map(|door| &door.routes).any(|route| route.path == "/") {
            router = router.route("/", get(move || ready(greeting.to_string())));
        }
        for Door { refusal, routes, .. } in doors {
            router = router.merge(door_router(refusal, routes));
        }
        let router = router.fallback(move |request: Request| ready(path_unknown(&request, &list)));
        Self { rules, doors: router, cors, site: None }
    }

    /// The same, with pages of its own.
    pub(crate) fn with_site(self, site: Option<Site>) -> Self {
        Self { site, ..self }
    }
}

fn door_router(form: RefusalForm, routes: Vec<Route>) -> Router {
    let router = routes.into_iter().fold(Router::new(), |router, route| {
        let filter = MethodFilter::try_from(route.method.clone()).unwrap_or(MethodFilter::GET);
        let entrance = Arc::new(Entrance { route, form });
        let path = entrance.route.path;
        let handler = move |params: Result<RawPathParams, RawPathParamsRejection>, request: Request| {
            let entrance = Arc::clone(&entrance);
            async move { entrance.answer(params, request).await }
        };
        router.route(path, on(filter, handler))
    });
    router.method_not_allowed_fallback(move |request: Request| ready(method_not_allowed(&request).respond(form)))
}

impl Entrance {
    async fn answer(&self, params: Result<RawPathParams, RawPathParamsRejection>, mut request: Request) -> Response {
        let policy = self.route.policy;
        let unclaimed = policy.is_recorded.then(UnclaimedCall::begin);
        let answered = match (request.extensions_mut().remove::<Arrival>(), params) {
            (Some(arrival), Ok(params)) => self.enter(arrival, params, request).await,
            (_, Err(_)) => Err(CallError::invalid_argument("the path must be UTF-8").into()),
            (None, _) => Err(CallError::internal().into()),
        };
        match answered {
            Ok(response) => response,
            Err(refusal) => {
                if let Some(unclaimed) = unclaimed {
                    unclaimed.refused(refusal.reason);
                }
                refusal.respond(self.form)
            }
        }
    }

    async fn enter(&self, arrival: Arrival, params: RawPathParams, request: Request) -> Result<Response, Refusal> {
        let Arrival { rules, connection } = arrival;
        let (mut parts, body) = request.into_parts();
        let policy = self.route.policy;
        let (body, held) = rules.admit_plain(policy, &mut parts, body, &connection).await?;
        let response = (self.route.handler)(DoorRequest::new(parts, params, body)).await?;
        if policy.caller != CallerKind::Anybody {
            connection.prove();
        }
        let response = in_pieces(response);
        Ok(match held {
            // A stream keeps its permit until it ends.
            Some(held) => response.map(|body| axum::body::Body::new(HoldingBody::new(body, held))),
            None => response,
        })
    }
}

fn greeting(service: &str, list: &[String]) -> String {
    let mut text = format!("{service} is running. It answers gRPC, gRPC-Web and Connect at /package.Service/Method, and:\n");
    for line in list {
        // Writing to a string can't fail.
        let _ = writeln!(text, "{line}");
    }
    text
}

fn method_not_allowed(request: &Request) -> Refusal {
    let message = format!("{} is not answered with this method; the header allow has those that are", shown_path(request));
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, ErrorReason::MethodUnknown, message)
}

fn path_unknown(request: &Request, list: &[String]) -> Response {
    #[derive(Serialize)]
    struct Said<'a> {
        error: Error<'a>,
        doors: &'a [String],
    }
    #[derive(Serialize)]
    struct Error<'a> {
        code: &'a str,
        message: &'a str,
    }
    let message = format!("there is nothing at {}; `doors` lists what there is", shown_path(request));
    let refusal = Refusal::new(StatusCode::NOT_FOUND, ErrorReason::MethodUnknown, message);
    let mut response = json(&Said { error: Error { code: refusal.code(), message: &refusal.message }, doors: list });
    *response.status_mut() = refusal.status;
    response
}

/// So much of a path as a message has room for.
fn shown_path(request: &Request) -> String {
    key_in_path::shown(request.uri().path()).chars().filter(char::is_ascii_graphic).take(100).collect()
}

/// The requests of one connection that are no gRPC.
#[derive(Clone)]
pub(crate) struct HttpEntry {
    routing: Routing,
    connection: Arc<ConnectionState>,
    /// The same connection's gRPC.
    grpc: RequestContext<AdmissionService>,
}

impl HttpEntry {
    pub(crate) fn new(routing: Routing, connection: Arc<ConnectionState>, grpc: RequestContext<AdmissionService>) -> Self {
        Self { routing, connection, grpc }
    }

    fn dispatch(&self, mut request: http::Request<tonic::body::Body>) -> BoxedAnswer {
        if grpc_web::is_for(request.headers()) {
            return Box::pin(grpc_web::answer(self.grpc.clone(), request));
        }
        if connect::is_method_path(request.uri().path()) {
            return Box::pin(connect::answer(self.grpc.clone(), request));
        }
        // gRPC's header: a plain request has no deadline but its caller's patience, which ends with the connection.
        request.headers_mut().remove(TIMEOUT);
        RequestContextLayer.layer(Plain { routing: self.routing.clone(), connection: Arc::clone(&self.connection) }).call(request)
    }
}

/// Whether a request speaks gRPC, and not gRPC-Web.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    kind.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

impl Service<http::Request<tonic::body::Body>> for HttpEntry {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxedAnswer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> BoxedAnswer {
        if let Some(site) = self.routing.site.as_ref().filter(|site| site.has(request.uri().path())) {
            let headers = site.headers_for(request.uri(), request.headers());
            let answer = self.dispatch(request);
            return Box::pin(async move {
                let mut response = answer.await?;
                response.headers_mut().extend(headers);
                Ok(response)
            });
        }
        let Some(cors) = &self.routing.cors else { return self.dispatch(request) };
        let entry = self.clone();
        Box::pin(cors.layer(tower::service_fn(move |request| entry.dispatch(request))).call(request))
    }
}

/// Plain requests: the doors.
struct Plain {
    routing: Routing,
    connection: Arc<ConnectionState>,
}

impl Service<http::Request<tonic::body::Body>> for Plain {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxedAnswer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<tonic::body::Body>) -> BoxedAnswer {
        let arrival = Arrival { rules: Arc::clone(&self.routing.rules), connection: Arc::clone(&self.connection) };
        request.extensions_mut().insert(arrival);
        let answer = self.routing.doors.call(request.map(axum::body::Body::new));
        Box::pin(async move { Ok(answer.await?.map(tonic::body::Body::new)) })
    }
}

/// A refusal of a request that came to no door.
pub(crate) fn refuse_plainly(refusal: &Refusal) -> http::Response<tonic::body::Body> {
    refusal.respond(plain_form).map(tonic::body::Body::new)
}

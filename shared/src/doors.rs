//! HTTP beside gRPC, on the same port: doors for callers that have no stubs.
//!
//! A door speaks one protocol of others (OpenAI's, say) and has some routes. It turns what it is sent into the messages of the contract and
//! ends in the same methods as gRPC. What every call goes through before that is here: its credential is judged before its body is read,
//! its body is bounded, and every refusal has one reason.

pub(crate) mod connect;
mod entry;
pub(crate) mod grpc_web;
mod json;
pub mod json_scan;
mod long_body;
pub mod openapi;
mod plain_body;
pub mod published;
mod refusal;
mod request;
pub mod site;
mod unread_body;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};

pub(crate) use self::connect::MessageForm;
pub use self::connect::{connect_form, refusal_over_connect, refused_over_connect};
pub(crate) use self::entry::{HttpEntry, Routing, is_grpc, refuse_plainly};
pub(crate) use self::plain_body::PlainBody;
pub use self::refusal::{Refusal, http_status, insert_receipt, json};
pub use self::request::DoorRequest;
pub(crate) use self::unread_body::BodyEnd;
use crate::admission::MethodPolicy;

/// How many charged credits a call's answer says it took; on refusals too, when they had cost something.
pub const CHARGED_HEADER: &str = "x-tollgate-charged-credits";
/// How many credits the account has left, right after.
pub const REMAINING_HEADER: &str = "x-tollgate-remaining-credits";

/// Makes a refusal's body in a protocol's own form. Status and headers that all doors have are set by whoever calls it.
pub type RefusalForm = fn(&Refusal) -> Response<Body>;

/// A protocol that is answered over HTTP.
pub struct Door {
    /// For people, for example `OpenAI`.
    pub name: &'static str,
    /// Its form of a refusal.
    pub refusal: RefusalForm,
    /// What it answers.
    pub routes: Vec<Route>,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("name", &self.name).field("routes", &self.routes.len()).finish_non_exhaustive()
    }
}

/// What a handler answers.
pub type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Refusal>> + Send>>;
type Handler = Arc<dyn Fn(DoorRequest) -> Answer + Send + Sync>;
/// Adds a type's schema to a document's definitions, and answers a reference to it.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// A path and a method that are answered. Clones are one.
#[derive(Clone)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path as axum writes it: `/v1/models/{model}`.
    pub path: &'static str,
    /// What it requires of a call. A caller that is an end user has a credential of the right form when the handler begins; whether it is
    /// in force the handler finds out. An answer that is no refusal counts as the proof that it was.
    pub policy: MethodPolicy,
    /// One line for people.
    pub summary: &'static str,
    /// The schema of what it takes.
    pub taking: Option<SchemaOf>,
    /// The media type of what it takes.
    pub media_type: &'static str,
    /// The schema of what it gives.
    pub giving: Option<SchemaOf>,
    /// What it refuses otherwise than all doors do.
    pub refusing: Option<fn() -> Vec<Refusal>>,
    pub(crate) handler: Handler,
}

impl Route {
    /// A route. Its handler runs after the call's metadata was judged, and before a byte of its body was read. It is dropped when the
    /// caller goes away.
    pub fn new<H, F>(method: Method, path: &'static str, policy: MethodPolicy, summary: &'static str, handler: H) -> Self
    where
        H: Fn(DoorRequest) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response<Body>, Refusal>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |request| Box::pin(handler(request)));
        Self { method, path, policy, summary, taking: None, media_type: "application/json", giving: None, refusing: None, handler }
    }

    /// Takes bodies of this type.
    #[must_use]
    pub fn taking<T: JsonSchema>(self) -> Self {
        Self { taking: Some(SchemaGenerator::subschema_for::<T>), ..self }
    }

    /// Takes forms of this type.
    #[must_use]
    pub fn taking_form<T: JsonSchema>(self) -> Self {
        Self { media_type: "application/x-www-form-urlencoded", ..self.taking::<T>() }
    }

    /// Refuses by these in place of what all doors answer for the same reasons. They are for what describes the route.
    #[must_use]
    pub fn refusing(self, refusals: fn() -> Vec<Refusal>) -> Self {
        Self { refusing: Some(refusals), ..self }
    }

    /// Gives bodies of this type.
    #[must_use]
    pub fn giving<T: JsonSchema>(self) -> Self {
        Self { giving: Some(SchemaGenerator::subschema_for::<T>), ..self }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

//! What a service publishes of itself: the OpenAPI document of its doors, and the descriptors of all services. Both are made once, at the
//! start, and need no credential: they say nothing of anybody.

use std::sync::{Arc, OnceLock};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderValue};

use super::openapi::{Answerer, Doors, descriptor_set};
use super::{Door, DoorRequest, Refusal, Route};
use crate::admission::MethodPolicy;
use crate::authorization::CallerKind;
use crate::doors::refusal::plain_form;

/// Where the document is.
pub const OPENAPI_PATH: &str = "/openapi.json";
/// Where the descriptors are: a `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS_PATH: &str = "/descriptors.pb";

/// Adds the door that publishes these doors, itself included.
#[must_use]
pub fn with_published(mut doors: Vec<Door>, answerer: Answerer, services: &[&str], policy: fn(&str, &str) -> MethodPolicy) -> Vec<Door> {
    let document = Arc::new(OnceLock::new());
    doors.push(door(&document));
    let of = Doors { answerer, doors: &doors, services, policy };
    // Set this once: the door is new.
    let _ = document.set(written(of));
    doors
}

/// The document as it is answered. What it is made of takes several times its room, and goes with the thread that it was made on: the
/// memory of a thread that has ended is given back whole, and what a running one has freed is kept in pieces.
fn written(of: Doors<'_>) -> Bytes {
    let write = || Bytes::from(of.document().to_string());
    let made = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("openapi".to_owned()).spawn_scoped(scope, write);
        thread.ok().and_then(|thread| thread.join().ok())
    });
    made.unwrap_or_else(write)
}

fn door(document: &Arc<OnceLock<Bytes>>) -> Door {
    let policy = MethodPolicy { caller: CallerKind::Anybody, most_bytes: 0, is_recorded: false };
    let document = Arc::clone(document);
    let openapi = move |_: DoorRequest| {
        let document = document.get().cloned().unwrap_or_default();
        async { Ok::<_, Refusal>(file(document, "application/json")) }
    };
    let set = Bytes::from(descriptor_set());
    let descriptors = move |_: DoorRequest| {
        let set = set.clone();
        async { Ok::<_, Refusal>(file(set, "application/protobuf")) }
    };
    let routes = vec![
        Route::new(Method::GET, OPENAPI_PATH, policy, "this service's doors, as OpenAPI 3.1", openapi),
        Route::new(Method::GET, DESCRIPTORS_PATH, policy, "the descriptors of all gRPC methods, for generators of stubs", descriptors),
    ];
    Door { name: "Published", refusal: plain_form, routes }
}

fn file(content: Bytes, media_type: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(content));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

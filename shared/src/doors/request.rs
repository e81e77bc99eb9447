//! A request as a door's handler gets it.

use axum::extract::RawPathParams;
use http::header::CONTENT_TYPE;
use http::{Extensions, HeaderMap, Method, StatusCode, Uri, request};
use serde::de::DeserializeOwned;

use super::json::{parse_form, parse_json};
use super::plain_body::{PlainBody, ReadBody};
use super::refusal::Refusal;
use crate::ErrorReason;
use crate::error::CallError;
use crate::runtime::work_through;

/// A request whose metadata is judged, and whose body isn't read yet.
pub struct DoorRequest {
    parts: request::Parts,
    params: RawPathParams,
    /// `None` once it was read.
    body: Option<PlainBody>,
}

impl DoorRequest {
    pub(super) fn new(parts: request::Parts, params: RawPathParams, body: PlainBody) -> Self {
        Self { parts, params, body: Some(body) }
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.parts.method
    }

    /// The URI.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.parts.uri
    }

    /// The headers. A credential is in `authorization`, whichever header it came by.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// The extensions: the caller's address is among them.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.parts.extensions
    }

    /// A part of the path by its name in the route, decoded; empty when the route has none of this name.
    #[must_use]
    pub fn path_param(&self, name: &str) -> &str {
        self.params.iter().find(|(key, _)| *key == name).map(|(_, value)| value).unwrap_or_default()
    }

    /// What stands behind the path's `?`, as it was sent.
    #[must_use]
    pub fn query(&self) -> &str {
        self.parts.uri.query().unwrap_or_default()
    }

    /// Reads the body as JSON, whatever its `content-type` says: `curl -d` says that it is a form.
    ///
    /// # Errors
    /// The body is too long, too slow, no JSON, or has a field that is wrong; the message names the field.
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Refusal> {
        let read = self.read().await?;
        work_through(read.bytes.len(), || parse_json(&read.bytes))
    }

    /// Reads the body as `application/x-www-form-urlencoded`.
    ///
    /// # Errors
    /// The same as [`DoorRequest::json`]'s, and that the body is no form.
    pub async fn form<T: DeserializeOwned>(&mut self) -> Result<T, Refusal> {
        let is_form = |value: &str| value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(FORM));
        if !self.parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(is_form) {
            let message = format!("send the body as {FORM}");
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorReason::MessageMalformed, message));
        }
        let read = self.read().await?;
        parse_form(&read.bytes)
    }

    /// Reads the body; empty when it was read before.
    async fn read(&mut self) -> Result<ReadBody, Refusal> {
        match self.body.take() {
            Some(body) => Ok(body.read().await?),
            None => Err(CallError::internal().into()),
        }
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

impl std::fmt::Debug for DoorRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A query can hold whatever somebody put there.
        f.debug_struct("DoorRequest").field("method", &self.parts.method).field("path", &self.parts.uri.path()).finish_non_exhaustive()
    }
}

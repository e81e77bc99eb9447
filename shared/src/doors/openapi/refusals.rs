//! What a door's refusals look like: made by the door's own form, from every reason that it may answer.

use axum::body::{Body, to_bytes};
use axum::response::Response;
use futures_util::FutureExt;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use serde_json::{Map, Value, json};

use super::reasons::{Answerer, ExplainedReason, explained_reasons, is_about_credential, is_answered};
use crate::ErrorReason;
use crate::authorization::CallerKind;
use crate::doors::{Door, Refusal, http_status};
use crate::request_context::CurrentCall;

/// Those of the longest are some hundred bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// A refusal as a door answers it.
#[derive(Debug, Clone)]
pub struct RefusalSample {
    /// Why.
    pub explained: ExplainedReason,
    /// HTTP's status.
    pub status: StatusCode,
    /// The body; null where it is no JSON.
    pub body: Value,
    media_type: String,
    headers: Vec<HeaderName>,
}

impl RefusalSample {
    /// The protocol's own word for the kind of error, where its form has one.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        let error = self.body.get("error")?;
        let word = error.get("type").unwrap_or(error).as_str()?;
        (!word.contains(' ')).then_some(word)
    }
}

/// How a door answers each reason that it may answer.
#[must_use]
pub fn refusal_samples(door: &Door, answerer: Answerer) -> Vec<RefusalSample> {
    let is_open = door.routes.iter().all(|route| route.policy.caller == CallerKind::Anybody);
    let own: Vec<Refusal> = door.routes.iter().filter_map(|route| route.refusing).flat_map(|refusals| refusals()).collect();
    let mut samples = Vec::new();
    for explained in explained_reasons() {
        let reason = explained.reason;
        let mut own = own.iter().filter(|refusal| refusal.reason == reason).peekable();
        if own.peek().is_some() {
            samples.extend(own.map(|refusal| sample(door, explained.clone(), refusal)));
        } else if is_answered(reason, answerer) && !(is_open && is_about_credential(reason)) {
            let mut refusal = Refusal::new(http_status(reason, explained.code), reason, explained.meaning.clone());
            if reason == ErrorReason::InvalidArgument {
                refusal.fields = Box::new([("model".to_owned(), "must be a model's name".to_owned())]);
            }
            samples.push(sample(door, explained, &refusal));
        }
    }
    samples
}

fn sample(door: &Door, explained: ExplainedReason, refusal: &Refusal) -> RefusalSample {
    let explained = ExplainedReason { meaning: refusal.message.clone(), ..explained };
    let response = CurrentCall::example().enter(|| refusal.respond(door.refusal));
    let beside = |name: &&HeaderName| ![CONTENT_TYPE, CONTENT_LENGTH].contains(name);
    let headers = response.headers().keys().filter(beside).cloned().collect();
    let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("application/json");
    // A character set isn't part of what a media type is looked up by.
    let media_type = media_type.split(';').next().unwrap_or(media_type).trim_end().to_owned();
    RefusalSample { explained, status: response.status(), body: body_of(response), media_type, headers }
}

/// The body of an answer that is there already.
fn body_of(response: Response<Body>) -> Value {
    let body = to_bytes(response.into_body(), MAX_BODY_BYTES).now_or_never().and_then(Result::ok).unwrap_or_default();
    serde_json::from_slice(&body).unwrap_or_default()
}

/// The schema of all of a door's refusals.
pub(super) fn schema(samples: &[RefusalSample]) -> Value {
    schema_of(&samples.iter().map(|sample| &sample.body).collect::<Vec<_>>())
}

/// What these values have in common.
fn schema_of(values: &[&Value]) -> Value {
    let mut types: Vec<&str> = Vec::new();
    for value in values {
        let name = type_name(value);
        if !types.contains(&name) {
            types.push(name);
        }
    }
    let mut schema = match types.as_slice() {
        [one] => json!({ "type": one }),
        several => json!({ "type": several }),
    };
    let objects: Vec<&Map<String, Value>> = values.iter().filter_map(|value| value.as_object()).collect();
    if let Some(first) = objects.first() {
        let mut names: Vec<&String> = Vec::new();
        for name in objects.iter().flat_map(|object| object.keys()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let of = |name: &String| schema_of(&objects.iter().filter_map(|object| object.get(name)).collect::<Vec<_>>());
        let required = first.keys().filter(|name| objects.iter().all(|object| object.contains_key(*name)));
        schema["required"] = required.cloned().collect();
        schema["properties"] = names.into_iter().map(|name| (name.clone(), of(name))).collect::<Map<_, _>>().into();
    }
    schema
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A response for each status, with its reasons and an example of each.
pub(super) fn responses(samples: &[RefusalSample], schema: &Value) -> Vec<(StatusCode, Value)> {
    let mut statuses: Vec<StatusCode> = samples.iter().map(|sample| sample.status).collect();
    statuses.sort_unstable();
    statuses.dedup();
    statuses.into_iter().map(|status| (status, response(status, samples, schema))).collect()
}

fn response(status: StatusCode, samples: &[RefusalSample], schema: &Value) -> Value {
    let (mut said, mut examples, mut headers, mut media_type) = (Vec::new(), Map::new(), Map::new(), "application/json");
    for sample in samples.iter().filter(|sample| sample.status == status) {
        let reason = crate::error::reason_name(sample.explained.reason);
        said.push(format!("`{reason}`: {}", sample.explained.meaning));
        // A reason may stand for several of the protocol's own errors.
        let name = match sample.kind().filter(|_| examples.contains_key(reason)) {
            Some(kind) => format!("{reason}.{kind}"),
            None => reason.to_owned(),
        };
        examples.insert(name, json!({ "value": sample.body }));
        media_type = &sample.media_type;
        for name in &sample.headers {
            headers.insert(name.as_str().to_owned(), json!({ "schema": { "type": "string" } }));
        }
    }
    let mut response = json!({
        "description": said.join("\n\n"),
        "content": { media_type: { "schema": schema, "examples": examples } },
    });
    if !headers.is_empty() {
        response["headers"] = headers.into();
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_has_what_all_bodies_have_and_requires_what_none_lacks() {
        let bodies = [json!({ "error": { "code": "A", "type": null } }), json!({ "error": { "code": "B", "type": "x", "more": 1 } })];
        let schema = schema_of(&bodies.iter().collect::<Vec<_>>());
        let error = json!({
            "type": "object",
            "required": ["code", "type"],
            "properties": { "code": { "type": "string" }, "type": { "type": ["null", "string"] }, "more": { "type": "number" } },
        });
        assert_eq!(schema, json!({ "type": "object", "required": ["error"], "properties": { "error": error } }));
    }
}

//! OpenAPI of a service's doors, made from its routes, the types that they take and give, the form of their refusals, and the descriptors
//! of the methods that Connect answers.

mod descriptors;
mod json_form;
mod reasons;
mod refusals;
mod schemas;

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use self::descriptors::Descriptors;
pub use self::descriptors::descriptor_set;
pub(in crate::doors) use self::reasons::code_of;
pub use self::reasons::{Answerer, ExplainedReason, explained_reasons, is_answered, told_by_connect};
pub use self::refusals::{RefusalSample, refusal_samples};
use self::schemas::Schemas;
use super::{CHARGED_HEADER, Door, REMAINING_HEADER, Route};
use crate::admission::MethodPolicy;
use crate::authorization::CallerKind;
use crate::credential_form::ACCOUNT_HEADER;
use crate::error::reason_name;
use crate::request_id::REQUEST_ID_HEADER;

/// What one service answers over HTTP.
#[derive(Clone, Copy)]
pub struct Doors<'a> {
    /// Which service it is.
    pub answerer: Answerer,
    /// Its doors.
    pub doors: &'a [Door],
    /// Its gRPC services. Connect answers those of their methods that give one message.
    pub services: &'a [&'a str],
    /// What a method requires of a call.
    pub policy: fn(&str, &str) -> MethodPolicy,
}

impl Doors<'_> {
    /// The document, of OpenAPI 3.1.
    #[must_use]
    pub fn document(&self) -> Value {
        let mut document = Document::default();
        for door in self.doors {
            document.add_door(door, self.answerer);
        }
        let (descriptors, refused) = (Descriptors::read(), document.add_connect(self.answerer));
        for service in self.services {
            document.add_service(service, &descriptors, self.policy, &refused);
        }
        document.finish(self.answerer)
    }
}

#[derive(Default)]
struct Document {
    tags: Vec<Value>,
    paths: Map<String, Value>,
    schemas: Map<String, Value>,
    responses: Map<String, Value>,
}

impl Document {
    fn add_door(&mut self, door: &Door, answerer: Answerer) {
        let tag = component_name(door.name);
        let samples = refusal_samples(door, answerer);
        let error = format!("{tag}.Error");
        self.schemas.insert(error.clone(), refusals::schema(&samples));
        let mut refused = Map::new();
        for (status, response) in refusals::responses(&samples, &reference("schemas", &error)) {
            let name = format!("{tag}.{}", status.as_str());
            refused.insert(status.as_str().to_owned(), reference("responses", &name));
            self.responses.insert(name, response);
        }
        let mut schemas = Schemas::of_door(door, &tag);
        for route in &door.routes {
            let operation = operation(route, door, &mut schemas, &refused);
            self.insert(openapi_path(route.path), &route.method, operation);
        }
        schemas.finish(&mut self.schemas);
        self.tags.push(json!({ "name": door.name }));
    }

    /// How Connect refuses, by HTTP's statuses.
    fn add_connect(&mut self, answerer: Answerer) -> Map<String, Value> {
        self.schemas.insert("Connect.Error".to_owned(), connect_error());
        let mut said: BTreeMap<StatusCode, Vec<String>> = BTreeMap::new();
        for explained in explained_reasons().iter().filter(|explained| reasons::is_answered_by_methods(explained.reason, answerer)) {
            let (code, status) = told_by_connect(explained);
            let line = format!("`{code}` with `{}`: {}", reason_name(explained.reason), explained.meaning);
            said.entry(status).or_default().push(line);
        }
        let mut refused = Map::new();
        for (status, lines) in said {
            let name = format!("Connect.{}", status.as_str());
            refused.insert(status.as_str().to_owned(), reference("responses", &name));
            let content = json!({ "application/json": { "schema": reference("schemas", "Connect.Error") } });
            self.responses.insert(name, json!({ "description": lines.join("\n\n"), "content": content }));
        }
        refused
    }

    fn add_service(
        &mut self,
        service: &str,
        descriptors: &Descriptors,
        policy: fn(&str, &str) -> MethodPolicy,
        refused: &Map<String, Value>,
    ) {
        for method in descriptors.unary_methods(service) {
            let name = method.name();
            let takes = json_form::reference(method.input_type(), descriptors, &mut self.schemas);
            let gives = json_form::reference(method.output_type(), descriptors, &mut self.schemas);
            let answer = json!({ "description": "The answer.", "content": { "application/json": { "schema": gives } } });
            let mut responses = Map::from_iter([("200".to_owned(), answer)]);
            responses.extend(refused.clone());
            let operation = json!({
                "operationId": format!("{}_{name}", service.rsplit('.').next().unwrap_or(service)),
                "tags": [service],
                "summary": descriptors.comment(&format!("{service}.{name}")),
                "security": security(policy(service, name).caller),
                "parameters": [reference("parameters", "ConnectTimeout")],
                "requestBody": { "required": true, "content": { "application/json": { "schema": takes } } },
                "responses": responses,
            });
            self.insert(format!("/{service}/{name}"), &Method::POST, operation);
        }
        self.tags.push(json!({ "name": service, "description": descriptors.comment(service) }));
    }

    fn insert(&mut self, path: String, method: &Method, operation: Value) {
        let item = self.paths.entry(path).or_insert_with(|| json!({}));
        item[method.as_str().to_ascii_lowercase()] = operation;
    }

    fn finish(self, answerer: Answerer) -> Value {
        let (title, description) = match answerer {
            Answerer::Auth => ("Tollgate auth-service", "Users, access tokens, API keys and credits."),
            Answerer::Inference => ("Tollgate inference-service", "Models at work, each call paid for by credits."),
        };
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": title,
                "description": description,
                "version": env!("CARGO_PKG_VERSION"),
                "license": { "name": "MIT or Apache-2.0", "identifier": "MIT OR Apache-2.0" },
            },
            "tags": self.tags,
            "paths": self.paths,
            "components": {
                "schemas": self.schemas,
                "responses": self.responses,
                "parameters": parameters(),
                "headers": headers(),
                "securitySchemes": security_schemes(),
            },
        })
    }
}

fn operation(route: &Route, door: &Door, schemas: &mut Schemas, refused: &Map<String, Value>) -> Value {
    let takes = route.taking.map(|schema| schemas.taken(schema));
    let streams = route.taking.is_some_and(|schema| schemas.takes_property(schema, "stream"));
    let mut content = Map::new();
    if let Some(gives) = route.giving {
        content.insert("application/json".to_owned(), json!({ "schema": schemas.given(gives) }));
    }
    if streams {
        // Ollama's protocol sends a line of JSON for each piece, the others events.
        let media_type = if door.name == "Ollama" { "application/x-ndjson" } else { "text/event-stream" };
        content.insert(media_type.to_owned(), json!({ "schema": { "type": "string" } }));
    }
    let mut answer = json!({ "description": "The answer." });
    if !content.is_empty() {
        answer["content"] = content.into();
    }
    let mut names = vec![REQUEST_ID_HEADER];
    if route.policy.is_recorded {
        names.extend([CHARGED_HEADER, REMAINING_HEADER]);
    }
    answer["headers"] = names.into_iter().map(|name| (name.to_owned(), reference("headers", name))).collect::<Map<_, _>>().into();
    let mut responses = Map::from_iter([("200".to_owned(), answer)]);
    responses.extend(refused.clone());
    let mut operation = json!({
        "operationId": operation_id(route),
        "tags": [door.name],
        "summary": route.summary,
        "security": security(route.policy.caller),
        "parameters": route_parameters(route),
        "responses": responses,
    });
    if let Some(schema) = takes {
        let most = format!("At most {} bytes.", route.policy.most_bytes);
        operation["requestBody"] = json!({ "required": true, "description": most, "content": { route.media_type: { "schema": schema } } });
    }
    operation
}

/// axum's `{*rest}` may have slashes, for which OpenAPI has no word.
fn openapi_path(path: &str) -> String {
    path.replace("{*", "{")
}

fn route_parameters(route: &Route) -> Vec<Value> {
    let names = route.path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).map(|name| name.trim_start_matches('*'));
    let in_path = |name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } });
    let mut all: Vec<Value> = names.map(in_path).collect();
    if route.policy.caller == CallerKind::EndUser {
        all.push(reference("parameters", "Account"));
    }
    if route.policy.is_recorded {
        all.push(reference("parameters", "IdempotencyKey"));
    }
    all
}

/// `POST /v1/chat/completions` is `post_v1_chat_completions`.
fn operation_id(route: &Route) -> String {
    let words = route.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let method = route.method.as_str().to_ascii_lowercase();
    std::iter::once(method.as_str()).chain(words).collect::<Vec<_>>().join("_")
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

/// A name with nothing in it that the name of a component may not have.
fn component_name(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')).collect()
}

fn security(caller: CallerKind) -> Value {
    match caller {
        CallerKind::Anybody => json!([]),
        CallerKind::EndUser => json!([{ "bearer": [] }, { "apiKey": [] }]),
        CallerKind::Service => json!([{ "serviceCredential": [] }]),
        CallerKind::ServiceOrOperator => json!([{ "serviceCredential": [] }, { "bearer": [] }]),
    }
}

fn security_schemes() -> Value {
    json!({
        "bearer": { "type": "http", "scheme": "bearer", "description": "An API key, or an access token." },
        "apiKey": { "type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same, for clients that send it so." },
        "serviceCredential": { "type": "http", "scheme": "bearer", "description": "What services prove themselves to each other by." },
    })
}

fn parameters() -> Value {
    let text = json!({ "type": "string" });
    let header = |name: &str, said: &str| json!({ "name": name, "in": "header", "description": said, "schema": text });
    let timeout = "How long the caller waits, in milliseconds. In a service that stops waiting, what a call holds is given back.";
    json!({
        "Account": header(ACCOUNT_HEADER, "The account to pay from, for access tokens. Without it, the user's own."),
        "IdempotencyKey": header("Idempotency-Key", "Names the request: however often it is sent, it is charged once."),
        "ConnectTimeout": {
            "name": "Connect-Timeout-Ms", "in": "header", "description": timeout, "schema": { "type": "integer", "minimum": 0 },
        },
    })
}

fn headers() -> Value {
    let credits = |description: &str| json!({ "description": description, "schema": { "type": "integer", "format": "int64" } });
    json!({
        REQUEST_ID_HEADER: { "description": "By which the logs of both services name the call.", "schema": { "type": "string" } },
        CHARGED_HEADER: credits("What the call cost, in credits."),
        REMAINING_HEADER: credits("What the account has left, right after, in credits."),
    })
}

fn connect_error() -> Value {
    json!({
        "type": "object",
        "required": ["code"],
        "properties": {
            "code": { "type": "string", "enum": reasons::connect_codes().collect::<Vec<_>>() },
            "message": { "type": "string", "description": "A sentence for people that says what to do." },
            "details": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["type", "value"],
                    "properties": {
                        "type": { "type": "string", "description": "The message's full name, such as google.rpc.ErrorInfo." },
                        "value": { "type": "string", "contentEncoding": "base64", "description": "The message's bytes." },
                        "debug": { "description": "The same message as JSON." },
                    },
                },
            },
        },
    })
}

#[cfg(test)]
mod tests;

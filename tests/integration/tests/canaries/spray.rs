//! Every method of both services, with a text in every field that takes one.

use std::collections::BTreeMap;

use integration::hostile_http1::HostileHttp1;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};
use serde_json::{Value, json};
use shared::credential_form::{holds_credential, to_bearer};

use crate::stage::Stage;

/// Fields that name something: what people call their own things is kept, and shown to those whom it concerns.
const LABELS: [&str; 4] = ["request_id", "attempt_id", "model", "name"];

/// What each method takes, by the contract: its path, and its message with this text in every field that takes text.
fn methods(of: &str, text: &str) -> Vec<(String, Value)> {
    let set: FileDescriptorSet = prost::Message::decode(shared::proto::FILE_DESCRIPTOR_SET).unwrap();
    let messages: BTreeMap<String, &DescriptorProto> = set
        .file
        .iter()
        .flat_map(|file| file.message_type.iter().map(move |message| (format!(".{}.{}", file.package(), message.name()), message)))
        .collect();
    let mut found = Vec::new();
    for file in set.file.iter().filter(|file| file.package().contains(of)) {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                found.push((path, filled(messages[method.input_type()], &messages, text)));
            }
        }
    }
    found
}

fn filled(message: &DescriptorProto, messages: &BTreeMap<String, &DescriptorProto>, text: &str) -> Value {
    let mut object = serde_json::Map::new();
    for field in &message.field {
        let value = match field.r#type() {
            // Labels are logged by their meaning: a password in one can't be told from any other.
            Type::String if LABELS.contains(&field.name()) && !holds_credential(text) => json!("label"),
            Type::String => json!(text),
            Type::Message => match messages.get(field.type_name()) {
                Some(inner) => filled(inner, messages, text),
                None => continue,
            },
            _ => continue,
        };
        // One of several: the first.
        if field.oneof_index.is_some() && !field.proto3_optional() {
            continue;
        }
        let value = if field.label() == Label::Repeated { json!([value]) } else { value };
        object.insert(field.name().to_owned(), value);
    }
    Value::Object(object)
}

impl Stage {
    /// Calls every method of both services, by JSON and by gRPC-Web, with each text in every field that takes one, and as none, as anybody
    /// and as each of these callers; in the right form and in wrong ones.
    pub(crate) async fn spray(&mut self, callers: &[String], texts: &[String]) {
        for (service, address) in [("auth", self.pair.auth.address()), ("inference", self.pair.inference.address())] {
            let mut http1 = HostileHttp1::connect(address).await;
            for text in texts {
                for (path, message) in methods(&format!("tollgate.{service}.v1"), text) {
                    // What follows would have nothing to be called with.
                    let ends_sessions = path.ends_with("Logout") || path.ends_with("LogoutEverywhere");
                    // It goes on for as long as it is read, and takes no text but a cursor.
                    let is_endless = path.ends_with("WatchRevocations");
                    for caller in callers.iter().filter(|_| !ends_sessions && !is_endless) {
                        let authorization = to_bearer(caller);
                        let right = message.to_string();
                        let no_json = format!("{{\"{text}");
                        let wrong_kind = json!({ text: { text: text } }).to_string();
                        for body in [right.as_str(), &no_json, &wrong_kind] {
                            let headers = [("content-type", "application/json"), ("authorization", authorization.as_str())];
                            let answer = http1.call("POST", &path, &headers, body.as_bytes()).await;
                            let closed = answer.header("connection") == "close";
                            // What gives a secret gives it to whom it belongs; what is in the wrong place may be named to its sender.
                            if answer.status != 200 && body == right {
                                self.note(&answer);
                            }
                            if closed {
                                http1 = HostileHttp1::connect(address).await;
                            }
                        }
                        // As the first field, which may be a label, or as one that isn't known.
                        let tag = if holds_credential(text) { 0x0a } else { 0x7a };
                        let mut field = vec![tag];
                        prost::encoding::encode_varint(text.len() as u64, &mut field);
                        field.extend_from_slice(text.as_bytes());
                        for body in [field.as_slice(), text.as_bytes()] {
                            let framed = integration::raw_http2::prefixed(body);
                            let headers = [("content-type", "application/grpc-web+proto"), ("authorization", authorization.as_str())];
                            let mut http1 = HostileHttp1::connect(address).await;
                            let _answer = http1.call("POST", &path, &headers, &framed).await;
                        }
                    }
                }
            }
        }
    }
}

//! A message as JSON and back, by its descriptor: protobuf's own mapping.
//!
//! Names are taken in lowerCamelCase and as the proto has them. Unknown ones are refused, as protobuf's own mapping has it: who types
//! `model` where `models` is meant would else be given an API key for all of them. What comes out leaves out what has its default.

use prost::Message;
use prost_reflect::{DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, OneofDescriptor};
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment, Track};

use crate::doors::json_scan::scan;
use crate::error::CallError;

/// So much of a name that somebody sent has room in a message.
const MAX_SHOWN_CHARACTERS: usize = 64;

const TAKEN: DeserializeOptions = DeserializeOptions::new().deny_unknown_fields(true);

/// The protobuf of a message that came as JSON. The number of its values, and how deep they lie, are bounded before one is allocated.
pub(super) fn to_protobuf(message: &MessageDescriptor, json: &[u8]) -> Result<Vec<u8>, CallError> {
    if json.is_empty() {
        return Err(CallError::message_malformed("the body is empty; send JSON, and {} where there is nothing to say"));
    }
    scan(json).map_err(|error| CallError::message_malformed(error.to_string()))?;
    let mut reader = serde_json::Deserializer::from_slice(json);
    let mut track = Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut reader, &mut track);
    match DynamicMessage::deserialize_with_options(message.clone(), tracked, &TAKEN).and_then(|read| reader.end().map(|()| read)) {
        Ok(read) => Ok(read.encode_to_vec()),
        Err(error) => Err(mistake(message, &error, &track.path())),
    }
}

/// A message of ours as JSON.
pub(super) fn from_protobuf(message: &MessageDescriptor, bytes: &[u8]) -> Result<Vec<u8>, CallError> {
    let broken = |error: &dyn std::fmt::Display| {
        tracing::error!(message = message.full_name(), %error, "a message can't be told in JSON");
        CallError::internal()
    };
    let decoded = DynamicMessage::decode(message.clone(), bytes).map_err(|error| broken(&error))?;
    serde_json::to_vec(&decoded).map_err(|error| broken(&error))
}

/// What is wrong with the JSON. The parser's own sentence is not handed on: it would repeat what was sent, which may be a password.
fn mistake(message: &MessageDescriptor, error: &serde_json::Error, path: &Path) -> CallError {
    match error.classify() {
        Category::Data => {
            let wrong = Wrong::at(message, path, error);
            let sentence = format!("{} {}", wrong.shown(), wrong.must);
            CallError::invalid_argument(sentence).violations([(wrong.field.as_str(), wrong.must.as_str())])
        }
        Category::Syntax | Category::Eof | Category::Io => {
            let (line, column) = (error.line(), error.column());
            CallError::message_malformed(format!("the body is no JSON: see line {line}, column {column}"))
        }
    }
}

/// A field whose value doesn't fit.
struct Wrong {
    /// Its path in the contract, such as `messages[0].role`; empty for the message itself.
    field: String,
    must: String,
}

impl Wrong {
    fn at(message: &MessageDescriptor, path: &Path, error: &serde_json::Error) -> Self {
        let mut wrong = Self { field: String::new(), must: "must be a JSON object".to_owned() };
        let mut within = Some(message.clone());
        for segment in path.iter() {
            match segment {
                Segment::Map { key } => {
                    let field = within.as_ref().and_then(|message| named(message, key));
                    let Some(field) = field else { break };
                    wrong.push_name(field.name());
                    wrong.must = must_be(&field);
                    within = field.kind().as_message().cloned();
                }
                Segment::Seq { index } => wrong.field.push_str(&format!("[{index}]")),
                Segment::Enum { .. } | Segment::Unknown => {}
            }
        }
        // The reader says it of a name before it comes to the value, so the path ends above it.
        let said = error.to_string();
        let name = said.strip_prefix("unrecognized field name '").and_then(|rest| rest.rsplit_once("' at line ")).map(|(name, _)| name);
        if let (Some(name), Some(message)) = (name, &within) {
            let shown: String = name.chars().take(MAX_SHOWN_CHARACTERS).flat_map(char::escape_debug).collect();
            wrong.push_name(&shown);
            wrong.must = unknown(message);
        }
        wrong
    }

    fn push_name(&mut self, name: &str) {
        if !self.field.is_empty() {
            self.field.push('.');
        }
        self.field.push_str(name);
    }

    fn shown(&self) -> &str {
        if self.field.is_empty() { "the body" } else { &self.field }
    }
}

/// What there is in place of a name that isn't.
fn unknown(message: &MessageDescriptor) -> String {
    let names: Vec<String> = message.fields().map(|field| field.name().to_owned()).collect();
    if names.is_empty() {
        "is not known: there is no field here".to_owned()
    } else {
        format!("is not known; there are {}", names.join(", "))
    }
}

fn named(message: &MessageDescriptor, key: &str) -> Option<FieldDescriptor> {
    message.get_field_by_json_name(key).or_else(|| message.get_field_by_name(key))
}

/// What a field's value must be in JSON.
fn must_be(field: &FieldDescriptor) -> String {
    let one = match field.kind() {
        Kind::Double | Kind::Float => "a number",
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => "a whole number of 32 bits",
        Kind::Uint32 | Kind::Fixed32 => "a whole number from 0 to 4294967295",
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "a whole number of 64 bits, or a text of its digits",
        Kind::Uint64 | Kind::Fixed64 => "a whole number from 0 of 64 bits, or a text of its digits",
        Kind::Bool => "true or false",
        Kind::String => "a text",
        Kind::Bytes => "bytes as base64",
        Kind::Enum(_) => "the name of one of its values, or its number",
        Kind::Message(message) => match message.full_name() {
            "google.protobuf.Duration" => "a text of seconds such as \"1.5s\"",
            "google.protobuf.Timestamp" => "a text such as \"2026-01-02T03:04:05Z\"",
            _ => "a JSON object",
        },
    };
    let alternatives = field.kind().as_message().map(alternatives).unwrap_or_default();
    if field.is_list() { format!("must be a list, each element {one}") } else { format!("must be {one}{alternatives}") }
}

/// The fields of a message of which there may be one. An optional field is alone in a oneof that the compiler made.
fn alternatives(message: &MessageDescriptor) -> String {
    let names = |oneof: OneofDescriptor| oneof.fields().map(|field| field.name().to_owned()).collect::<Vec<_>>();
    let several = message.oneofs().map(names).filter(|names| names.len() > 1);
    several.map(|names| format!(", with at most one of {}", names.join(", "))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost_types::Duration;
    use serde_json::Value as Json;
    use tonic::{Code, Status};

    use super::super::contract::method;
    use super::*;
    use crate::ErrorReason;
    use crate::error::{reason_of, violations_of};
    use crate::proto::auth::{GrantCreditsRequest, LoginRequest, Role, User};
    use crate::proto::inference::{ChatRequest, ListModelsResponse, Message as Turn, Model, Options};

    fn input(path: &str) -> MessageDescriptor {
        method(path).unwrap().input.clone()
    }

    fn chat(json: &str) -> Result<ChatRequest, CallError> {
        let bytes = to_protobuf(&input("/tollgate.inference.v1.Inference/Chat"), json.as_bytes())?;
        Ok(ChatRequest::decode(bytes.as_slice()).unwrap())
    }

    fn refusal(json: &str) -> (ErrorReason, String, Vec<(String, String)>) {
        let status = Status::from(chat(json).unwrap_err());
        assert_eq!(status.code(), Code::InvalidArgument, "{json}");
        (reason_of(&status).unwrap(), status.message().to_owned(), violations_of(&status))
    }

    #[test]
    fn an_unknown_name_is_refused_with_those_that_there_are() {
        let create = input("/tollgate.auth.v1.Accounts/CreateApiKey");
        for (json, field) in
            [(r#"{"name": "x", "model": ["m"]}"#, "model"), (r#"{"allowedModels": ["m"]}"#, "allowedModels"), (r#"{"": 1}"#, "")]
        {
            let refused = to_protobuf(&create, json.as_bytes()).unwrap_err();
            assert_eq!(refused.reason(), ErrorReason::InvalidArgument, "{json}");
            let violations = violations_of(&Status::from(refused));
            assert_eq!(violations[0].0, field, "{json}");
            assert!(violations[0].1.starts_with("is not known; there are ") && violations[0].1.contains("models"), "{violations:?}");
        }
        let (_, message, violations) = refusal(r#"{"messages": [{"role": "user"}, {"rolle": "secret"}]}"#);
        assert_eq!(violations[0].0, "messages[1].rolle");
        assert!(message.starts_with("messages[1].rolle is not known; there are role, content") && !message.contains("secret"), "{message}");
        let long = format!(r#"{{"{}": 1}}"#, "n".repeat(100_000));
        assert!(refusal(&long).1.len() < 1000);
        assert!(refusal(r#"{"mod\u0000el": 1}"#).1.starts_with("mod\\0el is not known"), "what can't be shown is escaped");
        // What has no field says so.
        let none = to_protobuf(&input("/tollgate.auth.v1.Accounts/GetBalance"), br#"{"x": 1}"#).map_err(|error| error.message().to_owned());
        assert!(none.is_err());
    }

    #[test]
    fn both_spellings_of_a_name_are_one() {
        let json = r#"{"model": "m", "max_output_tokens": 5, "requestId": "r", "keepAlive": "1.5s",
            "messages": [{"role": "user", "content": "hi", "images": ["AP8="]}], "options": {"seed": "9007199254740993", "topK": 3}}"#;
        let expected = ChatRequest {
            model: "m".to_owned(),
            max_output_tokens: Some(5),
            request_id: "r".to_owned(),
            keep_alive: Some(Duration { seconds: 1, nanos: 500_000_000 }),
            messages: vec![Turn { role: "user".to_owned(), content: "hi".to_owned(), images: vec![vec![0, 255]], ..Default::default() }],
            options: Some(Options { seed: Some(9_007_199_254_740_993), top_k: Some(3), ..Default::default() }),
            ..Default::default()
        };
        assert_eq!(chat(json).unwrap(), expected);
        assert_eq!(chat(r#"{"maxOutputTokens": 5.0, "options": null, "messages": null}"#).unwrap().max_output_tokens, Some(5));
        // As base64 has it, and as URLs have it, with its padding and without.
        for image in ["-_8", "-_8=", "+/8", "+/8="] {
            let json = format!(r#"{{"messages": [{{"images": ["{image}"]}}]}}"#);
            assert_eq!(chat(&json).unwrap().messages[0].images, [vec![0xfb, 0xff]], "{image}");
        }
    }

    #[test]
    fn a_value_that_does_not_fit_is_refused_by_its_fields_name_and_never_repeated() {
        for (json, field, must) in [
            (r#"{"model": 5}"#, "model", "must be a text"),
            (r#"{"messages": [{"role": "user"}, {"role": ["secret"]}]}"#, "messages[1].role", "must be a text"),
            (r#"{"messages": {"secret": 1}}"#, "messages", "must be a list, each element a JSON object"),
            (r#"{"messages": ["secret"]}"#, "messages[0]", "must be a list, each element a JSON object"),
            (r#"{"maxOutputTokens": -1}"#, "max_output_tokens", "must be a whole number from 0 to 4294967295"),
            (r#"{"max_output_tokens": 1.5}"#, "max_output_tokens", "must be a whole number from 0 to 4294967295"),
            (r#"{"options": {"seed": "secret"}}"#, "options.seed", "must be a whole number of 64 bits, or a text of its digits"),
            (r#"{"messages": [{"images": ["secret!"]}]}"#, "messages[0].images[0]", "must be a list, each element bytes as base64"),
            (r#"{"requireFull": "secret"}"#, "require_full", "must be true or false"),
            (r#"{"keep_alive": "secret"}"#, "keep_alive", "must be a text of seconds such as \"1.5s\""),
            (
                r#"{"format": {"json": true, "jsonSchema": "secret"}}"#,
                "format",
                "must be a JSON object, with at most one of json, json_schema",
            ),
        ] {
            let (reason, message, violations) = refusal(json);
            assert_eq!(reason, ErrorReason::InvalidArgument, "{json}");
            assert_eq!(violations, [(field.to_owned(), must.to_owned())], "{json}");
            assert!(message.starts_with(field) && !message.contains("secret"), "{message}");
        }
        for json in [r#"["secret"]"#, r#""secret""#, "5", "null"] {
            let (reason, message, _) = refusal(json);
            assert_eq!((reason, message.as_str()), (ErrorReason::InvalidArgument, "the body must be a JSON object"), "{json}");
        }
    }

    #[test]
    fn what_is_no_json_is_malformed_and_says_where() {
        for json in ["user_name=ada&password=secret", r#"{"model": "secret}"#, "{", "{} {}", r#"{"model": "m",}"#, "\u{feff}{}"] {
            let (reason, message, _) = refusal(json);
            assert_eq!(reason, ErrorReason::MessageMalformed, "{json}");
            assert!(message.contains("line 1, column") && !message.contains("secret"), "{message}");
        }
        assert_eq!(chat("").unwrap_err().reason(), ErrorReason::MessageMalformed);
        assert_eq!(chat(" {} ").unwrap(), ChatRequest::default());
    }

    #[test]
    fn an_answer_has_lower_camel_case_texts_for_64_bits_and_names_for_enums() {
        let models = method("/tollgate.inference.v1.Inference/ListModels").unwrap().output.clone();
        let entry = Model { name: "m".to_owned(), size_bytes: 1 << 60, modified_at: Some(Default::default()), ..Default::default() };
        let json = from_protobuf(&models, &ListModelsResponse { models: vec![entry] }.encode_to_vec()).unwrap();
        let expected = r#"{"models":[{"name":"m","sizeBytes":"1152921504606846976","modifiedAt":"1970-01-01T00:00:00Z"}]}"#;
        assert_eq!(String::from_utf8(json).unwrap(), expected);
        let me = method("/tollgate.auth.v1.Accounts/GetMe").unwrap().output.clone();
        let user = Some(User { role: Role::Admin.into(), ..Default::default() });
        let json = from_protobuf(&me, &crate::proto::auth::GetMeResponse { user, ..Default::default() }.encode_to_vec()).unwrap();
        assert_eq!(String::from_utf8(json).unwrap(), r#"{"user":{"role":"ROLE_ADMIN"}}"#);
        assert!(from_protobuf(&me, &[0xff]).is_err());
    }

    #[test]
    fn whole_credits_are_taken_as_numbers_and_as_texts() {
        let grant = input("/tollgate.auth.v1.Admin/GrantCredits");
        for json in [r#"{"credits": 1000000000000}"#, r#"{"credits": "1000000000000"}"#] {
            let read = GrantCreditsRequest::decode(to_protobuf(&grant, json.as_bytes()).unwrap().as_slice()).unwrap();
            assert_eq!(read.credits, 1_000_000_000_000);
        }
        let login = to_protobuf(&input("/tollgate.auth.v1.Accounts/Login"), br#"{"user_name": "ada", "password": "p"}"#).unwrap();
        assert_eq!(LoginRequest::decode(login.as_slice()).unwrap().user_name, "ada");
    }

    /// JSON that has the contract's names, and values that fit them or not.
    fn any_request() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<f64>().prop_map(Json::from),
            prop_oneof![Just("1.5s"), Just("AP8="), Just("NaN"), Just("-1"), Just("\u{0}"), Just("1e400")].prop_map(Json::from),
            ".{0,8}".prop_map(Json::from),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            let name = prop_oneof![
                Just("model"),
                Just("messages"),
                Just("images"),
                Just("tool_calls"),
                Just("toolCalls"),
                Just("maxOutputTokens"),
                Just("options"),
                Just("seed"),
                Just("stop"),
                Just("format"),
                Just("json"),
                Just("jsonSchema"),
                Just("keepAlive"),
                Just("nobody"),
            ];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
                prop::collection::vec((name.prop_map(str::to_owned), inner), 0..6)
                    .prop_map(|fields| Json::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_is_read_or_refused_and_what_is_read_is_told_the_same(json in any_request()) {
            let descriptor = input("/tollgate.inference.v1.Inference/Chat");
            if let Ok(read) = to_protobuf(&descriptor, json.to_string().as_bytes()) {
                let told = from_protobuf(&descriptor, &read).unwrap();
                prop_assert_eq!(to_protobuf(&descriptor, &told).unwrap(), read, "{}", String::from_utf8_lossy(&told));
            }
        }
    }
}

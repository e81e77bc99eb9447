//! JSON Schemas of messages, in the JSON form that protobuf defines and Connect speaks.

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto};
use serde_json::{Map, Value, json};

use super::descriptors::Descriptors;

/// Adds the schema of a message, and of all that it is made of, to a document's components. Gives the reference to it.
pub(super) fn reference(name: &str, descriptors: &Descriptors, components: &mut Map<String, Value>) -> Value {
    let name = name.trim_start_matches('.');
    if let Some(known) = well_known(name) {
        return known;
    }
    if !components.contains_key(name) {
        // Before it is made: a message may be made of itself.
        components.insert(name.to_owned(), Value::Null);
        let schema = match (descriptors.messages.get(name), descriptors.enums.get(name)) {
            (Some(message), _) => message_schema(name, message, descriptors, components),
            (None, Some(each)) => json!({ "type": "string", "enum": each.value.iter().map(|value| value.name()).collect::<Vec<_>>() }),
            (None, None) => json!({}),
        };
        components.insert(name.to_owned(), described(schema, descriptors.comment(name)));
    }
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn message_schema(name: &str, message: &DescriptorProto, descriptors: &Descriptors, components: &mut Map<String, Value>) -> Value {
    let mut properties = Map::new();
    for field in &message.field {
        let schema = field_schema(field, descriptors, components);
        let comment = descriptors.comment(&format!("{name}.{}", field.name()));
        properties.insert(field.json_name().to_owned(), described(schema, &with_choice(comment, field, message)));
    }
    json!({ "type": "object", "properties": properties })
}

/// Of the fields of a `oneof`, at most one is set.
fn with_choice(comment: &str, field: &FieldDescriptorProto, message: &DescriptorProto) -> String {
    let choice = field.oneof_index.filter(|_| !field.proto3_optional());
    let others = message.field.iter().filter(|other| choice.is_some() && other.oneof_index == choice && other.name() != field.name());
    let others: Vec<_> = others.map(FieldDescriptorProto::json_name).collect();
    if others.is_empty() { comment.to_owned() } else { format!("{comment} Not beside {}.", others.join(", ")).trim_start().to_owned() }
}

fn field_schema(field: &FieldDescriptorProto, descriptors: &Descriptors, components: &mut Map<String, Value>) -> Value {
    if field.label() != Label::Repeated {
        return element_schema(field, descriptors, components);
    }
    let entry = descriptors.messages.get(field.type_name().trim_start_matches('.'));
    let is_map = |message: &&DescriptorProto| message.options.as_ref().is_some_and(|options| options.map_entry());
    match entry.filter(is_map).and_then(|entry| entry.field.get(1)) {
        Some(value) => json!({ "type": "object", "additionalProperties": element_schema(value, descriptors, components) }),
        None => json!({ "type": "array", "items": element_schema(field, descriptors, components) }),
    }
}

fn element_schema(field: &FieldDescriptorProto, descriptors: &Descriptors, components: &mut Map<String, Value>) -> Value {
    match field.r#type() {
        Type::Message | Type::Group | Type::Enum => reference(field.type_name(), descriptors, components),
        Type::String => json!({ "type": "string" }),
        Type::Bool => json!({ "type": "boolean" }),
        Type::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
        Type::Float => json!({ "type": "number", "format": "float" }),
        Type::Double => json!({ "type": "number", "format": "double" }),
        Type::Int32 | Type::Sint32 | Type::Sfixed32 => json!({ "type": "integer", "format": "int32" }),
        Type::Uint32 | Type::Fixed32 => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
        // Answered as text, which loses no digit in a language whose numbers are doubles; taken as either.
        Type::Int64 | Type::Sint64 | Type::Sfixed64 => json!({ "type": ["string", "integer"], "format": "int64" }),
        Type::Uint64 | Type::Fixed64 => json!({ "type": ["string", "integer"], "format": "uint64" }),
    }
}

/// Messages whose JSON form is not that of their fields.
fn well_known(name: &str) -> Option<Value> {
    match name {
        "google.protobuf.Timestamp" => Some(json!({ "type": "string", "format": "date-time" })),
        "google.protobuf.Duration" => Some(json!({ "type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$" })),
        "google.protobuf.Any" => {
            Some(json!({ "type": "object", "properties": { "@type": { "type": "string" } }, "additionalProperties": true }))
        }
        _ => None,
    }
}

/// A schema with the comment of what it is of. Beside a `$ref`, a description is allowed since OpenAPI 3.1.
fn described(mut schema: Value, comment: &str) -> Value {
    if let Some(object) = schema.as_object_mut().filter(|_| !comment.is_empty()) {
        object.insert("description".to_owned(), comment.into());
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_names_and_forms_of_its_json_and_the_comments_of_its_proto() {
        let mut components = Map::new();
        let reference = reference(".tollgate.auth.v1.CreateApiKeyRequest", &Descriptors::read(), &mut components);
        assert_eq!(reference, json!({ "$ref": "#/components/schemas/tollgate.auth.v1.CreateApiKeyRequest" }));
        let properties = &components["tollgate.auth.v1.CreateApiKeyRequest"]["properties"];
        assert_eq!(properties["scopes"]["items"], json!({ "type": "string" }));
        assert_eq!(properties["expiresAt"]["format"], "date-time");
        assert_eq!(properties["name"]["description"], "At most 100 characters. May be empty.");
    }

    #[test]
    fn what_a_message_is_made_of_comes_along_and_a_choice_says_what_it_excludes() {
        let (descriptors, mut components) = (Descriptors::read(), Map::new());
        reference("tollgate.inference.v1.ChatRequest", &descriptors, &mut components);
        reference("tollgate.auth.v1.GetBalanceResponse", &descriptors, &mut components);
        assert!(components.values().all(|schema| schema.is_object()), "{components:#?}");
        let format = &components["tollgate.inference.v1.Format"]["properties"];
        assert!(format["json"]["description"].as_str().unwrap().ends_with("Not beside jsonSchema."), "{format:#}");
        let image = &components["tollgate.inference.v1.Message"]["properties"]["images"];
        assert_eq!(image["items"], json!({ "type": "string", "contentEncoding": "base64" }));
        let credits = &components["tollgate.auth.v1.Balance"]["properties"]["availableCredits"];
        assert_eq!(credits["type"], json!(["string", "integer"]));
        assert_eq!(components["tollgate.inference.v1.ChatRequest"]["properties"]["keepAlive"]["pattern"], r"^-?[0-9]+(\.[0-9]{1,9})?s$");
    }
}

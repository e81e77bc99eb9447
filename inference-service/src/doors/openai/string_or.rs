//! What OpenAI's requests have as a string or as something longer: `"stop": "."` beside `"stop": [".", "!"]`.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A string, or the longer form. It is read as it comes: an untagged enum would keep a copy of it first, and lose where a mistake is.
#[derive(Debug)]
pub(in crate::doors) enum StringOr<T> {
    String(String),
    Other(T),
}

impl StringOr<Vec<String>> {
    /// All of them; a string alone is one.
    pub(in crate::doors) fn into_list(self) -> Vec<String> {
        match self {
            Self::String(one) => vec![one],
            Self::Other(list) => list,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for StringOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StringOrVisitor(PhantomData))
    }
}

struct StringOrVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for StringOrVisitor<T> {
    type Value = StringOr<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, or the longer form that OpenAI's reference has")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(StringOr::String(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Self::Value, E> {
        Ok(StringOr::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        T::deserialize(SeqAccessDeserializer::new(list)).map(StringOr::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(StringOr::Other)
    }
}

impl<T: JsonSchema> JsonSchema for StringOr<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("StringOr{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, generator.subschema_for::<T>()] })
    }
}

/// A field of which only counts whether it was given: `null` is as if it weren't there.
#[derive(Debug)]
pub(in crate::doors) struct Unread;

impl<'de> Deserialize<'de> for Unread {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl JsonSchema for Unread {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Unread".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_a_list_and_an_object_are_told_apart_as_they_come() {
        let list: StringOr<Vec<String>> = serde_json::from_str(r#"["a","b"]"#).unwrap();
        assert_eq!(list.into_list(), ["a", "b"]);
        let one: StringOr<Vec<String>> = serde_json::from_str(r#""a""#).unwrap();
        assert_eq!(one.into_list(), ["a"]);
        let wrong = serde_json::from_str::<StringOr<Vec<String>>>("5").unwrap_err();
        assert!(wrong.to_string().starts_with("invalid type: integer `5`, expected a string"), "{wrong}");
    }

    #[test]
    fn null_is_as_if_a_field_were_not_there() {
        assert!(serde_json::from_str::<Option<Unread>>("null").unwrap().is_none());
        assert!(serde_json::from_str::<Option<Unread>>(r#"{"a":[1]}"#).unwrap().is_some());
    }
}

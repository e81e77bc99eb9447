//! JSON that a caller sent as text, read with bounds: an object, so long, so deep, of so many values, and without a key that stands twice.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How large a text may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct JsonLimits {
    /// Bytes of it.
    pub(super) bytes: usize,
    /// Objects and arrays within each other.
    pub(super) depth: usize,
    /// Values in it, keys aside.
    pub(super) values: usize,
}

/// Of `arguments_json`: a file that a tool is to write is among them.
pub(super) const ARGUMENTS: JsonLimits = JsonLimits { bytes: 1024 * 1024, depth: 64, values: 20_000 };

/// Reads an object; the error says what it must be, without its content.
pub(super) fn object(text: &str, limits: &JsonLimits) -> Result<Value, String> {
    if text.len() > limits.bytes {
        return Err(format!("must be at most {} bytes; it has {}", limits.bytes, text.len()));
    }
    // Before the parser, which takes a frame of the stack for each level and memory for each value.
    let outline = Outline::of(text);
    if outline.depth > limits.depth {
        return Err(format!("must be at most {} levels deep; it has {}", limits.depth, outline.depth));
    }
    if outline.values > limits.values {
        return Err(format!("must be at most {} values; it has {}", limits.values, outline.values));
    }
    let mut parser = serde_json::Deserializer::from_str(text);
    let parsed = UniqueKeys.deserialize(&mut parser).and_then(|value| parser.end().map(|()| value));
    match parsed {
        Ok(value) if value.is_object() => Ok(value),
        Ok(_) => Err("must be a JSON object".to_owned()),
        Err(error) if error.is_data() => Err(format!("must have each key once in an object: {}", place(&error))),
        Err(error) => Err(format!("must be a JSON object: {}", place(&error))),
    }
}

fn place(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

/// How deep a text is and how many values it has, of JSON and of what is none.
struct Outline {
    depth: usize,
    values: usize,
}

impl Outline {
    fn of(text: &str) -> Self {
        let (mut outline, mut depth, mut in_string, mut escaped) = (Self { depth: 0, values: 1 }, 0_usize, false, false);
        for byte in text.bytes() {
            if in_string {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => in_string = true,
                b'{' | b'[' => {
                    (depth, outline.values) = (depth + 1, outline.values + 1);
                    outline.depth = outline.depth.max(depth);
                }
                b'}' | b']' => depth = depth.saturating_sub(1),
                b',' => outline.values += 1,
                _ => {}
            }
        }
        outline
    }
}

/// A value of which no object has a key twice: parsers differ on which of the two counts.
#[derive(Clone, Copy)]
struct UniqueKeys;

impl<'de> DeserializeSeed<'de> for UniqueKeys {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.insert(key, entries.next_value_seed(self)?).is_some() {
                return Err(A::Error::custom("a key stands twice"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        object(text, &ARGUMENTS).unwrap_err()
    }

    #[test]
    fn the_depth_is_counted_before_the_parser_sees_it_and_brackets_in_text_are_none() {
        let deep = |levels: usize| format!("{}{{}}{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        assert!(object(&deep(63), &ARGUMENTS).is_ok());
        assert_eq!(refusal(&deep(64)), "must be at most 64 levels deep; it has 65");
        assert!(refusal(&deep(100_000)).contains("64 levels"));
        assert!(refusal(&"[".repeat(500_000)).contains("64 levels"), "what never closes is as deep");
        assert!(object(&format!(r#"{{"a":"\"{}"}}"#, "[{".repeat(1000)), &ARGUMENTS).is_ok());
    }

    #[test]
    fn bytes_and_values_are_bounded() {
        assert!(refusal(&format!(r#"{{"a":"{}"}}"#, "x".repeat(1024 * 1024))).contains("1048576 bytes"));
        assert!(refusal(&format!(r#"{{"a":[{}0]}}"#, "0,".repeat(30_000))).contains("20000 values"));
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_however_it_is_spelled_and_wherever_it_stands() {
        for text in [r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#, r#"{"x":[{"a":{},"b":0,"a":{}}]}"#] {
            assert!(refusal(text).starts_with("must have each key once"), "{text}");
        }
        assert!(object(r#"{"a":{"a":1},"b":{"a":2}}"#, &ARGUMENTS).is_ok());
    }

    #[test]
    fn what_is_no_json_object_is_refused_with_its_place() {
        for text in ["", "[1]", "xml", "{", "{}{}", r#"{"a":"\ud800"}"#, r#"{"a":1e999}"#, "{\"a\":\"\n\"}"] {
            assert!(refusal(text).starts_with("must be a JSON object"), "{text}");
        }
    }
}

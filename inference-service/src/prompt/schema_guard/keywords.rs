//! What the value of a keyword may be.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{LIMITS, SchemaUse};

/// From here on, a bound alone on one side makes Ollama 0.24 write a repetition whose least is above its most, which never ends.
const MAX_OPEN_BOUND: f64 = 1e15;
/// What the converter holds as a whole number of 64 bits, with room for one more or less.
const MAX_INTEGER_BOUND: f64 = 1e18;

pub(super) fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// What a keyword such as `maxLength` comes to: as many parts of a grammar, or one word to a model that reads it.
pub(super) fn repetitions(value: &Value, schema_use: SchemaUse) -> Result<u64, String> {
    let most = match schema_use {
        SchemaUse::Format => LIMITS.count,
        SchemaUse::Tool => LIMITS.tool_count,
    };
    let count = value.as_u64().filter(|count| *count <= most).ok_or_else(|| format!("must be a whole number from 0 to {most}"))?;
    Ok(if schema_use == SchemaUse::Tool { 1 } else { count })
}

pub(super) fn literal_bytes(value: &Value) -> Result<u64, String> {
    let bytes = value.to_string().len();
    if bytes > LIMITS.value_bytes {
        return Err(format!("must have values of at most {} bytes as JSON; one has {bytes}", LIMITS.value_bytes));
    }
    Ok(as_u64(bytes))
}

/// How often the converter looks at what is within a schema of these types.
pub(super) fn types(value: &Value) -> Result<u64, String> {
    let refused = || Err("must be a type or a list of different types".to_owned());
    match value {
        Value::String(_) => Ok(1),
        Value::Array(types) if types.len() <= 7 => {
            let different: HashSet<&str> = types.iter().filter_map(Value::as_str).collect();
            let looked_into = different.iter().filter(|name| matches!(**name, "object" | "array" | "string")).count();
            if different.len() == types.len() { Ok(as_u64(looked_into.max(1))) } else { refused() }
        }
        _ => refused(),
    }
}

/// Refuses the bounds of an integer that the converter can't hold or makes an endless repetition of.
pub(super) fn integer_bounds(schema: &Map<String, Value>) -> Result<(), (&'static str, String)> {
    let is_integer = match schema.get("type") {
        Some(Value::Array(types)) => types.iter().any(|name| name == "integer"),
        Some(name) => name == "integer",
        None => false,
    };
    if !is_integer {
        return Ok(());
    }
    let bound = |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, schema.get(name)?.as_f64()?)));
    let (lower, upper) = (bound(["minimum", "exclusiveMinimum"]), bound(["maximum", "exclusiveMaximum"]));
    for name in ["minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"] {
        if schema.get(name).and_then(Value::as_f64).is_some_and(|value| value.abs() > MAX_INTEGER_BOUND) {
            return Err((name, format!("must be from -{MAX_INTEGER_BOUND} to {MAX_INTEGER_BOUND} for an integer")));
        }
    }
    match (lower, upper) {
        (Some((name, value)), None) if value >= MAX_OPEN_BOUND => {
            Err((name, format!("must be below {MAX_OPEN_BOUND}, or have a maximum beside it")))
        }
        (None, Some((name, value))) if value <= -MAX_OPEN_BOUND => {
            Err((name, format!("must be above -{MAX_OPEN_BOUND}, or have a minimum beside it")))
        }
        _ => Ok(()),
    }
}

//! Where a `$ref` leads. Only places within the schema itself: nothing is fetched for a caller.

use std::collections::HashSet;

use serde_json::Value;

/// How many different `$ref`s there are, also in values that are no schemas: the converter follows those too.
pub(super) fn different(root: &Value) -> usize {
    let mut references = HashSet::new();
    let mut values = vec![root];
    while let Some(value) = values.pop() {
        match value {
            Value::Object(map) => {
                references.extend(map.get("$ref").and_then(Value::as_str));
                values.extend(map.values());
            }
            Value::Array(list) => values.extend(list),
            _ => {}
        }
    }
    references.len()
}

/// A `$ref`'s pointer, as it stands there.
pub(super) fn local(value: &Value, most_bytes: usize) -> Result<&str, String> {
    let Value::String(reference) = value else { return Err("must be text".to_owned()) };
    if reference.len() > most_bytes {
        return Err(format!("must be at most {most_bytes} bytes"));
    }
    if !reference.starts_with("#/") {
        return Err("must lead into this schema, such as #/$defs/Name".to_owned());
    }
    Ok(reference)
}

/// What it leads to.
///
/// `~0` and `~1` stand for `~` and `/`, and to Ollama's converter for themselves. Where both are there, what it would follow was not
/// checked.
pub(super) fn target<'a>(root: &'a Value, reference: &str) -> Result<&'a Value, String> {
    let pointer = reference.strip_prefix('#').unwrap_or(reference);
    let read = |unescape: fn(&str) -> String| {
        pointer.split('/').skip(1).try_fold(root, |value, token| {
            let token = unescape(token);
            match value {
                Value::Object(map) => map.get(&token),
                Value::Array(list) => list.get(index(&token)?),
                _ => None,
            }
        })
    };
    let unescaped = read(|token| token.replace("~1", "/").replace("~0", "~"));
    let literal = read(str::to_owned);
    match (unescaped, literal) {
        (Some(place), Some(other)) if !std::ptr::eq(place, other) => {
            Err("must not be readable in two ways: rename what has a ~".to_owned())
        }
        (Some(place), _) | (None, Some(place)) => Ok(place),
        (None, None) => Err("must name a schema that is there, such as #/$defs/Name".to_owned()),
    }
}

/// An index as JSON pointers have it: without leading zeros, signs or blanks.
fn index(token: &str) -> Option<usize> {
    let plain = token.bytes().all(|byte| byte.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    plain.then(|| token.parse().ok()).flatten()
}

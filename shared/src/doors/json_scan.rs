//! Counts what a JSON text asks to be allocated, before anything is: the number of its values and how deep they are nested.
//!
//! One pass over the bytes, without an allocation. It judges no grammar: what is no JSON is refused by whoever parses it, at the first
//! byte that doesn't fit. Until that byte the counts are right, and behind it nobody reads.

use memchr::memchr2;

/// The most values of one text: objects, arrays, strings, numbers and literals. Keys are counted with their values.
pub const MAX_VALUES: usize = 200_000;
/// How deep objects and arrays may be nested.
pub const MAX_DEPTH: usize = 128;

/// Why a JSON text isn't parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// It has too many values.
    #[error("the JSON has too many values: {MAX_VALUES} at most")]
    TooManyValues,
    /// Its values are nested too deeply.
    #[error("the JSON is too deep: {MAX_DEPTH} levels at most")]
    TooDeep,
}

/// Refuses a text of more than [`MAX_VALUES`], or deeper than [`MAX_DEPTH`].
pub fn scan(text: &[u8]) -> Result<(), ScanError> {
    scan_within(text, MAX_VALUES, MAX_DEPTH)
}

/// The same, within other bounds.
pub fn scan_within(text: &[u8], max_values: usize, max_depth: usize) -> Result<(), ScanError> {
    let (mut values, mut depth, mut at) = (0_usize, 0_usize, 0_usize);
    while let Some(&byte) = text.get(at) {
        at += 1;
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b',' => continue,
            // What stood before it was a key.
            b':' => {
                values = values.saturating_sub(1);
                continue;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                continue;
            }
            b'{' | b'[' => {
                depth += 1;
                if depth > max_depth {
                    return Err(ScanError::TooDeep);
                }
            }
            b'"' => at = end_of_string(text, at),
            // A number or a literal.
            _ => at += text[at..].iter().position(|byte| ends_scalar(*byte)).unwrap_or(text.len() - at),
        }
        values += 1;
        // A key is counted until its colon comes.
        if values > max_values + 1 {
            return Err(ScanError::TooManyValues);
        }
    }
    if values > max_values { Err(ScanError::TooManyValues) } else { Ok(()) }
}

fn ends_scalar(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' | b'{' | b'}' | b'[' | b']' | b'"')
}

/// Where the text goes on behind a string, of which the first quote is before `at`.
fn end_of_string(text: &[u8], mut at: usize) -> usize {
    while let Some(found) = text.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found + 1;
        if text[at - 1] == b'"' {
            return at;
        }
        // Whatever is escaped ends no string.
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn values(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(values).sum::<usize>(),
            Value::Object(fields) => 1 + fields.values().map(values).sum::<usize>(),
            _ => 1,
        }
    }

    fn depth(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
            Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    fn many(values: usize) -> String {
        // The array itself is one.
        format!("[{}]", vec!["1"; values - 1].join(","))
    }

    #[test]
    fn as_many_values_as_there_may_be_are_taken_and_one_more_is_refused() {
        assert_eq!(scan(many(MAX_VALUES).as_bytes()), Ok(()));
        assert_eq!(scan(many(MAX_VALUES + 1).as_bytes()), Err(ScanError::TooManyValues));
        let fields = |count: usize| format!("{{{}}}", vec!["\"k\" : true"; count].join(" , "));
        assert_eq!(scan(fields(MAX_VALUES - 1).as_bytes()), Ok(()), "keys are not counted");
        assert_eq!(scan(fields(MAX_VALUES).as_bytes()), Err(ScanError::TooManyValues));
        for value in ["{}", "[]", "\"\"", "null", "-1e3"] {
            let text = format!("[{}]", vec![value; MAX_VALUES].join(","));
            assert_eq!(scan(text.as_bytes()), Err(ScanError::TooManyValues), "{value}");
        }
    }

    #[test]
    fn as_deep_as_it_may_be_is_taken_and_one_level_more_is_refused() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let deep = |levels: usize| format!("{}0{}", open.repeat(levels), close.repeat(levels));
            assert_eq!(scan(deep(MAX_DEPTH).as_bytes()), Ok(()));
            assert_eq!(scan(deep(MAX_DEPTH + 1).as_bytes()), Err(ScanError::TooDeep));
        }
        let siblings = format!("[{}]", vec!["[[]]"; 1000].join(","));
        assert_eq!(scan(siblings.as_bytes()), Ok(()), "siblings are not deep");
    }

    #[test]
    fn what_stands_in_a_string_is_text() {
        let inside = format!("\"{}\"", "[{,:".repeat(MAX_VALUES));
        assert_eq!(scan(inside.as_bytes()), Ok(()));
        let escaped = format!("\"{}\"", r#"\"[\\"#.repeat(MAX_VALUES));
        assert_eq!(scan(escaped.as_bytes()), Ok(()));
        let after = format!("[\"\\\\\", {}", "[".repeat(MAX_DEPTH));
        assert_eq!(scan(after.as_bytes()), Err(ScanError::TooDeep), "an escaped backslash escapes no quote");
    }

    #[test]
    fn what_is_cut_off_or_no_json_is_left_to_be_refused() {
        for text in [&b""[..], b"\"", b"\"\\", b"{", b"]]]]", b":::", b"\xff\xfe", b"nul", b"\"\\\"", b"1"] {
            assert_eq!(scan(text), Ok(()), "{text:?}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::vec((".*", inner), 0..8).prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_is_counted_as_it_would_be_parsed(value in any_json(), more in 1_usize..3) {
            prop_assert!(depth(&value) <= MAX_DEPTH);
            // Filled up to the bound, and beyond it by a few.
            let filling = MAX_VALUES - 1 - values(&value);
            let text = |filling: usize| format!("[{}{value}]", "0,".repeat(filling));
            prop_assert_eq!(scan(text(filling).as_bytes()), Ok(()));
            prop_assert_eq!(scan(text(filling + more).as_bytes()), Err(ScanError::TooManyValues));
        }
    }
}

//! A schema, a pattern, a reference and a tool's arguments are judged without end of the stack or of patience; what passes is JSON.
#![no_main]

use inference_service::fuzzing::{arguments, schema};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|text: &str| {
    judge(text);
    judge(&json!({ "pattern": text }).to_string());
    judge(&json!({ "$ref": text, "$defs": { "a": {}, "b/c~d": { "items": [{}, { "$ref": "#/$defs/a" }] } } }).to_string());
    if let Ok(value) = arguments(text) {
        assert_eq!(serde_json::from_str::<Value>(text).ok(), Some(value));
    }
});

fn judge(text: &str) {
    let (of_format, of_tool) = (schema(text, false), schema(text, true));
    for judged in [&of_format, &of_tool] {
        match judged {
            Ok(()) => assert!(serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object()), "{text:?} is no object"),
            Err((path, rule)) => {
                assert!(rule.starts_with("must "), "{rule:?}");
                assert!(path.chars().count() <= 201 && rule.len() < 1000, "{path} {rule}");
                let breaks_a_line = |text: &str| text.contains(|character: char| character.is_control());
                assert!(!breaks_a_line(path) && !breaks_a_line(rule), "{path:?} {rule:?}");
            }
        }
    }
    assert!(of_format.is_err() || of_tool.is_ok(), "a format is held to more than a tool is");
}

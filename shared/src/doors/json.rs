//! A body's text, and the type that it is parsed as. What is wrong is told by the field's path, without the text that was sent.

use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};

use super::json_scan::scan;
use super::refusal::Refusal;
use crate::error::CallError;

/// The most that is repeated of a name which somebody sent.
const MAX_SHOWN_CHARS: usize = 100;

/// Parses a JSON body.
pub(super) fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let malformed = |message: String| Refusal::from(CallError::message_malformed(message));
    if body.is_empty() {
        return Err(malformed("the request has no body; send JSON".to_owned()));
    }
    scan(body).map_err(|error| malformed(error.to_string()))?;
    let text = std::str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        malformed(format!("the body must be JSON in UTF-8, and is no UTF-8 at byte {at}"))
    })?;
    let mut json = serde_json::Deserializer::from_str(text);
    let parsed = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().clone();
        let inner = error.into_inner();
        if inner.is_data() { wrong_field(&path, &inner) } else { malformed(no_json(&inner)) }
    })?;
    json.end().map_err(|error| malformed(no_json(&error)))?;
    Ok(parsed)
}

/// Parses a form (`application/x-www-form-urlencoded`).
pub(super) fn parse_form<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let form = serde_urlencoded::Deserializer::new(form_pairs(body));
    serde_path_to_error::deserialize(form).map_err(|error| {
        let path = error.path().clone();
        let said = error.into_inner().to_string();
        refuse_field(&path, &said)
    })
}

fn form_pairs(body: &[u8]) -> form_urlencoded::Parse<'_> {
    form_urlencoded::parse(body)
}

/// Where and why a text is no JSON. serde's sentence holds nothing of the text.
fn no_json(error: &serde_json::Error) -> String {
    format!("the body is no JSON: {error}")
}

fn wrong_field(path: &Path, error: &serde_json::Error) -> Refusal {
    let said = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    refuse_field(path, said.strip_suffix(&position).unwrap_or(&said))
}

/// `said` is serde's sentence.
fn refuse_field(path: &Path, said: &str) -> Refusal {
    let quoted = |prefix: &str| said.strip_prefix(prefix).and_then(|rest| rest.split_once('`')).map(|(name, rest)| (shown(name), rest));
    if let Some((name, _)) = quoted("missing field `") {
        return Refusal::invalid(&field(path, Some(&name)), "is required");
    }
    if let Some((name, _)) = quoted("duplicate field `") {
        return Refusal::invalid(&field(path, Some(&name)), "may be there once");
    }
    if let Some((name, _)) = quoted("unknown field `") {
        // The path ends with it already.
        let ends_with_it = matches!(path.iter().next_back(), Some(Segment::Map { key }) if shown(key) == name);
        return Refusal::invalid(&field(path, (!ends_with_it).then_some(name.as_str())), "is not known here");
    }
    // serde names what was sent before it names what it expected.
    let must = match said.split_once(", expected ") {
        Some((_, expected)) => format!("must be {}", in_words(expected)),
        None if said.starts_with("invalid ") => "has a value that can't be taken".to_owned(),
        None => said.to_owned(),
    };
    Refusal::invalid(&field(path, None), must)
}

/// What serde expected, without Rust's names for it.
fn in_words(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more, and not too large",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number, and not too large",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        _ if expected.starts_with("struct ") || expected.contains("tagged enum ") => "an object",
        _ => expected,
    }
}

/// A field's path, `messages[0].role`; `body` for the whole.
fn field(path: &Path, below: Option<&str>) -> String {
    let mut text = String::new();
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => text.push_str(&format!("[{index}]")),
            Segment::Map { key } | Segment::Enum { variant: key } => push_name(&mut text, &shown(key)),
            Segment::Unknown => {}
        }
    }
    if let Some(name) = below {
        push_name(&mut text, name);
    }
    if text.is_empty() { "body".to_owned() } else { text }
}

fn push_name(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

/// A name that somebody sent, so much of it as a message has room for.
fn shown(name: &str) -> String {
    name.chars().take(MAX_SHOWN_CHARS).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Call {
        model: String,
        #[serde(default)]
        messages: Vec<Message>,
        schema: Option<Box<RawValue>>,
        kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize)]
    struct Message {
        #[expect(dead_code, reason = "it is parsed only")]
        role: String,
        #[expect(dead_code, reason = "it is parsed only")]
        #[serde(default)]
        count: u8,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Auto,
        None,
    }

    fn refused(text: &str) -> (String, String) {
        let refusal = parse_json::<Call>(text.as_bytes()).unwrap_err();
        let field = refusal.fields.first().map(|(field, _)| field.clone()).unwrap_or_default();
        (field, refusal.message)
    }

    #[test]
    fn what_is_wrong_is_told_by_its_path_and_without_what_was_sent() {
        let cases = [
            (r#"{}"#, "model", "model is required"),
            (r#"{"model":"m","messages":[{"role":"user"},{}]}"#, "messages[1].role", "messages[1].role is required"),
            (r#"{"model":"m","messages":[{"role":1}]}"#, "messages[0].role", "messages[0].role must be a string"),
            (r#"{"model":{"secret":1}}"#, "model", "model must be a string"),
            (
                r#"{"model":"m","messages":[{"role":"u","count":900}]}"#,
                "messages[0].count",
                "messages[0].count must be a whole number, 0 or more, and not too large",
            ),
            (r#"{"model":"m","model":"m"}"#, "model", "model may be there once"),
            (r#"{"model":"m","other":1}"#, "other", "other is not known here"),
            (r#"{"model":"m","kind":"secret"}"#, "kind", "kind must be `auto` or `none`"),
            (r#""secret""#, "body", "body must be an object"),
        ];
        for (text, path, message) in cases {
            let (field, said) = refused(text);
            assert_eq!((field.as_str(), said.as_str()), (path, message), "{text}");
            assert!(!said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn what_is_no_json_is_told_by_its_place_alone() {
        for text in ["", "{", r#"{"model":"m"} x"#, r#"{"model":}"#, "\u{feff}{}", r#"{"model":"a"#] {
            let refusal = parse_json::<Call>(text.as_bytes()).unwrap_err();
            assert_eq!(refusal.code(), "MESSAGE_MALFORMED", "{text}");
        }
        let refusal = parse_json::<Call>(b"{\"model\":\"\xff\"}").unwrap_err();
        assert_eq!(refusal.message, "the body must be JSON in UTF-8, and is no UTF-8 at byte 10");
    }

    #[test]
    fn text_that_is_passed_on_stays_as_it_was_sent() {
        let call: Call = parse_json(br#"{"model":"m","schema":{"b": 1.0, "a":2}}"#).unwrap();
        assert_eq!(call.schema.unwrap().get(), r#"{"b": 1.0, "a":2}"#);
        assert!(call.messages.is_empty() && call.kind.is_none() && call.model == "m");
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_parsed() {
        let bomb = format!(r#"{{"model":"m","schema":[{}0]}}"#, "0,".repeat(super::super::json_scan::MAX_VALUES));
        assert!(parse_json::<Call>(bomb.as_bytes()).unwrap_err().message.contains("values"));
        let deep = format!(r#"{{"model":"m","schema":{}"#, "[".repeat(1000));
        assert!(parse_json::<Call>(deep.as_bytes()).unwrap_err().message.contains("deep"));
    }

    #[test]
    fn a_form_is_told_the_same_way() {
        #[derive(Debug, Deserialize)]
        struct Login {
            username: String,
            expires_in: Option<u32>,
        }
        let login: Login = parse_form(b"username=a%20b&expires_in=3").unwrap();
        assert_eq!((login.username.as_str(), login.expires_in), ("a b", Some(3)));
        assert_eq!(parse_form::<Login>(b"x=1").unwrap_err().message, "username is required");
        assert_eq!(parse_form::<Login>(b"username=a&username=b").unwrap_err().message, "username may be there once");
        assert!(!parse_form::<Login>(b"username=a&expires_in=secret").unwrap_err().message.contains("secret"));
    }
}

//! Pages whose commands can be typed as they stand: the commands, what the page shows of their answers, and whether an answer is of that
//! form.
//!
//! A command is a block in the language `sh`, perhaps with a word behind it. A block in `json` or `text` right behind it is its answer. In
//! a text, `…` stands for anything within a line.

use serde_json::Value;

/// A command of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownCommand {
    /// The word behind `sh`; empty for most.
    pub kind: String,
    /// What is typed.
    pub command: String,
    /// What the page shows of the answer.
    pub shown: Option<String>,
}

/// A page's commands, in their order.
#[must_use]
pub fn shown_commands(page: &str) -> Vec<ShownCommand> {
    let mut commands: Vec<ShownCommand> = Vec::new();
    let mut rest = page;
    let mut between = String::new();
    while let Some((before, fenced)) = rest.split_once("```") {
        between.push_str(before);
        let (language, after) = fenced.split_once('\n').expect("a block's first line has an end");
        let (body, after) = after.split_once("```").expect("a block has an end");
        let body = body.trim_end_matches('\n').to_owned();
        match language.split_once(' ').unwrap_or((language, "")) {
            ("sh", kind) => commands.push(ShownCommand { kind: kind.to_owned(), command: body, shown: None }),
            ("json" | "text", _) if between.trim().is_empty() => {
                commands.last_mut().expect("an answer is behind its command").shown = Some(body);
            }
            _ => {}
        }
        between.clear();
        rest = after;
    }
    commands
}

/// Whether what a command printed is of the form that is shown: messages in JSON from its standard output, and behind them, or in their
/// place, lines of text.
///
/// # Errors
/// What differs, in words.
pub fn is_as_shown(shown: &str, output: &str, errors: &str) -> Result<(), String> {
    if !shown.starts_with('{') {
        return are_lines_as_shown(shown, &format!("{output}{errors}"));
    }
    let (json, text) = shown.split_once("\nERROR:").map_or((shown, None), |(json, text)| (json, Some(format!("ERROR:{text}"))));
    let (json, real) = (messages(json)?, messages(output)?);
    let kinds = |messages: &[Value]| messages.iter().map(keys).collect::<Vec<_>>();
    if json.len() != real.len() {
        return Err(format!("these messages are shown: {:?}; these came: {:?}", kinds(&json), kinds(&real)));
    }
    for (shown, real) in json.iter().zip(&real) {
        has_shape("", shown, real)?;
    }
    text.map_or(Ok(()), |text| are_lines_as_shown(&text, errors))
}

/// A stream's messages. How many there are of one form is the model's affair.
fn messages(text: &str) -> Result<Vec<Value>, String> {
    let all: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(text).into_iter().collect();
    all.map(|all| first_of_each_form(&all)).map_err(|error| format!("{error} in {text}"))
}

/// Of objects of one form, one behind the other, the first stands for all. Anything else is as it is.
fn first_of_each_form(items: &[Value]) -> Vec<Value> {
    let mut items = items.to_vec();
    items.dedup_by(|next, first| next.is_object() && form(next) == form(first));
    items
}

/// A value without its texts and figures.
fn form(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields.iter().map(|(name, field)| (name.clone(), form(field))).collect(),
        Value::Array(items) => items.iter().map(form).collect(),
        Value::String(_) => "".into(),
        Value::Number(_) => 0.into(),
        Value::Bool(_) | Value::Null => value.clone(),
    }
}

fn keys(value: &Value) -> Vec<String> {
    value.as_object().map(|object| object.keys().cloned().collect()).unwrap_or_default()
}

/// Whether a value has the shown one's fields, types and constants. Where a number, a time or a length of time is shown as a text, such a
/// one must have come.
///
/// # Errors
/// What differs, and where.
fn has_shape(place: &str, shown: &Value, real: &Value) -> Result<(), String> {
    match (shown, real) {
        (Value::Object(fields), Value::Object(_)) => {
            if keys(shown) != keys(real) {
                return Err(format!("{place}: {:?} are shown, {:?} came", keys(shown), keys(real)));
            }
            fields.iter().try_for_each(|(name, field)| has_shape(&format!("{place}.{name}"), field, &real[name]))
        }
        (Value::Array(of_shown), Value::Array(of_real)) => {
            let (of_shown, of_real) = (first_of_each_form(of_shown), first_of_each_form(of_real));
            if of_shown.len() != of_real.len() {
                return Err(format!("{place}: {} are shown, {} came", of_shown.len(), of_real.len()));
            }
            of_shown.iter().zip(&of_real).try_for_each(|(shown, real)| has_shape(&format!("{place}[]"), shown, real))
        }
        (Value::String(of_shown), Value::String(of_real)) if ![Sort::Text, sort(of_real)].contains(&sort(of_shown)) => {
            Err(format!("{place}: {of_shown} is shown, {of_real} came"))
        }
        _ if std::mem::discriminant(shown) != std::mem::discriminant(real) => Err(format!("{place}: {shown} is shown, {real} came")),
        _ => Ok(()),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Sort<'a> {
    Constant(&'a str),
    Number,
    Time,
    Length,
    Text,
}

fn sort(text: &str) -> Sort<'_> {
    let is = |pattern: &str| regex::Regex::new(pattern).expect("a pattern").is_match(text);
    if is("^-?[0-9]{1,19}$") {
        Sort::Number
    } else if is("^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:.]+Z)?$") {
        Sort::Time
    } else if is("^[0-9.]+s$") {
        Sort::Length
    } else if is("^[A-Z]+(_[A-Z]+)+$") || text == "SERVING" {
        Sort::Constant(text)
    } else {
        Sort::Text
    }
}

fn are_lines_as_shown(shown: &str, real: &str) -> Result<(), String> {
    let (of_shown, of_real): (Vec<_>, Vec<_>) = (shown.lines().collect(), real.lines().collect());
    let same = of_shown.len() == of_real.len() && of_shown.iter().zip(&of_real).all(|(shown, real)| is_line_as_shown(shown, real));
    if same { Ok(()) } else { Err(format!("shown:\n{shown}\ncame:\n{real}")) }
}

/// `…` stands for anything.
#[must_use]
pub fn is_line_as_shown(shown: &str, real: &str) -> bool {
    let parts: Vec<String> = shown.trim_end().split('…').map(regex::escape).collect();
    regex::Regex::new(&format!("^{}$", parts.join(".*"))).expect("a pattern").is_match(real.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_belongs_to_the_command_right_before_it() {
        let page = "# A page\n\n```sh\none\n```\n\n```json\n{}\n```\n\nWords.\n\n```sh refused\ntwo\n```\n\nWords.\n\n```json\n[]\n```\n";
        let command = |kind: &str, command: &str, shown: Option<&str>| ShownCommand {
            kind: kind.into(),
            command: command.into(),
            shown: shown.map(str::to_owned),
        };
        assert_eq!(shown_commands(page), [command("", "one", Some("{}")), command("refused", "two", None)]);
    }

    #[test]
    fn an_answer_may_differ_in_its_figures_and_words_and_in_nothing_else() {
        let shown = r#"{"id": "a", "credits": "10", "at": "2026-01-01T00:00:00Z", "state": "ROLE_USER", "took": "1.5s", "list": [1]}"#;
        let right = r#"{"id": "…", "credits": "-7", "at": "2027-02-02T01:01:01.5Z", "state": "ROLE_USER", "took": "9s", "list": [22]}"#;
        assert_eq!(is_as_shown(shown, right, ""), Ok(()));
        for (part, other) in [
            ("\"id\": \"…\", ", ""),
            ("\"id\": \"…\"", "\"id\": 1"),
            ("\"id\": \"…\"", "\"name\": \"…\""),
            ("\"-7\"", "\"much\""),
            ("\"-7\"", "-7"),
            ("2027-02-02T01:01:01.5Z", "9s"),
            ("ROLE_USER", "ROLE_ADMIN"),
            ("[22]", "[22, 23]"),
            ("[22]", "[\"22\"]"),
            ("\"took\"", "\"more\": 1, \"took\""),
        ] {
            let wrong = right.replace(part, other);
            assert!(wrong != right && is_as_shown(shown, &wrong, "").is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_stream_may_have_more_pieces_than_are_shown_but_none_of_another_kind() {
        let shown = "{\"begun\": 1}\n{\"piece\": \"a\"}\n{\"ended\": 1}";
        assert_eq!(is_as_shown(shown, "{\"begun\": 1}{\"piece\": \"b\"}{\"piece\": \"c\"}{\"ended\": 1}", ""), Ok(()));
        assert!(is_as_shown(shown, "{\"begun\": 1}{\"piece\": \"b\"}", "").is_err());
        assert!(is_as_shown(shown, "{\"begun\": 1}{\"ended\": 1}", "").is_err());
        assert!(is_as_shown(shown, "{\"begun\": 1}{\"piece\": \"b\"}{\"other\": 1}{\"ended\": 1}", "").is_err());
    }

    #[test]
    fn a_list_may_have_more_rows_than_are_shown_but_none_of_another_kind() {
        let shown = r#"{"rows": [{"day": "2026-01-01", "calls": "1"}]}"#;
        assert_eq!(
            is_as_shown(shown, r#"{"rows": [{"day": "2026-01-01", "calls": "1"}, {"day": "2026-01-02", "calls": "1"}]}"#, ""),
            Ok(())
        );
        for wrong in ["[]", r#"[{"day": "2026-01-01"}]"#, r#"[{"day": "2026-01-01", "calls": "1"}, {"day": "2026-01-02"}]"#] {
            assert!(is_as_shown(shown, &format!("{{\"rows\": {wrong}}}"), "").is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_errors_lines_are_as_they_are_shown_but_for_what_is_left_out() {
        let shown = "{\"status\": \"SERVING\"}\nERROR:\n  Code: NotFound\n  Message: …";
        assert_eq!(is_as_shown(shown, "{\"status\": \"SERVING\"}", "ERROR:\n  Code: NotFound\n  Message: why\n"), Ok(()));
        assert!(is_as_shown(shown, "{\"status\": \"SERVING\"}", "ERROR:\n  Code: Internal\n  Message: why\n").is_err());
        assert!(is_as_shown(shown, "{\"status\": \"SERVING\"}", "").is_err());
        assert!(is_as_shown("one\ntwo", "one\n", "").is_err() && is_as_shown("one", "one\ntwo\n", "").is_err());
    }
}

//! The fields of a request that are wrong, all at once.

use std::fmt::Write as _;

use shared::error::CallError;

/// Fields that are wrong, each with what it must be. Empty: none is.
#[derive(Debug, Default)]
pub struct Violations {
    listed: Vec<(String, String)>,
    bytes: usize,
    unlisted: usize,
}

impl Violations {
    /// Fields that are listed, at most.
    const MAX_LISTED: usize = 32;
    /// Bytes of what is listed, at most. An error goes out in headers, in base64, and some clients take 8 KiB of them.
    const MAX_LISTED_BYTES: usize = 3 * 1024;
    /// Fields that the message names after the first, at most.
    const MAX_NAMED: usize = 5;

    /// Adds a field by its path in the contract, and what is wrong with it, such as `must be 1 or more`.
    pub fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        let (field, description) = (field.into(), description.into());
        let bytes = field.len() + description.len();
        // The first is always there.
        if self.listed.is_empty() || self.listed.len() < Self::MAX_LISTED && self.bytes + bytes <= Self::MAX_LISTED_BYTES {
            self.bytes += bytes;
            self.listed.push((field, description));
        } else {
            self.unlisted += 1;
        }
    }

    /// The same, of a value if there is one: `None` when it was wrong. A sentence that begins with the field's name says it once.
    pub fn take<T>(&mut self, field: &str, parsed: Result<T, String>) -> Option<T> {
        parsed
            .map_err(|sentence| {
                let description = sentence.strip_prefix(field).and_then(|rest| rest.strip_prefix(' ')).unwrap_or(&sentence);
                self.add(field, description);
            })
            .ok()
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// INVALID_ARGUMENT: the first one as the message, with the others' names, and all that are listed as a `BadRequest`.
    pub fn refuse(self) -> CallError {
        let mut message = match self.listed.first() {
            Some((field, description)) => sentence(field, description),
            None => "the request is wrong".to_owned(),
        };
        let others = self.listed.len().saturating_sub(1) + self.unlisted;
        if others > 0 {
            let names: Vec<&str> = self.listed.iter().skip(1).take(Self::MAX_NAMED).map(|(field, _)| field.as_str()).collect();
            let more = others - names.len();
            let _ = write!(message, "{OTHERS}{}", names.join(", "));
            let _ = if more > 0 { write!(message, "{MORE}{more} more)") } else { write!(message, ")") };
        }
        CallError::invalid_argument(message)
            .violations(self.listed.iter().map(|(field, description)| (field.as_str(), description.as_str())))
    }
}

/// What [`Violations::refuse`] says, with other names for its fields: those that a caller of another protocol used. Both the message and
/// the fields that it lists are given; the fields are changed in place.
#[must_use]
pub fn rename_violations(message: &str, fields: &mut [(String, String)], rename: impl Fn(&str) -> String) -> String {
    let renamed = fields.first().and_then(|(first, _)| {
        let rest = message.strip_prefix(first.as_str())?;
        let (said, others) = rest.rsplit_once(OTHERS).map_or((rest, None), |(said, others)| (said, Some(others)));
        let mut renamed = rename(first) + said;
        if let Some(others) = others {
            let end = others.find(MORE).unwrap_or(others.len() - 1);
            let (names, end) = others.split_at(end);
            let names: Vec<String> = names.split(", ").map(&rename).collect();
            let _ = write!(renamed, "{OTHERS}{}{end}", names.join(", "));
        }
        Some(renamed)
    });
    for (field, _) in fields {
        *field = rename(field);
    }
    renamed.unwrap_or_else(|| message.to_owned())
}

/// Begins the names of the fields after the first.
const OTHERS: &str = " (wrong as well: ";
/// Begins how many there are that aren't named.
const MORE: &str = " and ";

/// A field and what is wrong with it, in one sentence.
fn sentence(field: &str, description: &str) -> String {
    let goes_on = ["must ", "is ", "belongs ", "can't "].into_iter().any(|start| description.starts_with(start));
    if goes_on { format!("{field} {description}") } else { format!("{field}: {description}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::error::violations_of;
    use tonic::Status;

    #[test]
    fn all_violated_fields_are_there_at_once_and_the_message_begins_with_the_first() {
        let mut violations = Violations::default();
        violations.add("messages[0].role", "must be system, user, assistant or tool");
        violations.take::<()>("model", Err("model is required".to_owned()));
        violations.add("format.json_schema", "properties.a.pattern: must be text");
        let error = violations.refuse();
        let starts = "messages[0].role must be system, user, assistant or tool (wrong as well: model, format.json_schema)";
        assert_eq!(error.message(), starts);
        let listed = violations_of(&Status::from(error));
        assert_eq!(listed[1], ("model".to_owned(), "is required".to_owned()));
        assert_eq!(listed.len(), 3);
    }

    #[test]
    fn fields_have_the_names_of_another_protocol_when_they_are_renamed() {
        let mut violations = Violations::default();
        for index in 0..10 {
            violations.add(format!("options.a{index}"), "must be 1 (or 2)");
        }
        let error = violations.refuse();
        let mut fields = violations_of(&Status::from(error.clone()));
        let rename = |path: &str| path.trim_start_matches("options.").to_uppercase();
        let message = rename_violations(error.message(), &mut fields, rename);
        assert_eq!(message, "A0 must be 1 (or 2) (wrong as well: A1, A2, A3, A4, A5 and 4 more)");
        assert_eq!((fields.len(), fields[9].0.as_str()), (10, "A9"));
        let mut one = vec![("options.a".to_owned(), "must be 1".to_owned())];
        assert_eq!(rename_violations("options.a must be 1", &mut one, rename), "A must be 1");
        assert_eq!(rename_violations("the prompt is too long", &mut [], rename), "the prompt is too long");
    }

    #[test]
    fn ten_thousand_violations_are_counted_and_not_listed() {
        let mut violations = Violations::default();
        for index in 0..10_000 {
            violations.add(format!("messages[{index}].role"), "must be a role");
        }
        let error = violations.refuse();
        assert!(error.message().ends_with(" and 9994 more)"), "{}", error.message());
        let status = Status::from(error);
        assert_eq!(violations_of(&status).len(), 32);
        assert!(status.details().len() < 5000);
    }

    #[test]
    fn long_ones_are_listed_as_far_as_headers_have_room() {
        let mut violations = Violations::default();
        for index in 0..32 {
            violations.add(format!("tools[{index}].parameters_json"), "x".repeat(1000));
        }
        let status = Status::from(violations.refuse());
        assert!((1..4).contains(&violations_of(&status).len()));
        assert!(status.details().len() < 6000);
    }
}

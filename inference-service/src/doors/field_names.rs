//! Field names in a refusal, as the sender of a request knows them.
//!
//! What checks a request names its fields by their paths in the contract. A door's request has other fields, and its messages may be cut
//! into several, so each message keeps where it came from.

use shared::doors::Refusal;

use crate::prompt::rename_violations;

/// Where a message of the contract came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Origin {
    /// The number of the message that it is, or is of; `None`: the system prompt, or all that there is.
    pub(super) message: Option<usize>,
    /// The path of each picture.
    pub(super) images: Vec<String>,
    /// The path of each tool call.
    pub(super) calls: Vec<String>,
}

/// How a door calls the fields of a chat request.
#[derive(Debug, Clone, Copy)]
pub(super) struct FieldNames {
    /// The list of messages.
    pub(super) messages: &'static str,
    /// What the system prompt is in, when it is no message.
    pub(super) system: &'static str,
    /// Paths, and what stands for each; a path below one of them keeps its rest.
    pub(super) paths: &'static [(&'static str, &'static str)],
    /// Last parts of paths, and what stands for each.
    pub(super) endings: &'static [(&'static str, &'static str)],
}

impl FieldNames {
    /// A refusal whose message and fields are in the door's names.
    pub(super) fn translate(&self, mut refusal: Refusal, origins: &[Origin]) -> Refusal {
        refusal.message = rename_violations(&refusal.message, &mut refusal.fields, |path| self.name(path, origins));
        refusal
    }

    /// The door's name for a path in the contract.
    fn name(&self, path: &str, origins: &[Origin]) -> String {
        let path = self.endings.iter().find_map(|(from, to)| Some(format!("{}{to}", path.strip_suffix(from)?))).unwrap_or(path.to_owned());
        if let Some((index, rest)) = element(&path, "messages") {
            return self.name_in_message(index, rest, origins);
        }
        let below = |from: &str| path.strip_prefix(from).filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        let named = self.paths.iter().find_map(|(from, to)| Some(format!("{to}{}", below(from)?)));
        named.unwrap_or_else(|| path.strip_prefix("options.").unwrap_or(&path).to_owned())
    }

    fn name_in_message(&self, index: usize, rest: &str, origins: &[Origin]) -> String {
        let Some(origin) = origins.get(index) else { return self.messages.to_owned() };
        let part = |list: &str, paths: &[String]| {
            let (number, rest) = element(rest.strip_prefix('.')?, list)?;
            paths.get(number).map(|path| format!("{path}{rest}"))
        };
        let whole = || match origin.message {
            Some(index) => format!("{}[{index}]{rest}", self.messages),
            None => format!("{}{rest}", self.system),
        };
        part("images", &origin.images).or_else(|| part("tool_calls", &origin.calls)).unwrap_or_else(whole)
    }
}

/// The index in a path such as `messages[3].role`, and what stands behind it.
fn element<'p>(path: &'p str, list: &str) -> Option<(usize, &'p str)> {
    let (index, rest) = path.strip_prefix(list)?.strip_prefix('[')?.split_once(']')?;
    Some((index.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use shared::error::CallError;

    use super::*;

    const NAMES: FieldNames = FieldNames {
        messages: "input",
        system: "instructions",
        paths: &[("format.json_schema", "text.format.schema"), ("options.stop", "stop_sequences")],
        endings: &[(".parameters_json", ".parameters"), (".arguments_json", ".arguments")],
    };

    #[test]
    fn a_path_in_the_contract_becomes_the_path_that_was_sent() {
        let origins = [
            Origin::default(),
            Origin { message: Some(4), images: vec!["input[4].content[1].image_url".into()], calls: vec!["input[5]".into()] },
        ];
        for (path, name) in [
            ("messages[0].content", "instructions.content"),
            ("messages[1].role", "input[4].role"),
            ("messages[1].images[0]", "input[4].content[1].image_url"),
            ("messages[1].tool_calls[0].arguments_json", "input[5].arguments"),
            ("messages", "messages"),
            ("messages[9].role", "input"),
            ("tools[2].parameters_json", "tools[2].parameters"),
            ("options.stop", "stop_sequences"),
            ("options.temperature", "temperature"),
            ("format.json_schema", "text.format.schema"),
            ("model", "model"),
        ] {
            assert_eq!(NAMES.name(path, &origins), name, "{path}");
        }
    }

    #[test]
    fn a_refusal_is_said_in_the_doors_names_and_keeps_all_else() {
        let error = CallError::invalid_argument("options.stop must be short").violations([("options.stop", "must be short")]);
        let refusal = NAMES.translate(Refusal::from(error), &[]);
        assert_eq!(refusal.message, "stop_sequences must be short");
        assert_eq!(*refusal.fields, [("stop_sequences".to_owned(), "must be short".to_owned())]);
        let other = NAMES.translate(Refusal::from(CallError::internal()), &[]);
        assert_eq!(other.message, CallError::internal().message());
    }
}

//! The names of fields: the contract's paths, as a caller of OpenAI's API knows them.

use shared::doors::Refusal;

use super::message::PicturePlaces;
use crate::prompt::rename_violations;

/// How one request's fields are called here.
#[derive(Debug)]
pub(super) struct FieldNames {
    /// What the caller called the bound on tokens.
    pub(super) max_output_tokens: &'static str,
    /// What the caller called the number of alternatives.
    pub(super) top_logprobs: &'static str,
    /// Where each picture was.
    pub(super) pictures: PicturePlaces,
}

impl FieldNames {
    /// The same refusal, with each field by its name here.
    pub(super) fn rename(&self, mut refusal: Refusal) -> Refusal {
        refusal.message = rename_violations(&refusal.message, &mut refusal.fields, |path| self.name(path));
        refusal
    }

    /// A field by its name here.
    fn name(&self, path: &str) -> String {
        match path {
            "max_output_tokens" => return self.max_output_tokens.to_owned(),
            "top_logprobs" => return self.top_logprobs.to_owned(),
            "think" => return "reasoning_effort".to_owned(),
            "format.json_schema" => return "response_format.json_schema.schema".to_owned(),
            "request_id" => return "Idempotency-Key".to_owned(),
            "images" => return "messages[].content[].image_url".to_owned(),
            _ => {}
        }
        let in_list = indexed(path, "messages").map(|(index, rest)| self.of_message(index, rest));
        let in_list = in_list.or_else(|| indexed(path, "tools").map(|(index, rest)| format!("tools[{index}]{}", of_function(rest))));
        in_list.unwrap_or_else(|| path.strip_prefix("options.").unwrap_or(path).to_owned())
    }

    fn of_message(&self, index: usize, rest: &str) -> String {
        let field = format!("messages[{index}]");
        if let Some((picture, rest)) = indexed(rest, ".images") {
            return match self.pictures.part(index, picture) {
                Some(part) => format!("{field}.content[{part}].image_url.url{rest}"),
                None => format!("{field}.content"),
            };
        }
        if let Some((call, rest)) = indexed(rest, ".tool_calls") {
            return format!("{field}.tool_calls[{call}]{}", of_function(rest));
        }
        match rest {
            ".thinking" => format!("{field}.reasoning"),
            ".tool_name" => format!("{field}.name"),
            rest => format!("{field}{rest}"),
        }
    }
}

/// What belongs to a function is a level deeper here.
fn of_function(rest: &str) -> &str {
    match rest {
        ".name" => ".function.name",
        ".parameters_json" => ".function.parameters",
        ".arguments_json" => ".function.arguments",
        rest => rest,
    }
}

/// `messages[3].role` as 3 and `.role`.
fn indexed<'a>(path: &'a str, list: &str) -> Option<(usize, &'a str)> {
    let (index, rest) = path.strip_prefix(list)?.strip_prefix('[')?.split_once(']')?;
    Some((index.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::super::message::Conversation;
    use super::*;
    use crate::prompt::Violations;

    #[test]
    fn fields_of_the_contract_have_the_names_that_the_caller_used() {
        let messages = r#"[{"role":"user","content":"x"},{"role":"user","content":[
            {"type":"text","text":"?"},{"type":"image_url","image_url":{"url":"data:;base64,"}}]}]"#;
        let mut wrong = Violations::default();
        let pictures = Conversation::read(serde_json::from_str(messages).unwrap(), &mut wrong).pictures;
        let names = FieldNames { max_output_tokens: "max_tokens", top_logprobs: "top_logprobs", pictures };
        for (path, name) in [
            ("model", "model"),
            ("max_output_tokens", "max_tokens"),
            ("options.top_p", "top_p"),
            ("think", "reasoning_effort"),
            ("format.json_schema", "response_format.json_schema.schema"),
            ("messages[1].images[0]", "messages[1].content[1].image_url.url"),
            ("messages[3].tool_calls[2].arguments_json", "messages[3].tool_calls[2].function.arguments"),
            ("messages[3].tool_calls[2].name", "messages[3].tool_calls[2].function.name"),
            ("messages[3].role", "messages[3].role"),
            ("messages[3].thinking", "messages[3].reasoning"),
            ("tools[10].parameters_json", "tools[10].function.parameters"),
            ("tools[10].name", "tools[10].function.name"),
            ("request_id", "Idempotency-Key"),
            ("images", "messages[].content[].image_url"),
        ] {
            assert_eq!(names.name(path), name);
        }
    }
}

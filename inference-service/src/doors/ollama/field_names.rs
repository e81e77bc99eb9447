//! The names of fields: the contract's paths, as Ollama's clients know them.

use shared::doors::Refusal;
use shared::error::CallError;

use crate::prompt::rename_violations;

/// A refusal with each field by its name here.
pub(super) fn refused(error: CallError) -> Refusal {
    let mut refusal = Refusal::from(error);
    refusal.message = rename_violations(&refusal.message, &mut refusal.fields, name);
    refusal
}

fn name(path: &str) -> String {
    match path {
        "max_output_tokens" => "options.num_predict".to_owned(),
        "num_ctx" => "options.num_ctx".to_owned(),
        "format.json_schema" | "format.json" => "format".to_owned(),
        "inputs" => "input".to_owned(),
        "request_id" => "Idempotency-Key".to_owned(),
        path if path.starts_with("tools[") || path.contains(".tool_calls[") => of_function(path),
        path => path.to_owned(),
    }
}

/// What belongs to a function is a level deeper here.
fn of_function(path: &str) -> String {
    match path.rsplit_once("].") {
        Some((list, "name")) => format!("{list}].function.name"),
        Some((list, "parameters_json")) => format!("{list}].function.parameters"),
        Some((list, "arguments_json")) => format!("{list}].function.arguments"),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_contract_have_the_names_that_the_caller_used() {
        for (path, expected) in [
            ("model", "model"),
            ("messages[1].role", "messages[1].role"),
            ("messages[1].images[0]", "messages[1].images[0]"),
            ("messages[1].tool_calls[2].arguments_json", "messages[1].tool_calls[2].function.arguments"),
            ("messages[1].tool_calls[2].name", "messages[1].tool_calls[2].function.name"),
            ("tools[0].parameters_json", "tools[0].function.parameters"),
            ("options.top_p", "options.top_p"),
            ("max_output_tokens", "options.num_predict"),
            ("format.json_schema", "format"),
            ("inputs", "input"),
        ] {
            assert_eq!(name(path), expected);
        }
    }

    #[test]
    fn the_sentence_names_the_field_as_well() {
        let error =
            CallError::invalid_argument("inputs must hold at least one text").violations([("inputs", "must hold at least one text")]);
        let refusal = refused(error);
        assert_eq!(refusal.message, "input must hold at least one text");
        assert_eq!(refusal.fields[0].0, "input");
    }
}

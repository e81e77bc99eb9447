//! `/api/create`: a model's making, as JSON. It becomes a Modelfile, whose rules stand once.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Number;
use shared::doors::Refusal;
use shared::error::CallError;
use shared::proto::inference as wire;

use super::refused::{CREATE_REFUSED, refuse_asked};
use crate::prompt::{ChatRole, Violations};

/// The body.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct CreateBody {
    /// The new model's name.
    model: Option<String>,
    /// The same, from older clients.
    name: Option<String>,
    /// The model that it is made from.
    from: Option<String>,
    template: Option<String>,
    system: Option<String>,
    license: Option<OneOrMany<String>>,
    parameters: Option<BTreeMap<String, OneOrMany<Scalar>>>,
    messages: Option<Vec<MadeMessage>>,
    renderer: Option<String>,
    parser: Option<String>,
    requires: Option<String>,
    /// True unless it is false.
    pub(super) stream: Option<bool>,
    /// Refused.
    quantize: Option<String>,
    /// Refused.
    quantization: Option<String>,
    /// Refused.
    draft_quantize: Option<String>,
    /// Refused.
    remote_host: Option<String>,
    /// Refused.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    files: Option<BTreeMap<String, IgnoredAny>>,
    /// Refused.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    draft_files: Option<BTreeMap<String, IgnoredAny>>,
    /// Refused.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    adapters: Option<BTreeMap<String, IgnoredAny>>,
    /// Refused.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    info: Option<BTreeMap<String, IgnoredAny>>,
    /// Refused.
    modelfile: Option<String>,
}

/// One value, or several.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "must be one value, or a list")]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn into_list(self) -> Vec<T> {
        match self {
            Self::One(value) => vec![value],
            Self::Many(values) => values,
        }
    }
}

/// A parameter's value.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "must be a number, true, false, or a text")]
enum Scalar {
    Switch(bool),
    #[schemars(with = "f64")]
    Number(Number),
    Text(String),
}

/// A turn that comes before each conversation.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct MadeMessage {
    role: Option<String>,
    content: Option<String>,
}

/// What ends a value of several lines.
const QUOTES: &str = "\"\"\"";

impl CreateBody {
    /// The contract's message: a Modelfile that says the same.
    pub(super) fn into_wire(self) -> Result<wire::CreateModelRequest, CallError> {
        let mut wrong = Violations::default();
        self.refuse_unsupported(&mut wrong);
        let mut text = ModelfileText { text: String::new(), wrong: &mut wrong };
        match self.from.as_deref() {
            None | Some("") => text.wrong.add("from", "is required: the model that this one is made from"),
            Some(from) => text.word("FROM", "from", from),
        }
        for (field, instruction, value) in [("template", "TEMPLATE", self.template), ("system", "SYSTEM", self.system)] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                text.quoted(instruction, field, &value);
            }
        }
        for license in self.license.map(OneOrMany::into_list).unwrap_or_default() {
            text.quoted("LICENSE", "license", &license);
        }
        for (name, values) in self.parameters.unwrap_or_default() {
            text.parameter(&name, values.into_list());
        }
        for (index, message) in self.messages.unwrap_or_default().into_iter().enumerate() {
            text.message(index, &message);
        }
        for (field, instruction, value) in
            [("renderer", "RENDERER", self.renderer), ("parser", "PARSER", self.parser), ("requires", "REQUIRES", self.requires)]
        {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                text.word(instruction, field, &value);
            }
        }
        let modelfile = text.text;
        let model = self.model.filter(|name| !name.is_empty()).or(self.name).unwrap_or_default();
        if wrong.is_empty() { Ok(wire::CreateModelRequest { model, modelfile }) } else { Err(wrong.refuse()) }
    }

    fn refuse_unsupported(&self, wrong: &mut Violations) {
        let is_text = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let is_map = |map: &Option<BTreeMap<String, IgnoredAny>>| map.as_ref().is_some_and(|map| !map.is_empty());
        let asked = [
            ("files", is_map(&self.files)),
            ("adapters", is_map(&self.adapters)),
            ("draft_files", is_map(&self.draft_files)),
            ("quantize", is_text(&self.quantize) || is_text(&self.quantization)),
            ("draft_quantize", is_text(&self.draft_quantize)),
            ("remote_host", is_text(&self.remote_host)),
            ("info", is_map(&self.info)),
            ("modelfile", is_text(&self.modelfile)),
        ];
        refuse_asked(CREATE_REFUSED, &asked, wrong);
    }
}

/// A Modelfile that is put together, and what can't be in one.
struct ModelfileText<'a> {
    text: String,
    wrong: &'a mut Violations,
}

impl ModelfileText<'_> {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string can't fail.
        let _ = writeln!(self.text, "{line}");
    }

    /// A value of one line.
    fn word(&mut self, instruction: &str, field: &str, value: &str) {
        if value.contains(char::is_control) || value.starts_with('"') {
            self.wrong.add(field, "must be one line, without quotes");
        } else {
            self.line(format_args!("{instruction} {value}"));
        }
    }

    /// A text, whatever is in it. Only a line that ends with three quotes can't be told from its end.
    fn quoted(&mut self, instruction: &str, field: &str, value: &str) {
        let mut lines = value.split(['\n', '\r']);
        let _last = lines.next_back();
        if lines.any(|line| line.trim_end().ends_with(QUOTES)) {
            self.wrong.add(field, "can't have a line that ends with three quotes");
        } else {
            self.line(format_args!("{instruction} {QUOTES}{value}{QUOTES}"));
        }
    }

    fn parameter(&mut self, name: &str, values: Vec<Scalar>) {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            self.wrong.add("parameters", "must have names of letters, digits and '_'");
            return;
        }
        for value in values {
            match value {
                Scalar::Switch(value) => self.line(format_args!("PARAMETER {name} {value}")),
                Scalar::Number(value) => self.line(format_args!("PARAMETER {name} {value}")),
                Scalar::Text(value) => self.quoted(&format!("PARAMETER {name}"), &format!("parameters.{name}"), &value),
            }
        }
    }

    fn message(&mut self, index: usize, message: &MadeMessage) {
        match message.role.as_deref().map(str::to_lowercase).and_then(|role| ChatRole::parse(&role)) {
            Some(role) => {
                let content = message.content.as_deref().unwrap_or_default();
                self.quoted(&format!("MESSAGE {}", role.as_str()), &format!("messages[{index}].content"), content);
            }
            None => self.wrong.add(format!("messages[{index}].role"), "must be system, user or assistant"),
        }
    }
}

/// A refusal of the Modelfile, without the lines of a text that its caller has never seen.
pub(super) fn refused_modelfile(mut refusal: Refusal) -> Refusal {
    refusal.message = without_line(&refusal.message).to_owned();
    for (_, must) in refusal.fields.iter_mut().filter(|(field, _)| field == "modelfile") {
        *must = without_line(must).to_owned();
    }
    refusal
}

fn without_line(sentence: &str) -> &str {
    let rest = sentence.strip_prefix("modelfile: ").unwrap_or(sentence);
    match rest.strip_prefix("line ").and_then(|rest| rest.split_once(": ")) {
        Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        _ => sentence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modelfile::{Modelfile, ParameterValue};

    fn made(json: &str) -> Result<wire::CreateModelRequest, Vec<String>> {
        let body: CreateBody = serde_json::from_str(json).unwrap();
        let fields = |error: CallError| shared::error::violations_of(&error.into()).into_iter().map(|(field, _)| field).collect();
        body.into_wire().map_err(fields)
    }

    #[test]
    fn json_becomes_a_modelfile_that_says_the_same() {
        let sent = serde_json::json!({
            "model": "mario", "from": "smollm2", "system": "You are \"Mario\".\nSay \"\"\"hi\"\"\" to all. ",
            "template": "{{ .Prompt }}\"", "license": ["a", "b"],
            "parameters": { "temperature": 0.5, "num_ctx": 2048, "use_mmap": false, "stop": ["<|im_end|>", "\"", " x"], "seed": "7" },
            "messages": [{ "role": "user", "content": "Hi" }, { "role": "assistant", "content": "It's-a me!\nMario" }],
            "renderer": "r", "parser": "p", "requires": "0.1.0",
        });
        let request = made(&sent.to_string()).unwrap();
        assert_eq!(request.model, "mario");
        let modelfile = Modelfile::parse(&request.modelfile).unwrap();
        assert_eq!(modelfile.from.value, "smollm2");
        assert_eq!(modelfile.system.unwrap().value, "You are \"Mario\".\nSay \"\"\"hi\"\"\" to all. ");
        assert_eq!(modelfile.template.unwrap().value, "{{ .Prompt }}\"");
        assert_eq!(modelfile.licenses.len(), 2);
        let texts = modelfile.parameters.iter().filter_map(|parameter| match &parameter.value {
            ParameterValue::Text(text) => Some(text.as_str()),
            _ => None,
        });
        assert_eq!(texts.collect::<Vec<_>>(), ["<|im_end|>", "\"", " x"]);
        assert_eq!(modelfile.parameters.len(), 7);
        assert_eq!(modelfile.messages[1].value.content, "It's-a me!\nMario");
        assert_eq!((modelfile.renderer.unwrap().value, modelfile.requires.unwrap().value), ("r".to_owned(), "0.1.0".to_owned()));
        // As Go's client sends what is not set, and older ones the name.
        assert_eq!(made(r#"{"name":"a","from":"b","system":"","template":"","files":{},"quantize":""}"#).unwrap().modelfile, "FROM b\n");
    }

    #[test]
    fn nothing_in_a_field_can_become_another_instruction() {
        let wrong = serde_json::json!({
            "model": "a", "from": "b\nSYSTEM evil", "renderer": "r\rTEMPLATE x", "parser": "\"p",
            "system": "x\"\"\"\nTEMPLATE y", "parameters": { "temperature 1\nSYSTEM": 1, "stop": "x\"\"\" \nSYSTEM z" },
            "messages": [{ "role": "user x\nSYSTEM y", "content": "" }, { "role": "user", "content": "x\"\"\"\r\nSYSTEM z" }],
        });
        let fields = made(&wrong.to_string()).unwrap_err();
        let expected = ["from", "system", "parameters.stop", "parameters", "messages[0].role", "messages[1].content", "renderer", "parser"];
        assert_eq!(fields, expected);
    }

    #[test]
    fn what_needs_files_or_other_weights_is_refused_by_name() {
        let fields = made(
            r#"{"model":"a","files":{"x.gguf":"sha256:1"},"adapters":{"x":"y"},"draft_files":{"x":"y"},"quantize":"q4_0",
                "draft_quantize":"q4_0","remote_host":"https://x","info":{"a":1},"modelfile":"FROM x"}"#,
        );
        let expected = ["files", "adapters", "draft_files", "quantize", "draft_quantize", "remote_host", "info", "modelfile", "from"];
        assert_eq!(fields.unwrap_err(), expected);
    }

    #[test]
    fn a_refusal_names_no_line_of_a_text_that_was_not_sent() {
        for (said, shown) in [
            ("modelfile: line 3: temperature must be a number", "temperature must be a number"),
            ("line 1: FROM names a model that isn't there", "FROM names a model that isn't there"),
            ("line of thought: x", "line of thought: x"),
            ("model is required", "model is required"),
        ] {
            assert_eq!(without_line(said), shown);
        }
    }
}

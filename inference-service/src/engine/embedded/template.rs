//! The chat template that a GGUF carries: a conversation to one text.

use llama::{Gguf, Vocabulary};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, Error, ErrorKind, context};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde::Serialize;

use crate::engine::EngineError;
use crate::prompt::{ChatRole, Message, ToolCall};

/// For a model without a template: base models know no roles, and continue a text best that looks like a conversation.
const PLAIN: &str = "{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}\n\n{% endfor %}Assistant:";

/// What `raise_exception` says. The template's own words could quote the conversation, so they are dropped.
const RAISED: &str = "the template refused the conversation";

/// A model's template.
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    begin: String,
    end: String,
}

/// One turn, with the names that templates use.
#[derive(Serialize)]
struct Turn<'a> {
    role: &'static str,
    content: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reasoning_content: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<TurnCall<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    tool_call_id: &'a str,
}

#[derive(Serialize)]
struct TurnCall<'a> {
    id: &'a str,
    r#type: &'static str,
    function: TurnFunction<'a>,
}

#[derive(Serialize)]
struct TurnFunction<'a> {
    name: &'a str,
    arguments: serde_json::Value,
}

impl<'a> From<&'a ToolCall> for TurnCall<'a> {
    fn from(call: &'a ToolCall) -> Self {
        let arguments = serde_json::from_str(&call.arguments_json).unwrap_or_else(|_| call.arguments_json.clone().into());
        Self { id: &call.id, r#type: "function", function: TurnFunction { name: &call.name, arguments } }
    }
}

impl<'a> From<&'a Message> for Turn<'a> {
    fn from(message: &'a Message) -> Self {
        Self {
            role: message.role.as_str(),
            content: &message.content,
            reasoning_content: if message.role == ChatRole::Assistant { &message.thinking } else { "" },
            tool_calls: message.tool_calls.iter().map(TurnCall::from).collect(),
            name: &message.tool_name,
            tool_call_id: &message.tool_call_id,
        }
    }
}

impl ChatTemplate {
    /// The template of `tokenizer.chat_template`; a plain one (`User: …`, blank line, `Assistant:`) when there is none.
    pub(super) fn new(gguf: &Gguf, vocabulary: &Vocabulary) -> Result<Self, EngineError> {
        let source = gguf.text("tokenizer.chat_template").unwrap_or(PLAIN);
        Self::parse(source, vocabulary.begin_text(), vocabulary.end_text())
            .map_err(|error| gguf.broken(format!("chat template: {error}")).into())
    }

    fn parse(source: &str, begin: &str, end: &str) -> Result<Self, Error> {
        let mut environment = Environment::new();
        // As transformers sets Jinja up, which templates are written for.
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        environment.set_unknown_method_callback(unknown_method_callback);
        environment
            .add_function("raise_exception", |_: String| -> Result<String, Error> { Err(Error::new(ErrorKind::InvalidOperation, RAISED)) });
        environment.add_template_owned("chat", source.to_owned())?;
        Ok(Self { environment, begin: begin.to_owned(), end: end.to_owned() })
    }

    /// The text that the model continues.
    pub(super) fn render<'a>(&self, messages: impl IntoIterator<Item = &'a Message>) -> Result<String, EngineError> {
        let messages: Vec<Turn<'_>> = messages.into_iter().map(Turn::from).collect();
        let messages = Value::from(Serde(&messages));
        let (begin, end) = (self.begin.as_str(), self.end.as_str());
        let values = context! { messages, add_generation_prompt => true, bos_token => begin, eos_token => end };
        let rendered = self.environment.get_template("chat").and_then(|template| template.render(values));
        // Only the kind is passed on: the rest of the error could quote the conversation.
        rendered.map_err(|error| match error.detail() {
            Some(RAISED) => EngineError::Rejected { detail: RAISED.to_owned() },
            _ => EngineError::ModelBroken {
                detail: format!("the chat template failed in line {}: {}", error.line().unwrap_or_default(), error.kind()),
            },
        })
    }
}

/// A turn without anything but text.
pub(super) fn turn(role: ChatRole, content: &str) -> Message {
    Message {
        role,
        content: content.to_owned(),
        thinking: String::new(),
        images: Vec::new(),
        tool_calls: Vec::new(),
        tool_name: String::new(),
        tool_call_id: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, messages: &[Message]) -> Result<String, EngineError> {
        ChatTemplate::parse(source, "<s>", "</s>").unwrap().render(messages)
    }

    #[test]
    fn a_template_sees_roles_contents_tokens_and_python_methods() {
        let source = "{{ bos_token }}{% for m in messages %}\n\
                      {% if m.content.startswith('H') %}[{{ m['role'] }}|{{ m.content.strip() }}]{% endif %}\n{% endfor %}\
                      {% if add_generation_prompt %}>{% endif %}";
        assert_eq!(render(source, &[turn(ChatRole::User, "Hi "), turn(ChatRole::User, "no")]).unwrap(), "<s>[user|Hi]>");
    }

    #[test]
    fn a_call_and_its_result_are_rendered_as_the_template_does() {
        let mut call = turn(ChatRole::Assistant, "");
        call.tool_calls = vec![ToolCall { id: "1".to_owned(), name: "add".to_owned(), arguments_json: r#"{"b":1,"a":2}"#.to_owned() }];
        let source = "{% for m in messages %}\
                      {% for c in m.tool_calls %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}\
                      {{ m.role }}:{{ m.content }};{% endfor %}";
        assert_eq!(render(source, &[call, turn(ChatRole::Tool, "3")]).unwrap(), r#"add{"b": 1, "a": 2}assistant:;tool:3;"#);
    }

    #[test]
    fn a_conversation_that_the_template_refuses_is_the_callers_mistake_and_isnt_quoted() {
        let error = render("{{ raise_exception('secret ' + messages[0].content) }}", &[turn(ChatRole::User, "words")]).unwrap_err();
        let EngineError::Rejected { detail } = error else { panic!("{error:?}") };
        assert!(!detail.contains("secret") && !detail.contains("words"));
    }

    #[test]
    fn without_a_template_a_conversation_is_plain_text() {
        assert_eq!(
            render(PLAIN, &[turn(ChatRole::User, "Hi"), turn(ChatRole::Assistant, "Ho")]).unwrap(),
            "User: Hi\n\nAssistant: Ho\n\nAssistant:"
        );
    }
}

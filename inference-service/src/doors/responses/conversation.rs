//! From the items of a conversation to the contract's messages.

use std::collections::HashMap;

use shared::proto::inference as wire;

use super::input::{InputItem, Part};
use super::refused::REFUSED;
use crate::doors::field_names::Origin;
use crate::doors::openai::data_url::picture_bytes;
use crate::doors::openai::string_or::StringOr;
use crate::doors::other_fields::why;
use crate::prompt::Violations;

/// The messages so far, and where each came from.
pub(super) struct Conversation<'v> {
    messages: Vec<wire::Message>,
    origins: Vec<Origin>,
    /// The function of each call, by the call's id.
    functions: HashMap<String, String>,
    wrong: &'v mut Violations,
}

impl<'v> Conversation<'v> {
    /// One that begins with these instructions; empty ones are none.
    pub(super) fn new(instructions: Option<&str>, wrong: &'v mut Violations) -> Self {
        let mut conversation = Self { messages: Vec::new(), origins: Vec::new(), functions: HashMap::new(), wrong };
        if let Some(text) = instructions.filter(|text| !text.is_empty()) {
            conversation.push("system", text.to_owned(), Origin::default());
        }
        conversation
    }

    pub(super) fn input(&mut self, input: StringOr<Vec<InputItem>>) {
        match input {
            StringOr::String(text) => self.push("user", text, Origin::default()),
            StringOr::Other(items) => items.into_iter().enumerate().for_each(|(index, item)| self.item(index, item)),
        }
    }

    pub(super) fn finish(self) -> (Vec<wire::Message>, Vec<Origin>) {
        (self.messages, self.origins)
    }

    fn push(&mut self, role: &str, content: String, origin: Origin) {
        self.messages.push(wire::Message { role: role.to_owned(), content, ..wire::Message::default() });
        self.origins.push(origin);
    }

    fn item(&mut self, index: usize, mut item: InputItem) {
        let field = format!("input[{index}]");
        let kind = item.kind.take();
        match kind.as_deref() {
            None | Some("message") => self.message(index, &mut item, &field),
            Some("function_call") => self.function_call(index, &mut item, &field),
            Some("function_call_output") => self.function_output(index, &mut item, &field),
            Some("reasoning") => self.reasoning(index, &mut item, &field),
            Some(_) => return self.wrong.add(format!("{field}.type"), why(REFUSED, "input[].type")),
        }
        for (name, is_there) in item.fields() {
            if is_there {
                self.wrong.add(format!("{field}.{name}"), "belongs to another type of item");
            }
        }
        item.others.refuse(&format!("{field}."), "input[].", REFUSED, self.wrong);
    }

    fn message(&mut self, index: usize, item: &mut InputItem, field: &str) {
        let (role, content) = (item.role.take(), item.content.take());
        let role = match role.as_deref() {
            Some("user") => "user",
            Some("assistant") => "assistant",
            Some("system" | "developer") => "system",
            Some(_) => return self.wrong.add(format!("{field}.role"), "must be user, assistant, system or developer"),
            None => return self.wrong.add(format!("{field}.role"), "is required"),
        };
        let Some(content) = content else { return self.wrong.add(format!("{field}.content"), "is required") };
        let (text, images, image_fields) = self.content(content, &format!("{field}.content"));
        // What was thought or called in the same turn belongs to the same message.
        let is_open = role == "assistant" && self.messages.last().is_some_and(|last| last.role == "assistant" && last.content.is_empty());
        if !is_open {
            self.push(role, String::new(), Origin { message: Some(index), ..Origin::default() });
        }
        if let (Some(message), Some(origin)) = (self.messages.last_mut(), self.origins.last_mut()) {
            message.content = text;
            message.images.extend(images);
            origin.images.extend(image_fields);
        }
    }

    /// The text of content, its pictures, and the path of each.
    fn content(&mut self, content: StringOr<Vec<Part>>, field: &str) -> (String, Vec<Vec<u8>>, Vec<String>) {
        let parts = match content {
            StringOr::String(text) => return (text, Vec::new(), Vec::new()),
            StringOr::Other(parts) => parts,
        };
        let (mut text, mut images, mut image_fields) = (String::new(), Vec::new(), Vec::new());
        for (number, part) in parts.into_iter().enumerate() {
            let field = format!("{field}[{number}]");
            if part.kind != "input_image" {
                self.add_text(&mut text, part, &field);
                continue;
            }
            if let Some(picture) = self.picture(part, &field) {
                images.push(picture);
                image_fields.push(format!("{field}.image_url"));
            }
        }
        (text, images, image_fields)
    }

    /// Adds a part's text. Parts are set apart by a line break.
    fn add_text(&mut self, whole: &mut String, mut part: Part, field: &str) {
        let (name, text) = match part.kind.as_str() {
            "input_text" | "output_text" | "summary_text" | "reasoning_text" => ("text", part.text.take()),
            "refusal" => ("refusal", part.refusal.take()),
            _ => return self.wrong.add(format!("{field}.type"), why(REFUSED, "input[].content[].type")),
        };
        self.refuse_rest(&part, field);
        match text {
            None => self.wrong.add(format!("{field}.{name}"), "is required"),
            Some(text) if whole.is_empty() => *whole = text,
            Some(text) if text.is_empty() => {}
            Some(text) => {
                whole.push('\n');
                whole.push_str(&text);
            }
        }
    }

    fn picture(&mut self, mut part: Part, field: &str) -> Option<Vec<u8>> {
        let url = part.image_url.take();
        self.refuse_rest(&part, field);
        let field = format!("{field}.image_url");
        match url {
            Some(url) => self.wrong.take(&field, picture_bytes(&url)),
            None => {
                self.wrong.add(field, "is required");
                None
            }
        }
    }

    fn refuse_rest(&mut self, part: &Part, field: &str) {
        for (name, is_there) in part.fields() {
            if is_there {
                self.wrong.add(format!("{field}.{name}"), "belongs to another type of part");
            }
        }
        part.others.refuse(&format!("{field}."), "input[].content[].", REFUSED, self.wrong);
    }

    /// What the model thought comes before what it said in the same turn.
    fn reasoning(&mut self, index: usize, item: &mut InputItem, field: &str) {
        item.encrypted_content = None;
        let (content, summary) = (item.content.take(), item.summary.take().unwrap_or_default());
        let (whole, name) = match content {
            Some(content) => (content, "content"),
            None => (StringOr::Other(summary), "summary"),
        };
        let (thought, pictures, _) = self.content(whole, &format!("{field}.{name}"));
        if !pictures.is_empty() {
            self.wrong.add(format!("{field}.{name}"), "must be text");
        }
        self.push("assistant", String::new(), Origin { message: Some(index), ..Origin::default() });
        if let Some(message) = self.messages.last_mut() {
            message.thinking = thought;
        }
    }

    fn required(&mut self, value: Option<String>, field: &str, name: &str) -> String {
        if value.is_none() {
            self.wrong.add(format!("{field}.{name}"), "is required");
        }
        value.unwrap_or_default()
    }

    fn function_call(&mut self, index: usize, item: &mut InputItem, field: &str) {
        let id = self.required(item.call_id.take(), field, "call_id");
        let name = self.required(item.name.take(), field, "name");
        let arguments_json = self.required(item.arguments.take(), field, "arguments");
        self.functions.insert(id.clone(), name.clone());
        if self.messages.last().is_none_or(|last| last.role != "assistant") {
            self.push("assistant", String::new(), Origin { message: Some(index), ..Origin::default() });
        }
        if let (Some(message), Some(origin)) = (self.messages.last_mut(), self.origins.last_mut()) {
            message.tool_calls.push(wire::ToolCall { id, name, arguments_json });
            origin.calls.push(field.to_owned());
        }
    }

    fn function_output(&mut self, index: usize, item: &mut InputItem, field: &str) {
        let id = self.required(item.call_id.take(), field, "call_id");
        let (text, images, image_fields) = match item.output.take() {
            Some(output) => self.content(output, &format!("{field}.output")),
            None => return self.wrong.add(format!("{field}.output"), "is required"),
        };
        let named = item.name.take().filter(|name| !name.is_empty());
        let tool_name = named.or_else(|| self.functions.get(&id).cloned()).unwrap_or_default();
        let role = "tool".to_owned();
        self.messages.push(wire::Message { role, content: text, images, tool_name, tool_call_id: id, ..wire::Message::default() });
        self.origins.push(Origin { message: Some(index), images: image_fields, calls: Vec::new() });
    }
}

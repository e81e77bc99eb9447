//! From Anthropic's turns, whose content is blocks, to the contract's messages.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use shared::proto::inference as wire;

use super::refused::REFUSED;
use super::request::{Block, InputMessage, Source};
use crate::doors::field_names::Origin;
use crate::doors::openai::string_or::StringOr;
use crate::doors::other_fields::why;
use crate::prompt::Violations;

/// Standard base64, with or without its padding.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&base64::alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// Whose turn it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    System,
    User,
    Assistant,
    /// A tool's result, within a user's turn.
    ToolResult,
}

impl Role {
    /// As the contract has it.
    fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::ToolResult => "tool",
        }
    }

    /// The types of blocks that a turn may hold.
    fn takes(self, kind: &str) -> bool {
        match self {
            Self::System => kind == "text",
            Self::User => matches!(kind, "text" | "image" | "tool_result"),
            Self::Assistant => matches!(kind, "text" | "thinking" | "redacted_thinking" | "tool_use"),
            Self::ToolResult => matches!(kind, "text" | "image"),
        }
    }
}

/// The messages so far, and where each came from.
pub(super) struct Conversation<'v> {
    messages: Vec<wire::Message>,
    origins: Vec<Origin>,
    /// The tool of each call, by the call's id.
    tools: HashMap<String, String>,
    wrong: &'v mut Violations,
}

impl<'v> Conversation<'v> {
    pub(super) fn new(wrong: &'v mut Violations) -> Self {
        Self { messages: Vec::new(), origins: Vec::new(), tools: HashMap::new(), wrong }
    }

    /// Adds the system prompt; an empty one is none.
    pub(super) fn system(&mut self, sent: StringOr<Vec<Block>>) {
        let mut built = Built::new(Role::System, None);
        self.read(&mut built, sent, "system");
        if !built.message.content.is_empty() {
            self.push(built);
        }
    }

    /// Adds a turn. One that holds tools' results becomes several messages, in their order.
    pub(super) fn turn(&mut self, index: usize, sent: InputMessage) {
        let field = format!("messages[{index}]");
        sent.others.refuse(&format!("{field}."), "messages[].", REFUSED, self.wrong);
        let role = match sent.role.as_str() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            _ => return self.wrong.add(format!("{field}.role"), "must be user, assistant or system"),
        };
        let before = self.messages.len();
        let mut built = Built::new(role, Some(index));
        self.read(&mut built, sent.content, &format!("{field}.content"));
        // A turn of results alone has nothing else to say.
        if !built.is_empty() || self.messages.len() == before {
            self.push(built);
        }
    }

    pub(super) fn finish(self) -> (Vec<wire::Message>, Vec<Origin>) {
        (self.messages, self.origins)
    }

    fn push(&mut self, built: Built) {
        self.messages.push(built.message);
        self.origins.push(built.origin);
    }

    /// Reads content into a message. What came before a tool's result becomes a message of its own.
    fn read(&mut self, built: &mut Built, content: StringOr<Vec<Block>>, field: &str) {
        let blocks = match content {
            StringOr::String(text) => return built.add_text(text),
            StringOr::Other(blocks) => blocks,
        };
        for (number, block) in blocks.into_iter().enumerate() {
            let field = format!("{field}[{number}]");
            if !built.role.takes(&block.kind) {
                self.refuse_kind(built.role, &block.kind, &field);
                continue;
            }
            self.block(built, block, &field);
        }
    }

    fn refuse_kind(&mut self, role: Role, kind: &str, field: &str) {
        let is_known = [Role::User, Role::Assistant].iter().any(|role| role.takes(kind));
        let misplaced = match role {
            Role::System => "must be text: a system prompt has no other blocks",
            Role::User => "must be text, image or tool_result in a user's turn",
            Role::Assistant => "must be text, thinking, redacted_thinking or tool_use in an assistant's turn",
            Role::ToolResult => "must be text or image in a tool's result",
        };
        let must = if is_known { misplaced } else { why(REFUSED, "messages[].content[].type") };
        self.wrong.add(format!("{field}.type"), must);
    }

    /// Reads a block of a type that its turn takes.
    fn block(&mut self, built: &mut Built, mut block: Block, field: &str) {
        match block.kind.as_str() {
            "text" => {
                let text = self.required(block.text.take(), field, "text");
                built.add_text(text);
            }
            "image" => match block.source.take() {
                Some(source) => self.image(built, *source, &format!("{field}.source")),
                None => self.wrong.add(format!("{field}.source"), "is required"),
            },
            "thinking" => {
                let thinking = self.required(block.thinking.take(), field, "thinking");
                add_text(&mut built.message.thinking, thinking);
                block.signature = None;
            }
            "redacted_thinking" => block.data = None,
            "tool_use" => self.tool_use(built, &mut block, field),
            "tool_result" => self.tool_result(built, &mut block, field),
            _ => {}
        }
        for (name, is_there) in block.fields() {
            if is_there {
                self.wrong.add(format!("{field}.{name}"), "belongs to another type of block");
            }
        }
        block.others.refuse(&format!("{field}."), "messages[].content[].", REFUSED, self.wrong);
    }

    fn required(&mut self, value: Option<String>, field: &str, name: &str) -> String {
        if value.is_none() {
            self.wrong.add(format!("{field}.{name}"), "is required");
        }
        value.unwrap_or_default()
    }

    fn image(&mut self, built: &mut Built, source: Source, field: &str) {
        if source.kind != "base64" {
            return self.wrong.add(format!("{field}.type"), why(REFUSED, "messages[].content[].source.type"));
        }
        source.others.refuse(&format!("{field}."), "messages[].content[].source.", REFUSED, self.wrong);
        let field = format!("{field}.data");
        match source.data.map(|data| BASE64.decode(data)) {
            Some(Ok(picture)) => {
                built.message.images.push(picture);
                built.origin.images.push(field);
            }
            Some(Err(_)) => self.wrong.add(field, "must be a picture in base64"),
            None => self.wrong.add(field, "is required"),
        }
    }

    fn tool_use(&mut self, built: &mut Built, block: &mut Block, field: &str) {
        let (id, name) = (self.required(block.id.take(), field, "id"), self.required(block.name.take(), field, "name"));
        let Some(input) = block.input.take() else { return self.wrong.add(format!("{field}.input"), "is required") };
        self.tools.insert(id.clone(), name.clone());
        built.message.tool_calls.push(wire::ToolCall { id, name, arguments_json: Box::<str>::from(input).into_string() });
        built.origin.calls.push(field.to_owned());
    }

    fn tool_result(&mut self, built: &mut Built, block: &mut Block, field: &str) {
        let turn = built.origin.message;
        if !built.is_empty() {
            let before = std::mem::replace(built, Built::new(built.role, turn));
            self.push(before);
        }
        let id = self.required(block.tool_use_id.take(), field, "tool_use_id");
        let mut result = Built::new(Role::ToolResult, turn);
        if block.is_error.take() == Some(true) {
            // The contract has no field for it, and the model reads it here.
            result.message.content.push_str("Error:");
        }
        if let Some(content) = block.content.take() {
            self.read(&mut result, content, &format!("{field}.content"));
        }
        result.message.tool_name = self.tools.get(&id).cloned().unwrap_or_default();
        result.message.tool_call_id = id;
        self.push(result);
    }
}

/// A message that is being read.
struct Built {
    role: Role,
    message: wire::Message,
    origin: Origin,
}

impl Built {
    fn new(role: Role, turn: Option<usize>) -> Self {
        let message = wire::Message { role: role.name().to_owned(), ..wire::Message::default() };
        Self { role, message, origin: Origin { message: turn, ..Origin::default() } }
    }

    fn is_empty(&self) -> bool {
        let wire::Message { content, thinking, images, tool_calls, .. } = &self.message;
        content.is_empty() && thinking.is_empty() && images.is_empty() && tool_calls.is_empty()
    }

    fn add_text(&mut self, text: String) {
        add_text(&mut self.message.content, text);
    }
}

/// Adds a block's text. Blocks are set apart by a line break.
fn add_text(whole: &mut String, text: String) {
    if whole.is_empty() {
        *whole = text;
    } else if !text.is_empty() {
        whole.push('\n');
        whole.push_str(&text);
    }
}

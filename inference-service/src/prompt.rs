//! What a caller asks of a model, parsed and checked: inner code never sees the wire's types.
//!
//! Ollama lets unknown roles, parameters and wrong types pass silently, so they are refused here.

use std::fmt;
use std::time::Duration;

mod bounds;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod json_text;
mod model_name;
mod parse;
mod picture;
mod schema_guard;
mod texts;
mod violations;

pub use bounds::PromptLimits;
pub use model_name::ModelName;
pub use texts::Texts;
pub use violations::{Violations, rename_violations};

/// A checked request for an answer.
#[derive(Clone)]
pub struct Prompt {
    /// Which model.
    pub model: ModelName,
    /// A conversation or a bare prompt.
    pub task: Task,
    /// Sampling and context.
    pub options: Options,
    /// The form of the answer; `None`: free text.
    pub format: Option<Format>,
    /// `None`: as the model does by itself.
    pub think: Option<Think>,
    /// Log probabilities of the chosen tokens, and of so many alternatives each; `None`: none.
    pub top_logprobs: Option<u8>,
    /// The most tokens the caller wants, if it said so; ≥ 1.
    pub max_output_tokens: Option<u32>,
    /// `Some(false)`: refuse what is longer than the context.
    pub truncate: Option<bool>,
    /// How long the model stays loaded; `None`: the engine's default.
    pub keep_alive: Option<Duration>,
}

impl fmt::Debug for Prompt {
    /// Prompts never appear in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prompt").field("model", &self.model).finish_non_exhaustive()
    }
}

/// What is to be answered.
#[derive(Clone)]
pub enum Task {
    /// A conversation.
    Chat {
        /// Oldest first; not empty.
        messages: Vec<Message>,
        /// What the model may ask to be called.
        tools: Vec<Tool>,
    },
    /// A bare prompt.
    Generate {
        /// Not empty.
        prompt: String,
        /// What comes after the gap; empty: no gap.
        suffix: String,
        /// Replaces the model's own system prompt.
        system: Option<String>,
        /// For models with vision.
        images: Vec<Vec<u8>>,
        /// Without the template.
        raw: bool,
    },
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChatRole {
    /// Instructions.
    System,
    /// The caller.
    User,
    /// The model.
    Assistant,
    /// A tool's result.
    Tool,
}

impl ChatRole {
    /// Parses Ollama's word; `None` for any other.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "system" => Some(Self::System),
            "user" => Some(Self::User),
            "assistant" => Some(Self::Assistant),
            "tool" => Some(Self::Tool),
            _ => None,
        }
    }

    /// Ollama's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One turn of a conversation.
#[derive(Clone)]
pub struct Message {
    /// Who speaks.
    pub role: ChatRole,
    /// The text.
    pub content: String,
    /// What the model thought.
    pub thinking: String,
    /// For models with vision.
    pub images: Vec<Vec<u8>>,
    /// What the model asked to be called.
    pub tool_calls: Vec<ToolCall>,
    /// Whose result this is; may be empty.
    pub tool_name: String,
    /// Which call's result this is; may be empty.
    pub tool_call_id: String,
}

/// Something that the model may ask to be called.
#[derive(Clone)]
pub struct Tool {
    /// Not empty.
    pub name: String,
    /// For the model.
    pub description: String,
    /// A JSON object, checked to be one; `None`: no arguments.
    pub parameters: Option<Box<serde_json::value::RawValue>>,
}

/// A call that the model asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// Made by the engine; may be empty.
    pub id: String,
    /// The tool's.
    pub name: String,
    /// A JSON object, as text, keys in the model's order.
    pub arguments_json: String,
}

/// The form of an answer.
#[derive(Debug, Clone)]
pub enum Format {
    /// Any JSON.
    Json,
    /// JSON that fits this schema, checked to be a JSON object.
    Schema(Box<serde_json::value::RawValue>),
}

/// How much a model thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Think {
    /// Not at all.
    Off,
    /// As it does.
    On,
    /// A level, for models that have levels.
    Low,
    /// A level.
    Medium,
    /// A level.
    High,
    /// A level.
    Max,
}

/// Sampling and context; `None` is as the model has it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// ≥ 0, finite.
    pub temperature: Option<f32>,
    /// 0 to 1.
    pub top_p: Option<f32>,
    /// 0 to 1.
    pub min_p: Option<f32>,
    /// > 0, finite.
    pub repeat_penalty: Option<f32>,
    /// -2 to 2.
    pub presence_penalty: Option<f32>,
    /// -2 to 2.
    pub frequency_penalty: Option<f32>,
    /// 0 to 1.
    pub typical_p: Option<f32>,
    /// ≥ -1: how many tokens back the penalties look.
    pub repeat_last_n: Option<i32>,
    /// ≥ 0.
    pub top_k: Option<i32>,
    /// Any.
    pub seed: Option<i64>,
    /// 1 to the operator's cap.
    pub num_ctx: Option<u32>,
    /// None empty.
    pub stop: Vec<String>,
}

//! How large a prompt may be, and how many tokens it can take at the most.

use std::time::Duration;

use super::{Prompt, Task};

/// The operator's bounds on what a prompt may ask for.
#[derive(Debug, Clone, Copy)]
pub struct PromptLimits {
    /// Tokens of context: the cap on `num_ctx`, and on what input is charged for.
    pub max_context_tokens: u32,
    /// Tokens that one call may generate, and does when the caller names no bound.
    pub max_output_tokens: u32,
    /// How long a caller may keep a model loaded.
    pub max_keep_alive: Duration,
    /// Whether models may be used that run on the operator's account elsewhere.
    pub allow_cloud_models: bool,
}

/// Room for what the model's template and its own system prompt add.
const TEMPLATE_ALLOWANCE_TOKENS: usize = 1024;
/// The same for each message.
const MESSAGE_ALLOWANCE_TOKENS: usize = 16;

impl Prompt {
    /// The most input tokens that the prompt can take: a token has at least one byte. Pictures take as many as there is room for.
    #[must_use]
    pub fn max_input_tokens(&self, limits: &PromptLimits) -> u32 {
        if self.has_images() {
            return limits.max_context_tokens;
        }
        let tokens = self.bytes() + TEMPLATE_ALLOWANCE_TOKENS + self.messages() * MESSAGE_ALLOWANCE_TOKENS;
        u32::try_from(tokens).unwrap_or(u32::MAX).min(limits.max_context_tokens)
    }

    /// The most tokens that may be generated.
    #[must_use]
    pub fn output_bound(&self, limits: &PromptLimits) -> u32 {
        self.max_output_tokens.map_or(limits.max_output_tokens, |tokens| tokens.min(limits.max_output_tokens))
    }

    /// About how many tokens the prompt takes: four bytes are about one.
    #[must_use]
    pub fn estimated_input_tokens(&self) -> u32 {
        u32::try_from(self.bytes().div_ceil(4) + self.messages() * 4).unwrap_or(u32::MAX)
    }

    /// Whether there are pictures in it.
    #[must_use]
    pub fn has_images(&self) -> bool {
        self.images().next().is_some()
    }

    /// How long it is, in bytes, pictures included.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.bytes() + self.images().map(Vec::len).sum::<usize>()
    }

    fn images(&self) -> impl Iterator<Item = &Vec<u8>> {
        let (messages, images) = match &self.task {
            Task::Chat { messages, .. } => (&messages[..], &[][..]),
            Task::Generate { images, .. } => (&[][..], &images[..]),
        };
        messages.iter().flat_map(|message| &message.images).chain(images)
    }

    fn messages(&self) -> usize {
        match &self.task {
            Task::Chat { messages, .. } => messages.len(),
            Task::Generate { .. } => 1,
        }
    }

    /// Bytes of text in it.
    fn bytes(&self) -> usize {
        match &self.task {
            Task::Chat { messages, tools } => {
                let message = |message: &super::Message| {
                    let calls: usize = message.tool_calls.iter().map(|call| call.name.len() + call.arguments_json.len()).sum();
                    message.content.len() + message.thinking.len() + message.tool_name.len() + calls
                };
                let tool = |tool: &super::Tool| {
                    tool.name.len() + tool.description.len() + tool.parameters.as_ref().map_or(0, |parameters| parameters.get().len())
                };
                messages.iter().map(message).sum::<usize>() + tools.iter().map(tool).sum::<usize>()
            }
            Task::Generate { prompt, suffix, system, .. } => prompt.len() + suffix.len() + system.as_ref().map_or(0, String::len),
        }
    }
}

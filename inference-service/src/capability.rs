//! What a model must be able to do for a prompt. Ollama drops pictures silently for a model without vision, so it is asked first.

use crate::prompt::{Prompt, Task, Think};

/// In Ollama's words, as `/api/show` lists them.
#[must_use]
pub fn required_capabilities(prompt: &Prompt) -> Vec<&'static str> {
    let mut required = Vec::new();
    if prompt.has_images() {
        required.push("vision");
    }
    match &prompt.task {
        Task::Chat { tools, .. } if !tools.is_empty() => required.push("tools"),
        Task::Generate { suffix, .. } if !suffix.is_empty() => required.push("insert"),
        Task::Chat { .. } | Task::Generate { .. } => {}
    }
    match prompt.think {
        Some(Think::On | Think::Low | Think::Medium | Think::High | Think::Max) => required.push("thinking"),
        Some(Think::Off) | None => {}
    }
    required
}

//! What was said, and what is sent of it: all of it, each time.

use tollgate_client::message;
use tollgate_client::proto::inference::Message;

/// The turns that count. One that failed, or of which nothing came, never was: whoever asks again says it once.
#[derive(Debug, Clone, Default)]
pub(super) struct Conversation {
    /// Prompts and answers by turns.
    turns: Vec<Message>,
}

impl Conversation {
    /// What is sent to ask this: the system message first, then all that was said.
    pub(super) fn asking(&self, system: Option<&str>, prompt: &Message) -> Vec<Message> {
        system.map(message::system).into_iter().chain(self.turns.iter().cloned()).chain([prompt.clone()]).collect()
    }

    /// What a model answered becomes part of it, also when it was stopped in the middle. An answer of nothing can't be sent back.
    pub(super) fn keep(&mut self, prompt: Message, answer: String) {
        if !answer.is_empty() {
            self.turns.extend([prompt, message::assistant(answer)]);
        }
    }

    pub(super) fn clear(&mut self) {
        self.turns.clear();
    }

    pub(super) fn turns(&self) -> &[Message] {
        &self.turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(messages: &[Message]) -> Vec<String> {
        messages.iter().map(|message| format!("{}: {}", message.role, message.content)).collect()
    }

    #[test]
    fn the_conversation_is_sent_whole_and_a_turn_without_an_answer_is_none() {
        let mut conversation = Conversation::default();
        let ask = |text: &str| message::user(text);
        assert_eq!(sent(&conversation.asking(None, &ask("one"))), ["user: one"]);
        conversation.keep(ask("one"), "1".to_owned());
        conversation.keep(ask("nothing"), String::new());
        let expected = ["system: Count.", "user: one", "assistant: 1", "user: two"];
        assert_eq!(sent(&conversation.asking(Some("Count."), &ask("two"))), expected);
        // It failed: asked again, it is there once.
        assert_eq!(sent(&conversation.asking(Some("Count."), &ask("two"))), expected);
        conversation.clear();
        assert_eq!(sent(&conversation.asking(Some("Count."), &ask("three"))), ["system: Count.", "user: three"]);
    }
}

//! One answer, shown while it is generated.

use std::future::Future;
use std::io::{self, IsTerminal as _};
use std::pin::pin;

use tollgate_client::proto::inference::{Delta, FinishReason, Finished, Usage};
use tollgate_client::{Answer, Error, Event};

use super::signals::Interrupts;
use super::spinner::Spinner;
use super::terminal;
use super::word_wrap::WordWrap;
use crate::display::{credits, one_line, without_control};
use crate::failure::Failure;
use crate::output::{Output, aside, aside_styled, hint};

/// How answers are shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// On a terminal, lines end between words.
    pub(super) word_wrap: bool,
    /// Thoughts are shown, on standard error.
    pub(super) thoughts: bool,
    /// They have a heading and an end.
    pub(super) headings: bool,
}

/// How an answer ended.
#[derive(Debug)]
pub(super) enum End {
    Finished(Box<Finished>),
    /// By Ctrl-C.
    Stopped,
    Failed(Failure),
}

/// What came of a call: the text so far, and how it ended.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) content: String,
    pub(super) end: End,
}

/// Shows an answer until it ends, or Ctrl-C cancels it: what drops the call cancels it.
pub(super) async fn show(
    call: impl Future<Output = Result<Answer, Error>>,
    manner: Manner,
    output: &mut Output,
    interrupts: &mut Interrupts,
) -> Said {
    let mut page = Page { manner, output, content: String::new(), wrap: WordWrap::default(), open_line: false, thinking: None };
    interrupts.forget();
    let end = shown(call, &mut page, interrupts).await;
    let end = match (page.end(), end) {
        // That nobody reads any more is said instead of how the answer ended.
        (Err(failure), _) => End::Failed(failure),
        (Ok(()), end) => end,
    };
    Said { content: page.content, end }
}

async fn shown(call: impl Future<Output = Result<Answer, Error>>, page: &mut Page<'_>, interrupts: &mut Interrupts) -> End {
    let mut spinner = Spinner::start();
    let mut call = pin!(call);
    let mut answer = tokio::select! {
        biased;
        () = interrupts.next() => return End::Stopped,
        never = spinner.turn() => match never {},
        answer = &mut call => match answer {
            Ok(answer) => answer,
            Err(error) => return End::Failed(error.into()),
        }
    };
    let mut last = None;
    loop {
        let event = tokio::select! {
            biased;
            () = interrupts.next() => return End::Stopped,
            never = spinner.turn() => match never {},
            event = answer.next() => event,
        };
        match event {
            Some(Ok(Event::Started(_))) => {}
            Some(Ok(Event::Delta(delta))) => {
                if page.shows(&delta) {
                    spinner.clear();
                }
                if let Err(failure) = page.add(&delta) {
                    return End::Failed(failure);
                }
            }
            Some(Ok(Event::Finished(finished))) => last = Some(finished),
            Some(Err(error)) => return End::Failed(error.into()),
            None => return End::Finished(Box::new(last.unwrap_or_default())),
        }
    }
}

/// Where an answer is shown.
struct Page<'a> {
    manner: Manner,
    output: &'a mut Output,
    content: String,
    wrap: WordWrap,
    /// The answer's last line has no end yet.
    open_line: bool,
    /// Thoughts were shown, and no answer after them.
    thinking: Option<Thoughts>,
}

/// Thoughts that are being shown.
#[derive(Default)]
struct Thoughts {
    wrap: WordWrap,
    open_line: bool,
}

impl Page<'_> {
    fn shows(&self, delta: &Delta) -> bool {
        !delta.content.is_empty() || !delta.tool_calls.is_empty() || (self.manner.thoughts && !delta.thinking.is_empty())
    }

    fn add(&mut self, delta: &Delta) -> Result<(), Failure> {
        if !delta.thinking.is_empty() && self.manner.thoughts {
            self.think(&delta.thinking);
        }
        if !delta.content.is_empty() {
            self.end_thinking();
            self.content.push_str(&delta.content);
            match terminal::columns().filter(|_| self.manner.word_wrap && self.output.is_terminal() && !terminal::is_dumb()) {
                Some(columns) => self.output.styled(&self.wrap.wrap(&without_control(&delta.content), columns))?,
                None => self.output.piece(&delta.content)?,
            }
            self.open_line = !delta.content.ends_with('\n');
        }
        for call in &delta.tool_calls {
            self.end()?;
            self.output.line(&format!("{}({})", call.name, call.arguments_json))?;
        }
        Ok(())
    }

    fn think(&mut self, thoughts: &str) {
        let styled = self.manner.headings && io::stderr().is_terminal();
        let grey = styled && terminal::has_colours();
        let thinking = self.thinking.get_or_insert_with(|| {
            if self.manner.headings {
                aside_styled(if grey { "\u{1b}[90m\u{1b}[1mThinking...\u{1b}[22m\n" } else { "Thinking...\n" });
            }
            Thoughts::default()
        });
        match terminal::columns().filter(|_| styled && self.manner.word_wrap && !terminal::is_dumb()) {
            Some(columns) => aside_styled(&thinking.wrap.wrap(&without_control(thoughts), columns)),
            None => aside(thoughts),
        }
        thinking.open_line = !thoughts.ends_with('\n');
    }

    fn end_thinking(&mut self) {
        let Some(thinking) = self.thinking.take() else { return };
        if !self.manner.headings {
            aside("\n\n");
            return;
        }
        if thinking.open_line {
            aside("\n");
        }
        let grey = io::stderr().is_terminal() && terminal::has_colours();
        aside_styled(if grey { "\u{1b}[1m...done thinking.\u{1b}[0m\n\n" } else { "...done thinking.\n\n" });
    }

    /// Ends the line.
    fn end(&mut self) -> Result<(), Failure> {
        if self.thinking.is_some() {
            if self.manner.headings {
                self.end_thinking();
            } else {
                self.thinking = None;
                aside("\n");
            }
        }
        if std::mem::take(&mut self.open_line) { self.output.piece("\n") } else { Ok(()) }
    }
}

/// Says something beside the answers, on standard error; on a terminal its lines end between words, as an answer's do.
pub(super) fn note(text: &str, manner: Manner) {
    match terminal::columns().filter(|_| manner.word_wrap && io::stderr().is_terminal() && !terminal::is_dumb()) {
        Some(columns) => aside_styled(&format!("{}\n", WordWrap::default().wrap(&one_line(text), columns))),
        None => hint(text),
    }
}

/// What an answer cost, used and ended with, on one line.
pub(super) fn receipt_line(finished: &Finished, request_id: &str) -> String {
    let mut parts = parts_of_receipt(finished, request_id);
    let reason = reason(finished);
    if !reason.is_empty() {
        parts.push(reason.to_owned());
    }
    parts.push(format!("request {request_id}"));
    parts.join("; ")
}

/// The same, shorter: within a conversation it is there after each answer.
pub(super) fn short_receipt_line(finished: &Finished, request_id: &str) -> String {
    let mut parts = parts_of_receipt(finished, request_id);
    match finished.reason() {
        FinishReason::Stop => {}
        FinishReason::Length => parts.push("cut off: the most tokens were generated".to_owned()),
        _ => parts.push(reason(finished).to_owned()),
    }
    parts.retain(|part| !part.is_empty());
    parts.join("; ")
}

fn parts_of_receipt(finished: &Finished, request_id: &str) -> Vec<String> {
    let mut parts = Vec::new();
    if finished.replayed {
        parts.push("answered before, nothing is charged now".to_owned());
    }
    match &finished.receipt {
        Some(receipt) => {
            let left = receipt.remaining_credits.map(|left| format!(", {left} left")).unwrap_or_default();
            parts.push(format!("{} charged{left}", credits(receipt.charged_credits())));
        }
        None => parts.push(format!("not charged yet: tollgate receipt {request_id}")),
    }
    if let Some(usage) = &finished.usage {
        let count = |tokens: Option<u32>| tokens.map_or_else(|| "?".to_owned(), |tokens| tokens.to_string());
        let estimated = if usage.estimated { " (estimated)" } else { "" };
        parts.push(format!("{} tokens in, {} out{estimated}", count(usage.input_tokens), count(usage.output_tokens)));
    }
    parts
}

fn reason(finished: &Finished) -> &str {
    match finished.reason() {
        FinishReason::Unspecified => finished.upstream_reason.as_str(),
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool calls",
    }
}

/// What the model server measured, as `ollama run --verbose` shows it; what it didn't measure is left out.
pub(super) fn statistics(usage: &Usage) -> Vec<String> {
    let seconds = |duration: &Option<prost_types::Duration>| {
        let duration = std::time::Duration::try_from((*duration)?).ok()?;
        (!duration.is_zero()).then_some(duration)
    };
    let mut lines = Vec::new();
    let mut line = |name: &str, value: String| lines.push(format!("{:21} {value}", format!("{name}:")));
    for (name, duration) in [("total duration", &usage.total), ("load duration", &usage.load)] {
        if let Some(duration) = seconds(duration) {
            line(name, format!("{duration:?}"));
        }
    }
    for (name, tokens, duration) in
        [("prompt eval", usage.input_tokens, &usage.prompt_evaluation), ("eval", usage.output_tokens, &usage.generation)]
    {
        if let Some(tokens) = tokens.filter(|tokens| *tokens > 0) {
            line(&format!("{name} count"), format!("{tokens} token(s)"));
        }
        if let Some(duration) = seconds(duration) {
            line(&format!("{name} duration"), format!("{duration:?}"));
            if let Some(tokens) = tokens {
                line(&format!("{name} rate"), format!("{:.2} tokens/s", f64::from(tokens) / duration.as_secs_f64()));
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use tollgate_client::proto::inference::Receipt;

    use super::*;

    fn finished() -> Finished {
        Finished {
            reason: FinishReason::Stop.into(),
            usage: Some(Usage { input_tokens: Some(31), output_tokens: Some(64), ..Usage::default() }),
            receipt: Some(Receipt { charged_credits: Some(1), remaining_credits: Some(9), ledger_entry_id: "2".into() }),
            ..Finished::default()
        }
    }

    #[test]
    fn the_receipt_line_says_cost_usage_reason_and_request() {
        let mut finished = finished();
        assert_eq!(receipt_line(&finished, "r1"), "1 credit charged, 9 left; 31 tokens in, 64 out; stop; request r1");
        finished.replayed = true;
        assert!(receipt_line(&finished, "r1").starts_with("answered before, nothing is charged now; "));
        finished.receipt = None;
        assert!(receipt_line(&finished, "r1").contains("not charged yet: tollgate receipt r1"));
    }

    #[test]
    fn within_a_conversation_the_receipt_says_cost_and_what_is_left() {
        let mut finished = finished();
        assert_eq!(short_receipt_line(&finished, "r1"), "1 credit charged, 9 left; 31 tokens in, 64 out");
        finished.reason = FinishReason::Length.into();
        assert!(short_receipt_line(&finished, "r1").ends_with("64 out; cut off: the most tokens were generated"));
        finished.reason = FinishReason::Unspecified.into();
        assert!(short_receipt_line(&finished, "r1").ends_with("64 out"));
    }

    #[test]
    fn statistics_have_the_names_that_ollama_has_for_them() {
        let duration = |nanos: i32| Some(prost_types::Duration { seconds: 2, nanos });
        let usage = Usage {
            input_tokens: Some(31),
            output_tokens: Some(64),
            total: duration(500_000_000),
            generation: duration(0),
            ..Usage::default()
        };
        assert_eq!(
            statistics(&usage),
            [
                "total duration:       2.5s",
                "prompt eval count:    31 token(s)",
                "eval count:           64 token(s)",
                "eval duration:        2s",
                "eval rate:            32.00 tokens/s",
            ]
        );
        assert_eq!(statistics(&Usage::default()), Vec::<String>::new());
    }
}

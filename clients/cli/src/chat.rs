//! Answers, printed as they are generated.

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};

use tokio::sync::oneshot;
use tollgate_client::proto::inference::{ChatRequest, FinishReason, Finished, Format, GenerateRequest, Options, format};
use tollgate_client::{Answer, Client, Error, Event, message, new_request_id};

use crate::arguments::{Chat, Generate, Generation};
use crate::display::credits;
use crate::failure::Failure;
use crate::output::{Output, aside, hint};
use crate::text_file::read_text;

pub(crate) async fn chat(client: &Client, arguments: Chat, output: &mut Output) -> Result<(), Failure> {
    let generation = arguments.generation;
    let request_id = request_id(&generation);
    let mut user = message::user(prompt(arguments.prompt)?);
    user.images = images(&generation.images)?;
    let request = ChatRequest {
        model: arguments.model,
        messages: generation.system.iter().map(message::system).chain([user]).collect(),
        max_output_tokens: generation.max_tokens,
        options: options(&generation),
        format: format(&generation)?,
        think: generation.think,
        request_id: request_id.clone(),
        require_full: generation.require_full,
        ..ChatRequest::default()
    };
    let client = client.with_stream_timeout(generation.timeout);
    print(client.chat(request), request_id, output).await
}

pub(crate) async fn generate(client: &Client, arguments: Generate, output: &mut Output) -> Result<(), Failure> {
    let generation = arguments.generation;
    let request_id = request_id(&generation);
    let request = GenerateRequest {
        model: arguments.model,
        prompt: prompt(arguments.prompt)?,
        suffix: arguments.suffix,
        images: images(&generation.images)?,
        raw: arguments.raw,
        max_output_tokens: generation.max_tokens,
        options: options(&generation),
        format: format(&generation)?,
        system: generation.system,
        think: generation.think,
        request_id: request_id.clone(),
        require_full: generation.require_full,
        ..GenerateRequest::default()
    };
    let client = client.with_stream_timeout(generation.timeout);
    print(client.generate(request), request_id, output).await
}

/// Prints an answer until it ends or Ctrl-C cancels it: what drops the call cancels it.
async fn print(call: impl Future<Output = Result<Answer, Error>>, request_id: String, output: &mut Output) -> Result<(), Failure> {
    let (interrupted, interrupt) = oneshot::channel();
    let watcher = tokio::spawn(watch_interrupts(interrupted));
    let outcome = tokio::select! {
        outcome = async { print_events(call.await?, output).await } => outcome,
        Ok(()) = interrupt => {
            // The shell's prompt, and our own word, begin on a line of their own.
            output.piece("\n").ok();
            Err(Failure::Cancelled { request_id })
        }
    };
    watcher.abort();
    outcome
}

/// The first Ctrl-C cancels the call; a second one ends the process, should a write to standard output block.
async fn watch_interrupts(first: oneshot::Sender<()>) {
    if tokio::signal::ctrl_c().await.is_err() || first.send(()).is_err() {
        return;
    }
    if tokio::signal::ctrl_c().await.is_ok() {
        std::process::exit(130);
    }
}

async fn print_events(mut answer: Answer, output: &mut Output) -> Result<(), Failure> {
    let mut printed = Printed::default();
    while let Some(event) = answer.next().await {
        match event {
            Ok(Event::Started(_)) => {}
            Ok(Event::Delta(delta)) => {
                if !delta.thinking.is_empty() {
                    aside(&delta.thinking);
                    printed.thought = true;
                }
                if !delta.content.is_empty() {
                    if std::mem::take(&mut printed.thought) {
                        aside("\n\n");
                    }
                    output.piece(&delta.content)?;
                    printed.open_line = !delta.content.ends_with('\n');
                }
                for call in delta.tool_calls {
                    printed.end_line(output)?;
                    output.line(&format!("{}({})", call.name, call.arguments_json))?;
                }
            }
            Ok(Event::Finished(finished)) => {
                printed.end_line(output)?;
                hint(&receipt_line(&finished, answer.request_id()));
            }
            Err(error) => {
                printed.end_line(output)?;
                return Err(error.into());
            }
        }
    }
    Ok(())
}

/// What stands on the terminal.
#[derive(Default)]
struct Printed {
    /// The answer's last line has no end yet.
    open_line: bool,
    /// Thoughts were printed, and no answer after them.
    thought: bool,
}

impl Printed {
    fn end_line(&mut self, output: &mut Output) -> Result<(), Failure> {
        if std::mem::take(&mut self.thought) {
            aside("\n");
        }
        if std::mem::take(&mut self.open_line) { output.piece("\n") } else { Ok(()) }
    }
}

/// What an answer cost, used and ended with, on one line.
fn receipt_line(finished: &Finished, request_id: &str) -> String {
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
    let reason = match finished.reason() {
        FinishReason::Unspecified => finished.upstream_reason.as_str(),
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool calls",
    };
    if !reason.is_empty() {
        parts.push(reason.to_owned());
    }
    parts.push(format!("request {request_id}"));
    parts.join("; ")
}

/// Made here when it isn't given, so that a call that is cancelled before it began has a name.
fn request_id(generation: &Generation) -> String {
    generation.request_id.clone().unwrap_or_else(new_request_id)
}

fn prompt(given: String) -> Result<String, Failure> {
    if given == "-" { read_text(Path::new("-")) } else { Ok(given) }
}

fn images(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, Failure> {
    let read = |path: &PathBuf| fs::read(path).map_err(|source| Failure::Io { what: format!("{} can't be read", path.display()), source });
    paths.iter().map(read).collect()
}

fn options(generation: &Generation) -> Option<Options> {
    let options = Options { temperature: generation.temperature, seed: generation.seed, ..Options::default() };
    (options != Options::default()).then_some(options)
}

fn format(generation: &Generation) -> Result<Option<Format>, Failure> {
    let kind = match &generation.format {
        None if generation.json => format::Kind::Json(true),
        None => return Ok(None),
        Some(given) => {
            let schema = match given.strip_prefix('@') {
                Some(path) => read_text(Path::new(path))?,
                None => given.clone(),
            };
            let parsed: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_str(&schema);
            parsed.map_err(|error| Failure::Usage(format!("--format must be a JSON schema, which is a JSON object: {error}")))?;
            format::Kind::JsonSchema(schema)
        }
    };
    Ok(Some(Format { kind: Some(kind) }))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tollgate_client::proto::inference::{Receipt, Usage};

    use super::*;
    use crate::arguments::{Arguments, Command};

    fn generation(flags: &[&str]) -> Generation {
        let line = ["tollgate", "chat", "m", "p"].iter().chain(flags);
        match Arguments::try_parse_from(line).unwrap().command {
            Command::Chat(chat) => chat.generation,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_receipt_line_says_cost_usage_reason_and_request() {
        let mut finished = Finished {
            reason: FinishReason::Stop.into(),
            usage: Some(Usage { input_tokens: Some(31), output_tokens: Some(64), ..Usage::default() }),
            receipt: Some(Receipt { charged_credits: Some(1), remaining_credits: Some(9), ledger_entry_id: "2".into() }),
            ..Finished::default()
        };
        assert_eq!(receipt_line(&finished, "r1"), "1 credit charged, 9 left; 31 tokens in, 64 out; stop; request r1");
        finished.replayed = true;
        assert!(receipt_line(&finished, "r1").starts_with("answered before, nothing is charged now; "));
        finished.receipt = None;
        assert!(receipt_line(&finished, "r1").contains("not charged yet: tollgate receipt r1"));
    }

    #[test]
    fn options_are_sent_only_when_they_are_given_and_zero_is_a_value() {
        assert_eq!(options(&generation(&[])), None);
        let given = options(&generation(&["--temperature", "0", "--seed", "-7"])).unwrap();
        assert_eq!((given.temperature, given.seed), (Some(0.0), Some(-7)));
    }

    #[test]
    fn a_schema_keeps_its_text_and_must_be_a_json_object() {
        let kind = |flags: &[&str]| format(&generation(flags)).unwrap().and_then(|format| format.kind);
        assert_eq!(kind(&[]), None);
        assert_eq!(kind(&["--json"]), Some(format::Kind::Json(true)));
        let schema = r#"{"type": "object",  "b": 1, "a": 2}"#;
        assert_eq!(kind(&["--format", schema]), Some(format::Kind::JsonSchema(schema.to_owned())));
        for wrong in ["json", "[]", "{"] {
            assert!(matches!(format(&generation(&["--format", wrong])), Err(Failure::Usage(_))), "{wrong}");
        }
    }
}

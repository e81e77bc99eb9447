//! Answers, printed as they are generated: to one prompt, or within a conversation.

mod commands;
mod composing;
mod conversation;
mod help;
mod history_file;
mod line_editor;
mod pictures;
mod piped;
mod saving;
mod session;
mod settings;
mod signals;
mod spinner;
mod terminal;
mod turn;
mod word_wrap;

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};

use tollgate_client::proto::inference::{Format, GenerateRequest, Options, format};
use tollgate_client::{Answer, Client, Error, message, new_request_id};

use self::history_file::HistoryFile;
use self::session::Beginning;
use self::settings::Settings;
use self::signals::{Endings, Interrupts};
use self::terminal::Modes;
use self::turn::{End, Manner};
use crate::arguments::{Chat, Generate, Generation};
use crate::connection::Connected;
use crate::failure::Failure;
use crate::output::{Output, hint};
use crate::setting::Setting;
use crate::text_file::read_text;

/// Answers the prompt of the command line or of standard input, or begins a conversation where neither has one.
pub(crate) async fn chat(connected: &Connected, arguments: Chat, output: &mut Output) -> Result<(), Failure> {
    let prompt = piped::prompt(&arguments.prompt)?;
    if prompt.is_none() {
        refuse_a_conversation_without(&arguments, output)?;
    }
    let client = connected.client.with_stream_timeout(arguments.generation.timeout);
    let modes = Modes::of_now();
    let mut interrupts = Interrupts::watch(modes.clone()).map_err(signals::no_signals)?;
    let manner = Manner { word_wrap: false, thoughts: !arguments.hide_thinking, headings: false };
    let settings = settings(&arguments)?;
    let usual = connected.situation.text(Setting::Model)?;
    let chosen = interrupts.or(model(&client, arguments.model.clone(), usual)).await;
    let model = chosen.ok_or(Failure::Interrupted)??;
    let Some(prompt) = prompt else {
        let beginning = Beginning {
            client,
            model,
            settings,
            manner: Manner { word_wrap: !arguments.no_word_wrap, headings: true, ..manner },
            verbose: arguments.verbose,
            history: connected.situation.places.state().map(HistoryFile::in_folder),
            keeps_history: !arguments.no_history,
            modes: modes.clone(),
        };
        return converse(beginning, output, interrupts).await;
    };
    let request_id = request_id(&arguments.generation);
    let mut user = message::user(prompt);
    user.images = images(&arguments.generation.images)?;
    let turns = settings.system.iter().map(message::system).chain([user]).collect();
    let request = settings.request(&model, turns, request_id.clone());
    print(client.chat(request), request_id, manner, arguments.verbose, output, &mut interrupts).await
}

pub(crate) async fn generate(client: &Client, arguments: Generate, output: &mut Output) -> Result<(), Failure> {
    let generation = arguments.generation;
    let request_id = request_id(&generation);
    let request = GenerateRequest {
        model: arguments.model,
        prompt: if arguments.prompt == "-" { read_text(Path::new("-"))? } else { arguments.prompt },
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
    let mut interrupts = Interrupts::watch(Modes::of_now()).map_err(signals::no_signals)?;
    let manner = Manner { word_wrap: false, thoughts: true, headings: false };
    print(client.generate(request), request_id, manner, false, output, &mut interrupts).await
}

/// A conversation, until the person or a signal ends it. The terminal is as it was, whichever it is.
async fn converse(beginning: Beginning, output: &mut Output, mut interrupts: Interrupts) -> Result<(), Failure> {
    let modes = beginning.modes.clone();
    let mut endings = Endings::watch(&modes).map_err(signals::no_signals)?;
    let ended = tokio::select! {
        biased;
        ended = endings.first() => Err(ended),
        ended = session::run(beginning, output, &mut interrupts) => ended,
    };
    modes.restore();
    if matches!(ended, Err(Failure::Ended { .. })) && !terminal::is_dumb() {
        // The line editor may have been reading: no marks around what is pasted, and the shell begins a line of its own.
        let _ = output.styled("\u{1b}[?2004l\n");
    }
    ended
}

/// Prints an answer and what it cost.
async fn print(
    call: impl Future<Output = Result<Answer, Error>>,
    request_id: String,
    manner: Manner,
    verbose: bool,
    output: &mut Output,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    match turn::show(call, manner, output, interrupts).await.end {
        End::Finished(finished) => {
            if let Some(usage) = finished.usage.as_ref().filter(|_| verbose) {
                turn::statistics(usage).iter().for_each(|line| hint(line));
            }
            hint(&turn::receipt_line(&finished, &request_id));
            Ok(())
        }
        End::Stopped => {
            // The shell's prompt, and our own word, begin on a line of their own.
            if output.is_terminal() {
                let _ = output.piece("\n");
            }
            Err(Failure::Cancelled { request_id })
        }
        End::Failed(failure) => Err(failure),
    }
}

/// The model to ask: the one that is named, the usual one, or the only one there is.
async fn model(client: &Client, named: Option<String>, usual: Option<String>) -> Result<String, Failure> {
    if let Some(model) = named.or(usual).filter(|model| !model.is_empty()) {
        return Ok(model);
    }
    let mut names: Vec<String> = client.list_models().await?.into_iter().map(|model| model.name).collect();
    match (names.len(), names.pop()) {
        (1, Some(only)) => Ok(only),
        (_, None) => Err(Failure::Usage("no MODEL is named, and there is none to choose".to_owned())),
        (_, Some(last)) => {
            names.push(last);
            Err(Failure::Usage(format!("which MODEL? There are {}", names.join(", "))))
        }
    }
}

fn refuse_a_conversation_without(arguments: &Chat, output: &Output) -> Result<(), Failure> {
    let refused = |why: &str| Err(Failure::Usage(why.to_owned()));
    if !output.is_terminal() {
        return refused("a conversation needs a terminal, and standard output is none: give a PROMPT");
    }
    if arguments.generation.request_id.is_some() {
        return refused("--request-id names one request, and a conversation has many: give a PROMPT");
    }
    if !arguments.generation.images.is_empty() {
        return refused("--image goes with a PROMPT; in a conversation, name the file in what you ask");
    }
    Ok(())
}

fn settings(arguments: &Chat) -> Result<Settings, Failure> {
    let generation = &arguments.generation;
    Ok(Settings {
        options: options(generation).unwrap_or_default(),
        max_output_tokens: generation.max_tokens,
        require_full: generation.require_full,
        format: format(generation)?,
        system: generation.system.clone().filter(|system| !system.is_empty()),
        think: generation.think.clone(),
        keep_alive: arguments.keep_alive,
    })
}

/// Made here when it isn't given, so that a call that is cancelled before it began has a name.
fn request_id(generation: &Generation) -> String {
    generation.request_id.clone().unwrap_or_else(new_request_id)
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

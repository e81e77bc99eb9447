//! What a person types, with editing and what was typed before.

use std::borrow::Cow;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::{Hint, Hinter};
use rustyline::history::MemHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{
    Cmd, CompletionType, ConditionalEventHandler, Config, Context, Editor, Event, EventContext, EventHandler, ExternalPrinter, Helper,
    KeyCode, KeyEvent, Modifiers, RepeatCount,
};

use super::commands;
use crate::failure::Failure;
use crate::output::hint;

const PROMPT: &str = ">>> ";
const PLACEHOLDER: &str = "Send a message (/? for help)";
const OPEN_PLACEHOLDER: &str = "\"\"\" at the end of a line ends the message";
/// How many prompts are there again by the arrow keys.
const REMEMBERED: usize = 2_000;

/// What came of asking for a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    Line(String),
    /// Ctrl-C, and whether there was nothing to throw away.
    Interrupted {
        was_empty: bool,
    },
    /// Ctrl-G: this is to be written in the person's own editor.
    Compose(String),
    /// Ctrl-D on an empty line, or the terminal is gone.
    End,
}

/// The editor. While it reads, its thread has it.
pub(super) struct LineEditor {
    reader: Option<Reader>,
    /// Nothing is printed by it. While it is there, the editor watches for signals beside what is typed, whichever thread gets them: else a
    /// change of the window's size would be seen too late.
    watch: Option<Box<dyn ExternalPrinter + Send>>,
    remembered: Vec<String>,
    keys: Arc<Keys>,
}

type Reader = Editor<Person, MemHistory>;

impl LineEditor {
    /// With what was asked before, the oldest first.
    pub(super) fn new(remembered: Vec<String>) -> Self {
        Self { reader: None, watch: None, remembered, keys: Arc::default() }
    }

    /// Reads a line, or several that belong together. Begins with this text on it.
    pub(super) async fn read(&mut self, initial: String) -> Result<Typed, Failure> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.make().map_err(failure)?,
        };
        *self.keys.pressed() = None;
        let reading = tokio::task::spawn_blocking(move || {
            let read = reader.readline_with_initial(PROMPT, (&initial, ""));
            (reader, read)
        });
        let Ok((reader, read)) = reading.await else {
            // It panicked, as it does over what has more lines than it can count. The terminal is as it was, and there will be another one.
            hint("tollgate: that is more than the line editor takes; through a pipe it can be asked: tollgate chat MODEL < FILE");
            return Ok(Typed::Interrupted { was_empty: false });
        };
        self.reader = Some(reader);
        let pressed = self.keys.pressed().take();
        match read {
            Ok(line) => Ok(Typed::Line(without_commands(&line))),
            Err(ReadlineError::Interrupted) => Ok(match pressed {
                Some(Pressed::CtrlG(line)) => Typed::Compose(without_commands(&line)),
                Some(Pressed::CtrlC { was_empty }) => Typed::Interrupted { was_empty },
                None => Typed::Interrupted { was_empty: true },
            }),
            Err(ReadlineError::Eof) => Ok(Typed::End),
            Err(error) if is_of_a_terminal_that_is_gone(&error) => Ok(Typed::End),
            Err(error) => Err(failure(error)),
        }
    }

    /// Remembers a line for the arrow keys.
    pub(super) fn remember(&mut self, line: &str) {
        self.remembered.push(line.to_owned());
        if let Some(reader) = &mut self.reader {
            // In memory nothing fails.
            let _ = reader.add_history_entry(line);
        }
    }

    fn make(&mut self) -> Result<Reader, ReadlineError> {
        let config = Config::builder().max_history_size(REMEMBERED)?.completion_type(CompletionType::List).build();
        let history = MemHistory::with_config(&config);
        let mut reader = Editor::with_history(config, history)?;
        reader.set_helper(Some(Person));
        for (key, kind) in [('C', Key::CtrlC), ('G', Key::CtrlG)] {
            let handler = Press { kind, keys: Arc::clone(&self.keys) };
            reader.bind_sequence(KeyEvent::ctrl(key), EventHandler::Conditional(Box::new(handler)));
        }
        // What is typed before the prompt stands there has passed the terminal, which makes a line feed of Enter.
        for enter in [KeyEvent(KeyCode::Enter, Modifiers::ALT), KeyEvent::alt('\n')] {
            reader.bind_sequence(enter, Cmd::Newline);
        }
        for line in &self.remembered {
            reader.add_history_entry(line)?;
        }
        // A terminal without an editor has none.
        self.watch = reader.create_external_printer().ok().map(|printer| Box::new(printer) as _);
        Ok(reader)
    }
}

#[cfg(unix)]
fn is_of_a_terminal_that_is_gone(error: &ReadlineError) -> bool {
    let gone = rustix::io::Errno::IO.raw_os_error();
    match error {
        ReadlineError::Errno(error) => *error as i32 == gone,
        ReadlineError::Io(error) => error.raw_os_error() == Some(gone),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_of_a_terminal_that_is_gone(_: &ReadlineError) -> bool {
    false
}

fn failure(error: ReadlineError) -> Failure {
    let source = match error {
        ReadlineError::Io(error) => error,
        other => io::Error::other(other.to_string()),
    };
    Failure::Io { what: "the terminal can't be read".to_owned(), source }
}

/// A person's text has lines and tabs, and nothing else that a terminal obeys: what is shown is what is sent.
fn without_commands(line: &str) -> String {
    line.replace(|c: char| c.is_control() && c != '\n' && c != '\t', "")
}

/// What ended the line.
#[derive(Debug)]
enum Pressed {
    CtrlC { was_empty: bool },
    CtrlG(String),
}

/// The last key of those that end a line in another way than Enter.
#[derive(Debug, Default)]
struct Keys(Mutex<Option<Pressed>>);

impl Keys {
    fn pressed(&self) -> std::sync::MutexGuard<'_, Option<Pressed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Clone, Copy)]
enum Key {
    CtrlC,
    CtrlG,
}

struct Press {
    kind: Key,
    keys: Arc<Keys>,
}

impl ConditionalEventHandler for Press {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, context: &EventContext<'_>) -> Option<Cmd> {
        *self.keys.pressed() = Some(match self.kind {
            Key::CtrlC => Pressed::CtrlC { was_empty: context.line().is_empty() },
            Key::CtrlG => Pressed::CtrlG(context.line().to_owned()),
        });
        Some(Cmd::Interrupt)
    }
}

/// What the editor asks about a line that is being typed.
struct Person;

impl Helper for Person {}

impl Validator for Person {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if commands::is_open(context.input()) { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}

impl Completer for Person {
    type Candidate = String;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = &line[..position];
        let fits = |word: &&&str| typed.starts_with('/') && word.starts_with(typed);
        Ok((0, commands::WORDS.iter().filter(fits).map(|word| (*word).to_owned()).collect()))
    }
}

/// Words that are shown, and never taken over.
struct Placeholder(&'static str);

impl Hint for Placeholder {
    fn display(&self) -> &str {
        self.0
    }

    fn completion(&self) -> Option<&str> {
        None
    }
}

impl Hinter for Person {
    type Hint = Placeholder;

    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<Placeholder> {
        match line {
            "" => Some(Placeholder(PLACEHOLDER)),
            _ if line.ends_with('\n') && commands::is_open(line) => Some(Placeholder(OPEN_PLACEHOLDER)),
            _ => None,
        }
    }
}

impl Highlighter for Person {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(format!("\u{1b}[90m{hint}\u{1b}[0m"))
    }
}

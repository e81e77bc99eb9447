//! A Modelfile: what a model is made from. Ollama's grammar, with its mistakes answered by line instead of passed on.
//!
//! The grammar, as Ollama's own parser has it: an instruction is a word in any case, blanks, and a value up to the end of the line. A value
//! that starts with `"""` or `"` goes on until a line ends with the same quotes; there are no escapes, and single quotes are plain text. A
//! `#` starts a comment only where an instruction could start. A byte order mark, CRLF, and blank lines are fine. Where an instruction may
//! stand once, the last one wins; LICENSE, MESSAGE, ADAPTER and the parameter `stop` add up.

use std::fmt;

use crate::prompt::ChatRole;

mod builder;
mod encoding;
mod instruction;
mod lines;
mod parameter;

use builder::ModelfileBuilder;
use instruction::{INSTRUCTIONS, Instruction};
use lines::Lines;
pub use parameter::{KnownParameter, PARAMETERS, Parameter, ParameterType, ParameterValue};

/// A value, and the line (from 1) of the instruction that gave it, so that an engine can refuse it by name and line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// What was given.
    pub value: T,
    /// From 1.
    pub line: u32,
}

/// A parsed and checked Modelfile.
#[derive(Clone, PartialEq)]
pub struct Modelfile {
    /// A model's name, or a path; never empty. The last FROM.
    pub from: Located<String>,
    /// Those before it: of no effect, but where they name files.
    pub earlier_froms: Vec<Located<String>>,
    /// What a comment says to write behind FROM, as `ollama show --modelfile` does above the path that it prints there.
    pub from_in_comment: Option<Located<String>>,
    /// Checked against the names and types that Ollama knows, in order; one entry per name, except that each `stop` has its own.
    pub parameters: Vec<Parameter>,
    /// The prompt template, a Go template.
    pub template: Option<Located<String>>,
    /// The system prompt.
    pub system: Option<Located<String>>,
    /// Turns that come before each conversation.
    pub messages: Vec<Located<ModelfileMessage>>,
    /// Paths of LoRA adapters.
    pub adapters: Vec<Located<String>>,
    /// Path of a draft model.
    pub draft: Option<Located<String>>,
    /// Texts of licences.
    pub licenses: Vec<Located<String>>,
    /// Name of one of Ollama's renderers, instead of a template.
    pub renderer: Option<Located<String>>,
    /// Name of one of Ollama's parsers of answers.
    pub parser: Option<Located<String>>,
    /// The oldest Ollama that runs it: a semantic version, without a leading `v`.
    pub requires: Option<Located<String>>,
}

impl fmt::Debug for Modelfile {
    /// System prompts never appear in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Modelfile").field("from", &self.from.value).finish_non_exhaustive()
    }
}

/// A turn that comes before each conversation.
#[derive(Clone, PartialEq, Eq)]
pub struct ModelfileMessage {
    /// System, user or assistant.
    pub role: ChatRole,
    /// The text.
    pub content: String,
}

/// What is wrong with a Modelfile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {sentence}")]
pub struct ModelfileError {
    /// From 1; of an instruction over several lines, its first. 1 for what is missing from the whole.
    pub line: u32,
    /// For the caller.
    pub sentence: String,
}

impl Modelfile {
    /// Parses and checks one; the first mistake is the answer. A value loses its control characters, except tabs and line ends.
    pub fn parse(text: &str) -> Result<Self, ModelfileError> {
        let mut lines = Lines { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 0 };
        if encoding::is_misread(lines.rest) {
            return Err(mistake(1, "the text is UTF-16 that was read as something else: save the Modelfile as UTF-8"));
        }
        let mut builder = ModelfileBuilder::default();
        while let Some(line) = lines.next() {
            let start = line.trim_start_matches([' ', '\t']);
            let number = lines.line;
            if start.is_empty() || start.starts_with('#') {
                builder.comment(start, number);
                continue;
            }
            let (word, rest) = split_word(start, |byte| byte.is_ascii_alphabetic());
            let instruction = Instruction::parse(word).filter(|_| rest.is_empty() || rest.starts_with([' ', '\t']));
            let Some(instruction) = instruction else {
                let word = start.split([' ', '\t']).next().unwrap_or(start);
                return Err(mistake(number, format!("{} is not an instruction; there are {INSTRUCTIONS}", quoted(word))));
            };
            let rest = rest.trim_start();
            let (argument, rest) = match instruction {
                Instruction::Parameter => split_word(rest, |byte| byte.is_ascii_alphanumeric() || byte == b'_'),
                Instruction::Message => split_word(rest, |byte| byte.is_ascii_alphabetic()),
                _ => ("", rest),
            };
            if !argument.is_empty() && !rest.is_empty() && !rest.starts_with([' ', '\t']) {
                return Err(mistake(number, format!("{} must be followed by a blank and a value", quoted(argument))));
            }
            let value = lines.value(rest.trim_start(), number)?;
            builder.add(instruction, argument, value, number)?;
        }
        builder.finish()
    }
}

fn mistake(line: u32, sentence: impl Into<String>) -> ModelfileError {
    ModelfileError { line, sentence: sentence.into() }
}

/// The bytes that `accept` takes, which must be ASCII, and what follows.
fn split_word(text: &str, accept: impl Fn(u8) -> bool) -> (&str, &str) {
    text.split_at(text.bytes().position(|byte| !accept(byte)).unwrap_or(text.len()))
}

fn printable(text: &str) -> String {
    text.chars().filter(|character| *character == '\t' || !character.is_control()).collect()
}

/// The caller's own word, in a sentence for the caller: short and without anything unprintable.
fn quoted(word: &str) -> String {
    let mut short: String = word.chars().filter(|character| !character.is_control()).take(40).collect();
    if short.len() < word.len() {
        short.push('…');
    }
    format!("{short:?}")
}

#[cfg(test)]
mod tests;

//! A Modelfile: what a model is made from. Ollama's grammar, with its mistakes answered by line instead of passed on.
//!
//! The grammar, as Ollama's own parser has it: an instruction is a word in any case, blanks, and a value up to the end of the line. A value
//! that starts with `"""` or `"` goes on until a line ends with the same quotes; there are no escapes, and single quotes are plain text. A
//! `#` starts a comment only where an instruction could start. A byte order mark, CRLF, and blank lines are fine. Where an instruction may
//! stand once, the last one wins; LICENSE, MESSAGE, ADAPTER and the parameter `stop` add up.

use std::fmt;

use crate::prompt::ChatRole;

mod encoding;
mod parameter;

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
        let mut file = Unfinished::default();
        while let Some(line) = lines.next() {
            let start = line.trim_start_matches([' ', '\t']);
            let number = lines.line;
            if start.is_empty() || start.starts_with('#') {
                file.comment(start, number);
                continue;
            }
            let (word, rest) = split_word(start, |byte| byte.is_ascii_alphabetic());
            let instruction = Instruction::parse(word).filter(|_| rest.is_empty() || rest.starts_with([' ', '\t']));
            let Some(instruction) = instruction else {
                let word = start.split([' ', '\t']).next().unwrap_or(start);
                return Err(mistake(number, format!("{} is not an instruction; there are {INSTRUCTIONS}", shown(word))));
            };
            let rest = rest.trim_start();
            let (argument, rest) = match instruction {
                Instruction::Parameter => split_word(rest, |byte| byte.is_ascii_alphanumeric() || byte == b'_'),
                Instruction::Message => split_word(rest, |byte| byte.is_ascii_alphabetic()),
                _ => ("", rest),
            };
            if !argument.is_empty() && !rest.is_empty() && !rest.starts_with([' ', '\t']) {
                return Err(mistake(number, format!("{} must be followed by a blank and a value", shown(argument))));
            }
            let value = lines.value(rest.trim_start(), number)?;
            file.add(instruction, argument, value, number)?;
        }
        file.finish()
    }
}

fn mistake(line: u32, sentence: impl Into<String>) -> ModelfileError {
    ModelfileError { line, sentence: sentence.into() }
}

/// Each new parameter is compared with all before it.
const MAX_PARAMETERS: usize = 512;

const INSTRUCTIONS: &str = "FROM, PARAMETER, TEMPLATE, SYSTEM, MESSAGE, ADAPTER, DRAFT, LICENSE, RENDERER, PARSER and REQUIRES";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Instruction {
    From,
    Parameter,
    Template,
    System,
    Message,
    Adapter,
    Draft,
    License,
    Renderer,
    Parser,
    Requires,
}

impl Instruction {
    fn parse(word: &str) -> Option<Self> {
        Some(match word.to_ascii_uppercase().as_str() {
            "FROM" => Self::From,
            "PARAMETER" => Self::Parameter,
            "TEMPLATE" => Self::Template,
            "SYSTEM" => Self::System,
            "MESSAGE" => Self::Message,
            "ADAPTER" => Self::Adapter,
            "DRAFT" => Self::Draft,
            "LICENSE" => Self::License,
            "RENDERER" => Self::Renderer,
            "PARSER" => Self::Parser,
            "REQUIRES" => Self::Requires,
            _ => return None,
        })
    }
}

/// The text, line by line. A line ends with LF, CRLF or CR.
struct Lines<'a> {
    rest: &'a str,
    /// The number of the line that `next` gave last.
    line: u32,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        self.line = self.line.saturating_add(1);
        let end = self.rest.find(['\n', '\r']).unwrap_or(self.rest.len());
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix(['\n', '\r'])).unwrap_or(rest);
        Some(line)
    }

    /// The value that starts with `first`, what is left of the current line; takes further lines when its quotes are not closed.
    ///
    /// Each line is looked at once, so a value that is never closed costs no more than its length.
    fn value(&mut self, first: &'a str, number: u32) -> Result<String, ModelfileError> {
        let quotes = if first.starts_with("\"\"\"") {
            "\"\"\""
        } else if first.starts_with('"') {
            "\""
        } else {
            return Ok(printable(first.trim()));
        };
        let inner = &first[quotes.len()..];
        if let Some(value) = inner.trim_end().strip_suffix(quotes) {
            return Ok(printable(value));
        }
        // CRLF inside a value becomes LF: a prompt means the same whatever the editor was.
        let mut value = printable(inner);
        loop {
            let Some(line) = self.next() else {
                return Err(mistake(number, format!("the quotes {quotes} are never closed: a value ends where a line ends with them")));
            };
            value.push('\n');
            if let Some(last) = line.trim_end().strip_suffix(quotes) {
                value.push_str(&printable(last));
                return Ok(value);
            }
            value.push_str(&printable(line));
        }
    }
}

/// The bytes that `accept` takes, which must be ASCII, and what follows.
fn split_word(text: &str, accept: impl Fn(u8) -> bool) -> (&str, &str) {
    text.split_at(text.bytes().position(|byte| !accept(byte)).unwrap_or(text.len()))
}

fn printable(text: &str) -> String {
    text.chars().filter(|character| *character == '\t' || !character.is_control()).collect()
}

/// The caller's own word, in a sentence for the caller: short and without anything unprintable.
fn shown(word: &str) -> String {
    let mut short: String = word.chars().filter(|character| !character.is_control()).take(40).collect();
    if short.len() < word.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// A Modelfile of which FROM may be missing yet.
#[derive(Default)]
struct Unfinished {
    from: Option<Located<String>>,
    earlier_froms: Vec<Located<String>>,
    from_in_comment: Option<Located<String>>,
    parameters: Vec<Parameter>,
    template: Option<Located<String>>,
    system: Option<Located<String>>,
    messages: Vec<Located<ModelfileMessage>>,
    adapters: Vec<Located<String>>,
    draft: Option<Located<String>>,
    licenses: Vec<Located<String>>,
    renderer: Option<Located<String>>,
    parser: Option<Located<String>>,
    requires: Option<Located<String>>,
}

impl Unfinished {
    /// Remembers the first name that a comment puts behind FROM.
    fn comment(&mut self, line: &str, number: u32) {
        let words: Vec<&str> = line.trim_start_matches('#').split_ascii_whitespace().take(3).collect();
        if let ([from, name], None) = (words.as_slice(), &self.from_in_comment)
            && from.eq_ignore_ascii_case("FROM")
        {
            self.from_in_comment = Some(Located { value: printable(name), line: number });
        }
    }

    fn add(&mut self, instruction: Instruction, argument: &str, value: String, line: u32) -> Result<(), ModelfileError> {
        let needs = |what: &str| {
            if value.is_empty() { Err(mistake(line, format!("{what} is missing"))) } else { Ok(()) }
        };
        match instruction {
            Instruction::From => {
                needs("FROM's model")?;
                self.earlier_froms.extend(self.from.replace(Located { value, line }));
            }
            Instruction::Parameter => self.add_parameter(argument, value, line)?,
            Instruction::Message => {
                let role = match ChatRole::parse(argument) {
                    Some(role @ (ChatRole::System | ChatRole::User | ChatRole::Assistant)) => role,
                    Some(ChatRole::Tool) | None => {
                        return Err(mistake(line, format!("MESSAGE's role must be system, user or assistant, not {}", shown(argument))));
                    }
                };
                self.messages.push(Located { value: ModelfileMessage { role, content: value }, line });
            }
            Instruction::Template => self.template = Some(Located { value, line }),
            Instruction::System => self.system = Some(Located { value, line }),
            Instruction::License => self.licenses.push(Located { value, line }),
            Instruction::Adapter => {
                needs("ADAPTER's path")?;
                self.adapters.push(Located { value, line });
            }
            Instruction::Draft => {
                needs("DRAFT's path")?;
                self.draft = Some(Located { value, line });
            }
            Instruction::Renderer => {
                needs("RENDERER's name")?;
                self.renderer = Some(Located { value, line });
            }
            Instruction::Parser => {
                needs("PARSER's name")?;
                self.parser = Some(Located { value, line });
            }
            Instruction::Requires => {
                let version = value.strip_prefix('v').unwrap_or(&value);
                if !is_semantic_version(version) {
                    return Err(mistake(line, format!("REQUIRES must be a version such as 0.14.0, not {}", shown(&value))));
                }
                self.requires = Some(Located { value: version.to_owned(), line });
            }
        }
        Ok(())
    }

    fn add_parameter(&mut self, name: &str, value: String, line: u32) -> Result<(), ModelfileError> {
        if name.is_empty() {
            return Err(mistake(line, "PARAMETER's name is missing"));
        }
        let Some(known) = PARAMETERS.iter().find(|known| known.name == name) else {
            let names: Vec<&str> = PARAMETERS.iter().filter(|known| !known.ignored).map(|known| known.name).collect();
            return Err(mistake(line, format!("{} is not a parameter; there are {}", shown(name), names.join(", "))));
        };
        let name = known.name;
        let (value, must) = match known.kind {
            ParameterType::Int => (value.parse().ok().map(ParameterValue::Int), "a whole number"),
            ParameterType::Float => (value.parse::<f32>().ok().filter(|float| float.is_finite()).map(ParameterValue::Float), "a number"),
            ParameterType::Bool => (go_bool(&value).map(ParameterValue::Bool), "true or false"),
            ParameterType::Texts => (Some(value).filter(|text| !text.is_empty()).map(ParameterValue::Text), "a text that is not empty"),
        };
        let Some(value) = value else {
            // The value isn't repeated: it may be anything.
            return Err(mistake(line, format!("{name} must be {must}")));
        };
        if known.kind != ParameterType::Texts {
            self.parameters.retain(|earlier| earlier.name != name);
        }
        if self.parameters.len() >= MAX_PARAMETERS {
            return Err(mistake(line, format!("there are more than {MAX_PARAMETERS} parameters")));
        }
        self.parameters.push(Parameter { name, value, line });
        Ok(())
    }

    fn finish(self) -> Result<Modelfile, ModelfileError> {
        let Some(from) = self.from else {
            return Err(mistake(1, "FROM is missing: the model that this one is made from"));
        };
        let Self {
            earlier_froms,
            from_in_comment,
            parameters,
            template,
            system,
            messages,
            adapters,
            draft,
            licenses,
            renderer,
            parser,
            requires,
            ..
        } = self;
        Ok(Modelfile {
            from,
            earlier_froms,
            from_in_comment,
            parameters,
            template,
            system,
            messages,
            adapters,
            draft,
            licenses,
            renderer,
            parser,
            requires,
        })
    }
}

/// The words that Ollama takes for a yes or no.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// `1`, `1.2` or `1.2.3`, the last with a pre-release and a build after it; no leading zeros.
fn is_semantic_version(text: &str) -> bool {
    let (version, build) = text.split_once('+').map_or((text, None), |(version, build)| (version, Some(build)));
    let (core, pre) = version.split_once('-').map_or((version, None), |(core, pre)| (core, Some(pre)));
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
    let word = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let parts: Vec<&str> = core.split('.').collect();
    parts.len() <= 3
        && parts.iter().all(|part| number(part))
        && (parts.len() == 3 || (pre.is_none() && build.is_none()))
        && pre.is_none_or(|pre| pre.split('.').all(|part| word(part) && (number(part) || !part.bytes().all(|byte| byte.is_ascii_digit()))))
        && build.is_none_or(|build| build.split('.').all(word))
}

#[cfg(test)]
mod tests;

//! A Modelfile that is put together, instruction by instruction, and checked.

use super::instruction::Instruction;
use super::{
    Located, Modelfile, ModelfileError, ModelfileMessage, PARAMETERS, Parameter, ParameterType, ParameterValue, mistake, printable, quoted,
};
use crate::prompt::ChatRole;

/// Each new parameter is compared with all before it.
const MAX_PARAMETERS: usize = 512;

/// A Modelfile of which FROM may be missing yet.
#[derive(Default)]
pub(super) struct ModelfileBuilder {
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

impl ModelfileBuilder {
    /// Remembers the first name that a comment puts behind FROM.
    pub(super) fn comment(&mut self, line: &str, number: u32) {
        let words: Vec<&str> = line.trim_start_matches('#').split_ascii_whitespace().take(3).collect();
        if let ([from, name], None) = (words.as_slice(), &self.from_in_comment)
            && from.eq_ignore_ascii_case("FROM")
        {
            self.from_in_comment = Some(Located { value: printable(name), line: number });
        }
    }

    pub(super) fn add(&mut self, instruction: Instruction, argument: &str, value: String, line: u32) -> Result<(), ModelfileError> {
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
                        return Err(mistake(line, format!("MESSAGE's role must be system, user or assistant, not {}", quoted(argument))));
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
                    return Err(mistake(line, format!("REQUIRES must be a version such as 0.14.0, not {}", quoted(&value))));
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
            return Err(mistake(line, format!("{} is not a parameter; there are {}", quoted(name), names.join(", "))));
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

    pub(super) fn finish(self) -> Result<Modelfile, ModelfileError> {
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

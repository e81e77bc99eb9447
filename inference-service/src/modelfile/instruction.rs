//! The instructions of a Modelfile.

/// For the caller.
pub(super) const INSTRUCTIONS: &str = "FROM, PARAMETER, TEMPLATE, SYSTEM, MESSAGE, ADAPTER, DRAFT, LICENSE, RENDERER, PARSER and REQUIRES";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Instruction {
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
    pub(super) fn parse(word: &str) -> Option<Self> {
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

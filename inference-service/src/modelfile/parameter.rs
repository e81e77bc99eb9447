//! The parameters that a Modelfile can set, and their types.

/// A sampling or loading option.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// One of [`PARAMETERS`].
    pub name: &'static str,
    /// Of the type that the name has.
    pub value: ParameterValue,
    /// From 1.
    pub line: u32,
}

impl Parameter {
    /// Whether Ollama knows the name and ignores it.
    #[must_use]
    pub fn is_ignored(&self) -> bool {
        PARAMETERS.iter().any(|known| known.name == self.name && known.ignored)
    }
}

/// A parameter's value.
#[derive(Debug, Clone, PartialEq)]
pub enum ParameterValue {
    /// A whole number.
    Int(i64),
    /// A finite number.
    Float(f32),
    /// Yes or no.
    Bool(bool),
    /// Text: a stop sequence, not empty.
    Text(String),
}

/// What a parameter's value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterType {
    /// A whole number.
    Int,
    /// A finite number.
    Float,
    /// Yes or no.
    Bool,
    /// Text; the parameter may be repeated.
    Texts,
}

/// A parameter that Ollama knows.
#[derive(Debug, Clone, Copy)]
pub struct KnownParameter {
    /// As it is written.
    pub name: &'static str,
    /// Of its value.
    pub kind: ParameterType,
    /// Known from older releases, without effect: accepted, and sent nowhere.
    pub ignored: bool,
}

const fn known(name: &'static str, kind: ParameterType) -> KnownParameter {
    KnownParameter { name, kind, ignored: false }
}

const fn ignored(name: &'static str, kind: ParameterType) -> KnownParameter {
    KnownParameter { name, kind, ignored: true }
}

/// Every parameter that Ollama knows: `Options` and `Runner` of its api/types.go, then the ones that it still accepts and ignores.
pub const PARAMETERS: &[KnownParameter] = &[
    known("num_keep", ParameterType::Int),
    known("seed", ParameterType::Int),
    known("num_predict", ParameterType::Int),
    known("top_k", ParameterType::Int),
    known("top_p", ParameterType::Float),
    known("min_p", ParameterType::Float),
    known("typical_p", ParameterType::Float),
    known("repeat_last_n", ParameterType::Int),
    known("temperature", ParameterType::Float),
    known("repeat_penalty", ParameterType::Float),
    known("presence_penalty", ParameterType::Float),
    known("frequency_penalty", ParameterType::Float),
    known("stop", ParameterType::Texts),
    known("num_ctx", ParameterType::Int),
    known("num_batch", ParameterType::Int),
    known("num_gpu", ParameterType::Int),
    known("main_gpu", ParameterType::Int),
    known("use_mmap", ParameterType::Bool),
    known("num_thread", ParameterType::Int),
    known("draft_num_predict", ParameterType::Int),
    ignored("penalize_newline", ParameterType::Bool),
    ignored("low_vram", ParameterType::Bool),
    ignored("f16_kv", ParameterType::Bool),
    ignored("logits_all", ParameterType::Bool),
    ignored("vocab_only", ParameterType::Bool),
    ignored("use_mlock", ParameterType::Bool),
    ignored("mirostat", ParameterType::Int),
    ignored("mirostat_tau", ParameterType::Float),
    ignored("mirostat_eta", ParameterType::Float),
];

//! A model made from another one by a Modelfile: its own system prompt, turns and parameters over the same weights.

use llama::Sampling;
use serde::{Deserialize, Serialize};

use super::template::turn;
use crate::engine::EngineError;
use crate::modelfile::{Located, Modelfile, Parameter, ParameterValue};
use crate::prompt::{ChatRole, Message, ModelName, Options};

/// The version of the file's form. Another one isn't read.
const VERSION: u32 = 1;

/// What is kept of a created model. Whole in itself: the model it was made from may be removed, only the GGUF must stay.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Overlay {
    version: u32,
    /// Its own name.
    pub(super) name: String,
    /// The name that its FROM had.
    pub(super) parent: String,
    /// The GGUF under it, by the model's name.
    pub(super) base: String,
    system: Option<String>,
    messages: Vec<OverlayTurn>,
    parameters: Parameters,
    licenses: Vec<String>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OverlayTurn {
    role: String,
    content: String,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Parameters {
    temperature: Option<f32>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    repeat_penalty: Option<f32>,
    top_k: Option<u32>,
    seed: Option<i64>,
    num_ctx: Option<u32>,
    num_predict: Option<u32>,
    stop: Vec<String>,
}

impl Overlay {
    /// What a bare GGUF is: nothing over it.
    pub(super) fn bare(name: &ModelName) -> Self {
        Self {
            version: VERSION,
            name: name.to_string(),
            parent: String::new(),
            base: name.to_string(),
            system: None,
            messages: Vec::new(),
            parameters: Parameters::default(),
            licenses: Vec::new(),
        }
    }

    /// Follows a Modelfile over `parent`. What the engine can't follow is refused by name and line.
    pub(super) fn follow(name: &ModelName, modelfile: &Modelfile, parent: Self) -> Result<Self, EngineError> {
        let refused: [(&str, Option<&Located<String>>); 6] = [
            ("TEMPLATE", modelfile.template.as_ref()),
            ("ADAPTER", modelfile.adapters.first()),
            ("DRAFT", modelfile.draft.as_ref()),
            ("RENDERER", modelfile.renderer.as_ref()),
            ("PARSER", modelfile.parser.as_ref()),
            ("REQUIRES", modelfile.requires.as_ref()),
        ];
        if let Some((instruction, line)) = refused.iter().find_map(|(name, given)| given.map(|given| (name, given.line))) {
            return Err(refusal(line, &format!("{instruction} isn't supported by the embedded engine")));
        }
        let mut overlay = Self { name: name.to_string(), parent: parent.name.clone(), ..parent };
        if let Some(system) = &modelfile.system {
            overlay.system = Some(system.value.clone());
        }
        if !modelfile.messages.is_empty() {
            let turns = modelfile.messages.iter().map(|message| &message.value);
            overlay.messages =
                turns.map(|turn| OverlayTurn { role: turn.role.as_str().to_owned(), content: turn.content.clone() }).collect();
        }
        // As in Ollama, a model's own stop sequences replace its parent's.
        if modelfile.parameters.iter().any(|parameter| parameter.name == "stop") {
            overlay.parameters.stop.clear();
        }
        for parameter in &modelfile.parameters {
            overlay.parameters.set(parameter)?;
        }
        overlay.licenses.extend(modelfile.licenses.iter().map(|license| license.value.clone()));
        Ok(overlay)
    }

    /// As a file's text.
    pub(super) fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec_pretty(self)
    }

    /// From a file's text; the error doesn't quote it.
    pub(super) fn from_json(text: &[u8]) -> Result<Self, String> {
        let overlay: Self = serde_json::from_slice(text).map_err(|error| format!("line {}: not a model's description", error.line()))?;
        if overlay.version != VERSION {
            return Err(format!("version {} isn't known", overlay.version));
        }
        Ok(overlay)
    }

    /// Its system prompt.
    pub(super) fn system(&self) -> Option<&str> {
        self.system.as_deref().filter(|system| !system.is_empty())
    }

    /// The turns that come before each conversation.
    pub(super) fn turns(&self) -> impl Iterator<Item = Message> + '_ {
        self.messages.iter().map(|message| turn(ChatRole::parse(&message.role).unwrap_or(ChatRole::User), &message.content))
    }

    /// How to choose tokens: what the caller says, then what the model says, then the default.
    pub(super) fn sampling(&self, options: &Options) -> Sampling {
        let (own, default) = (&self.parameters, Sampling::default());
        let top_k = options.top_k.map(|top_k| u32::try_from(top_k).unwrap_or(0)).or(own.top_k);
        Sampling {
            temperature: options.temperature.or(own.temperature).unwrap_or(default.temperature),
            top_k: top_k.map_or(default.top_k, |top_k| top_k as usize),
            top_p: options.top_p.or(own.top_p).unwrap_or(default.top_p),
            min_p: options.min_p.or(own.min_p).unwrap_or(default.min_p),
            repeat_penalty: options.repeat_penalty.or(own.repeat_penalty).unwrap_or(default.repeat_penalty),
            seed: options.seed.or(own.seed),
        }
    }

    /// Stop sequences: the caller's, or else the model's.
    pub(super) fn stops<'a>(&'a self, options: &'a Options) -> &'a [String] {
        if options.stop.is_empty() { &self.parameters.stop } else { &options.stop }
    }

    /// Tokens of context that the caller, or else the model, asks for.
    pub(super) fn num_ctx(&self, options: &Options) -> Option<u32> {
        options.num_ctx.or(self.parameters.num_ctx)
    }

    /// The most tokens of an answer; `None`: no bound.
    pub(super) fn num_predict(&self) -> Option<u32> {
        self.parameters.num_predict
    }
}

impl Parameters {
    fn set(&mut self, parameter: &Parameter) -> Result<(), EngineError> {
        use ParameterValue::{Float, Int, Text};
        let out_of_range = |range: &str| Err(refusal(parameter.line, &format!("PARAMETER {} must be {range}", parameter.name)));
        match (parameter.name, &parameter.value) {
            _ if parameter.is_ignored() => {}
            ("temperature", Float(value)) if *value >= 0.0 => self.temperature = Some(*value),
            ("temperature", _) => return out_of_range("0 or more"),
            ("top_p", Float(value)) if (0.0..=1.0).contains(value) => self.top_p = Some(*value),
            ("min_p", Float(value)) if (0.0..=1.0).contains(value) => self.min_p = Some(*value),
            ("top_p" | "min_p", _) => return out_of_range("0 to 1"),
            ("repeat_penalty", Float(value)) if *value > 0.0 => self.repeat_penalty = Some(*value),
            ("repeat_penalty", _) => return out_of_range("more than 0"),
            // Not positive: all of them, as in Ollama.
            ("top_k", Int(value)) => self.top_k = Some(u32::try_from((*value).max(0)).unwrap_or(u32::MAX)),
            ("seed", Int(value)) => self.seed = Some(*value),
            ("num_ctx", Int(value)) => match u32::try_from(*value) {
                Ok(tokens) if tokens > 0 => self.num_ctx = Some(tokens),
                _ => return out_of_range("1 or more"),
            },
            // Not positive: no bound, as in Ollama.
            ("num_predict", Int(value)) => self.num_predict = u32::try_from(*value).ok().filter(|tokens| *tokens > 0),
            ("stop", Text(stop)) => self.stop.push(stop.clone()),
            (name, _) => return Err(refusal(parameter.line, &format!("PARAMETER {name} isn't supported by the embedded engine"))),
        }
        Ok(())
    }
}

/// What is wrong with a line of a Modelfile.
pub(super) fn refusal(line: u32, what: &str) -> EngineError {
    EngineError::Modelfile { sentence: format!("line {line}: {what}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ModelName {
        ModelName::parse(text).unwrap()
    }

    fn follow(text: &str) -> Result<Overlay, String> {
        match Overlay::follow(&name("made"), &Modelfile::parse(text).unwrap(), Overlay::bare(&name("base"))) {
            Err(EngineError::Modelfile { sentence }) => Err(sentence),
            other => Ok(other.unwrap()),
        }
    }

    #[test]
    fn a_modelfile_is_kept_whole_and_read_back() {
        let text = "FROM base\nSYSTEM You are mario.\nMESSAGE user Hi\nMESSAGE assistant It's-a me!\n\
                    PARAMETER temperature 0\nPARAMETER top_k 3\n\
                    PARAMETER num_predict 9\nPARAMETER num_ctx 512\nPARAMETER stop a\nPARAMETER stop b\nPARAMETER seed 4\nLICENSE free";
        let made = Overlay::from_json(&follow(text).unwrap().to_json().unwrap()).unwrap();
        let options = Options::default();
        assert_eq!(
            (made.name.as_str(), made.parent.as_str(), made.base.as_str(), made.system()),
            ("made", "base", "base", Some("You are mario."))
        );
        assert_eq!(made.turns().map(|turn| turn.content).collect::<Vec<_>>(), ["Hi", "It's-a me!"]);
        assert_eq!(
            (made.stops(&options), made.num_ctx(&options), made.num_predict()),
            (["a".to_owned(), "b".to_owned()].as_slice(), Some(512), Some(9))
        );
        assert_eq!(made.sampling(&options), Sampling { temperature: 0.0, top_k: 3, seed: Some(4), ..Sampling::default() });
    }

    #[test]
    fn a_caller_overrides_the_model() {
        let made = follow("FROM base\nPARAMETER temperature 0\nPARAMETER stop a\nPARAMETER num_ctx 512").unwrap();
        let options = Options { temperature: Some(1.0), stop: vec!["x".to_owned()], num_ctx: Some(64), ..Options::default() };
        assert_eq!((made.sampling(&options).temperature, made.stops(&options).len(), made.num_ctx(&options)), (1.0, 1, Some(64)));
        assert_eq!(made.stops(&options)[0], "x");
    }

    #[test]
    fn a_model_of_a_model_has_what_both_say() {
        let parent = follow("FROM base\nSYSTEM first\nPARAMETER temperature 0\nPARAMETER stop a").unwrap();
        let made =
            Overlay::follow(&name("second"), &Modelfile::parse("FROM made\nPARAMETER top_k 3\nPARAMETER stop b").unwrap(), parent).unwrap();
        assert_eq!((made.parent.as_str(), made.base.as_str(), made.system()), ("made", "base", Some("first")));
        assert_eq!(made.sampling(&Options::default()), Sampling { temperature: 0.0, top_k: 3, ..Sampling::default() });
        assert_eq!(made.stops(&Options::default()), ["b"]);
        // An empty system prompt replaces the one that was.
        let silent = Overlay::follow(&name("third"), &Modelfile::parse("FROM second\nSYSTEM \"\"").unwrap(), made).unwrap();
        assert_eq!(silent.system(), None);
    }

    #[test]
    fn what_cant_be_followed_is_refused_by_name_and_line() {
        let cases = [
            ("FROM base\nTEMPLATE {{ .Prompt }}", "line 2: TEMPLATE"),
            ("FROM base\n\nADAPTER ./lora", "line 3: ADAPTER"),
            ("FROM base\nREQUIRES 0.14.0", "line 2: REQUIRES"),
            ("FROM base\nPARAMETER num_gpu 1", "line 2: PARAMETER num_gpu"),
            ("FROM base\nPARAMETER temperature -1", "line 2: PARAMETER temperature"),
            ("FROM base\nPARAMETER top_p 2", "line 2: PARAMETER top_p"),
            ("FROM base\nPARAMETER num_ctx 0", "line 2: PARAMETER num_ctx"),
        ];
        for (text, says) in cases {
            let sentence = follow(text).err().unwrap_or_default();
            assert!(sentence.starts_with(says), "{text}: {sentence}");
        }
    }
}

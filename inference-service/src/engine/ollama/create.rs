//! The making of a model by `/api/create`.
//!
//! Ollama lets unknown parameters, wrong types and unknown roles pass: the [`Modelfile`] was checked when it was parsed.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::engine::ollama::ndjson::Lines;
use crate::engine::ollama::wire::malformed;
use crate::engine::ollama::{FactsMemory, mid_stream_error};
use crate::engine::{EngineError, Progress};
use crate::modelfile::{Located, Modelfile, Parameter, ParameterValue};
use crate::prompt::ModelName;

fn unfollowable(line: u32, sentence: &str) -> EngineError {
    EngineError::Modelfile { sentence: format!("line {line}: {sentence}") }
}

/// The model that FROM names; refuses what would need files of the caller's machine, by name and line.
pub(super) fn from_model(modelfile: &Modelfile, allow_cloud_models: bool) -> Result<ModelName, EngineError> {
    if let Some(adapter) = modelfile.adapters.first() {
        return Err(unfollowable(adapter.line, "ADAPTER is not supported yet: its file would have to be sent along"));
    }
    if let Some(draft) = &modelfile.draft {
        return Err(unfollowable(draft.line, "DRAFT is not supported yet: its file would have to be sent along"));
    }
    let Located { value: from, line } = &modelfile.from;
    if is_path(from) {
        return Err(unfollowable(*line, "FROM a file is not supported yet: name a model that is there"));
    }
    let from = ModelName::parse(from).map_err(|_| unfollowable(*line, "FROM must be a model's name such as llama3.2 or llama3.2:3b"))?;
    if from.is_cloud() && !allow_cloud_models {
        return Err(unfollowable(*line, "FROM a cloud model is not allowed here"));
    }
    Ok(from)
}

/// Whether FROM means a file: Ollama looks for one first, so anything that looks like one is meant as one.
fn is_path(from: &str) -> bool {
    let lower = from.to_ascii_lowercase();
    from.starts_with(['/', '.', '~', '\\'])
        || from.contains('\\')
        || [".gguf", ".safetensors", ".bin", ".pth"].iter().any(|ending| lower.ends_with(ending))
}

pub(super) fn missing_from(modelfile: &Modelfile) -> EngineError {
    unfollowable(modelfile.from.line, "FROM names a model that isn't there")
}

/// What a refusal of the request means: a template that doesn't parse is the one mistake in a Modelfile that only Ollama can find.
pub(super) fn refused(modelfile: &Modelfile, error: EngineError) -> EngineError {
    match (error, &modelfile.template) {
        (EngineError::Rejected { detail }, Some(template)) if detail.contains("template error") => {
            tracing::info!(%detail, "a template was refused");
            unfollowable(template.line, "TEMPLATE is not a template that Ollama can parse")
        }
        (error, _) => error,
    }
}

/// The body to post.
pub(super) fn body(model: &ModelName, from: &ModelName, modelfile: &Modelfile) -> Result<Vec<u8>, EngineError> {
    let text = |located: &'_ Option<Located<String>>| located.as_ref().map(|located| located.value.clone()).unwrap_or_default();
    let body = CreateBody {
        model: model.as_str(),
        from: from.as_str(),
        stream: true,
        template: text(&modelfile.template),
        system: text(&modelfile.system),
        license: modelfile.licenses.iter().map(|license| license.value.as_str()).collect(),
        parameters: Parameters(&modelfile.parameters),
        messages: modelfile
            .messages
            .iter()
            .map(|message| MessageBody { role: message.value.role.as_str(), content: &message.value.content })
            .collect(),
        renderer: text(&modelfile.renderer),
        parser: text(&modelfile.parser),
        requires: text(&modelfile.requires),
    };
    serde_json::to_vec(&body).map_err(|error| EngineError::Protocol { detail: format!("the request can't be written: {error}") })
}

#[derive(Serialize)]
struct CreateBody<'a> {
    model: &'a str,
    from: &'a str,
    stream: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    template: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    system: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    license: Vec<&'a str>,
    #[serde(skip_serializing_if = "Parameters::is_empty")]
    parameters: Parameters<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    messages: Vec<MessageBody<'a>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    renderer: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    parser: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    requires: String,
}

#[derive(Serialize)]
struct MessageBody<'a> {
    role: &'static str,
    content: &'a str,
}

/// An object: numbers as numbers, repeated texts as a list. What Ollama ignores isn't sent, as its own client doesn't.
struct Parameters<'a>(&'a [Parameter]);

impl Parameters<'_> {
    fn is_empty(&self) -> bool {
        self.0.iter().all(Parameter::is_ignored)
    }
}

impl Serialize for Parameters<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let mut lists: Vec<(&str, Vec<&str>)> = Vec::new();
        for parameter in self.0.iter().filter(|parameter| !parameter.is_ignored()) {
            let name = parameter.name;
            match &parameter.value {
                ParameterValue::Int(value) => map.serialize_entry(name, value)?,
                ParameterValue::Float(value) => map.serialize_entry(name, value)?,
                ParameterValue::Bool(value) => map.serialize_entry(name, value)?,
                ParameterValue::Text(value) => match lists.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, list)) => list.push(value),
                    None => lists.push((name, vec![value])),
                },
            }
        }
        for (name, list) in lists {
            map.serialize_entry(name, &list)?;
        }
        map.end()
    }
}

/// The progress of a model's making.
pub(super) struct Making {
    /// Gone after the last item.
    lines: Option<Lines>,
    succeeded: bool,
    /// Told of each step: which of them replaces the model isn't said.
    facts: Arc<FactsMemory>,
}

impl Making {
    pub(super) fn new(lines: Lines, facts: Arc<FactsMemory>) -> Self {
        Self { lines: Some(lines), succeeded: false, facts }
    }
}

#[derive(Deserialize)]
struct ProgressLine {
    status: Option<serde_json::Value>,
    completed: Option<i64>,
    total: Option<i64>,
    error: Option<String>,
}

impl Stream for Making {
    type Item = Result<Progress, EngineError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let succeeded = self.succeeded;
        let Some(lines) = &mut self.lines else { return Poll::Ready(None) };
        let item = match std::task::ready!(lines.poll_line(context)) {
            Some(Ok(line)) => match serde_json::from_slice::<ProgressLine>(line) {
                // Beside an error `status` is a number: that of the response, had it not begun yet.
                Ok(ProgressLine { error: Some(error), status, .. }) => {
                    let status = status.and_then(|status| status.as_u64()).and_then(|status| u16::try_from(status).ok());
                    Err(mid_stream_error(status, error))
                }
                Ok(ProgressLine { status: Some(serde_json::Value::String(status)), completed, total, .. }) => {
                    Ok(Progress { status, completed_bytes: completed, total_bytes: total })
                }
                Ok(_) => Err(EngineError::Protocol { detail: "a line of progress has neither a status nor an error".to_owned() }),
                Err(error) => Err(malformed("a line of progress", &error)),
            },
            Some(Err(error)) => Err(error),
            None if succeeded => {
                self.lines = None;
                return Poll::Ready(None);
            }
            None => Err(EngineError::Interrupted { detail: "the making of the model ended without success".to_owned() }),
        };
        self.facts.forget();
        match &item {
            Ok(progress) => self.succeeded = progress.status == "success",
            Err(_) => self.lines = None,
        }
        Poll::Ready(Some(item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused_line(text: &str) -> String {
        match from_model(&Modelfile::parse(text).unwrap(), false) {
            Err(EngineError::Modelfile { sentence }) => sentence,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_modelfile_becomes_typed_json() {
        let text = "FROM smollm2\nTEMPLATE t\nSYSTEM \"\"\"a\nb\"\"\"\nLICENSE x\nLICENSE y\nPARAMETER temperature 0.7\nPARAMETER stop p\n\
                    PARAMETER num_ctx 4096\nPARAMETER use_mmap false\nPARAMETER mirostat 1\nPARAMETER stop q\nMESSAGE user hi\nRENDERER r\nPARSER s\nREQUIRES 0.1.2";
        let modelfile = Modelfile::parse(text).unwrap();
        let model = ModelName::parse("mario").unwrap();
        let from = from_model(&modelfile, false).unwrap();
        let expected = concat!(
            r#"{"model":"mario","from":"smollm2","stream":true,"template":"t","system":"a\nb","license":["x","y"],"#,
            r#""parameters":{"temperature":0.7,"num_ctx":4096,"use_mmap":false,"stop":["p","q"]},"#,
            r#""messages":[{"role":"user","content":"hi"}],"renderer":"r","parser":"s","requires":"0.1.2"}"#
        );
        assert_eq!(String::from_utf8(body(&model, &from, &modelfile).unwrap()).unwrap(), expected);
    }

    #[test]
    fn a_bare_from_is_a_small_request() {
        let modelfile = Modelfile::parse("FROM a\nPARAMETER mirostat 1").unwrap();
        let model = ModelName::parse("b").unwrap();
        let from = from_model(&modelfile, false).unwrap();
        assert_eq!(body(&model, &from, &modelfile).unwrap(), br#"{"model":"b","from":"a","stream":true}"#);
    }

    #[test]
    fn what_needs_files_is_refused_by_name_and_line() {
        for (text, sentence) in [
            ("\nFROM ./model.gguf", "line 2: FROM a file"),
            ("FROM /models/x", "line 1: FROM a file"),
            ("FROM model.GGUF", "line 1: FROM a file"),
            ("FROM C:\\models\\x", "line 1: FROM a file"),
            ("FROM ~/x", "line 1: FROM a file"),
            ("FROM a b", "line 1: FROM must be a model's name"),
            ("FROM gpt-oss:120b-cloud", "line 1: FROM a cloud model"),
            ("FROM a\nADAPTER ./x", "line 2: ADAPTER"),
            ("FROM a\nDRAFT ./x", "line 2: DRAFT"),
        ] {
            let refused = refused_line(text);
            assert!(refused.starts_with(sentence), "{text:?} → {refused}");
        }
    }
}

//! The making of a model by `/api/create`.
//!
//! Ollama lets unknown parameters, wrong types and unknown roles pass: the [`Modelfile`] was checked when it was parsed.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::KnownModels;
use super::answer::mid_stream_error;
use super::ndjson::Lines;
use super::wire::malformed;
use crate::engine::{EngineError, Progress};
use crate::modelfile::{Located, Modelfile, Parameter, ParameterValue};
use crate::prompt::ModelName;

fn modelfile_error(line: u32, sentence: &str) -> EngineError {
    EngineError::Modelfile { sentence: format!("line {line}: {sentence}") }
}

/// The model that FROM names; refuses what would need files of the caller's machine and what Ollama would take without effect, by name and
/// line.
pub(super) fn from_model(modelfile: &Modelfile, allow_cloud_models: bool) -> Result<ModelName, EngineError> {
    refuse_blobs(modelfile)?;
    if let Some(adapter) = modelfile.adapters.first() {
        return Err(modelfile_error(adapter.line, "ADAPTER is not supported yet: its file would have to be sent along"));
    }
    if let Some(draft) = &modelfile.draft {
        return Err(modelfile_error(draft.line, "DRAFT is not supported yet: its file would have to be sent along"));
    }
    let Located { value: from, line } = &modelfile.from;
    if is_path(from) {
        return Err(modelfile_error(*line, "FROM a file is not supported yet: name a model that is there"));
    }
    let from = ModelName::parse(from).map_err(|_| modelfile_error(*line, "FROM must be a model's name such as llama3.2 or llama3.2:3b"))?;
    if from.is_cloud() && !allow_cloud_models {
        return Err(modelfile_error(*line, "FROM a cloud model is not allowed here"));
    }
    refuse_empty("SYSTEM", modelfile.system.as_ref(), "system prompt")?;
    refuse_empty("TEMPLATE", modelfile.template.as_ref(), "template")?;
    Ok(from)
}

/// Ollama takes an empty text for none, and the new model silently has what the model of FROM has.
fn refuse_empty(instruction: &str, given: Option<&Located<String>>, what: &str) -> Result<(), EngineError> {
    match given {
        Some(Located { value, line }) if value.is_empty() => {
            let sentence = format!(
                "an empty {instruction} has no effect in Ollama, where the {what} of FROM's model stays: \
                 give the text that is to replace it, or leave the line out"
            );
            Err(modelfile_error(*line, &sentence))
        }
        _ => Ok(()),
    }
}

/// Refuses the paths that `ollama show --modelfile` prints in place of names, and says which line to change to what: a blob is a file of
/// the model server, which takes none by its path.
fn refuse_blobs(modelfile: &Modelfile) -> Result<(), EngineError> {
    let Modelfile { from, earlier_froms, from_in_comment, adapters, draft, .. } = modelfile;
    let froms = || earlier_froms.iter().chain([from]);
    let named = froms().find(|from| !is_path(&from.value));
    let others = || adapters.iter().map(|adapter| ("ADAPTER", adapter)).chain(draft.iter().map(|draft| ("DRAFT", draft)));
    let mut blobs = froms().map(|from| ("FROM", from)).chain(others()).filter(|(_, located)| is_blob(&located.value));
    let Some((instruction, first)) = blobs.next() else { return Ok(()) };
    let is_a = format!("{instruction} the path of a blob is not supported, because it is a file of the model server");
    if let Some(named) = named {
        let sentence = format!("{is_a}: remove this line, what it names comes with the model of line {}", named.line);
        return Err(modelfile_error(first.line, &sentence));
    }
    let name = from_in_comment.as_ref().filter(|comment| ModelName::parse(&comment.value).is_ok());
    let mut sentence = match name {
        Some(name) => format!("{is_a}: write FROM {} instead, as the comment in line {} says", name.value, name.line),
        None => format!("{is_a}: write FROM and the name of the model whose blob it is, such as FROM llama3.2; ListModels has the names"),
    };
    let more: Vec<String> = blobs.take(8).map(|(_, located)| located.line.to_string()).collect();
    if !more.is_empty() {
        sentence += &format!("; and remove line {}, which comes with it", more.join(", "));
    }
    Err(modelfile_error(first.line, &sentence))
}

/// Whether this is the path of one of Ollama's own files, on whichever system.
fn is_blob(path: &str) -> bool {
    ["/blobs/sha256", "\\blobs\\sha256"].iter().any(|folder| path.contains(folder))
}

/// Whether FROM means a file: Ollama looks for one first, so anything that looks like one is meant as one.
fn is_path(from: &str) -> bool {
    let lower = from.to_ascii_lowercase();
    from.starts_with(['/', '.', '~', '\\'])
        || from.contains('\\')
        || [".gguf", ".safetensors", ".bin", ".pth"].iter().any(|ending| lower.ends_with(ending))
}

pub(super) fn missing_from(modelfile: &Modelfile) -> EngineError {
    modelfile_error(modelfile.from.line, "FROM names a model that isn't there")
}

/// What it means that the request was rejected. A template that doesn't parse is the one mistake in a Modelfile that only Ollama can find.
pub(super) fn refused(modelfile: &Modelfile, error: EngineError) -> EngineError {
    match (error, &modelfile.template) {
        (EngineError::Rejected { detail }, Some(template)) if detail.contains("template error") => {
            tracing::info!(%detail, "a template was refused");
            modelfile_error(template.line, "TEMPLATE is not a template that Ollama can parse")
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
pub(super) struct CreateProgress {
    /// Gone after the last item.
    lines: Option<Lines>,
    succeeded: bool,
    /// Told of each step: which of them replaces the model is not said.
    known: Arc<KnownModels>,
}

impl CreateProgress {
    pub(super) fn new(lines: Lines, known: Arc<KnownModels>) -> Self {
        Self { lines: Some(lines), succeeded: false, known }
    }
}

#[derive(Deserialize)]
struct ProgressLine {
    status: Option<serde_json::Value>,
    completed: Option<i64>,
    total: Option<i64>,
    error: Option<String>,
}

impl Stream for CreateProgress {
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
        match &item {
            Ok(progress) => self.succeeded = progress.status == "success",
            Err(_) => self.lines = None,
        }
        self.known.facts.invalidate_all();
        if self.succeeded || self.lines.is_none() {
            self.known.list.outdate();
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
                    PARAMETER num_ctx 4096\nPARAMETER use_mmap false\nPARAMETER mirostat 1\nPARAMETER stop q\n\
                    MESSAGE user hi\nRENDERER r\nPARSER s\nREQUIRES 0.1.2";
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

    #[test]
    fn what_ollama_would_take_without_effect_is_refused_by_line() {
        for (text, line) in [
            ("FROM a\nSYSTEM \"\"", "line 2: an empty SYSTEM"),
            ("FROM a\nSYSTEM \"\"\"\"\"\"", "line 2: an empty SYSTEM"),
            ("FROM a\nSYSTEM x\nSYSTEM", "line 3: an empty SYSTEM"),
            ("FROM a\nSYSTEM \"\u{1b}\"", "line 2: an empty SYSTEM"),
            ("FROM a\n\nTEMPLATE \"\"", "line 3: an empty TEMPLATE"),
            ("FROM a\nTEMPLATE", "line 2: an empty TEMPLATE"),
        ] {
            assert!(refused_line(text).starts_with(line), "{text:?} → {}", refused_line(text));
        }
        assert!(
            from_model(&Modelfile::parse("FROM a\nSYSTEM \"\"\nSYSTEM x\nTEMPLATE \" \"").unwrap(), false).is_ok(),
            "the last one counts"
        );
    }

    #[test]
    fn a_modelfile_that_ollama_printed_is_refused_with_the_line_to_change_and_what_to() {
        let printed = |rest: &str| {
            format!(
                "# Modelfile generated by \"ollama show\"\n# To build a new Modelfile based on this, replace FROM with:\n\
                 # FROM mario:latest\n\n{rest}"
            )
        };
        let blob = "/usr/share/ollama/.ollama/models/blobs/sha256-941f309b54caaad6747569ba43712bcde44a2be3bae16c3282ff499c37c54af5";
        for (text, start, end) in [
            (
                printed(&format!("FROM {blob}\nSYSTEM x")),
                "line 5: FROM",
                ": write FROM mario:latest instead, as the comment in line 3 says",
            ),
            (
                printed(&format!("FROM {blob}\nFROM {blob}\nADAPTER {blob}")),
                "line 5: FROM",
                "as the comment in line 3 says; and remove line 6, 7, which comes with it",
            ),
            (
                printed(&format!("FROM mario:latest\nFROM {blob}")),
                "line 6: FROM",
                ": remove this line, what it names comes with the model of line 5",
            ),
            (printed(&format!("FROM mario:latest\nADAPTER {blob}")), "line 6: ADAPTER", "comes with the model of line 5"),
            (format!("FROM {blob}"), "line 1: FROM", "such as FROM llama3.2; ListModels has the names"),
            (format!("# FROM ../x\nFROM {blob}"), "line 2: FROM", "ListModels has the names"),
            ("FROM C:\\Users\\a\\.ollama\\models\\blobs\\sha256-94".to_owned(), "line 1: FROM", "ListModels has the names"),
        ] {
            let refused = refused_line(&text);
            assert!(refused.starts_with(start) && refused.ends_with(end), "{text} → {refused}");
            assert!(!refused.contains("/usr/share"), "{refused}");
        }
        // Changed as it says, it is followed.
        assert_eq!(from_model(&Modelfile::parse(&printed("FROM mario:latest\nSYSTEM x")).unwrap(), false).unwrap().as_str(), "mario");
    }
}

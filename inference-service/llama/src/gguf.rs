//! A GGUF file's header: what a model is, before its weights are read.

use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{Content, Value};

use crate::{Broken, Llama, MAX_CONTEXT};

/// An open GGUF file.
pub struct Gguf {
    path: PathBuf,
    file: BufReader<File>,
    content: Content,
}

impl Gguf {
    /// Reads the header. Fails when the file can't be read, or is no GGUF.
    pub fn open(path: &Path) -> Result<Self, Broken> {
        let broken = |detail: String| Broken { path: path.display().to_string(), detail };
        let mut file = BufReader::new(File::open(path).map_err(|error| broken(error.to_string()))?);
        let content = Content::read(&mut file).map_err(|error| broken(error.to_string()))?;
        Ok(Self { path: path.to_owned(), file, content })
    }

    /// An error that names this file.
    pub fn broken(&self, detail: impl fmt::Display) -> Broken {
        Broken { path: self.path.display().to_string(), detail: detail.to_string() }
    }

    /// Reads the weights. Only the architecture `llama` can be run.
    pub fn weights(&mut self) -> Result<Llama, Broken> {
        let architecture = self.architecture();
        if architecture != "llama" {
            return Err(self.broken(format!("architecture {architecture:?} isn't supported, only \"llama\"")));
        }
        Llama::read(&self.content, &mut self.file).map_err(|error| self.broken(error))
    }

    /// What kind of model it is: `llama`, `qwen2`, and so on. Empty when the file doesn't say.
    pub fn architecture(&self) -> &str {
        self.text("general.architecture").unwrap_or_default()
    }

    /// Numbers in all its tensors.
    pub fn parameters(&self) -> usize {
        self.content.tensor_infos.values().map(|tensor| tensor.shape.elem_count()).sum()
    }

    /// Tokens that fit, prompt and answer together: what the model was trained for, and at most [`MAX_CONTEXT`].
    pub fn context_length(&self) -> u32 {
        let most = u32::try_from(MAX_CONTEXT).unwrap_or(u32::MAX);
        self.integer(&format!("{}.context_length", self.architecture())).unwrap_or(most).min(most)
    }

    /// A text of the metadata.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.content.metadata.get(key)?.to_string().ok().map(String::as_str)
    }

    /// A flag of the metadata.
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.content.metadata.get(key)?.to_bool().ok()
    }

    /// A number of the metadata, whatever its width.
    pub fn integer(&self, key: &str) -> Option<u32> {
        integer(self.content.metadata.get(key)?).and_then(|value| u32::try_from(value).ok())
    }

    /// A list of texts; it must be there.
    pub fn texts(&self, key: &str) -> Result<Vec<&String>, Broken> {
        let list = self.content.metadata.get(key).and_then(|value| value.to_vec().ok()).ok_or_else(|| self.broken(format!("no {key}")))?;
        list.iter().map(|value| value.to_string().map_err(|error| self.broken(format!("{key}: {error}")))).collect()
    }

    /// A list of numbers; empty when it isn't there.
    pub fn integers(&self, key: &str) -> Vec<i64> {
        let list = self.content.metadata.get(key).and_then(|value| value.to_vec().ok());
        list.map(|list| list.iter().map(|value| integer(value).unwrap_or_default()).collect()).unwrap_or_default()
    }
}

fn integer(value: &Value) -> Option<i64> {
    match *value {
        Value::U8(value) => Some(value.into()),
        Value::I8(value) => Some(value.into()),
        Value::U16(value) => Some(value.into()),
        Value::I16(value) => Some(value.into()),
        Value::U32(value) => Some(value.into()),
        Value::I32(value) => Some(value.into()),
        Value::U64(value) => value.try_into().ok(),
        Value::I64(value) => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_gguf_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broken.gguf");
        std::fs::write(&path, "GGUF or not").unwrap();
        let Err(broken) = Gguf::open(&path) else { panic!("it was opened") };
        assert!(broken.to_string().contains("broken.gguf"));
    }
}

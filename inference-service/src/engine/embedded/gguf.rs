//! A GGUF file's header: what a model is, before its weights are read.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use candle_core::Device;
use candle_core::quantized::gguf_file::{Content, Value};
use candle_transformers::models::quantized_llama::{MAX_SEQ_LEN, ModelWeights};

use crate::engine::{EngineError, ModelDetails};

/// An open GGUF file.
pub(super) struct Gguf {
    path: PathBuf,
    file: BufReader<File>,
    content: Content,
}

impl Gguf {
    /// Reads the header. What can't be read, or is no GGUF, is [`EngineError::ModelBroken`].
    pub(super) fn open(path: &Path) -> Result<Self, EngineError> {
        let broken = |error: &dyn std::fmt::Display| EngineError::ModelBroken { detail: format!("{}: {error}", path.display()) };
        let mut file = BufReader::new(File::open(path).map_err(|error| broken(&error))?);
        let content = Content::read(&mut file).map_err(|error| broken(&error))?;
        Ok(Self { path: path.to_owned(), file, content })
    }

    /// An error that names this file.
    pub(super) fn broken(&self, detail: impl std::fmt::Display) -> EngineError {
        EngineError::ModelBroken { detail: format!("{}: {detail}", self.path.display()) }
    }

    /// The weights, ready to run. Only the architecture `llama` can be run.
    pub(super) fn into_weights(mut self) -> Result<ModelWeights, EngineError> {
        let architecture = self.architecture();
        if architecture != "llama" {
            return Err(self.broken(format!("architecture {architecture:?} isn't supported, only \"llama\"")));
        }
        let path = self.path;
        ModelWeights::from_gguf(self.content, &mut self.file, &Device::Cpu)
            .map_err(|error| EngineError::ModelBroken { detail: format!("{}: {error}", path.display()) })
    }

    fn architecture(&self) -> &str {
        self.text("general.architecture").unwrap_or_default()
    }

    /// What it is, for lists.
    pub(super) fn details(&self) -> ModelDetails {
        let parameters: usize = self.content.tensor_infos.values().map(|tensor| tensor.shape.elem_count()).sum();
        ModelDetails {
            format: "gguf".to_owned(),
            family: self.architecture().to_owned(),
            parameter_size: in_words(parameters),
            quantization_level: self.integer("general.file_type").map_or("unknown", quantization).to_owned(),
            parent_model: String::new(),
        }
    }

    /// Tokens that fit, prompt and answer together: what the model was trained for, and candle can count to.
    pub(super) fn context_length(&self) -> u32 {
        let candle = u32::try_from(MAX_SEQ_LEN).unwrap_or(u32::MAX);
        self.integer(&format!("{}.context_length", self.architecture())).unwrap_or(candle).min(candle)
    }

    /// A text of the metadata.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.content.metadata.get(key)?.to_string().ok().map(String::as_str)
    }

    /// A flag of the metadata.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        self.content.metadata.get(key)?.to_bool().ok()
    }

    /// A number of the metadata, whatever its width.
    pub(super) fn integer(&self, key: &str) -> Option<u32> {
        integer(self.content.metadata.get(key)?).and_then(|value| u32::try_from(value).ok())
    }

    /// A list of texts; it must be there.
    pub(super) fn texts(&self, key: &str) -> Result<Vec<&String>, EngineError> {
        let list = self.content.metadata.get(key).and_then(|value| value.to_vec().ok()).ok_or_else(|| self.broken(format!("no {key}")))?;
        list.iter().map(|value| value.to_string().map_err(|error| self.broken(format!("{key}: {error}")))).collect()
    }

    /// A list of numbers; empty when it isn't there.
    pub(super) fn integers(&self, key: &str) -> Vec<i64> {
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

/// A count as Ollama writes it: `134.52M`.
fn in_words(count: usize) -> String {
    let count = count as f64;
    match count {
        billions if billions >= 1e9 => format!("{:.1}B", count / 1e9),
        millions if millions >= 1e6 => format!("{:.2}M", count / 1e6),
        thousands if thousands >= 1e3 => format!("{:.0}K", count / 1e3),
        _ => format!("{count}"),
    }
}

/// llama.cpp's names of `general.file_type`.
fn quantization(file_type: u32) -> &'static str {
    match file_type {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        32 => "BF16",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_read_as_ollama_writes_them() {
        assert_eq!([in_words(134_515_008), in_words(1_235_814_432), in_words(999)], ["134.52M", "1.2B", "999"]);
    }

    #[test]
    fn what_is_no_gguf_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broken.gguf");
        std::fs::write(&path, "GGUF or not").unwrap();
        let Err(EngineError::ModelBroken { detail }) = Gguf::open(&path) else { panic!("it was opened") };
        assert!(detail.contains("broken.gguf"));
    }
}

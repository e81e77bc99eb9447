//! Text to tokens and back, by what a GGUF's metadata say of its vocabulary.

use std::collections::{HashMap, HashSet};

use thiserror::Error;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use crate::{Broken, Gguf};

/// Texts of control tokens that end an answer, besides those that the metadata name; as in llama.cpp.
const END_TEXTS: [&str; 9] =
    ["<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|endoftext|>", "<|end|>", "<|return|>", "<end_of_turn>", "</s>"];

/// Pre-tokenizer of Llama 3.
const LLAMA3_SPLIT: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Pre-tokenizer of Qwen 2.
const QWEN2_SPLIT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// `tokenizer.ggml.token_type` of a token that is no text.
const CONTROL: i64 = 3;
/// And of one that was added by hand, and is never taken apart.
const USER_DEFINED: i64 = 4;

/// A text that can't be made into tokens. Says nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the text can't be tokenized")]
pub struct Untokenizable;

/// A model's tokens.
pub struct Vocabulary {
    encoder: Tokenizer,
    /// By token.
    bytes: Vec<Box<[u8]>>,
    /// Tokens that are no text, and are never shown.
    controls: HashSet<u32>,
    ends: HashSet<u32>,
    /// What every prompt begins with.
    begin: Option<u32>,
    begin_text: String,
    end_text: String,
}

impl Vocabulary {
    /// Of a file's metadata.
    pub fn new(gguf: &Gguf) -> Result<Self, Broken> {
        let model = gguf.text("tokenizer.ggml.model").unwrap_or_default();
        if model != "gpt2" {
            return Err(gguf.broken(format!("tokenizer {model:?} isn't supported, only byte-level BPE (gpt2)")));
        }
        let tokens = gguf.texts("tokenizer.ggml.tokens")?;
        let types = gguf.integers("tokenizer.ggml.token_type");
        let merges: Vec<(String, String)> = gguf
            .texts("tokenizer.ggml.merges")?
            .into_iter()
            // The part before the space can't be empty, and a token's own spaces are written as another character.
            .filter_map(|merge| merge.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned())))
            .collect();
        let vocabulary: Vocab = (0_u32..).zip(&tokens).map(|(id, token)| ((*token).clone(), id)).collect();
        let bpe =
            BPE::builder().vocab_and_merges(vocabulary, merges).build().map_err(|error| gguf.broken(format!("vocabulary: {error}")))?;
        let mut encoder = Tokenizer::new(bpe);
        let pre_tokenizer =
            pre_tokenizer(gguf.text("tokenizer.ggml.pre").unwrap_or("default")).map_err(|sentence| gguf.broken(sentence))?;
        encoder.with_pre_tokenizer(Some(pre_tokenizer));

        let kind = |id: usize| types.get(id).copied().unwrap_or(1);
        let special = tokens.iter().enumerate().filter(|&(id, _)| matches!(kind(id), CONTROL | USER_DEFINED));
        let special = special.map(|(_, token)| AddedToken::from((*token).clone(), true));
        encoder.add_special_tokens(special).map_err(|error| gguf.broken(format!("special tokens: {error}")))?;

        let byte_of = bytes_by_char();
        let bytes = tokens.iter().enumerate().map(|(id, token)| match kind(id) {
            CONTROL | USER_DEFINED => token.as_bytes().into(),
            _ => token.chars().filter_map(|letter| byte_of.get(&letter).copied()).collect(),
        });
        let bytes = bytes.collect();
        let controls: HashSet<u32> = (0_u32..).zip(&tokens).map(|(id, _)| id).filter(|id| kind(*id as usize) == CONTROL).collect();

        let named = ["eos_token_id", "eot_token_id", "eom_token_id"];
        let mut ends: HashSet<u32> = named.iter().filter_map(|name| gguf.integer(&format!("tokenizer.ggml.{name}"))).collect();
        ends.extend(
            controls.iter().copied().filter(|id| tokens.get(*id as usize).is_some_and(|token| END_TEXTS.contains(&token.as_str()))),
        );

        let text_of = |name: &str| {
            let id = gguf.integer(&format!("tokenizer.ggml.{name}"));
            id.and_then(|id| tokens.get(id as usize)).map(|token| (*token).clone()).unwrap_or_default()
        };
        let begin =
            gguf.flag("tokenizer.ggml.add_bos_token").unwrap_or(false).then(|| gguf.integer("tokenizer.ggml.bos_token_id")).flatten();
        let (begin_text, end_text) = (text_of("bos_token_id"), text_of("eos_token_id"));
        Ok(Self { encoder, bytes, controls, ends, begin, begin_text, end_text })
    }

    /// Text to tokens. A special token's text becomes that token, also in what a caller wrote, as in Ollama.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Untokenizable> {
        // The encoder's error could quote the text.
        let encoding = self.encoder.encode_fast(text, false).map_err(|_| Untokenizable)?;
        let mut tokens = encoding.get_ids().to_vec();
        if let Some(begin) = self.begin.filter(|begin| tokens.first() != Some(begin)) {
            tokens.insert(0, begin);
        }
        Ok(tokens)
    }

    /// What a token adds to an answer's text: not always whole characters, and nothing for a control token.
    pub fn shown_bytes(&self, token: u32) -> &[u8] {
        if self.controls.contains(&token) { &[] } else { self.name(token) }
    }

    /// A token's bytes, a control token's name.
    pub fn name(&self, token: u32) -> &[u8] {
        self.bytes.get(token as usize).map_or(&[], |bytes| bytes)
    }

    /// Whether it ends an answer.
    pub fn is_end(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }

    /// What a template calls `bos_token`; may be empty.
    pub fn begin_text(&self) -> &str {
        &self.begin_text
    }

    /// What a template calls `eos_token`; may be empty.
    pub fn end_text(&self) -> &str {
        &self.end_text
    }
}

/// How text is cut before its pieces become tokens, by llama.cpp's names.
fn pre_tokenizer(name: &str) -> Result<PreTokenizerWrapper, String> {
    let byte_level = |use_regex| PreTokenizerWrapper::from(ByteLevel::new(false, false, use_regex));
    let split = |pattern: &str| {
        let split = Split::new(SplitPattern::Regex(pattern.to_owned()), SplitDelimiterBehavior::Isolated, false);
        split.map(PreTokenizerWrapper::from).map_err(|error| format!("pre-tokenizer: {error}"))
    };
    let steps = match name {
        "default" | "gpt-2" | "gpt2" | "olmo" | "phi-2" | "jina-es" | "jina-de" | "mpt" => vec![byte_level(true)],
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" => vec![Digits::new(true).into(), byte_level(true)],
        "llama-bpe" | "llama3" | "llama-v3" | "smaug-bpe" => vec![split(LLAMA3_SPLIT)?, byte_level(false)],
        "qwen2" | "deepseek-r1-qwen" => vec![split(QWEN2_SPLIT)?, byte_level(false)],
        other => return Err(format!("pre-tokenizer {other:?} isn't supported")),
    };
    Ok(Sequence::new(steps).into())
}

/// GPT-2's way to write every byte as a printable character: those that are none are moved to 256 and on.
fn bytes_by_char() -> HashMap<char, u8> {
    let mut moved = 256_u32;
    let pairs = (0..=u8::MAX).map(|byte| {
        if matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff) {
            return (char::from(byte), byte);
        }
        moved += 1;
        (char::from_u32(moved - 1).unwrap_or_default(), byte)
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_character_of_its_own() {
        let byte_of = bytes_by_char();
        assert_eq!(byte_of.len(), 256);
        assert_eq!((byte_of[&'Ġ'], byte_of[&'Ċ'], byte_of[&'a']), (b' ', b'\n', b'a'));
        assert!(byte_of.keys().all(|letter| ByteLevel::alphabet().contains(letter)));
    }

    #[test]
    fn an_unknown_pre_tokenizer_is_refused_by_name() {
        assert!(pre_tokenizer("tekken").unwrap_err().contains("tekken"));
        assert!(["default", "smollm", "llama-bpe", "qwen2"].iter().all(|name| pre_tokenizer(name).is_ok()));
    }
}

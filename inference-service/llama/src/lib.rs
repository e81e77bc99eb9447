//! Runs GGUF models of the llama architecture on the CPU.
//!
//! A package of its own, because it is optimized also where the rest is built to be quick to build: every token goes through all of it.
//! It knows nothing of services: [`Gguf`] is a file, [`Vocabulary`] its tokens, [`Llama`] its weights, [`Sampler`] the choice of a token.

use thiserror::Error;

mod attention;
mod gguf;
mod model;
mod sampler;
mod vocabulary;

pub use gguf::Gguf;
pub use model::{Cache, Llama, MAX_CONTEXT};
pub use sampler::{Sampler, Sampling, log_sum_exp, most_likely};
pub use vocabulary::{Untokenizable, Vocabulary};

/// A file that is no GGUF, is damaged, or has a model that can't be run. Its text names the file.
#[derive(Debug, Error)]
#[error("{path}: {detail}")]
pub struct Broken {
    path: String,
    detail: String,
}

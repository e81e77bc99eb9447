//! The forward pass with a real model: SmolLM2-135M, which `scripts/fetch-model` puts into the user's cache folder.

use std::path::PathBuf;

use llama::{Gguf, Llama, Vocabulary, log_sum_exp, most_likely};

const PROMPT: &str = "<|im_start|>user\nWhy is the sky blue? Answer in two sentences, and then once more in the words of a plumber \
                      who has never heard of light, but knows all about water, pipes and pumps.<|im_end|>\n<|im_start|>assistant\n";

#[expect(clippy::unwrap_used, reason = "a test's setup")]
fn model() -> (Llama, Vocabulary) {
    let given = std::env::var_os("TOLLGATE_TEST_MODELS_DIR").map(PathBuf::from);
    let cache =
        std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let folder = given.or_else(|| Some(cache?.join("tollgate/models"))).unwrap();
    let path = folder.join("smollm2.gguf");
    assert!(path.is_file(), "{} isn't there: run scripts/fetch-model", path.display());
    let mut gguf = Gguf::open(&path).unwrap();
    let vocabulary = Vocabulary::new(&gguf).unwrap();
    (gguf.weights().unwrap(), vocabulary)
}

#[test]
fn a_prompt_means_the_same_in_pieces_of_any_size() {
    let (model, vocabulary) = model();
    let tokens = vocabulary.encode(PROMPT).unwrap();
    assert!(tokens.len() > 40, "{}", tokens.len());
    let logprobs = |piece: usize| {
        let mut cache = model.cache();
        let mut logits = Vec::new();
        for piece in tokens.chunks(piece) {
            logits = model.evaluate(&mut cache, piece).unwrap();
        }
        assert_eq!(cache.tokens(), tokens.len());
        let all = log_sum_exp(&logits);
        most_likely(&logits, 5).into_iter().map(|(token, logit)| (token, f64::from(logit) - all)).collect::<Vec<_>>()
    };
    let whole = logprobs(tokens.len());
    // Small pieces are multiplied in fewer bits than large ones.
    for piece in [1, 7, 16, 32] {
        for ((token, found), (expected_token, expected)) in logprobs(piece).into_iter().zip(&whole) {
            assert_eq!(token, *expected_token, "in pieces of {piece}");
            assert!((found - expected).abs() < 0.1, "{found}, {expected} in pieces of {piece}");
        }
    }
}

#[test]
fn answers_on_one_model_dont_see_each_other() {
    let (model, vocabulary) = model();
    let tokens = vocabulary.encode("The capital of France is").unwrap();
    let alone = model.evaluate(&mut model.cache(), &tokens).unwrap();
    let (mut first, mut second) = (model.cache(), model.cache());
    model.evaluate(&mut second, &vocabulary.encode("Once upon a time").unwrap()).unwrap();
    assert_eq!(model.evaluate(&mut first, &tokens).unwrap(), alone);
    assert_eq!(vocabulary.name(most_likely(&alone, 1)[0].0), b" Paris");
}

#[test]
fn a_token_that_there_isnt_and_none_at_all_are_errors() {
    let (model, _) = model();
    assert!(model.evaluate(&mut model.cache(), &[u32::MAX]).is_err());
    assert!(model.evaluate(&mut model.cache(), &[]).is_err());
}

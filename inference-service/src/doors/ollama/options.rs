//! Sampling and context, as Ollama's clients say it.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Number;
use shared::proto::inference as wire;

use super::refused::{REFUSED, refuse_asked};
use crate::prompt::Violations;

/// Options that change the answer are passed on, or refused by name where the contract hasn't got them. Those that are about the machine
/// (`num_gpu`, `num_thread`, `num_batch`, `use_mmap` and the like) are the operator's: they are taken, and have no effect. So are those
/// that Ollama itself doesn't know, as there.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct OptionsBody {
    temperature: Option<f32>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    typical_p: Option<f32>,
    repeat_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    #[schemars(with = "Option<i64>")]
    repeat_last_n: Option<Number>,
    #[schemars(with = "Option<i64>")]
    top_k: Option<Number>,
    #[schemars(with = "Option<i64>")]
    seed: Option<Number>,
    /// Tokens of context; at most the operator's cap.
    #[schemars(with = "Option<i64>")]
    num_ctx: Option<Number>,
    /// The most tokens to generate; less than 1: as many as the server allows.
    #[schemars(with = "Option<i64>")]
    num_predict: Option<Number>,
    stop: Option<Vec<String>>,
    /// Refused, unless it is Ollama's default: 4.
    #[schemars(with = "Option<i64>")]
    num_keep: Option<Number>,
    /// Refused, unless it is off: 0.
    #[schemars(with = "Option<i64>")]
    mirostat: Option<Number>,
    /// Refused, unless it is off: 1.
    tfs_z: Option<f32>,
}

/// What Ollama keeps of a prompt when nothing else is said.
const DEFAULT_NUM_KEEP: i64 = 4;

impl OptionsBody {
    /// For the contract, with the bound on generated tokens.
    pub(super) fn into_wire(self, wrong: &mut Violations) -> (wire::Options, Option<u32>) {
        let set = |number: &Option<Number>, neutral: i64| number.as_ref().is_some_and(|number| whole(number) != neutral);
        let asked = [
            ("options.num_keep", set(&self.num_keep, DEFAULT_NUM_KEEP)),
            ("options.mirostat", set(&self.mirostat, 0)),
            ("options.tfs_z", self.tfs_z.is_some_and(|value| value != 1.0)),
        ];
        refuse_asked(REFUSED, &asked, wrong);
        let max_output_tokens =
            self.num_predict.as_ref().map(whole).filter(|tokens| *tokens >= 1).map(|tokens| u32::try_from(tokens).unwrap_or(u32::MAX));
        let options = wire::Options {
            temperature: self.temperature,
            top_p: self.top_p,
            min_p: self.min_p,
            typical_p: self.typical_p,
            repeat_penalty: self.repeat_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            repeat_last_n: self.repeat_last_n.as_ref().map(whole_i32),
            top_k: self.top_k.as_ref().map(whole_i32),
            seed: self.seed.as_ref().map(whole),
            num_ctx: self.num_ctx.as_ref().map(whole_u32),
            stop: self.stop.unwrap_or_default(),
        };
        (options, max_output_tokens)
    }

    /// The one option that embeddings have: the others are about what is generated.
    pub(super) fn num_ctx(&self) -> Option<u32> {
        self.num_ctx.as_ref().map(whole_u32)
    }
}

/// A whole number, as Go reads one that came with a fraction: without it. Beyond all of them it is the last.
pub(super) fn whole(number: &Number) -> i64 {
    // `as` saturates.
    number.as_i64().unwrap_or_else(|| number.as_f64().unwrap_or_default() as i64)
}

fn whole_i32(number: &Number) -> i32 {
    i32::try_from(whole(number)).unwrap_or(if whole(number) < 0 { i32::MIN } else { i32::MAX })
}

/// Less than none is none, which the contract refuses where it takes none.
pub(super) fn whole_u32(number: &Number) -> u32 {
    u32::try_from(whole(number).max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> (wire::Options, Option<u32>, Vec<String>) {
        let body: OptionsBody = serde_json::from_str(json).unwrap();
        let mut wrong = Violations::default();
        let (options, bound) = body.into_wire(&mut wrong);
        let fields = if wrong.is_empty() { Vec::new() } else { shared::error::violations_of(&wrong.refuse().into()) };
        (options, bound, fields.into_iter().map(|(field, _)| field).collect())
    }

    #[test]
    fn numbers_are_read_as_ollama_reads_them() {
        let (options, bound, wrong) = read(
            r#"{"temperature":0,"top_k":40.7,"seed":9007199254740993,"num_ctx":4096.0,"num_predict":12,"stop":["\n"],"repeat_last_n":-1,
                "min_p":null,"presence_penalty":1.5}"#,
        );
        assert_eq!((options.temperature, options.top_k, options.seed), (Some(0.0), Some(40), Some(9_007_199_254_740_993)));
        assert_eq!((options.num_ctx, bound, options.min_p, options.repeat_last_n), (Some(4096), Some(12), None, Some(-1)));
        assert_eq!((options.stop, options.presence_penalty, wrong), (vec!["\n".to_owned()], Some(1.5), vec![]));
    }

    #[test]
    fn a_bound_of_less_than_one_token_is_the_servers() {
        for none in ["0", "-1", "-2", "0.5"] {
            assert_eq!(read(&format!(r#"{{"num_predict":{none}}}"#)).1, None, "{none}");
        }
        assert_eq!(read(r#"{"num_predict":1e12}"#).1, Some(u32::MAX));
        // The contract refuses these: they are never taken for others.
        let (options, ..) = read(r#"{"num_ctx":-5,"top_k":-99999999999}"#);
        assert_eq!((options.num_ctx, options.top_k), (Some(0), Some(i32::MIN)));
    }

    #[test]
    fn what_changes_the_answer_and_can_not_be_passed_on_is_refused_by_name_and_the_rest_is_taken() {
        assert_eq!(read(r#"{"num_keep":24,"mirostat":2,"tfs_z":0.5}"#).2, ["options.num_keep", "options.mirostat", "options.tfs_z"]);
        let neutral = r#"{"num_keep":4,"mirostat":0,"mirostat_tau":5.0,"tfs_z":1,"num_gpu":99,"num_thread":8,"num_batch":512,"numa":true,
            "use_mmap":false,"main_gpu":0,"low_vram":true,"penalize_newline":true,"frobnicate":1}"#;
        assert_eq!(read(neutral).2, Vec::<String>::new());
    }
}

//! What a conversation is asked with, beside what is said in it.

use std::time::Duration;

use tollgate_client::proto::inference::{ChatRequest, Format, Message, Options};

/// Flags of the command at first; the session's commands change them.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    pub(super) options: Options,
    pub(super) max_output_tokens: Option<u32>,
    pub(super) require_full: bool,
    pub(super) format: Option<Format>,
    /// Never empty.
    pub(super) system: Option<String>,
    pub(super) think: Option<String>,
    pub(super) keep_alive: Option<Duration>,
}

/// Those that a host's operator chooses when the model server is set up.
const OF_THE_HOST: [&str; 7] = ["num_keep", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread", "draft_num_predict"];

impl Settings {
    /// A request with these settings, of these turns.
    pub(super) fn request(&self, model: &str, turns: Vec<Message>, request_id: String) -> ChatRequest {
        ChatRequest {
            model: model.to_owned(),
            messages: turns,
            max_output_tokens: self.max_output_tokens,
            options: (self.options != Options::default()).then(|| self.options.clone()),
            format: self.format.clone(),
            think: self.think.clone(),
            request_id,
            require_full: self.require_full,
            keep_alive: self.keep_alive.and_then(|duration| duration.try_into().ok()),
            ..ChatRequest::default()
        }
    }

    /// Sets a parameter by the name that Modelfiles have for it. What values a model takes is the server's to say.
    pub(super) fn set(&mut self, name: &str, values: &[String]) -> Result<(), String> {
        let value = values.first().map(String::as_str).unwrap_or_default();
        let options = &mut self.options;
        match name {
            "temperature" => options.temperature = Some(float(value)?),
            "top_p" => options.top_p = Some(float(value)?),
            "min_p" => options.min_p = Some(float(value)?),
            "typical_p" => options.typical_p = Some(float(value)?),
            "repeat_penalty" => options.repeat_penalty = Some(float(value)?),
            "presence_penalty" => options.presence_penalty = Some(float(value)?),
            "frequency_penalty" => options.frequency_penalty = Some(float(value)?),
            "top_k" => options.top_k = Some(int(value)?),
            "seed" => options.seed = Some(int(value)?),
            "num_ctx" => options.num_ctx = Some(int(value)?),
            "repeat_last_n" => options.repeat_last_n = Some(int(value)?),
            "stop" => options.stop = values.to_vec(),
            "num_predict" => {
                self.max_output_tokens = match int::<i64>(value)? {
                    // As many as there is room for: what the server allows.
                    -2 | -1 => None,
                    number => Some(u32::try_from(number).ok().filter(|number| *number > 0).ok_or_else(|| no_int(value))?),
                }
            }
            name if OF_THE_HOST.contains(&name) => {
                return Err(format!("'{name}' is set by whoever runs the model server, not for one conversation"));
            }
            _ => return Err(format!("unknown parameter '{name}'")),
        }
        Ok(())
    }

    /// The parameters that were set, by the names that Modelfiles have for them, and in a Modelfile's form; `stop` once for each.
    pub(super) fn parameters(&self) -> Vec<(&'static str, String)> {
        let Options {
            temperature,
            top_p,
            min_p,
            repeat_penalty,
            top_k,
            seed,
            num_ctx,
            stop,
            presence_penalty,
            frequency_penalty,
            repeat_last_n,
            typical_p,
        } = &self.options;
        let text = |number: &Option<f32>| number.map(|number| number.to_string());
        let single = [
            ("temperature", text(temperature)),
            ("top_p", text(top_p)),
            ("min_p", text(min_p)),
            ("typical_p", text(typical_p)),
            ("repeat_penalty", text(repeat_penalty)),
            ("presence_penalty", text(presence_penalty)),
            ("frequency_penalty", text(frequency_penalty)),
            ("top_k", top_k.map(|number| number.to_string())),
            ("seed", seed.map(|number| number.to_string())),
            ("num_ctx", num_ctx.map(|number| number.to_string())),
            ("repeat_last_n", repeat_last_n.map(|number| number.to_string())),
            ("num_predict", self.max_output_tokens.map(|number| number.to_string())),
        ];
        let single = single.into_iter().filter_map(|(name, value)| Some((name, value?)));
        single.chain(stop.iter().map(|text| ("stop", text.clone()))).collect()
    }
}

fn float(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|number: &f32| number.is_finite()).ok_or_else(|| format!("invalid float value [{text}]"))
}

fn int<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| no_int(text))
}

fn no_int(text: &str) -> String {
    format!("invalid int value [{text}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lines: &[(&str, &[&str])]) -> Settings {
        let mut settings = Settings::default();
        for (name, values) in lines {
            let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
            settings.set(name, &values).unwrap();
        }
        settings
    }

    #[test]
    fn every_parameter_of_the_contract_is_set_by_its_name_and_shown_again() {
        let settings = after(&[
            ("temperature", &["0.7"]),
            ("top_p", &["0.9"]),
            ("min_p", &["0.05"]),
            ("typical_p", &["1"]),
            ("repeat_penalty", &["1.1"]),
            ("presence_penalty", &["-0.5"]),
            ("frequency_penalty", &["0.5"]),
            ("top_k", &["40"]),
            ("seed", &["-7"]),
            ("num_ctx", &["4096"]),
            ("repeat_last_n", &["-1"]),
            ("num_predict", &["64"]),
            ("stop", &["###", "END"]),
        ]);
        let shown: Vec<String> = settings.parameters().into_iter().map(|(name, value)| format!("{name} {value}")).collect();
        assert_eq!(
            shown,
            [
                "temperature 0.7",
                "top_p 0.9",
                "min_p 0.05",
                "typical_p 1",
                "repeat_penalty 1.1",
                "presence_penalty -0.5",
                "frequency_penalty 0.5",
                "top_k 40",
                "seed -7",
                "num_ctx 4096",
                "repeat_last_n -1",
                "num_predict 64",
                "stop ###",
                "stop END",
            ]
        );
        let request = settings.request("m", Vec::new(), "r".to_owned());
        assert_eq!((request.max_output_tokens, request.options.unwrap().seed), (Some(64), Some(-7)));
        assert_eq!(after(&[("num_predict", &["64"]), ("num_predict", &["-1"])]).max_output_tokens, None);
        assert_eq!(Settings::default().request("m", Vec::new(), String::new()).options, None);
    }

    #[test]
    fn what_is_no_value_or_no_parameter_is_said() {
        let said = |name: &str, value: &str| Settings::default().set(name, &[value.to_owned()]).unwrap_err();
        assert_eq!(said("nonsense", "1"), "unknown parameter 'nonsense'");
        assert_eq!(said("temperature", "warm"), "invalid float value [warm]");
        assert_eq!(said("temperature", "NaN"), "invalid float value [NaN]");
        assert_eq!(said("top_p", "inf"), "invalid float value [inf]");
        assert_eq!(said("seed", "1.5"), "invalid int value [1.5]");
        assert_eq!(said("num_ctx", "-1"), "invalid int value [-1]");
        assert_eq!(said("num_predict", "0"), "invalid int value [0]");
        assert!(said("num_gpu", "1").contains("whoever runs the model server"));
    }
}

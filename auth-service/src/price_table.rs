//! What models cost: patterns of model names and their prices, the first match counts.

use crate::hold::{MAX_PRICE, Price};

/// A model's name as it is compared everywhere: without `:latest`, which Ollama adds when no tag is given.
#[must_use]
pub fn without_latest(model: &str) -> &str {
    model.strip_suffix(":latest").unwrap_or(model)
}

/// Patterns and prices, in order. A model that no pattern matches costs [`Price::default`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PriceTable(Vec<(String, Price)>);

impl PriceTable {
    /// Parses `pattern=per_call[/per_1k_input_tokens[/per_1k_output_tokens]]`, comma separated; prices are whole credits.
    pub fn parse(text: &str) -> Result<Self, String> {
        text.split(',').map(|entry| parse_entry(entry.trim())).collect::<Result<_, _>>().map(Self)
    }

    /// What a model costs.
    #[must_use]
    pub fn price_of(&self, model: &str) -> Price {
        // Ollama finds a model whatever the case of its name.
        let model = without_latest(model).to_ascii_lowercase();
        self.0.iter().find(|(pattern, _)| matches(pattern, &model)).map_or_else(Price::default, |(_, price)| *price)
    }
}

fn parse_entry(entry: &str) -> Result<(String, Price), String> {
    let wrong = || {
        format!(
            "must be pattern=per_call[/per_1k_input[/per_1k_output]] in whole credits up to {MAX_PRICE}, comma separated, and has {entry:?}"
        )
    };
    let (pattern, prices) = entry.rsplit_once('=').ok_or_else(wrong)?;
    let mut figures = [0; 3];
    for (count, text) in prices.split('/').enumerate() {
        let slot = figures.get_mut(count).ok_or_else(wrong)?;
        *slot = text.parse().ok().filter(|price| (0..=MAX_PRICE).contains(price)).ok_or_else(wrong)?;
    }
    if pattern.is_empty() {
        return Err(wrong());
    }
    let [per_call, per_1k_input_tokens, per_1k_output_tokens] = figures;
    Ok((without_latest(pattern).to_ascii_lowercase(), Price { per_call, per_1k_input_tokens, per_1k_output_tokens }))
}

/// Whether a name matches a pattern, in which `*` stands for any run of characters, also none.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(per_call: i64, per_1k_input_tokens: i64, per_1k_output_tokens: i64) -> Price {
        Price { per_call, per_1k_input_tokens, per_1k_output_tokens }
    }

    #[test]
    fn the_first_match_counts_and_what_nothing_matches_costs_one_credit_a_call() {
        let table = PriceTable::parse("llama3*=2/1/3, tiny:latest=0,*:70b=10/5").unwrap();
        assert_eq!(table.price_of("llama3.2:1b"), price(2, 1, 3));
        assert_eq!(table.price_of("llama3:70b"), price(2, 1, 3));
        assert_eq!(table.price_of("qwen:70b"), price(10, 5, 0));
        assert_eq!(table.price_of("tiny"), price(0, 0, 0));
        assert_eq!(table.price_of("LLAMA3.2:1B"), price(2, 1, 3), "whatever the case");
        assert_eq!(table.price_of("tiny:latest"), price(0, 0, 0));
        assert_eq!(table.price_of("tiny:1b"), Price::default());
    }

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*", "anything", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("ab*ba", "aba", false),
            ("a", "ab", false),
            ("", "a", false),
            ("*b", "ab", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_malformed_table_is_refused() {
        for wrong in ["", "a", "=1", "a=", "a=-1", "a=1/2/3/4", "a=1.5", "a=1000001", "a=1,,b=2"] {
            assert!(PriceTable::parse(wrong).is_err(), "{wrong}");
        }
    }
}

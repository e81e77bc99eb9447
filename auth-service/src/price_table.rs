//! What models cost: patterns of model names and their prices, the first match counts.

use crate::model_pattern::{FullName, ModelPattern};
use crate::price::{MAX_PRICE, Price};

/// Patterns and prices, in order. A model that no pattern matches costs [`Price::default`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PriceTable(Vec<(ModelPattern, Price)>);

impl PriceTable {
    /// Parses `pattern=per_call[/per_1k_input_tokens[/per_1k_output_tokens]]`, comma separated; prices are whole credits.
    pub fn parse(text: &str) -> Result<Self, String> {
        text.split(',').map(|entry| parse_entry(entry.trim())).collect::<Result<_, _>>().map(Self)
    }

    /// What a model costs, by its name as [`folded`](shared::model_name::folded) gives it.
    #[must_use]
    pub fn price_of(&self, model: &str) -> Price {
        let name = FullName::of(model);
        self.0.iter().find(|(pattern, _)| pattern.matches(&name)).map_or_else(Price::default, |(_, price)| *price)
    }
}

fn parse_entry(entry: &str) -> Result<(ModelPattern, Price), String> {
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
    let pattern = ModelPattern::parse(pattern).map_err(|invalid| {
        format!(
            "must name models as Ollama does, such as llama3.2, llama3.2:3b or llama3*, comma separated; it has {entry:?}, which {invalid}"
        )
    })?;
    let [per_call, per_1k_input_tokens, per_1k_output_tokens] = figures;
    Ok((pattern, Price { per_call, per_1k_input_tokens, per_1k_output_tokens }))
}

#[cfg(test)]
mod tests {
    use shared::model_name;

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
        assert_eq!(table.price_of("tiny:1b"), Price::default());
    }

    #[test]
    fn every_spelling_of_a_models_name_costs_the_same() {
        let spellings = [
            "tiny",
            "tiny:latest",
            "tiny:LATEST",
            "tiny:local",
            "Tiny:Latest:LOCAL",
            "library/tiny",
            "registry.ollama.ai/library/tiny:latest",
            "Registry.Ollama.AI/Library/tiny",
        ];
        for pattern in spellings {
            let table = PriceTable::parse(&format!("{pattern}=7,*=1")).unwrap();
            for name in spellings {
                assert_eq!(table.price_of(&model_name::folded(name).unwrap()), price(7, 0, 0), "{name} by {pattern}");
            }
        }
    }

    #[test]
    fn a_price_of_ollamas_library_is_not_everybodys() {
        let table = PriceTable::parse("library/*=1,hf.co/*=20,*=50").unwrap();
        for (model, per_call) in
            [("llama3.2", 1), ("llama3.2:3b", 1), ("hf.co/a/big:q8_0", 20), ("someone/big", 50), ("huggingface.co/a/big", 50)]
        {
            assert_eq!(table.price_of(model), price(per_call, 0, 0), "{model}");
        }
    }

    #[test]
    fn a_malformed_table_is_refused() {
        for wrong in [
            "",
            "a",
            "=1",
            "a=",
            "a=-1",
            "a=1/2/3/4",
            "a=1.5",
            "a=1000001",
            "a=1,,b=2",
            "a b=1",
            "a:cloud:local=1",
            "https://*=1",
            "*-cloud=1",
        ] {
            assert!(PriceTable::parse(wrong).is_err(), "{wrong}");
        }
    }
}

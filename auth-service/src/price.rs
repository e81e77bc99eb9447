//! What is held for a request, and what it costs: sums of whole credits, each rounded up once.

/// The most tokens that any figure may say. With prices of at most [`MAX_PRICE`] every sum stays far below `i64::MAX`.
pub const MAX_TOKENS: u32 = 10_000_000;
/// The most that a call or 1,000 tokens may cost, in credits.
pub const MAX_PRICE: i64 = 1_000_000;

/// What a model costs, in credits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// For each call.
    pub per_call: i64,
    /// For 1,000 input tokens.
    pub per_1k_input_tokens: i64,
    /// For 1,000 output tokens.
    pub per_1k_output_tokens: i64,
}

impl Default for Price {
    /// One credit a call.
    fn default() -> Self {
        Self { per_call: 1, per_1k_input_tokens: 0, per_1k_output_tokens: 0 }
    }
}

/// What a request may use at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorstCase {
    /// Input tokens.
    pub input_tokens: u32,
    /// Output tokens; 0 where nothing is generated, as for embeddings.
    pub output_tokens: u32,
    /// Whether to refuse when not all of it can be held. Otherwise fewer output tokens are paid for.
    pub require_full: bool,
}

/// What is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    /// Credits.
    pub credits: i64,
    /// The output tokens that they pay for; ≥ 1 where any may be generated.
    pub output_tokens: u32,
}

impl Price {
    /// A call's price in credits, rounded up once.
    #[must_use]
    pub fn of(&self, input_tokens: u32, output_tokens: u32) -> i64 {
        self.per_call + self.of_tokens(input_tokens, output_tokens)
    }

    /// The tokens' part of the price, rounded up.
    #[must_use]
    pub fn of_tokens(&self, input_tokens: u32, output_tokens: u32) -> i64 {
        let thousandths = i64::from(input_tokens) * self.per_1k_input_tokens + i64::from(output_tokens) * self.per_1k_output_tokens;
        thousandths.div_euclid(1000) + i64::from(thousandths.rem_euclid(1000) > 0)
    }

    /// What is held when there are credits enough.
    #[must_use]
    pub fn whole(&self, most: &WorstCase) -> Amount {
        Amount { credits: self.of(most.input_tokens, most.output_tokens), output_tokens: most.output_tokens }
    }

    /// What is held of so many available credits: the whole, or as much as pays for one output token at least, if
    /// there is to be one. The error is the least that would be enough.
    pub fn held_of(&self, most: &WorstCase, available: i64) -> Result<Amount, i64> {
        let whole = self.whole(most);
        if whole.credits <= available {
            return Ok(whole);
        }
        if most.require_full {
            return Err(whole.credits);
        }
        let least = self.of(most.input_tokens, most.output_tokens.min(1));
        if least > available {
            return Err(least);
        }
        // Output costs something here: the least would else be the whole.
        let left = (available - self.per_call) * 1000 - i64::from(most.input_tokens) * self.per_1k_input_tokens;
        let output_tokens = u32::try_from(left / self.per_1k_output_tokens.max(1)).unwrap_or(u32::MAX).min(most.output_tokens);
        Ok(Amount { credits: self.of(most.input_tokens, output_tokens), output_tokens })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(per_call: i64, per_1k_input_tokens: i64, per_1k_output_tokens: i64) -> Price {
        Price { per_call, per_1k_input_tokens, per_1k_output_tokens }
    }

    fn most(input_tokens: u32, output_tokens: u32) -> WorstCase {
        WorstCase { input_tokens, output_tokens, require_full: false }
    }

    #[test]
    fn a_price_is_rounded_up_once_and_not_for_each_of_its_parts() {
        assert_eq!(price(1, 1, 1).of(1, 1), 2);
        assert_eq!(price(0, 500, 500).of(1, 1), 1);
        assert_eq!(price(2, 1000, 3).of(1000, 0), 1002);
        assert_eq!(price(0, 0, 0).of(MAX_TOKENS, MAX_TOKENS), 0);
        assert_eq!(price(MAX_PRICE, MAX_PRICE, MAX_PRICE).of(MAX_TOKENS, MAX_TOKENS), 20_001_000_000);
    }

    #[test]
    fn the_whole_is_held_where_there_is_enough_and_else_what_pays_for_one_output_token_at_least() {
        let by_token = price(1, 0, 1000);
        assert_eq!(by_token.held_of(&most(5, 10), 11), Ok(Amount { credits: 11, output_tokens: 10 }));
        assert_eq!(by_token.held_of(&most(5, 10), 10), Ok(Amount { credits: 10, output_tokens: 9 }));
        assert_eq!(by_token.held_of(&most(5, 10), 2), Ok(Amount { credits: 2, output_tokens: 1 }));
        assert_eq!(by_token.held_of(&most(5, 10), 1), Err(2));
        assert_eq!(by_token.held_of(&WorstCase { require_full: true, ..most(5, 10) }, 10), Err(11));
        assert_eq!(price(1, 0, 0).held_of(&most(5, 10), 0), Err(1));
        assert_eq!(price(0, 0, 0).held_of(&most(5, 10), 0), Ok(Amount { credits: 0, output_tokens: 10 }));
        // Embeddings have no output: their input is held whole or not at all.
        let by_both = price(1, 1000, 1_000_000);
        assert_eq!(by_both.held_of(&most(5, 0), 6), Ok(Amount { credits: 6, output_tokens: 0 }));
        assert_eq!(by_both.held_of(&most(5, 0), 5), Err(6));
    }

    proptest::proptest! {
        #[test]
        fn what_is_held_is_available_pays_for_its_tokens_and_one_token_more_would_not_fit(
            (per_call, per_in, per_out) in (0..50_i64, 0..2000_i64, 0..2000_i64),
            (input_tokens, output_tokens) in (0..3000_u32, 1..3000_u32),
            available in 0..5000_i64,
        ) {
            let (price, most) = (price(per_call, per_in, per_out), most(input_tokens, output_tokens));
            match price.held_of(&most, available) {
                Ok(amount) => {
                    proptest::prop_assert!(amount.credits <= available && (1..=output_tokens).contains(&amount.output_tokens));
                    proptest::prop_assert_eq!(amount.credits, price.of(input_tokens, amount.output_tokens));
                    let is_whole = amount.output_tokens == output_tokens;
                    proptest::prop_assert!(is_whole || price.of(input_tokens, amount.output_tokens + 1) > available);
                }
                Err(needed) => proptest::prop_assert!(needed > available && needed == price.of(input_tokens, 1)),
            }
        }
    }
}

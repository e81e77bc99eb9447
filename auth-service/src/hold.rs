//! A hold: credits set aside for one request, what it pays for, and how it ends.
//!
//! The figures here are the truth for both stores: SQLite's transactions call these functions, and the Lua scripts do the same sums; the
//! property tests compare the two.

use crate::ids::{AccountId, KeyId, UserId};

/// The most tokens that any figure may say. With prices of at most [`MAX_PRICE`] every product stays below 2^53, which Lua's numbers hold
/// exactly.
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

    /// The output tokens that so many credits pay for, beside the call and its input; `None` when not even one.
    #[must_use]
    pub fn output_tokens_for(&self, credits: i64, input_tokens: u32, at_most: u32) -> Option<u32> {
        let left = (credits - self.per_call) * 1000 - i64::from(input_tokens) * self.per_1k_input_tokens;
        if left < 0 {
            return None;
        }
        let tokens = if self.per_1k_output_tokens == 0 {
            at_most
        } else {
            u32::try_from(left / self.per_1k_output_tokens).unwrap_or(u32::MAX).min(at_most)
        };
        (tokens >= 1).then_some(tokens)
    }
}

/// Tokens used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenUsage {
    /// Of the prompt.
    pub input_tokens: u32,
    /// Generated.
    pub output_tokens: u32,
    /// Whether they were estimated and not counted.
    pub estimated: bool,
}

/// How a request ended, as the service that worked on it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The model finished.
    Completed,
    /// The caller went away after the request had gone upstream.
    Cancelled,
    /// The model server failed after its first token.
    UpstreamFailed,
    /// Nothing was generated: nothing is charged.
    NothingGenerated,
}

/// The state that a resolved hold is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Charged.
    Settled,
    /// All went back.
    Refunded,
    /// Its expiry came first: charged for the tokens recorded by Extend, without the per-call price.
    Expired,
    /// Settled after it had expired.
    SettledLate,
}

/// Names a hold and the attempt that made it: `hold_<account id>.<user id>.<attempt id>.<request id>`. Opaque to callers.
///
/// The attempt is part of it so that a late settle of a refunded attempt can't resolve the hold of its retry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HoldHandle {
    /// The account that pays.
    pub account: AccountId,
    /// The user who acts.
    pub user_id: UserId,
    /// As the caller named it.
    pub request_id: String,
    /// The attempt.
    pub attempt_id: String,
}

impl HoldHandle {
    /// Parses what [`to_text`](Self::to_text) wrote; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix("hold_")?;
        let mut parts = text.splitn(4, '.');
        let account = AccountId::parse(parts.next()?)?;
        let user_id = UserId::parse(parts.next()?)?;
        let attempt_id = parts.next()?;
        // Last, because a request id may have points in it.
        let request_id = parts.next()?;
        (is_attempt_id(attempt_id) && is_request_id(request_id)).then(|| Self {
            account,
            user_id,
            request_id: request_id.to_owned(),
            attempt_id: attempt_id.to_owned(),
        })
    }

    /// What [`parse`](Self::parse) reads.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { account, user_id, request_id, attempt_id } = self;
        ["hold_", account.as_str(), ".", user_id.as_str(), ".", attempt_id, ".", request_id].concat()
    }

    /// The hold's name within its account.
    #[must_use]
    pub fn hold_id(&self) -> String {
        hold_id(&self.user_id, &self.request_id)
    }
}

/// A hold's name within its account: `<user id>.<request digest>`.
#[must_use]
pub fn hold_id(user: &UserId, request_id: &str) -> String {
    [user.as_str(), ".", &request_digest(request_id)].concat()
}

/// The digest of a request id that names its hold: the first 16 bytes of SHA-256, as 32 hexadecimal digits.
#[must_use]
pub fn request_digest(request_id: &str) -> String {
    use sha2::Digest;
    hex::encode(&sha2::Sha256::digest(request_id.as_bytes())[..16])
}

/// Whether a text can name an attempt: 1 to 64 ASCII letters, digits, `-` and `_`.
#[must_use]
pub fn is_attempt_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Whether a text can name a request: 1 to 128 printable ASCII characters, spaces excluded.
#[must_use]
pub fn is_request_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// A hold as it is stored, open or resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldRecord {
    /// The user who acts.
    pub user_id: UserId,
    /// The key it was made with.
    pub key_id: Option<KeyId>,
    /// As the caller named it.
    pub request_id: String,
    /// The attempt that holds or held it.
    pub attempt_id: String,
    /// Of the request's parameters.
    pub fingerprint: String,
    /// As requested.
    pub model: String,
    /// What tokens cost.
    pub price: Price,
    /// Held at first.
    pub held_credits: i64,
    /// The most input tokens that are charged.
    pub max_input_tokens: u32,
    /// The most output tokens that are charged.
    pub max_output_tokens: u32,
    /// Open: recorded by Extend. Resolved: charged for.
    pub usage: TokenUsage,
    /// When it expires or expired.
    pub expires_at_ms: i64,
    /// Set once it is resolved.
    pub resolved: Option<ResolvedHold>,
}

/// How a hold was resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedHold {
    /// The state.
    pub resolution: Resolution,
    /// What the service said; `None` when it expired.
    pub outcome: Option<Outcome>,
    /// Charged, all in all.
    pub charged_credits: i64,
    /// Due and not there when it was settled late.
    pub uncollected_credits: i64,
    /// Available on the account right after.
    pub remaining_credits: i64,
    /// The ledger entry of the last change.
    pub ledger_entry: u64,
    /// When.
    pub at_ms: i64,
}

impl HoldRecord {
    /// Usage within what the hold paid for.
    #[must_use]
    pub fn clamp(&self, usage: TokenUsage) -> TokenUsage {
        TokenUsage {
            input_tokens: usage.input_tokens.min(self.max_input_tokens),
            output_tokens: usage.output_tokens.min(self.max_output_tokens),
            estimated: usage.estimated,
        }
    }

    /// What an outcome costs, in credits; never more than was held. `usage` must be clamped.
    #[must_use]
    pub fn due(&self, outcome: Outcome, usage: TokenUsage) -> i64 {
        match outcome {
            Outcome::Completed | Outcome::Cancelled | Outcome::UpstreamFailed => {
                self.price.of(usage.input_tokens, usage.output_tokens).min(self.held_credits)
            }
            Outcome::NothingGenerated => 0,
        }
    }

    /// What is charged when the hold expires: the recorded tokens, without the per-call price.
    #[must_use]
    pub fn due_at_expiry(&self) -> i64 {
        self.price.of_tokens(self.usage.input_tokens, self.usage.output_tokens).min(self.held_credits)
    }
}

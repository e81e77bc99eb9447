//! A hold: credits set aside for one request, and what becomes of it. ARCHITECTURE.md has the same rules as a table.
//!
//! The functions here decide and do nothing else: stores compare what a decision was made from, and write what it says.

use std::time::Duration;

use crate::ids::UserId;
use crate::price::Amount;
use crate::store::{ChargeRequest, Refusal};

pub use self::standing::{Holder, Standing};
pub use self::terms::{Fields, Terms};

mod standing;
mod terms;

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

/// A hold as it is stored, open or resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldRecord {
    /// What it was made for.
    pub terms: Terms,
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
    /// The ledger entry of the last change; `None` when there is none: see [`Settlement::is_in_ledger`].
    pub ledger_entry: Option<u64>,
    /// When.
    pub at_ms: i64,
}

impl HoldRecord {
    /// Whether it is a resolved request whose time to be remembered is over. It counts as none from then on, whether or not it is still
    /// there.
    #[must_use]
    pub fn is_forgotten(&self, forget_after: Duration, now_ms: i64) -> bool {
        let forget_after_ms = i64::try_from(forget_after.as_millis()).unwrap_or(i64::MAX);
        self.resolved.as_ref().is_some_and(|resolved| resolved.at_ms.saturating_add(forget_after_ms) <= now_ms)
    }

    /// Resolves it; the store says what was available right after, the ledger entry if there is one, and when.
    #[must_use]
    pub fn resolve(self, settlement: &Settlement, remaining_credits: i64, ledger_entry: Option<u64>, at_ms: i64) -> Self {
        let Settlement { resolution, outcome, usage, charged_credits, uncollected_credits, .. } = *settlement;
        let resolved = ResolvedHold { resolution, outcome, charged_credits, uncollected_credits, remaining_credits, ledger_entry, at_ms };
        Self { usage, resolved: Some(resolved), ..self }
    }
}

/// What there is to hold from, after what was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Funds {
    /// Available credits.
    pub available: i64,
    /// Open holds.
    pub open_holds: u32,
    /// Open holds that there may be.
    pub max_open_holds: u32,
    /// Whether holds are due that one operation didn't come to: they may give credits back.
    pub more_is_due: bool,
    /// How long the account must wait because too many of its holds came back whole.
    pub refund_wait: Option<Duration>,
    /// What is left of the member's cap in this month, at least 0; `None`: they have none.
    pub left_of_cap: Option<i64>,
}

/// What becomes of a Check.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "made once a call and taken apart at once; a box would cost each call an allocation")]
pub enum CheckDecision {
    /// Credits are held on these terms, in place of what was there.
    Hold(Terms),
    /// The same attempt holds them already.
    AlreadyHeld,
    /// The request is resolved: its record is answered.
    Recorded,
    /// Nothing is held.
    Refuse(Refusal),
}

/// Decides a Check of an authorized caller. `before`: the hold of that name, unless it is forgotten.
#[must_use]
pub fn on_check(before: Option<&HoldRecord>, holder: &Holder, model: &str, charge: &ChargeRequest, funds: Funds) -> CheckDecision {
    if let Some(before) = before {
        if before.terms.fingerprint != charge.fingerprint {
            return CheckDecision::Refuse(Refusal::RequestIdReused);
        }
        let same_attempt = before.terms.attempt_id == charge.attempt_id;
        match before.resolved.as_ref().map(|resolved| resolved.resolution) {
            None if same_attempt => return CheckDecision::AlreadyHeld,
            None => return CheckDecision::Refuse(Refusal::RequestInProgress),
            // A retry after a failure may succeed.
            Some(Resolution::Refunded) if !same_attempt => {}
            Some(Resolution::Settled | Resolution::Refunded | Resolution::Expired | Resolution::SettledLate) => {
                return CheckDecision::Recorded;
            }
        }
    }
    if funds.open_holds >= funds.max_open_holds {
        // Holds whose time is over take no place: that is not the last word while more are due.
        return CheckDecision::Refuse(if funds.more_is_due { Refusal::SweepInProgress } else { Refusal::TooManyOpenHolds });
    }
    if let Some(retry_after) = funds.refund_wait {
        return CheckDecision::Refuse(Refusal::TooManyRefunds { retry_after });
    }
    let left = funds.left_of_cap.unwrap_or(i64::MAX);
    match charge.price.held_of(&charge.worst_case(), funds.available.min(left)) {
        Ok(amount) => CheckDecision::Hold(new_terms(holder, model, charge, amount)),
        // That is not the last word.
        Err(_) if funds.more_is_due => CheckDecision::Refuse(Refusal::SweepInProgress),
        Err(needed) if needed <= funds.available => CheckDecision::Refuse(Refusal::MemberCapReached { needed, left }),
        Err(needed) => CheckDecision::Refuse(Refusal::InsufficientCredits { needed, available: funds.available }),
    }
}

/// The terms on which so much is held.
#[must_use]
pub fn new_terms(holder: &Holder, model: &str, charge: &ChargeRequest, amount: Amount) -> Terms {
    Terms::new(Fields {
        account: holder.account.clone(),
        user_id: holder.user_id.clone(),
        key_id: holder.key_id.clone(),
        request_id: charge.request_id.clone(),
        attempt_id: charge.attempt_id.clone(),
        fingerprint: charge.fingerprint.clone(),
        model: model.to_owned(),
        price: charge.price,
        held_credits: amount.credits,
        max_input_tokens: charge.max_input_tokens,
        max_output_tokens: amount.output_tokens,
        standing: Some(holder.standing.clone()),
    })
}

/// What becomes of an Extend, but for the rights of its credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtendDecision {
    /// The expiry moves, and this usage is recorded.
    Extend(TokenUsage),
    /// No such hold.
    NotFound,
    /// It is resolved, or another attempt holds it now.
    Resolved,
}

/// Decides an Extend. `hold`: what is there under the handle's name, unless it is forgotten.
#[must_use]
pub fn on_extend(hold: Option<&HoldRecord>, handle: &Terms, reported: TokenUsage) -> ExtendDecision {
    match hold {
        None => ExtendDecision::NotFound,
        Some(hold) if hold.terms.attempt_id != handle.attempt_id => ExtendDecision::Resolved,
        Some(hold) if hold.terms != *handle => ExtendDecision::NotFound,
        Some(hold) if hold.resolved.is_some() => ExtendDecision::Resolved,
        Some(hold) => {
            let usage = handle.clamp(reported);
            ExtendDecision::Extend(TokenUsage {
                input_tokens: hold.usage.input_tokens.max(usage.input_tokens),
                output_tokens: hold.usage.output_tokens.max(usage.output_tokens),
                estimated: usage.estimated,
            })
        }
    }
}

/// How a hold is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settlement {
    /// The new state.
    pub resolution: Resolution,
    /// What the service said; `None` when it expired.
    pub outcome: Option<Outcome>,
    /// What is charged for.
    pub usage: TokenUsage,
    /// Charged now.
    pub charge: i64,
    /// Charged, all in all.
    pub charged_credits: i64,
    /// Due and not there.
    pub uncollected_credits: i64,
}

impl Settlement {
    /// Whether the ledger gets an entry: when credits are charged, for an expiry, and for what came late, which may not have been there to
    /// charge. No caller can bring about an expiry: it says that a service died. All else that costs nothing leaves nothing for good.
    #[must_use]
    pub fn is_in_ledger(&self) -> bool {
        self.charge != 0 || matches!(self.resolution, Resolution::Expired | Resolution::SettledLate)
    }

    /// Whether all of a hold comes back that held something: that takes from the account's [`RefundLimit`](crate::refunds::RefundLimit).
    #[must_use]
    pub fn is_refund(&self, terms: &Terms) -> bool {
        terms.held_credits > 0 && self.charged_credits == 0 && self.resolution != Resolution::SettledLate
    }
}

/// What becomes of a Settle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettleDecision {
    /// The hold is resolved.
    Resolve(Settlement),
    /// It was resolved before: the same record each time.
    Recorded,
    /// No such hold.
    NotFound,
    /// This attempt was refunded, and another one has held the request since.
    Superseded,
}

/// Decides a Settle. `hold`: what is there under the handle's name, unless it is forgotten. A handle that isn't the one that was given out
/// settles nothing.
#[must_use]
pub fn on_settle(hold: Option<&HoldRecord>, handle: &Terms, outcome: Outcome, reported: TokenUsage, available: i64) -> SettleDecision {
    let Some(hold) = hold else { return SettleDecision::NotFound };
    if hold.terms.attempt_id != handle.attempt_id {
        return SettleDecision::Superseded;
    }
    if hold.terms != *handle {
        return SettleDecision::NotFound;
    }
    match &hold.resolved {
        None => SettleDecision::Resolve(settlement(handle, outcome, reported)),
        Some(ResolvedHold { resolution: Resolution::Expired, charged_credits: before, .. }) => {
            let now = settlement(handle, outcome, reported);
            let missing = (now.charge - before).max(0);
            let charge = missing.min(available);
            SettleDecision::Resolve(Settlement {
                resolution: Resolution::SettledLate,
                // Nothing generated leaves the usage that was charged for at the expiry.
                usage: if outcome == Outcome::NothingGenerated { hold.usage } else { now.usage },
                charge,
                charged_credits: before + charge,
                uncollected_credits: missing - charge,
                ..now
            })
        }
        Some(_) => SettleDecision::Recorded,
    }
}

/// How an open hold is resolved by what the service says of it: never charged more than was held.
#[must_use]
pub fn settlement(terms: &Terms, outcome: Outcome, reported: TokenUsage) -> Settlement {
    let (resolution, usage, charge) = match outcome {
        Outcome::NothingGenerated => (Resolution::Refunded, TokenUsage::default(), 0),
        Outcome::Completed | Outcome::Cancelled | Outcome::UpstreamFailed => {
            let usage = terms.clamp(reported);
            let price = terms.price.of(usage.input_tokens, usage.output_tokens);
            (Resolution::Settled, usage, price.min(terms.held_credits))
        }
    };
    Settlement { resolution, outcome: Some(outcome), usage, charge, charged_credits: charge, uncollected_credits: 0 }
}

/// How an open hold is resolved whose time is over: charged for the tokens that Extend recorded, without the price of the call.
#[must_use]
pub fn on_expiry(hold: &HoldRecord) -> Settlement {
    let usage = hold.usage;
    let charge = hold.terms.price.of_tokens(usage.input_tokens, usage.output_tokens).min(hold.terms.held_credits);
    Settlement { resolution: Resolution::Expired, outcome: None, usage, charge, charged_credits: charge, uncollected_credits: 0 }
}

/// What becomes of a Release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseDecision {
    /// The hold is resolved so: all of it goes back.
    Release(Settlement),
    /// All of it went back before.
    Released,
    /// The attempt holds nothing.
    NothingHeld,
    /// The hold was resolved in another way.
    Resolved,
}

/// Decides a Release. `hold`: what is there under the request's name, unless it is forgotten. Another attempt's hold stays.
#[must_use]
pub fn on_release(hold: Option<&HoldRecord>, attempt_id: &str) -> ReleaseDecision {
    let Some(hold) = hold.filter(|hold| hold.terms.attempt_id == attempt_id) else { return ReleaseDecision::NothingHeld };
    match hold.resolved.as_ref().map(|resolved| resolved.resolution) {
        None => ReleaseDecision::Release(settlement(&hold.terms, Outcome::NothingGenerated, TokenUsage::default())),
        Some(Resolution::Refunded) => ReleaseDecision::Released,
        Some(Resolution::Settled | Resolution::Expired | Resolution::SettledLate) => ReleaseDecision::Resolved,
    }
}

#[cfg(test)]
mod tests;

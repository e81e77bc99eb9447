//! What Check, Extend, Settle and Release are asked, and what they answer.

use std::net::IpAddr;
use std::time::Duration;

use super::{Permission, PresentedCredential, Principal};
use crate::hold::{HoldRecord, Terms};
use crate::ids::AccountId;
use crate::price::{Price, WorstCase};

/// A question to the store: is this credential good for this, and, with a charge, can it be paid for?
#[derive(Debug, Clone)]
pub struct CheckRequest {
    /// The account that is asked and pays.
    pub account: AccountId,
    /// Who is asking.
    pub credential: PresentedCredential,
    /// What for.
    pub permission: Permission,
    /// What to hold; `None` for what costs nothing.
    pub charge: Option<ChargeRequest>,
    /// Where the caller calls from, an IPv4 address in IPv4's form; `None`: not known.
    pub caller_address: Option<IpAddr>,
}

/// One request to be paid for.
#[derive(Debug, Clone)]
pub struct ChargeRequest {
    /// Names the request within (account, user); 1 to 64 printable ASCII characters.
    pub request_id: String,
    /// Names the attempt; 1 to 64 ASCII letters, digits, `-`, `_`.
    pub attempt_id: String,
    /// A digest of the request's parameters; at most 64 bytes.
    pub fingerprint: Vec<u8>,
    /// What tokens cost.
    pub price: Price,
    /// The most input tokens.
    pub max_input_tokens: u32,
    /// The most output tokens; 0 for embeddings, else ≥ 1.
    pub max_output_tokens: u32,
    /// Whether to refuse when the whole worst case can't be held.
    pub require_full: bool,
}

impl ChargeRequest {
    /// What it may use at the most.
    #[must_use]
    pub fn worst_case(&self) -> WorstCase {
        let Self { max_input_tokens: input_tokens, max_output_tokens: output_tokens, require_full, .. } = *self;
        WorstCase { input_tokens, output_tokens, require_full }
    }
}

/// Credits held for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// What they are held for, for Extend and Settle.
    pub terms: Terms,
    /// Credits available beside the hold.
    pub remaining_credits: i64,
    /// When it expires.
    pub expires_at_ms: i64,
}

/// The answer to a [`CheckRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckAnswer {
    /// Good, and nothing was to be held.
    Allowed(Principal),
    /// Good, and the credits are held (now, or by this same attempt before).
    Held(Principal, Held),
    /// Good, and the request is resolved already: nothing is held.
    Recorded(Principal, HoldRecord),
    /// Not good.
    Refused(Refusal),
}

/// Why a check was refused. Nothing was written but what was due anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No such key in the account, or no such user.
    CredentialUnknown,
    /// The key or the token's session is past its time.
    CredentialExpired,
    /// The key was revoked, the token's session is over, or the token was issued before the user's tokens were made invalid.
    CredentialRevoked,
    /// The user is disabled.
    UserDisabled,
    /// The user is locked: tokens are refused, and API keys aren't.
    UserLocked,
    /// An operator reset the password, and the user has chosen no other yet: tokens of foreign issuers are refused, and API keys aren't.
    PasswordChangeRequired,
    /// Operators disable and lock others, and not themselves.
    OtherOperatorRequired,
    /// The API key may not be used from where the caller is, or that isn't known.
    NetworkNotAllowed,
    /// The user is no member of the account.
    NotAMember,
    /// The user lacks the admin role.
    RoleRequired,
    /// The second factor was not proved in the token's session within the last 15 minutes, or the credential has no session.
    StepUpRequired,
    /// The key lacks the scope.
    ScopeRequired,
    /// The key's list doesn't match the model.
    ModelNotAllowed,
    /// Another attempt holds credits for the same request.
    RequestInProgress,
    /// The request id was used with another fingerprint.
    RequestIdReused,
    /// Too few credits are available, and no hold is due. (What must be held at the least, and what there is.)
    InsufficientCredits {
        /// The least that must be held.
        needed: i64,
        /// What there is.
        available: i64,
    },
    /// The member may spend too little of what is available, and no hold is due. (What must be held at the least, and what they may.)
    MemberCapReached {
        /// The least that must be held.
        needed: i64,
        /// What is left of the cap in this month.
        left: i64,
    },
    /// Too few credits are available, or too many holds are open, and more are due than one operation sweeps: the same call may succeed.
    SweepInProgress,
    /// The account has as many open holds as it may.
    TooManyOpenHolds,
    /// Too many holds of the account came back whole lately.
    TooManyRefunds {
        /// When the next call may be let in.
        retry_after: Duration,
    },
}

/// The answer to Extend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtendAnswer {
    /// The new expiry, never earlier than before.
    Extended {
        /// When the hold expires now.
        expires_at_ms: i64,
    },
    /// No such hold.
    NotFound,
    /// It is resolved, or another attempt holds it now.
    Resolved,
    /// Its credential is no longer good: it is to be settled.
    Refused(Refusal),
}

/// The answer to Settle.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "made once a call and taken apart at once; a box would cost each call an allocation")]
pub enum SettleAnswer {
    /// Resolved, now or before: the same record each time.
    Settled(HoldRecord),
    /// No such hold.
    NotFound,
    /// This attempt was refunded, and another attempt has held the request since.
    Superseded,
}

/// An attempt, by the names that its Check had.
#[derive(Debug, Clone)]
pub struct ReleaseRequest {
    /// The account that pays.
    pub account: AccountId,
    /// Whose hold it is. Whether it is still in force doesn't matter.
    pub credential: PresentedCredential,
    /// As in [`ChargeRequest`].
    pub request_id: String,
    /// As in [`ChargeRequest`].
    pub attempt_id: String,
}

/// The answer to a [`ReleaseRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseAnswer {
    /// All that the attempt held has gone back, now or before.
    Released,
    /// The attempt holds nothing, or the credential is nobody's.
    NothingHeld,
    /// The attempt's hold was settled, or its expiry came first.
    ResolvedBefore,
}

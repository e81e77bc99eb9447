//! What `check.lua` is asked, and what it answers.

use ::redis::{Value, from_redis_value};

use super::answers::unreadable;
use super::{flag, packing};
use crate::hold::{hold_id, request_digest};
use crate::ids::AccountId;
use crate::store::known_callers::KnownCaller;
use crate::store::{ChargeRequest, CheckRequest, Permission, PresentedCredential, StoreError};

/// What `check.lua` is asked for one request.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) account: AccountId,
    /// The account's `access`, for a known caller.
    pub(super) access: Option<i64>,
    /// A known caller's hold, or the digest of the request.
    pub(super) hold_id: String,
    pub(super) price: i64,
    /// The new hold, packed.
    pub(super) hold: String,
    pub(super) who_asks: Vec<u8>,
    /// When a known caller's key ends.
    pub(super) ends_at_ms: Option<i64>,
}

/// What it answers.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// The hold was made in the quick way.
    Held { remaining_credits: i64, expires_at_ms: i64 },
    /// Whatever the full way found.
    Full(Vec<String>),
}

/// An answer, or why there is none.
pub(super) type Answer = Result<Reply, StoreError>;

impl Question {
    /// Of a Check that holds credits. A known caller gets the quick way, if its rights are still what they were.
    pub(super) fn of(request: &CheckRequest, charge: &ChargeRequest, known: Option<&KnownCaller>) -> Self {
        let price = whole_price(charge);
        Self {
            account: request.account.clone(),
            access: known.map(|known| known.access),
            hold_id: match known {
                Some(known) => hold_id(&known.principal().user_id, &charge.request_id),
                None => request_digest(&charge.request_id),
            },
            price,
            hold: packing::new_hold(charge, &request.permission.model, price, known.map(KnownCaller::principal)),
            who_asks: who_asks(request, charge.require_full),
            ends_at_ms: known.and_then(KnownCaller::expires_at_ms),
        }
    }

    /// Of a Check that holds nothing.
    pub(super) fn without_charge(request: &CheckRequest) -> Self {
        Self {
            account: request.account.clone(),
            access: None,
            hold_id: String::new(),
            price: 0,
            hold: request.permission.model.clone(),
            who_asks: who_asks(request, false),
            ends_at_ms: None,
        }
    }
}

/// What a charge's worst case costs.
pub(super) fn whole_price(charge: &ChargeRequest) -> i64 {
    charge.price.of(charge.max_input_tokens, charge.max_output_tokens)
}

/// Who asks for what, as `check.lua` has it.
fn who_asks(request: &CheckRequest, full: bool) -> Vec<u8> {
    let Permission { scope, admin, .. } = &request.permission;
    let mut asks = Vec::with_capacity(44);
    let is_key = matches!(request.credential, PresentedCredential::ApiKey { .. });
    asks.extend([if is_key { b'k' } else { b't' }, packing::scope_letter(*scope) as u8]);
    asks.extend([flag(*admin), flag(full)].map(str::as_bytes).concat());
    match &request.credential {
        PresentedCredential::ApiKey { secret_hash } => asks.extend(secret_hash),
        PresentedCredential::AccessToken { user_id, issued_at_ms } => {
            asks.extend(user_id.as_str().as_bytes());
            asks.extend(issued_at_ms.to_string().as_bytes());
        }
    }
    asks
}

/// Takes the script's answer to so many questions apart: an answer for each.
pub(super) fn answers(answer: Value, questions: usize) -> Vec<Answer> {
    let none_can_be_read = || vec![Err(unreadable("the answer to Check")); questions];
    let Value::Array(parts) = answer else { return none_can_be_read() };
    let mut parts = parts.into_iter();
    let Some(Value::Int(expires_at_ms)) = parts.next() else { return none_can_be_read() };
    if parts.len() != questions {
        return none_can_be_read();
    }
    parts
        .map(|part| match part {
            Value::Int(remaining_credits) => Ok(Reply::Held { remaining_credits, expires_at_ms }),
            part => from_redis_value(part).map(Reply::Full).map_err(|_| unreadable("the answer to Check")),
        })
        .collect()
}

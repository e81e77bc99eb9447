//! What Redis and the scripts answer, read into the store's types. What can't be read is corrupt.

use super::super::access::{Access, KeyRights};
use super::super::known_callers::{CallerId, KnownCallers};
use super::super::{
    ApiKeyRecord, Balance, CheckAnswer, CheckRequest, Held, LedgerEntry, PresentedCredential, Principal, Refusal, StoreError,
};
use super::packing;
use crate::hold::HoldRecord;
use crate::ids::{AccountId, KeyId, UserId};
use crate::user::{UserName, UserRecord};

/// Reads the answer of `check.lua`, and remembers who was let in.
pub(super) fn check_answer(request: &CheckRequest, known: &KnownCallers, words: &[&str]) -> Result<CheckAnswer, StoreError> {
    let principal = |user: &str, role: &str, key: &str| {
        let principal = || {
            let key_id = if key == "-" { None } else { Some(KeyId::parse(key)?) };
            Some(Principal { user_id: UserId::parse(user)?, role: packing::role(role)?, key_id })
        };
        principal().ok_or_else(|| unreadable("who may spend"))
    };
    match words {
        ["refused", reason, figures @ ..] => refusal(request, reason, figures).map(CheckAnswer::Refused),
        ["allowed", user, role, key] => Ok(CheckAnswer::Allowed(principal(user, role, key)?)),
        ["held", user, role, key, packed, available, access, key_record, member] => {
            let principal = principal(user, role, key)?;
            if let Some(rights) = rights(&principal, key_record, member) {
                known.learn(CallerId::of(request), number(access)?, rights);
            }
            let hold = open_hold(packed)?;
            let held = Held::of(&request.account, &hold, number(available)?);
            Ok(CheckAnswer::Held(principal, held))
        }
        ["recorded", user, role, key, packed, access, key_record, member] => {
            let principal = principal(user, role, key)?;
            if let Some(rights) = rights(&principal, key_record, member) {
                known.learn(CallerId::of(request), number(access)?, rights);
            }
            Ok(CheckAnswer::Recorded(principal, resolved_hold(packed)?))
        }
        _ => Err(unreadable("the answer to Check")),
    }
}

/// The rights of a caller that was let in, out of their key's record and their member's. What can't be read is not remembered.
fn rights(principal: &Principal, key: &str, member: &str) -> Option<Access> {
    let (role, disabled, tokens_valid_from_ms) = packing::member(member)?;
    let key = match principal.key_id {
        None => None,
        Some(_) => {
            let ApiKeyRecord { scopes, models, expires_at_ms, revoked_at_ms, .. } = packing::api_key(key)?;
            Some(KeyRights { scopes, models, expires_at_ms, revoked_at_ms })
        }
    };
    Some(Access { principal: Principal { role, ..principal.clone() }, disabled, tokens_valid_from_ms, key })
}

pub(super) fn refusal(request: &CheckRequest, reason: &str, figures: &[&str]) -> Result<Refusal, StoreError> {
    Ok(match (reason, figures) {
        ("unknown", []) => Refusal::CredentialUnknown,
        ("expired", []) => Refusal::CredentialExpired,
        ("revoked", []) => Refusal::CredentialRevoked,
        ("disabled", []) => Refusal::UserDisabled,
        // A user is always a member of their own account: without a row there, there is no such user.
        ("no_member", []) => match &request.credential {
            PresentedCredential::AccessToken { user_id, .. } if AccountId::from(user_id) == request.account => Refusal::CredentialUnknown,
            _ => Refusal::NotAMember,
        },
        ("role", []) => Refusal::RoleRequired,
        ("scope", []) => Refusal::ScopeRequired,
        ("model", []) => Refusal::ModelNotAllowed,
        ("in_progress", []) => Refusal::RequestInProgress,
        ("reused", []) => Refusal::RequestIdReused,
        ("credits", [needed, available]) => Refusal::InsufficientCredits { needed: number(needed)?, available: number(available)? },
        ("sweeping", []) => Refusal::SweepInProgress,
        ("open_holds", []) => Refusal::TooManyOpenHolds,
        ("remembered", []) => Refusal::TooManyRememberedRequests,
        _ => return Err(unreadable("the reason of a refusal")),
    })
}

pub(super) fn user_record(id: &UserId, fields: &[Option<String>]) -> Option<UserRecord> {
    let fields = fields.iter().map(Option::as_deref).collect::<Option<Vec<_>>>()?;
    let [version, name, password_hash, full_name, email, role, disabled, created_at_ms] = fields[..] else { return None };
    (version == "1").then_some(())?;
    Some(UserRecord {
        user_id: id.clone(),
        user_name: UserName::parse(name)?,
        password_hash: password_hash.to_owned(),
        full_name: full_name.to_owned(),
        email: email.to_owned(),
        role: packing::role(role)?,
        disabled: disabled == "1",
        created_at_ms: created_at_ms.parse().ok()?,
    })
}

pub(super) fn balance(figures: &[&str]) -> Result<Balance, StoreError> {
    let [available, held, spent, lapsed, granted] = figures else { return Err(unreadable("a balance")) };
    Ok(Balance {
        available: number(available)?,
        held: number(held)?,
        spent: number(spent)?,
        lapsed: number(lapsed)?,
        granted: number(granted)?,
    })
}

pub(super) fn open_hold(packed: &str) -> Result<HoldRecord, StoreError> {
    packing::open_hold(packed).ok_or_else(|| unreadable("an open hold"))
}

pub(super) fn resolved_hold(packed: &str) -> Result<HoldRecord, StoreError> {
    packing::resolved_hold(packed).ok_or_else(|| unreadable("a resolved hold"))
}

pub(super) fn api_key(packed: &str) -> Result<ApiKeyRecord, StoreError> {
    packing::api_key(packed).ok_or_else(|| unreadable("an API key"))
}

pub(super) fn ledger(entries: &[(String, Vec<String>)]) -> Result<Vec<LedgerEntry>, StoreError> {
    entries.iter().map(|(id, fields)| packing::ledger_entry(id, fields).ok_or_else(|| unreadable("a ledger entry"))).collect()
}

pub(super) fn parse_claim(claim: &str) -> Result<(UserId, i64), StoreError> {
    let parse = || {
        let (user, at_ms) = claim.split_once('|')?;
        Some((UserId::parse(user)?, at_ms.parse().ok()?))
    };
    parse().ok_or_else(|| unreadable("the claim of a user name"))
}

pub(super) fn words(answer: &[String]) -> Vec<&str> {
    answer.iter().map(String::as_str).collect()
}

pub(super) fn number<N: std::str::FromStr>(text: &str) -> Result<N, StoreError> {
    text.parse().map_err(|_| unreadable("a number"))
}

pub(super) fn unreadable(what: &str) -> StoreError {
    StoreError::Corrupt(format!("{what} can't be read"))
}

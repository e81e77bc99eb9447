//! Check: authenticates, authorizes, and holds credits.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::account::Account;
use super::columns::{Models, Scopes};
use super::writer::{Failure, Outcome as Done};
use crate::hold::{HoldRecord, Resolution, TokenUsage};
use crate::ids::{AccountId, KeyId, UserId};
use crate::store::access::{Access, KeyRights};
use crate::store::known_callers::KnownCaller;
use crate::store::{ChargeRequest, CheckAnswer, CheckRequest, Held, PresentedCredential, Principal, Refusal, StoreLimits};
use crate::user::Role;

/// The answer, and what is worth remembering of the caller: their rights, and the account's `access` that they were read with.
type Checked = (CheckAnswer, Option<(i64, Access)>);

/// `known`: the caller, remembered with rights that suffice. They count while the account's `access` is what it was.
pub(super) fn check(
    connection: &Connection,
    limits: StoreLimits,
    now_ms: i64,
    request: CheckRequest,
    known: Option<&KnownCaller>,
) -> Done<Checked> {
    // What is wrong with it is told only to those who may spend from it.
    let account = if request.charge.is_some() { Account::load(connection, limits, now_ms, &request.account) } else { Ok(None) };
    let access = account.as_ref().ok().and_then(Option::as_ref).map(|account| account.access);
    let still_good =
        |known: &&KnownCaller| access == Some(known.access) && known.rights.key.as_ref().is_none_or(|key| key.refusal_at(now_ms).is_none());
    let (principal, learned) = match known.filter(still_good) {
        Some(known) => (known.principal().clone(), None),
        None => match authorize(connection, now_ms, &request)? {
            Ok(rights) => (rights.principal.clone(), access.map(|access| (access, rights))),
            Err(refusal) => return Ok((CheckAnswer::Refused(refusal), None)),
        },
    };
    let Some(charge) = request.charge else { return Ok((CheckAnswer::Allowed(principal), None)) };
    let mut account = account?.ok_or_else(|| Failure::Corrupt("a member has no account".to_owned()))?;
    let answer = hold(&mut account, limits, now_ms, principal, charge, request.permission.model)?;
    account.save()?;
    Ok((answer, learned))
}

fn authorize(connection: &Connection, now_ms: i64, request: &CheckRequest) -> Done<Result<Access, Refusal>> {
    let (user_id, key_id, issued_at_ms, key) = match &request.credential {
        PresentedCredential::AccessToken { user_id, issued_at_ms } => (user_id.clone(), None, Some(*issued_at_ms), None),
        PresentedCredential::ApiKey { secret_hash } => {
            let sql = "SELECT user_id, key_id, scopes, models, expires_at_ms, revoked_at_ms FROM api_keys \
                       WHERE account_id = ?1 AND secret_hash = ?2";
            let read = |row: &Row<'_>| -> rusqlite::Result<(UserId, KeyId, KeyRights)> {
                let (scopes, models) = (row.get::<_, Scopes>(2)?.0, row.get::<_, Models>(3)?.0);
                Ok((row.get(0)?, row.get(1)?, KeyRights { scopes, models, expires_at_ms: row.get(4)?, revoked_at_ms: row.get(5)? }))
            };
            let found = connection.prepare_cached(sql)?.query_row(params![request.account, secret_hash], read).optional()?;
            let Some((user_id, key_id, rights)) = found else { return Ok(Err(Refusal::CredentialUnknown)) };
            if let Some(refusal) = rights.refusal_at(now_ms) {
                return Ok(Err(refusal));
            }
            (user_id, Some(key_id), None, Some(rights))
        }
    };
    let sql = "SELECT users.role, users.disabled, users.tokens_valid_from_ms FROM members JOIN users USING (user_id) \
               WHERE members.account_id = ?1 AND members.user_id = ?2";
    let read = |row: &Row<'_>| Ok((row.get::<_, Role>(0)?, row.get::<_, bool>(1)?, row.get::<_, i64>(2)?));
    let member = connection.prepare_cached(sql)?.query_row(params![request.account, user_id], read).optional()?;
    let Some((role, disabled, tokens_valid_from_ms)) = member else {
        // A user is always a member of their own account: without a row there, there is no such user.
        let own = key.is_none() && AccountId::from(&user_id) == request.account;
        return Ok(Err(if own { Refusal::CredentialUnknown } else { Refusal::NotAMember }));
    };
    let access = Access { principal: Principal { user_id, role, key_id }, disabled, tokens_valid_from_ms, key };
    Ok(match access.refusal(&request.permission, issued_at_ms) {
        Some(refusal) => Err(refusal),
        None => Ok(access),
    })
}

fn hold(
    account: &mut Account<'_>,
    limits: StoreLimits,
    now_ms: i64,
    principal: Principal,
    charge: ChargeRequest,
    model: String,
) -> Done<CheckAnswer> {
    let whole = charge.price.of(charge.max_input_tokens, charge.max_output_tokens);
    let available = account.balance.available;
    let ttl_ms = i64::try_from(limits.hold_ttl.as_millis()).unwrap_or(i64::MAX);
    let mut hold = HoldRecord {
        user_id: principal.user_id.clone(),
        key_id: principal.key_id.clone(),
        request_id: charge.request_id,
        attempt_id: charge.attempt_id,
        fingerprint: charge.fingerprint,
        model,
        price: charge.price,
        held_credits: whole,
        max_input_tokens: charge.max_input_tokens,
        max_output_tokens: charge.max_output_tokens,
        usage: TokenUsage::default(),
        expires_at_ms: now_ms.saturating_add(ttl_ms),
        resolved: None,
    };
    // Nearly always: then it is only to be written, if there is no such request.
    let needs_no_sweep = account.has_room_to_remember() && !account.more_is_due();
    if needs_no_sweep && account.open_holds < limits.max_open_holds && whole <= available && account.open_if_new(&hold)? {
        return Ok(CheckAnswer::Held(principal, Held::of(&account.id, &hold, account.balance.available)));
    }
    let refused = |refusal| Ok(CheckAnswer::Refused(refusal));
    let mut before = account.hold(&principal.user_id, &hold.request_id)?;
    // What is due may not wait. What is to be forgotten may, as long as nobody asks for it or for its place.
    let forgotten = if before.is_some() || !account.has_room_to_remember() { account.forget()? } else { 0 };
    let expired = account.expire()?;
    if before.is_some() && (forgotten > 0 || expired > 0) {
        before = account.hold(&principal.user_id, &hold.request_id)?;
    }
    if let Some(earlier) = &before {
        if earlier.fingerprint != hold.fingerprint {
            return refused(Refusal::RequestIdReused);
        }
        let same_attempt = earlier.attempt_id == hold.attempt_id;
        match earlier.resolved.as_ref().map(|resolved| resolved.resolution) {
            None if same_attempt => return Ok(CheckAnswer::Held(principal, Held::of(&account.id, earlier, account.balance.available))),
            None => return refused(Refusal::RequestInProgress),
            // A retry after a failure may succeed.
            Some(Resolution::Refunded) if !same_attempt => {}
            Some(Resolution::Settled | Resolution::Refunded | Resolution::Expired | Resolution::SettledLate) => {
                return Ok(CheckAnswer::Recorded(principal, earlier.clone()));
            }
        }
    }
    if account.open_holds >= limits.max_open_holds {
        return refused(Refusal::TooManyOpenHolds);
    }
    // A refunded request that is held again keeps its place: each round wrote a ledger entry, and only the bound ends the rounds.
    if account.remembered >= limits.max_remembered_requests {
        return refused(Refusal::TooManyRememberedRequests);
    }
    // What was due may have come back.
    let available = account.balance.available;
    hold.max_output_tokens = if whole <= available {
        charge.max_output_tokens
    } else {
        let part = if charge.require_full {
            None
        } else {
            charge.price.output_tokens_for(available, charge.max_input_tokens, charge.max_output_tokens)
        };
        match part {
            Some(tokens) => tokens,
            // When more is due than one operation sweeps, credits may come back: that is not the last word.
            None if account.more_is_due() => return refused(Refusal::SweepInProgress),
            None => {
                let needed = if charge.require_full { whole } else { charge.price.of(charge.max_input_tokens, 1) };
                return refused(Refusal::InsufficientCredits { needed, available });
            }
        }
    };
    hold.held_credits = charge.price.of(charge.max_input_tokens, hold.max_output_tokens);
    account.open(&hold, before.is_some())?;
    Ok(CheckAnswer::Held(principal, Held::of(&account.id, &hold, account.balance.available)))
}

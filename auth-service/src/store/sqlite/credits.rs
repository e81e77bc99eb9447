//! What is done with an account's credits beside Check: each operation reads, has it decided, and writes.

use super::account::Account;
use super::api_keys;
use super::audit;
use super::check::{home_version, rows};
use super::context::Context;
use super::failure::StoreResult;
use super::ledger::checkpoint;
use crate::access::{RightsVersions, refusal_since};
use crate::grant::on_grant;
use crate::hold::{
    ExtendDecision, HoldRecord, Outcome, ReleaseDecision, SettleDecision, Terms, TokenUsage, on_extend, on_release, on_settle,
};
use crate::ids::{AccountId, UserId};
use crate::store::{
    AuditEvent, Balance, ExtendAnswer, GrantAnswer, GrantRequest, LedgerPage, PresentedCredential, Refusal, ReleaseAnswer, ReleaseRequest,
    SettleAnswer,
};

pub(super) fn extend(context: Context<'_>, handle: &Terms, reported: TokenUsage) -> StoreResult<ExtendAnswer> {
    let Some(account) = Account::load_swept(context, &handle.account)? else { return Ok(ExtendAnswer::NotFound) };
    let hold = account.remembered_hold(&handle.user_id, &handle.request_id)?;
    let answer = match (on_extend(hold.as_ref(), handle, reported), hold) {
        (ExtendDecision::Extend(usage), Some(hold)) => match refusal(context, &account, handle)? {
            Some(refusal) => ExtendAnswer::Refused(refusal),
            None => {
                let expires_at_ms = hold.expires_at_ms.max(context.expires_at_ms());
                account.record_progress(handle, usage, expires_at_ms)?;
                ExtendAnswer::Extended { expires_at_ms }
            }
        },
        (ExtendDecision::NotFound | ExtendDecision::Extend(_), _) => ExtendAnswer::NotFound,
        (ExtendDecision::Resolved, _) => ExtendAnswer::Resolved,
    };
    account.save()?;
    Ok(answer)
}

/// Why what is held may go on no longer. While nobody's rights on the account have changed, nor the user's own, it may.
fn refusal(context: Context<'_>, account: &Account<'_>, handle: &Terms) -> StoreResult<Option<Refusal>> {
    let Some(standing) = &handle.standing else { return Ok(None) };
    let home = standing.rights_versions.home.map_or(Ok(None), |_| home_version(context, &handle.user_id))?;
    if standing.rights_versions == (RightsVersions { account: account.rights_version, home }) {
        return Ok(None);
    }
    let rows = rows(context, &account.id, &standing.credential)?;
    Ok(refusal_since(handle, standing, &rows, context.now_ms))
}

pub(super) fn settle(context: Context<'_>, handle: &Terms, outcome: Outcome, reported: TokenUsage) -> StoreResult<SettleAnswer> {
    let Some(mut account) = Account::load_swept(context, &handle.account)? else { return Ok(SettleAnswer::NotFound) };
    let hold = account.remembered_hold(&handle.user_id, &handle.request_id)?;
    let decision = on_settle(hold.as_ref(), handle, outcome, reported, account.balance.available);
    let answer = match (decision, hold) {
        (SettleDecision::Resolve(settlement), Some(hold)) => SettleAnswer::Settled(account.resolve(hold, &settlement)?),
        (SettleDecision::Recorded, Some(hold)) => SettleAnswer::Settled(hold),
        (SettleDecision::Superseded, _) => SettleAnswer::Superseded,
        (SettleDecision::NotFound | SettleDecision::Resolve(_) | SettleDecision::Recorded, _) => SettleAnswer::NotFound,
    };
    account.save()?;
    Ok(answer)
}

pub(super) fn release(context: Context<'_>, attempt: &ReleaseRequest) -> StoreResult<ReleaseAnswer> {
    let Some(mut account) = Account::load_swept(context, &attempt.account)? else { return Ok(ReleaseAnswer::NothingHeld) };
    let user_id = match &attempt.credential {
        PresentedCredential::AccessToken { user_id, .. } => Some(user_id.clone()),
        PresentedCredential::ApiKey { secret_hash } => api_keys::find(context, &attempt.account, secret_hash)?.map(|key| key.user_id),
    };
    let hold = match user_id {
        Some(user_id) => account.remembered_hold(&user_id, &attempt.request_id)?,
        None => None,
    };
    let answer = match (on_release(hold.as_ref(), &attempt.attempt_id), hold) {
        (ReleaseDecision::Release(settlement), Some(hold)) => {
            account.resolve(hold, &settlement)?;
            ReleaseAnswer::Released
        }
        (ReleaseDecision::Released, _) => ReleaseAnswer::Released,
        (ReleaseDecision::NothingHeld | ReleaseDecision::Release(_), _) => ReleaseAnswer::NothingHeld,
        (ReleaseDecision::Resolved, _) => ReleaseAnswer::ResolvedBefore,
    };
    account.save()?;
    Ok(answer)
}

pub(super) fn grant(context: Context<'_>, grant: &GrantRequest, event: &AuditEvent) -> StoreResult<GrantAnswer> {
    let Some(mut account) = Account::load_swept(context, &grant.account)? else { return Ok(GrantAnswer::NotFound) };
    let answer = match on_grant(account.grant(&grant.request_id)?, account.balance, grant.credits) {
        Some(answer) => answer,
        None => {
            let entry = account.add(grant.credits, &grant.request_id, &grant.granted_by, &grant.note)?;
            audit::append_change(context, event)?;
            GrantAnswer::Granted { entry, balance: account.balance }
        }
    };
    account.save()?;
    Ok(answer)
}

pub(super) fn balance(context: Context<'_>, id: &AccountId) -> StoreResult<Option<Balance>> {
    let Some(account) = Account::load_swept(context, id)? else { return Ok(None) };
    let balance = account.balance;
    account.save()?;
    Ok(Some(balance))
}

pub(super) fn receipt(context: Context<'_>, id: &AccountId, user: &UserId, request_id: &str) -> StoreResult<Option<HoldRecord>> {
    let Some(account) = Account::load_swept(context, id)? else { return Ok(None) };
    let hold = account.remembered_hold(user, request_id)?;
    account.save()?;
    Ok(hold)
}

pub(super) fn ledger_entries(context: Context<'_>, id: &AccountId, before: Option<u64>, limit: u32) -> StoreResult<LedgerPage> {
    let Some(account) = Account::load_swept(context, id)? else { return Ok(LedgerPage::default()) };
    let page = LedgerPage::new(account.ledger(before, limit)?, checkpoint(context, id)?, limit);
    account.save()?;
    Ok(page)
}

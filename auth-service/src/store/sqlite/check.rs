//! Check: authenticates, authorizes, and holds credits.

use rusqlite::{OptionalExtension, params};

use super::account::Account;
use super::api_keys;
use super::columns::record;
use super::context::Context;
use super::failure::{Failure, StoreResult};
use crate::access::{self, Member, Rights, RightsVersion, RightsVersions, Rows, SessionRights};
use crate::hold::{CheckDecision, Funds, HoldRecord, Holder, on_check};
use crate::ids::{AccountId, SessionId, UserId};
use crate::organization::Membership;
use crate::store::known_callers::KnownCaller;
use crate::store::{ChargeRequest, CheckAnswer, CheckRequest, Held, PresentedCredential, Refusal, records};

/// The answer, and what is worth remembering of the caller: their rights, and the rights versions that they were read with.
type Checked = (CheckAnswer, Option<(RightsVersions, Rights)>);

/// `known`: the caller, remembered with rights that suffice. They count while the rights versions are what they were.
pub(super) fn check(context: Context<'_>, request: CheckRequest, known: Option<&KnownCaller>) -> StoreResult<Checked> {
    // What is wrong with it is told only to those who may spend from it.
    let account = if request.charge.is_some() { Account::load(context, &request.account) } else { Ok(None) };
    let rights_version = account.as_ref().ok().and_then(Option::as_ref).map(|account| account.rights_version);
    let known = match (known, rights_version) {
        (Some(known), Some(version)) => {
            let home = known.rights_versions.home.map_or(Ok(None), |_| home_version(context, &known.rights.principal.user_id))?;
            known.counts(RightsVersions { account: version, home }, context.now_ms).then_some(known)
        }
        _ => None,
    };
    let found;
    let (rights, is_new) = match known {
        Some(known) => (&known.rights, false),
        None => match authorize(context, &request)? {
            Ok(rights) => {
                found = rights;
                (&found, true)
            }
            Err(refusal) => return Ok((CheckAnswer::Refused(refusal), None)),
        },
    };
    let caller = rights.principal.clone();
    let Some(charge) = &request.charge else { return Ok((CheckAnswer::Allowed(caller), None)) };
    let mut account = account?.ok_or_else(|| Failure::corrupt("a member has no account"))?;
    account.expire()?;
    let home = if rights.principal.membership.is_some() { home_version(context, &caller.user_id)? } else { None };
    let rights_versions = RightsVersions { account: account.rights_version, home };
    let holder = rights.holder(&request, rights_versions, context.limits.session_idle);
    let answer = hold(&mut account, rights, &holder, charge, &request.permission.model)?;
    account.save()?;
    Ok((answer, is_new.then(|| (rights_versions, rights.clone()))))
}

/// What the caller may do, when it suffices.
pub(super) fn authorize(context: Context<'_>, request: &CheckRequest) -> StoreResult<Result<Rights, Refusal>> {
    Ok(access::authorize(request, rows(context, &request.account, &request.credential)?, context.now_ms))
}

/// The rows that decide about a credential.
pub(super) fn rows(context: Context<'_>, account: &AccountId, credential: &PresentedCredential) -> StoreResult<Rows> {
    Ok(match credential {
        PresentedCredential::AccessToken { user_id, session, .. } => {
            let session = match session {
                Some(session) => session_rights(context, user_id, session)?,
                None => None,
            };
            let (member, membership) = places(context, account, user_id)?;
            Rows { key: None, session, member, membership }
        }
        PresentedCredential::ApiKey { secret_hash } => {
            let key = api_keys::find(context, account, secret_hash)?;
            let (member, membership) = match &key {
                Some(key) => places(context, account, &key.user_id)?,
                None => (None, None),
            };
            Rows { key, session: None, member, membership }
        }
    })
}

fn session_rights(context: Context<'_>, user_id: &UserId, session: &SessionId) -> StoreResult<Option<SessionRights>> {
    let sql = "SELECT record FROM sessions WHERE user_id = ? AND session_id = ?";
    let mut statement = context.connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![user_id, session])?;
    rows.next()?.map(|row| record(row, 0, "a session", records::session_rights)).transpose()
}

/// A user's state, and their place in the account where that isn't their own.
fn places(context: Context<'_>, account: &AccountId, user_id: &UserId) -> StoreResult<(Option<Member>, Option<Membership>)> {
    let member = place(context, &AccountId::from(user_id), user_id, "a member", records::member)?;
    Ok((member, membership(context, account, user_id)?))
}

/// The place of a user or a service account in an organization. In their own account they have none.
pub(super) fn membership(context: Context<'_>, account: &AccountId, user_id: &UserId) -> StoreResult<Option<Membership>> {
    if account.is_own_of(user_id) {
        return Ok(None);
    }
    place(context, account, user_id, "a membership", records::membership)
}

fn place<T>(
    context: Context<'_>,
    account: &AccountId,
    user_id: &UserId,
    what: &str,
    read: impl FnOnce(&[u8]) -> Option<T>,
) -> StoreResult<Option<T>> {
    let sql = "SELECT record FROM members WHERE account_id = ? AND user_id = ?";
    let mut statement = context.connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![account, user_id])?;
    rows.next()?.map(|row| record(row, 0, what, read)).transpose()
}

/// The rights version of a user's own account; `None`: a service account has none.
pub(super) fn home_version(context: Context<'_>, user_id: &UserId) -> StoreResult<Option<RightsVersion>> {
    let sql = "SELECT rights_version FROM accounts WHERE account_id = ?";
    let mut statement = context.connection.prepare_cached(sql)?;
    let version = statement.query_row([user_id], |row| row.get(0)).optional()?;
    Ok(version.map(RightsVersion::from_bytes))
}

fn hold(account: &mut Account<'_>, rights: &Rights, holder: &Holder, charge: &ChargeRequest, model: &str) -> StoreResult<CheckAnswer> {
    let caller = rights.principal.clone();
    let funds = Funds { left_of_cap: account.left_of_cap(&caller.user_id, rights.monthly_cap())?, ..account.funds() };
    let decide = |before: Option<&HoldRecord>| on_check(before, holder, model, charge, funds);
    // Nearly always there is no request of that name. It isn't looked for: the insertion finds it.
    if let CheckDecision::Hold(terms) = decide(None)
        && let Some(held) = account.open_if_new(&terms)?
    {
        return Ok(CheckAnswer::Held(caller, held));
    }
    let before = account.remembered_hold(&caller.user_id, &charge.request_id)?;
    Ok(match (decide(before.as_ref()), before) {
        (CheckDecision::Hold(terms), _) => CheckAnswer::Held(caller, account.open_again(&terms)?),
        (CheckDecision::Refuse(refusal), _) => CheckAnswer::Refused(refusal),
        (CheckDecision::AlreadyHeld, Some(HoldRecord { terms, expires_at_ms, .. })) => {
            CheckAnswer::Held(caller, Held { terms, remaining_credits: funds.available, expires_at_ms })
        }
        (CheckDecision::Recorded, Some(hold)) => CheckAnswer::Recorded(caller, hold),
        (CheckDecision::AlreadyHeld | CheckDecision::Recorded, None) => return Err(Failure::corrupt("a hold was found that isn't there")),
    })
}

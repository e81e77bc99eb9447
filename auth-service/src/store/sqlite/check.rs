//! Check: authenticates, authorizes, and holds credits.

use rusqlite::params;

use super::account::Account;
use super::api_keys;
use super::columns::record;
use super::context::Context;
use super::failure::{Failure, StoreResult};
use crate::access::{self, Member, Rights, RightsVersion, Rows, SessionRights};
use crate::hold::{CheckDecision, HoldRecord, Holder, on_check};
use crate::ids::{AccountId, SessionId, UserId};
use crate::store::known_callers::KnownCaller;
use crate::store::{ChargeRequest, CheckAnswer, CheckRequest, Held, PresentedCredential, Principal, Refusal, records};

/// The answer, and what is worth remembering of the caller: their rights, and the account's rights version that they were read with.
type Checked = (CheckAnswer, Option<(RightsVersion, Rights)>);

/// `known`: the caller, remembered with rights that suffice. They count while the account's rights version is what it was.
pub(super) fn check(context: Context<'_>, request: CheckRequest, known: Option<&KnownCaller>) -> StoreResult<Checked> {
    // What is wrong with it is told only to those who may spend from it.
    let account = if request.charge.is_some() { Account::load(context, &request.account) } else { Ok(None) };
    let rights_version = account.as_ref().ok().and_then(Option::as_ref).map(|account| account.rights_version);
    let counts = |known: &&KnownCaller| rights_version.is_some_and(|version| known.counts(version, context.now_ms));
    let found;
    let (rights, is_new) = match known.filter(counts) {
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
    let rights_version = account.rights_version;
    let holder = rights.holder(&request, rights_version, context.limits.session_idle);
    let answer = hold(&mut account, caller, &holder, charge, &request.permission.model)?;
    account.save()?;
    Ok((answer, is_new.then(|| (rights_version, rights.clone()))))
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
            Rows { key: None, session, member: member(context, account, user_id)? }
        }
        PresentedCredential::ApiKey { secret_hash } => {
            let key = api_keys::find(context, account, secret_hash)?;
            let member = match &key {
                Some(key) => member(context, account, &key.user_id)?,
                None => None,
            };
            Rows { key, session: None, member }
        }
    })
}

fn session_rights(context: Context<'_>, user_id: &UserId, session: &SessionId) -> StoreResult<Option<SessionRights>> {
    let sql = "SELECT record FROM sessions WHERE user_id = ? AND session_id = ?";
    let mut statement = context.connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![user_id, session])?;
    rows.next()?.map(|row| record(row, 0, "a session", records::session_rights)).transpose()
}

fn member(context: Context<'_>, account: &AccountId, user_id: &UserId) -> StoreResult<Option<Member>> {
    let sql = "SELECT record FROM members WHERE account_id = ? AND user_id = ?";
    let mut statement = context.connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![account, user_id])?;
    rows.next()?.map(|row| record(row, 0, "a member", records::member)).transpose()
}

fn hold(account: &mut Account<'_>, caller: Principal, holder: &Holder, charge: &ChargeRequest, model: &str) -> StoreResult<CheckAnswer> {
    let funds = account.funds();
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

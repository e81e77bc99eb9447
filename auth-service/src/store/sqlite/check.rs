//! Check: authenticates, authorizes, and holds credits.

use rusqlite::params;

use super::account::Account;
use super::api_keys;
use super::columns::record;
use super::context::Context;
use super::failure::{Failure, StoreResult};
use crate::access::{self, Rights, RightsVersion};
use crate::hold::{CheckDecision, HoldRecord, on_check};
use crate::ids::UserId;
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
    let (caller, learned) = match known.filter(counts) {
        Some(known) => (known.principal().clone(), None),
        None => match authorize(context, &request)? {
            Ok(rights) => (rights.principal.clone(), rights_version.map(|version| (version, rights))),
            Err(refusal) => return Ok((CheckAnswer::Refused(refusal), None)),
        },
    };
    let Some(charge) = request.charge else { return Ok((CheckAnswer::Allowed(caller), None)) };
    let mut account = account?.ok_or_else(|| Failure::corrupt("a member has no account"))?;
    account.expire()?;
    let answer = hold(&mut account, caller, &charge, &request.permission.model)?;
    account.save()?;
    Ok((answer, learned))
}

/// What the caller may do, when it suffices.
pub(super) fn authorize(context: Context<'_>, request: &CheckRequest) -> StoreResult<Result<Rights, Refusal>> {
    let (key, user_id) = match &request.credential {
        PresentedCredential::AccessToken { user_id, .. } => (None, Some(user_id.clone())),
        PresentedCredential::ApiKey { secret_hash } => {
            let key = api_keys::find(context, &request.account, secret_hash)?;
            let user_id = key.as_ref().map(|key| key.user_id.clone());
            (key, user_id)
        }
    };
    let member = match user_id {
        Some(user_id) => member(context, request, &user_id)?,
        None => None,
    };
    Ok(access::authorize(request, key, member, context.now_ms))
}

fn member(context: Context<'_>, request: &CheckRequest, user_id: &UserId) -> StoreResult<Option<access::Member>> {
    let sql = "SELECT record FROM members WHERE account_id = ? AND user_id = ?";
    let mut statement = context.connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![request.account, user_id])?;
    rows.next()?.map(|row| record(row, 0, "a member", records::member)).transpose()
}

fn hold(account: &mut Account<'_>, caller: Principal, charge: &ChargeRequest, model: &str) -> StoreResult<CheckAnswer> {
    let (id, funds) = (account.id.clone(), account.funds());
    let decide = |before: Option<&HoldRecord>| on_check(before, &id, &caller, model, charge, funds);
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

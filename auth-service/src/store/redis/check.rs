//! Check in Redis.

use super::RedisStore;
use super::decision::{Next, Operation, Situation};
use super::move_script::{Done, Found, Move};
use super::stored::unreadable;
use crate::access::{self, Rights, RightsVersions};
use crate::hold::{CheckDecision, Funds, HoldRecord, Holder, Terms, hold_id, new_terms, on_check};
use crate::month::{Month, left_of_cap};
use crate::store::known_callers::{CallerId, KnownCaller};
use crate::store::{ChargeRequest, CheckAnswer, CheckRequest, Held, PresentedCredential, Principal, Refusal, StoreError, StoreLimits};

impl RedisStore {
    pub(super) async fn check_request(&self, request: &CheckRequest) -> Result<CheckAnswer, StoreError> {
        match &request.charge {
            None => Ok(match self.operate(&request.account, Authorize { request }).await? {
                Ok(rights) => CheckAnswer::Allowed(rights.principal),
                Err(refusal) => CheckAnswer::Refused(refusal),
            }),
            Some(charge) => self.operate(&request.account, Check { redis: self, request, charge, rights: None, holding: None }).await,
        }
    }
}

/// A Check that holds nothing. It only reads: it must be answered when Redis is full, or no key could be revoked then.
pub(super) struct Authorize<'a> {
    pub(super) request: &'a CheckRequest,
}

impl Operation for Authorize<'_> {
    type Answer = Result<Rights, Refusal>;

    fn first(&mut self) -> Move {
        Move::read(String::new()).for_caller(&self.request.credential).swept()
    }

    fn done(&mut self, _: i64, _: Done) -> Result<Self::Answer, StoreError> {
        Err(unreadable("a script's answer"))
    }

    fn decide(&mut self, situation: Situation<'_>) -> Result<Next<Self::Answer>, StoreError> {
        authorize(self.request, situation.now_ms, situation.found).map(Next::Answer)
    }
}

/// A Check that holds credits.
struct Check<'a> {
    redis: &'a RedisStore,
    request: &'a CheckRequest,
    charge: &'a ChargeRequest,
    /// The caller's rights, as they were found last.
    rights: Option<Rights>,
    /// For whom the last move holds, and on which terms.
    holding: Option<(Principal, Terms)>,
}

impl Check<'_> {
    /// Holds on these terms, in place of this record, while the caller's rights are what they are.
    fn hold(&mut self, caller: Principal, terms: Terms, in_place_of: Option<Vec<u8>>, known: &KnownCaller, now_ms: i64) -> Move {
        let KnownCaller { rights_versions: RightsVersions { account, home }, rights } = known;
        let next = Move::hold(&terms, in_place_of).in_organization(&terms, *home, rights.monthly_cap(), now_ms);
        self.holding = Some((caller, terms));
        next.with_rights(*account, rights.end_at_ms()).for_caller(&self.request.credential)
    }

    fn holder(&self, known: &KnownCaller) -> Holder {
        known.rights.holder(self.request, known.rights_versions, self.redis.limits.session_idle)
    }

    /// Holds all that may be needed, as if there were no such request and credits enough.
    fn hold_whole(&mut self, rights: &KnownCaller, now_ms: i64) -> Move {
        let (caller, model) = (rights.rights.principal.clone(), &self.request.permission.model);
        let amount = self.charge.price.whole(&self.charge.worst_case());
        let terms = new_terms(&self.holder(rights), model, self.charge, amount);
        self.hold(caller, terms, None, rights, now_ms)
    }
}

impl Operation for Check<'_> {
    type Answer = CheckAnswer;

    fn first(&mut self) -> Move {
        if let Some(known) = self.redis.known_callers.find(self.request) {
            return self.hold_whole(&known, self.redis.clock.now_ms());
        }
        // Whoever isn't known is looked up. A key's request can't be named yet: whose it is isn't known.
        let id = match &self.request.credential {
            PresentedCredential::AccessToken { user_id, .. } => hold_id(user_id, &self.charge.request_id),
            PresentedCredential::ApiKey { .. } => String::new(),
        };
        Move::read(id).for_caller(&self.request.credential)
    }

    fn done(&mut self, _: i64, done: Done) -> Result<CheckAnswer, StoreError> {
        let (caller, terms) = self.holding.take().ok_or_else(|| unreadable("a script's answer"))?;
        let (remaining_credits, expires_at_ms) = (done.counters.balance.available, done.expires_at_ms);
        Ok(CheckAnswer::Held(caller, Held { terms, remaining_credits, expires_at_ms }))
    }

    fn refuse(&mut self, situation: &Situation<'_>) -> Result<Option<CheckAnswer>, StoreError> {
        match authorize(self.request, situation.now_ms, situation.found)? {
            Ok(rights) => {
                self.rights = Some(rights);
                Ok(None)
            }
            Err(refusal) => Ok(Some(CheckAnswer::Refused(refusal))),
        }
    }

    fn decide(&mut self, Situation { now_ms, found, more_is_due }: Situation<'_>) -> Result<Next<CheckAnswer>, StoreError> {
        let rights = self.rights.take().ok_or_else(|| unreadable("the caller's rights"))?;
        // What is wrong with the account is told only to those who may spend from it.
        let counters = found.counters()?.ok_or_else(|| StoreError::Corrupt("a member has no account".to_owned()))?;
        let caller = rights.principal.clone();
        let known = self.redis.known_callers.learn(CallerId::of(self.request), found.rights_versions(&counters)?, rights);
        let unnamed = self.holding.is_none() && caller.key_id.is_some();
        if unnamed {
            return Ok(Next::Move(self.hold_whole(&known, now_ms)));
        }
        let before = found.hold()?.filter(|before| !before.is_forgotten(self.redis.limits.forget_after, now_ms));
        let StoreLimits { max_open_holds, refunds, .. } = self.redis.limits;
        let (available, open_holds) = (counters.balance.available, counters.open);
        let refund_wait = refunds.wait(counters.refunds_until_ms, max_open_holds, now_ms);
        let usage = known.rights.monthly_cap().map(|cap| Ok::<_, StoreError>(left_of_cap(found.usage()?, cap, Month::of_ms(now_ms))));
        let left_of_cap = usage.transpose()?;
        let funds = Funds { available, open_holds, max_open_holds, more_is_due, refund_wait, left_of_cap };
        let model = &self.request.permission.model;
        let decision = on_check(before.as_ref(), &self.holder(&known), model, self.charge, funds);
        let answer = match (decision, before) {
            (CheckDecision::Hold(terms), _) => {
                // A part is held though there may be more by then: it was the whole of what there was.
                return Ok(Next::Move(self.hold(caller, terms, found.record_bytes(), &known, now_ms)));
            }
            (CheckDecision::Refuse(refusal), _) => CheckAnswer::Refused(refusal),
            (CheckDecision::AlreadyHeld, Some(HoldRecord { terms, expires_at_ms, .. })) => {
                CheckAnswer::Held(caller, Held { terms, remaining_credits: available, expires_at_ms })
            }
            (CheckDecision::Recorded, Some(before)) => CheckAnswer::Recorded(caller, before),
            (CheckDecision::AlreadyHeld | CheckDecision::Recorded, None) => return Err(unreadable("a hold")),
        };
        Ok(Next::Answer(answer))
    }

    fn give_up(&mut self) -> Result<CheckAnswer, StoreError> {
        // The same may succeed soon.
        Ok(CheckAnswer::Refused(Refusal::SweepInProgress))
    }
}

fn authorize(request: &CheckRequest, now_ms: i64, found: &Found) -> Result<Result<Rights, Refusal>, StoreError> {
    Ok(access::authorize(request, found.rows()?, now_ms))
}

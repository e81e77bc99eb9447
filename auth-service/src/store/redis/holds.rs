//! Extend and Settle in Redis.

use super::RedisStore;
use super::decision::{Next, Operation, Situation};
use super::move_script::{Done, Move};
use crate::access::{RightsVersions, refusal_since};
use crate::hold::{ExtendDecision, HoldRecord, Outcome, SettleDecision, Settlement, Terms, TokenUsage, on_extend, on_settle, settlement};
use crate::store::{ExtendAnswer, SettleAnswer, StoreError, StoreLimits};

impl RedisStore {
    pub(super) async fn extend_hold(&self, terms: &Terms, reported: TokenUsage) -> Result<ExtendAnswer, StoreError> {
        self.operate(&terms.account, Extend { limits: &self.limits, terms, reported }).await
    }

    pub(super) async fn settle_hold(&self, terms: &Terms, outcome: Outcome, reported: TokenUsage) -> Result<SettleAnswer, StoreError> {
        let settlement = settlement(terms, outcome, reported);
        self.operate(&terms.account, Settle { redis: self, terms, outcome, reported, settlement }).await
    }
}

struct Extend<'a> {
    limits: &'a StoreLimits,
    terms: &'a Terms,
    reported: TokenUsage,
}

impl Extend<'_> {
    /// Extends while the rights versions are these, at which the credential is good.
    fn extend(&self, usage: TokenUsage, in_place_of: Option<Vec<u8>>, rights_versions: RightsVersions) -> Move {
        let next = Move::extend(self.terms, usage, in_place_of);
        match &self.terms.standing {
            Some(standing) => {
                let RightsVersions { account, home } = rights_versions;
                // No credits move, in whichever month.
                next.with_rights(account, None).in_organization(self.terms, home, None, 0).for_caller(&standing.credential)
            }
            None => next,
        }
    }
}

impl Operation for Extend<'_> {
    type Answer = ExtendAnswer;

    fn first(&mut self) -> Move {
        let usage = self.terms.clamp(self.reported);
        match &self.terms.standing {
            Some(standing) => self.extend(usage, None, standing.rights_versions),
            None => Move::extend(self.terms, usage, None),
        }
    }

    fn done(&mut self, _: i64, done: Done) -> Result<ExtendAnswer, StoreError> {
        Ok(ExtendAnswer::Extended { expires_at_ms: done.expires_at_ms })
    }

    fn decide(&mut self, Situation { now_ms, found, .. }: Situation<'_>) -> Result<Next<ExtendAnswer>, StoreError> {
        let Some(counters) = found.counters()? else { return Ok(Next::Answer(ExtendAnswer::NotFound)) };
        let hold = found.hold()?.filter(|hold| !hold.is_forgotten(self.limits.forget_after, now_ms));
        Ok(match on_extend(hold.as_ref(), self.terms, self.reported) {
            ExtendDecision::Extend(usage) => {
                if let Some(standing) = &self.terms.standing
                    && let Some(refusal) = refusal_since(self.terms, standing, &found.rows()?, now_ms)
                {
                    return Ok(Next::Answer(ExtendAnswer::Refused(refusal)));
                }
                Next::Move(self.extend(usage, found.record_bytes(), found.rights_versions(&counters)?))
            }
            ExtendDecision::NotFound => Next::Answer(ExtendAnswer::NotFound),
            ExtendDecision::Resolved => Next::Answer(ExtendAnswer::Resolved),
        })
    }
}

struct Settle<'a> {
    redis: &'a RedisStore,
    terms: &'a Terms,
    outcome: Outcome,
    reported: TokenUsage,
    /// How the last move resolves it.
    settlement: Settlement,
}

impl Operation for Settle<'_> {
    type Answer = SettleAnswer;

    fn first(&mut self) -> Move {
        Move::resolve(self.terms, &self.settlement, None, self.redis.clock.now_ms())
    }

    fn done(&mut self, now_ms: i64, Done { counters, expires_at_ms }: Done) -> Result<SettleAnswer, StoreError> {
        let open = HoldRecord { terms: self.terms.clone(), usage: TokenUsage::default(), expires_at_ms, resolved: None };
        let ledger_entry = self.settlement.is_in_ledger().then_some(counters.entries);
        Ok(SettleAnswer::Settled(open.resolve(&self.settlement, counters.balance.available, ledger_entry, now_ms)))
    }

    fn decide(&mut self, Situation { now_ms, found, .. }: Situation<'_>) -> Result<Next<SettleAnswer>, StoreError> {
        let Some(counters) = found.counters()? else { return Ok(Next::Answer(SettleAnswer::NotFound)) };
        let hold = found.hold()?.filter(|hold| !hold.is_forgotten(self.redis.limits.forget_after, now_ms));
        let available = counters.balance.available;
        Ok(match (on_settle(hold.as_ref(), self.terms, self.outcome, self.reported, available), hold) {
            (SettleDecision::Resolve(settlement), hold) => {
                hold.as_ref().map_or(Ok(()), |hold| found.verify_usage(hold))?;
                self.settlement = settlement;
                let next = Move::resolve(self.terms, &settlement, found.record_bytes(), now_ms);
                // What can't be collected was decided from what is available.
                Next::Move(if settlement.uncollected_credits > 0 { next.with_at_most_available(available) } else { next })
            }
            (SettleDecision::Recorded, Some(hold)) => Next::Answer(SettleAnswer::Settled(hold)),
            (SettleDecision::Superseded, _) => Next::Answer(SettleAnswer::Superseded),
            (SettleDecision::NotFound | SettleDecision::Recorded, _) => Next::Answer(SettleAnswer::NotFound),
        })
    }
}

//! Release in Redis: reads whose hold it is and what there is, and resolves exactly that.

use super::RedisStore;
use super::decision::{Next, Operation, Situation};
use super::move_script::{Done, Move};
use super::stored::unreadable;
use crate::hold::{ReleaseDecision, hold_id, on_release};
use crate::ids::UserId;
use crate::store::{PresentedCredential, ReleaseAnswer, ReleaseRequest, StoreError, StoreLimits};

impl RedisStore {
    pub(super) async fn release_attempt(&self, attempt: &ReleaseRequest) -> Result<ReleaseAnswer, StoreError> {
        let user = match &attempt.credential {
            PresentedCredential::AccessToken { user_id, .. } => Some(user_id.clone()),
            PresentedCredential::ApiKey { .. } => None,
        };
        self.operate(&attempt.account, Release { limits: &self.limits, attempt, user }).await
    }
}

struct Release<'a> {
    limits: &'a StoreLimits,
    attempt: &'a ReleaseRequest,
    /// Whose hold it is; `None`: the key's record is not read yet.
    user: Option<UserId>,
}

impl Release<'_> {
    fn read_hold(&self, user: &UserId) -> Move {
        let read = Move::read(hold_id(user, &self.attempt.request_id));
        // What a member holds is counted, and read with whose it is.
        if self.attempt.account.is_own_of(user) { read } else { read.for_caller(&self.attempt.credential) }
    }
}

impl Operation for Release<'_> {
    type Answer = ReleaseAnswer;

    fn first(&mut self) -> Move {
        match &self.user {
            Some(user) => self.read_hold(user),
            None => Move::read(String::new()).for_caller(&self.attempt.credential),
        }
    }

    fn done(&mut self, _: i64, _: Done) -> Result<ReleaseAnswer, StoreError> {
        // Nothing but the resolution moves anything.
        Ok(ReleaseAnswer::Released)
    }

    fn decide(&mut self, Situation { now_ms, found, .. }: Situation<'_>) -> Result<Next<ReleaseAnswer>, StoreError> {
        if found.counters()?.is_none() {
            return Ok(Next::Answer(ReleaseAnswer::NothingHeld));
        }
        if self.user.is_none() {
            let Some(key) = found.key()? else { return Ok(Next::Answer(ReleaseAnswer::NothingHeld)) };
            let user = self.user.insert(key.user_id).clone();
            return Ok(Next::Move(self.read_hold(&user)));
        }
        let hold = found.hold()?.filter(|hold| !hold.is_forgotten(self.limits.forget_after, now_ms));
        Ok(match (on_release(hold.as_ref(), &self.attempt.attempt_id), hold) {
            (ReleaseDecision::Release(settlement), Some(hold)) => {
                found.verify_usage(&hold)?;
                Next::Move(Move::resolve(&hold.terms, &settlement, found.record_bytes(), now_ms))
            }
            (ReleaseDecision::Release(_), None) => return Err(unreadable("a hold")),
            (ReleaseDecision::Released, _) => Next::Answer(ReleaseAnswer::Released),
            (ReleaseDecision::NothingHeld, _) => Next::Answer(ReleaseAnswer::NothingHeld),
            (ReleaseDecision::Resolved, _) => Next::Answer(ReleaseAnswer::ResolvedBefore),
        })
    }
}

//! What becomes of holds: checked, extended, settled, released and remembered.

use auth_service::hold::{Fields, HoldRecord, Outcome, Resolution, ResolvedHold, Standing, Terms, TokenUsage};
use auth_service::store::{
    CheckAnswer, EntryKind, ExtendAnswer, Held, LedgerEntry, PresentedCredential, Principal, Refusal, ReleaseAnswer, SettleAnswer,
};
use auth_service::user::Role;

use super::{Model, cost, millis};

impl Model {
    /// `standing`: what the store says of the hold that it answers.
    pub(super) fn check(&mut self, wanted: Fields, require_full: bool, standing: Option<Standing>) -> CheckAnswer {
        let principal = Principal {
            user_id: self.person.id.clone(),
            role: Role::User,
            key_id: None,
            key_secret: 0,
            session_id: None,
            membership: None,
        };
        if let Some(hold) = self.known(&wanted.request_id) {
            let same = hold.terms.attempt_id == wanted.attempt_id;
            if hold.terms.fingerprint != wanted.fingerprint {
                return CheckAnswer::Refused(Refusal::RequestIdReused);
            }
            match &hold.resolved {
                None if same => {
                    self.reached.insert("held already");
                    let remaining_credits = self.balance.available;
                    return CheckAnswer::Held(principal, Held { terms: hold.terms, remaining_credits, expires_at_ms: hold.expires_at_ms });
                }
                None => return CheckAnswer::Refused(Refusal::RequestInProgress),
                Some(resolved) if resolved.resolution == Resolution::Refunded && !same => {
                    self.reached.insert("refunded and asked for by another attempt");
                }
                Some(_) => return CheckAnswer::Recorded(principal, hold),
            }
        }
        let open = self.holds.values().filter(|hold| hold.resolved.is_none()).count();
        if open >= self.limits.max_open_holds as usize {
            self.reached.insert("too many open holds");
            return CheckAnswer::Refused(Refusal::TooManyOpenHolds);
        }
        if let Some(wait_ms) = self.wait_for_refunds_ms() {
            self.reached.insert("too many refunds");
            let retry_after = std::time::Duration::from_millis(wait_ms.unsigned_abs());
            return CheckAnswer::Refused(Refusal::TooManyRefunds { retry_after });
        }
        let (available, mut wanted) = (self.balance.available, wanted);
        if wanted.held_credits > available {
            let least = if require_full { wanted.held_credits } else { cost(&wanted.price, wanted.max_input_tokens, 1) };
            if least > available {
                return CheckAnswer::Refused(if self.has_due() {
                    self.reached.insert("too few credits while more is due");
                    Refusal::SweepInProgress
                } else {
                    Refusal::InsufficientCredits { needed: least, available }
                });
            }
            // The most tokens that can be paid for, by trying all.
            let fits = |tokens: &u32| cost(&wanted.price, wanted.max_input_tokens, *tokens) <= available;
            wanted.max_output_tokens = (1..=wanted.max_output_tokens).rev().find(fits).unwrap();
            wanted.held_credits = cost(&wanted.price, wanted.max_input_tokens, wanted.max_output_tokens);
            self.reached.insert("a part is held");
        }
        self.balance.available -= wanted.held_credits;
        self.balance.held += wanted.held_credits;
        wanted.standing = standing.map(|standing| self.standing(standing));
        let (id, terms) = (wanted.request_id.clone(), Terms::new(wanted));
        let expires_at_ms = self.now_ms + millis(self.limits.hold_ttl);
        self.holds.insert(id, HoldRecord { terms: terms.clone(), usage: TokenUsage::default(), expires_at_ms, resolved: None });
        CheckAnswer::Held(principal, Held { terms, remaining_credits: self.balance.available, expires_at_ms })
    }

    /// How much of the bucket is used, as the time in which it fills again. The bucket and all holds that may be open can't use more than
    /// so much; what says more was written before the clock went back, and counts as nothing.
    pub(super) fn used_refunds_ms(&mut self) -> i64 {
        let (every_ms, burst) = (millis(self.limits.refunds.every), i64::from(self.limits.refunds.burst));
        let used_ms = (self.refunds_until_ms - self.now_ms).max(0);
        if used_ms > (burst - 1 + i64::from(self.limits.max_open_holds)) * every_ms {
            self.reached.insert("more refunds than there can be");
            return 0;
        }
        used_ms
    }

    /// How long the bucket takes until one more refund has room in it.
    pub(super) fn wait_for_refunds_ms(&mut self) -> Option<i64> {
        let room_ms = (i64::from(self.limits.refunds.burst) - 1) * millis(self.limits.refunds.every);
        Some(self.used_refunds_ms() - room_ms).filter(|wait_ms| *wait_ms > 0)
    }

    pub(super) fn extend(&mut self, handle: &Terms, usage: TokenUsage) -> ExtendAnswer {
        let Some(mut hold) = self.known(&handle.request_id) else { return ExtendAnswer::NotFound };
        if hold.terms.attempt_id != handle.attempt_id {
            return ExtendAnswer::Resolved;
        }
        if *hold.terms != **handle {
            self.reached.insert("extended with an altered handle");
            return ExtendAnswer::NotFound;
        }
        if hold.resolved.is_some() {
            return ExtendAnswer::Resolved;
        }
        if let Some(Standing { credential: PresentedCredential::AccessToken { issued_at_ms, .. }, .. }) = handle.standing
            && let Some(refusal) = self.refusal_of(issued_at_ms)
        {
            self.reached.insert(match refusal {
                Refusal::UserDisabled => "extended for a disabled user",
                _ => "extended by a token of before the user was enabled",
            });
            return ExtendAnswer::Refused(refusal);
        }
        hold.usage.input_tokens = hold.usage.input_tokens.max(usage.input_tokens.min(handle.max_input_tokens));
        hold.usage.output_tokens = hold.usage.output_tokens.max(usage.output_tokens.min(handle.max_output_tokens));
        hold.usage.estimated = usage.estimated;
        hold.expires_at_ms = hold.expires_at_ms.max(self.now_ms + millis(self.limits.hold_ttl));
        let expires_at_ms = hold.expires_at_ms;
        self.holds.insert(handle.request_id.clone(), hold);
        ExtendAnswer::Extended { expires_at_ms }
    }

    pub(super) fn settle(&mut self, handle: &Terms, outcome: Outcome, usage: TokenUsage) -> SettleAnswer {
        let Some(mut hold) = self.known(&handle.request_id) else { return SettleAnswer::NotFound };
        if hold.terms.attempt_id != handle.attempt_id {
            self.reached.insert("settled by an attempt that is superseded");
            return SettleAnswer::Superseded;
        }
        if *hold.terms != **handle {
            self.reached.insert("settled with an altered handle");
            return SettleAnswer::NotFound;
        }
        let nothing = outcome == Outcome::NothingGenerated;
        let usage = TokenUsage {
            input_tokens: usage.input_tokens.min(handle.max_input_tokens),
            output_tokens: usage.output_tokens.min(handle.max_output_tokens),
            ..usage
        };
        let due = if nothing { 0 } else { cost(&handle.price, usage.input_tokens, usage.output_tokens).min(handle.held_credits) };
        match hold.resolved.clone() {
            None => {
                hold.usage = if nothing { TokenUsage::default() } else { usage };
                let resolution = if nothing { Resolution::Refunded } else { Resolution::Settled };
                SettleAnswer::Settled(self.resolve(hold, resolution, Some(outcome), due))
            }
            Some(before) if before.resolution == Resolution::Expired => {
                if !nothing {
                    hold.usage = usage;
                }
                let missing = (due - before.charged_credits).max(0);
                let additional = missing.min(self.balance.available);
                self.balance.available -= additional;
                self.balance.spent += additional;
                self.reached.insert(if additional < missing { "uncollected" } else { "settled late" });
                let (charged, uncollected) = (before.charged_credits + additional, missing - additional);
                SettleAnswer::Settled(self.remember(hold, Resolution::SettledLate, Some(outcome), additional, charged, uncollected))
            }
            Some(_) => {
                self.reached.insert("settled again");
                SettleAnswer::Settled(hold)
            }
        }
    }

    /// An attempt whose Check had no answer gives back what it may have held.
    pub(super) fn release(&mut self, request_id: &str, attempt_id: &str) -> ReleaseAnswer {
        let Some(mut hold) = self.known(request_id) else { return ReleaseAnswer::NothingHeld };
        if hold.terms.attempt_id != attempt_id {
            self.reached.insert("released by an attempt that holds nothing");
            return ReleaseAnswer::NothingHeld;
        }
        match hold.resolved.as_ref().map(|resolved| resolved.resolution) {
            None => {
                self.reached.insert("released");
                hold.usage = TokenUsage::default();
                self.resolve(hold, Resolution::Refunded, Some(Outcome::NothingGenerated), 0);
                ReleaseAnswer::Released
            }
            Some(Resolution::Refunded) => {
                self.reached.insert("released again");
                ReleaseAnswer::Released
            }
            Some(_) => {
                self.reached.insert("released after it was resolved");
                ReleaseAnswer::ResolvedBefore
            }
        }
    }

    pub(super) fn resolve(&mut self, hold: HoldRecord, resolution: Resolution, outcome: Option<Outcome>, charged: i64) -> HoldRecord {
        self.balance.held -= hold.terms.held_credits;
        self.balance.available += hold.terms.held_credits - charged;
        self.balance.spent += charged;
        if charged == 0 && hold.terms.held_credits > 0 {
            let (every_ms, used_ms) = (millis(self.limits.refunds.every), self.used_refunds_ms());
            self.refunds_until_ms = self.now_ms + used_ms + every_ms;
        }
        self.remember(hold, resolution, outcome, charged, charged, 0)
    }

    pub(super) fn remember(
        &mut self,
        mut hold: HoldRecord,
        resolution: Resolution,
        outcome: Option<Outcome>,
        charged_now: i64,
        charged_credits: i64,
        uncollected_credits: i64,
    ) -> HoldRecord {
        let next_entry = self.next_entry();
        let ledger_entry = (charged_now > 0 || matches!(resolution, Resolution::Expired | Resolution::SettledLate)).then_some(next_entry);
        if let Some(entry) = ledger_entry {
            self.ledger.push(LedgerEntry {
                entry,
                kind: EntryKind::Resolved(resolution),
                credits: -charged_now,
                available: self.balance.available,
                request_id: hold.terms.request_id.clone(),
                user_id: hold.terms.user_id.clone(),
                key_id: None,
                model: hold.terms.model.clone(),
                usage: Some(hold.usage),
                at_ms: self.now_ms,
                note: String::new(),
            });
        }
        self.resolved.push(hold.terms.request_id.clone());
        hold.resolved = Some(ResolvedHold {
            resolution,
            outcome,
            charged_credits,
            uncollected_credits,
            remaining_credits: self.balance.available,
            ledger_entry,
            at_ms: self.now_ms,
        });
        self.holds.insert(hold.terms.request_id.clone(), hold.clone());
        self.forget();
        hold
    }
}

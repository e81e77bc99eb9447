//! What a store has promised to those who asked it at the same time, compared with what it keeps. No order of the calls is known: every
//! sentence here holds in each.

use std::collections::{BTreeMap, BTreeSet};

use auth_service::hold::{HoldRecord, Outcome, Resolution, Terms, TokenUsage};
use auth_service::store::{
    AccountSnapshot, Balance, ChargeRequest, CheckAnswer, EntryKind, ExtendAnswer, GrantAnswer, Held, Refusal, ReleaseAnswer,
    STARTING_GRANT_REQUEST_ID, SettleAnswer, StoreLimits,
};

use crate::model::{cost, tokens_cost};

/// A call, and what it was answered.
#[derive(Debug)]
pub(crate) enum Answered {
    Check { charge: ChargeRequest, answer: CheckAnswer },
    Extend { handle: Terms, usage: TokenUsage, answer: ExtendAnswer },
    Settle { handle: Terms, altered: bool, outcome: Outcome, usage: TokenUsage, answer: SettleAnswer },
    Release { handle: Terms, answer: ReleaseAnswer },
    Grant { request_id: String, credits: i64, answer: GrantAnswer },
    Balance(Balance),
    Receipt { request_id: String, answer: Option<HoldRecord> },
}

/// An attempt that was told that credits are held for it. No two have the same id.
#[derive(Debug)]
struct Attempt {
    terms: Terms,
    expires_at_ms: i64,
    /// What Extend has recorded: input and output tokens.
    recorded: (u32, u32),
    /// What Settle was called with, clamped.
    settles: Vec<(Outcome, (u32, u32))>,
    /// Its last record, unless it is one that a late settle may still replace.
    receipt: Option<HoldRecord>,
    /// When all that it held came back.
    refunded_at_ms: Option<i64>,
    /// Whether a Release said that it did.
    is_released: bool,
}

/// What was promised on one account.
#[derive(Debug)]
pub(crate) struct Promises {
    limits: StoreLimits,
    /// By attempt id.
    attempts: BTreeMap<String, Attempt>,
    /// Credits and entry, by request id.
    grants: BTreeMap<String, (i64, u64)>,
    before: AccountSnapshot,
    now_ms: i64,
    /// Checks that were refused because too many holds had come back.
    pub(crate) refused_for_refunds: usize,
}

fn tokens(usage: TokenUsage) -> (u32, u32) {
    (usage.input_tokens, usage.output_tokens)
}

impl Promises {
    pub(crate) fn new(limits: StoreLimits, before: AccountSnapshot) -> Self {
        let grants = [(STARTING_GRANT_REQUEST_ID.to_owned(), (before.balance.granted, 1))].into();
        Self { limits, attempts: BTreeMap::new(), grants, before, now_ms: 0, refused_for_refunds: 0 }
    }

    /// Takes in what a round was answered, and compares all that was ever promised with what is there after it.
    pub(crate) fn compare(&mut self, now_ms: i64, answers: &[Answered], after: AccountSnapshot) {
        assert_eq!(after.violations(), Vec::<String>::new());
        self.now_ms = now_ms;
        let refunds_before = self.refunds_until_ms();
        self.take_holds(now_ms, answers);
        for answered in answers {
            self.take(now_ms, answered, &after);
        }
        self.compare_refusals(now_ms, answers);
        self.compare_holds(&after);
        self.compare_receipts(&after);
        self.compare_ledger(&after);
        self.compare_due(now_ms, answers.len(), &after);
        self.compare_refunds(refunds_before, answers);
        self.before = after;
    }

    /// Whether requests may have been forgotten.
    fn forgets(&self) -> bool {
        self.limits.max_remembered_requests < 1000
    }

    /// Holds that Check answered. The same attempt is answered the same.
    fn take_holds(&mut self, now_ms: i64, answers: &[Answered]) {
        for answered in answers {
            let Answered::Check { charge, answer: CheckAnswer::Held(_, held) } = answered else { continue };
            let Held { terms, remaining_credits, expires_at_ms } = held;
            assert!(*remaining_credits >= 0, "{held:?}");
            assert_eq!((&terms.request_id, &terms.attempt_id, terms.price), (&charge.request_id, &charge.attempt_id, charge.price));
            assert_eq!(terms.held_credits, cost(&charge.price, charge.max_input_tokens, terms.max_output_tokens), "{held:?}");
            assert!((1..=charge.max_output_tokens).contains(&terms.max_output_tokens), "{held:?}");
            assert!(!charge.require_full || terms.max_output_tokens == charge.max_output_tokens, "{held:?}");
            assert_eq!(*expires_at_ms, now_ms + i64::try_from(self.limits.hold_ttl.as_millis()).unwrap());
            let attempt = self.attempts.entry(charge.attempt_id.clone()).or_insert_with(|| Attempt {
                terms: terms.clone(),
                expires_at_ms: *expires_at_ms,
                recorded: (0, 0),
                settles: Vec::new(),
                receipt: None,
                refunded_at_ms: None,
                is_released: false,
            });
            assert_eq!((&attempt.terms, attempt.expires_at_ms), (terms, *expires_at_ms), "two holds of one attempt");
        }
    }

    fn take(&mut self, now_ms: i64, answered: &Answered, after: &AccountSnapshot) {
        let forgets = self.forgets();
        match answered {
            Answered::Check { charge, answer: CheckAnswer::Recorded(_, record) } => {
                assert_eq!(record.terms.request_id, charge.request_id);
                assert!(record.resolved.is_some());
                self.take_record(record);
            }
            Answered::Check { .. } => {}
            Answered::Extend { handle, usage, answer } => {
                let attempt = self.attempts.get_mut(&handle.attempt_id).unwrap();
                match answer {
                    ExtendAnswer::Extended { expires_at_ms } => {
                        assert!(*expires_at_ms >= now_ms + i64::try_from(self.limits.hold_ttl.as_millis()).unwrap());
                        attempt.expires_at_ms = attempt.expires_at_ms.max(*expires_at_ms);
                        let (input_tokens, output_tokens) = attempt.recorded;
                        attempt.recorded = (
                            input_tokens.max(usage.input_tokens.min(handle.max_input_tokens)),
                            output_tokens.max(usage.output_tokens.min(handle.max_output_tokens)),
                        );
                    }
                    ExtendAnswer::Resolved => assert!(after.open.iter().all(|hold| hold.terms != *handle), "{handle:?} is open"),
                    ExtendAnswer::NotFound => assert!(forgets, "{handle:?} is forgotten"),
                    ExtendAnswer::Refused(refusal) => panic!("{refusal:?} for {handle:?}, and nobody revoked anything"),
                }
            }
            Answered::Settle { handle, altered, outcome, usage, answer } => {
                let others = self.attempts.values().filter(|attempt| attempt.terms.request_id == handle.request_id).count() > 1;
                if !altered {
                    let clamped = (usage.input_tokens.min(handle.max_input_tokens), usage.output_tokens.min(handle.max_output_tokens));
                    self.attempts.get_mut(&handle.attempt_id).unwrap().settles.push((*outcome, clamped));
                }
                match answer {
                    SettleAnswer::Settled(record) => {
                        assert!(!altered, "{handle:?} was altered and settled");
                        assert_eq!(record.terms, *handle);
                        self.take_record(record);
                    }
                    SettleAnswer::Superseded => assert!(others, "{handle:?} is superseded by nothing"),
                    SettleAnswer::NotFound => assert!(*altered || forgets, "{handle:?} is forgotten"),
                }
            }
            Answered::Release { handle, answer } => {
                let others = self.attempts.values().filter(|attempt| attempt.terms.request_id == handle.request_id).count() > 1;
                let attempt = self.attempts.get_mut(&handle.attempt_id).unwrap();
                assert!(after.open.iter().all(|hold| hold.terms != *handle), "{handle:?} was released, {answer:?}, and is open");
                match answer {
                    ReleaseAnswer::Released => {
                        attempt.is_released = true;
                        attempt.refunded_at_ms = attempt.refunded_at_ms.or(Some(now_ms).filter(|_| handle.held_credits > 0));
                    }
                    ReleaseAnswer::NothingHeld => assert!(others || forgets, "{handle:?} holds nothing"),
                    ReleaseAnswer::ResolvedBefore => assert!(!attempt.is_released, "{handle:?} was released, and resolved in another way"),
                }
            }
            Answered::Grant { request_id, credits, answer: GrantAnswer::Granted { entry, .. } } => {
                assert_eq!(self.grants.insert(request_id.clone(), (*credits, *entry)), None, "{request_id} was granted twice");
            }
            Answered::Grant { .. } => {}
            Answered::Balance(balance) => {
                let Balance { available, held, spent, lapsed, granted } = *balance;
                assert!([available, held, spent, lapsed].iter().all(|figure| *figure >= 0) && granted == available + held + spent + lapsed);
            }
            Answered::Receipt { request_id, answer } => {
                if let Some(record) = answer {
                    assert_eq!(record.terms.request_id, *request_id);
                    self.take_record(record);
                }
            }
        }
    }

    /// A record that was answered or is kept. One that is final stays the same for ever.
    fn take_record(&mut self, record: &HoldRecord) {
        let attempt = self.attempts.get_mut(&record.terms.attempt_id).unwrap();
        assert_eq!(attempt.terms, record.terms);
        if let Some(resolved) = &record.resolved {
            let (input_tokens, output_tokens) = attempt.recorded;
            let at_expiry = tokens_cost(&attempt.terms.price, input_tokens, output_tokens);
            let came_back = match resolved.resolution {
                Resolution::Refunded => Some(resolved.at_ms),
                Resolution::Expired => Some(resolved.at_ms).filter(|_| at_expiry == 0),
                // It was not there as an expired one after the last round: it has expired in this one.
                Resolution::SettledLate => Some(self.now_ms).filter(|_| at_expiry == 0),
                Resolution::Settled => Some(resolved.at_ms).filter(|_| resolved.charged_credits == 0),
            };
            attempt.refunded_at_ms = attempt.refunded_at_ms.or(came_back.filter(|_| attempt.terms.held_credits > 0));
        }
        match &record.resolved {
            Some(resolved) if resolved.resolution != Resolution::Expired => {
                let first = attempt.receipt.get_or_insert_with(|| record.clone());
                assert_eq!(first, record, "two receipts");
            }
            Some(_) | None => {}
        }
    }

    /// Nobody was refused without a reason, whatever the order.
    fn compare_refusals(&self, now_ms: i64, answers: &[Answered]) {
        let new: BTreeSet<_> = answers
            .iter()
            .filter_map(|answered| match answered {
                Answered::Check { charge, answer: CheckAnswer::Held(..) } => Some((&charge.request_id, &charge.attempt_id)),
                _ => None,
            })
            .collect();
        let is_open = |request_id: &String, but: &String| {
            let before = self.before.open.iter().map(|hold| (&hold.terms.request_id, &hold.terms.attempt_id));
            before.chain(new.iter().copied()).any(|(id, attempt)| id == request_id && attempt != but)
        };
        let due = self.before.open.iter().filter(|hold| hold.expires_at_ms <= now_ms).count();
        // If all that could be taken in this round was there, then there was enough for everybody.
        let most: i64 = answers
            .iter()
            .map(|answered| match answered {
                Answered::Check { charge, .. } => cost(&charge.price, charge.max_input_tokens, charge.max_output_tokens),
                Answered::Settle { handle, .. } => handle.held_credits,
                _ => 0,
            })
            .sum();
        let is_enough = most <= self.before.balance.available;
        for answered in answers {
            let Answered::Check { charge, answer } = answered else { continue };
            match answer {
                CheckAnswer::Held(_, held) => {
                    assert!(
                        !is_enough || held.terms.max_output_tokens == charge.max_output_tokens,
                        "a part, and there was enough: {held:?}"
                    );
                }
                CheckAnswer::Recorded(..) => {}
                CheckAnswer::Refused(Refusal::RequestInProgress) => {
                    assert!(is_open(&charge.request_id, &charge.attempt_id), "{charge:?} was in progress by nobody");
                }
                CheckAnswer::Refused(Refusal::InsufficientCredits { needed, available }) => {
                    assert!(needed > available && *available >= 0 && !is_enough, "{charge:?}: {answer:?}");
                }
                CheckAnswer::Refused(Refusal::TooManyOpenHolds) => {
                    assert!(self.before.open.len() + new.len() >= self.limits.max_open_holds as usize, "{charge:?}: {answer:?}");
                }
                CheckAnswer::Refused(Refusal::SweepInProgress) => {
                    assert!(due > self.limits.sweep_batch as usize && !is_enough, "{charge:?}: {answer:?}");
                }
                // `compare_refunds` looks at it.
                CheckAnswer::Refused(Refusal::TooManyRefunds { .. }) => {}
                CheckAnswer::Allowed(_) | CheckAnswer::Refused(_) => panic!("{charge:?}: {answer:?}"),
            }
        }
    }

    /// Each hold that was answered is open, with all that was recorded of it, or was resolved once.
    fn compare_holds(&self, after: &AccountSnapshot) {
        assert!(after.open.len() <= self.limits.max_open_holds as usize);
        for hold in &after.open {
            let attempt = &self.attempts[&hold.terms.attempt_id];
            assert_eq!((&hold.terms, hold.expires_at_ms, tokens(hold.usage)), (&attempt.terms, attempt.expires_at_ms, attempt.recorded));
            assert_eq!(attempt.receipt, None, "it has a receipt and is open");
        }
        let mut answered = BTreeMap::<_, usize>::new();
        for attempt in self.attempts.values() {
            *answered.entry(&attempt.terms.request_id).or_default() += 1;
        }
        let mut kept = BTreeMap::<_, usize>::new();
        for hold in &after.open {
            *kept.entry(&hold.terms.request_id).or_default() += 1;
        }
        let mut expired = BTreeMap::<_, usize>::new();
        for entry in &after.ledger {
            match entry.kind {
                EntryKind::Grant => continue,
                // A late settle has an entry though its expiry may have none.
                EntryKind::Resolved(Resolution::SettledLate) if expired.get(&entry.request_id).is_some_and(|count| *count > 0) => {
                    expired.entry(&entry.request_id).and_modify(|count| *count -= 1);
                    continue;
                }
                EntryKind::Resolved(Resolution::Expired) => *expired.entry(&entry.request_id).or_default() += 1,
                EntryKind::Resolved(_) => {}
            }
            *kept.entry(&entry.request_id).or_default() += 1;
        }
        // What cost nothing leaves no entry; of some, the receipt was never seen.
        for (request_id, answered) in answered {
            let attempts = || self.attempts.values().filter(|attempt| attempt.terms.request_id == *request_id);
            let is_free = |record: &HoldRecord| record.resolved.as_ref().is_some_and(|resolved| resolved.ledger_entry.is_none());
            let free = attempts().filter(|attempt| attempt.receipt.as_ref().is_some_and(is_free)).count();
            let is_open = |attempt: &Attempt| after.open.iter().any(|hold| hold.terms == attempt.terms);
            let unseen = attempts().filter(|attempt| attempt.receipt.is_none() && !is_open(attempt)).count();
            let kept = kept.remove(request_id).unwrap_or_default();
            assert!(kept + free <= answered && answered <= kept + free + unseen, "{request_id}: {kept}, {answered}, {free}, {unseen}");
        }
        assert_eq!(kept, BTreeMap::new(), "holds that were resolved, and were never answered");
    }

    /// Each receipt charges what its usage costs, once.
    fn compare_receipts(&mut self, after: &AccountSnapshot) {
        let is_paid = |record: &&HoldRecord| record.resolved.as_ref().is_some_and(|resolved| resolved.charged_credits > 0);
        let paid = after.remembered.iter().filter(is_paid).count();
        assert!(paid <= self.limits.max_remembered_requests as usize);
        assert!(after.remembered.len() - paid <= self.limits.max_free_requests as usize);
        for record in &after.remembered {
            self.take_record(record);
        }
        let kept = after.remembered.iter().filter(|record| self.attempts[&record.terms.attempt_id].receipt.is_none());
        for record in self.attempts.values().filter_map(|attempt| attempt.receipt.as_ref()).chain(kept) {
            self.compare_receipt(record);
            let resolved = record.resolved.as_ref().unwrap();
            let Some(entry) = resolved.ledger_entry else {
                assert_eq!((resolved.charged_credits, resolved.uncollected_credits), (0, 0), "{record:?}");
                continue;
            };
            let entry = &after.ledger[usize::try_from(entry).unwrap() - 1];
            assert_eq!((entry.kind, &entry.request_id), (EntryKind::Resolved(resolved.resolution), &record.terms.request_id));
            assert_eq!((entry.available, entry.at_ms, entry.usage), (resolved.remaining_credits, resolved.at_ms, Some(record.usage)));
            let is_late = resolved.resolution == Resolution::SettledLate;
            assert!(is_late || entry.credits == -resolved.charged_credits, "{record:?}: {entry:?}");
        }
        if !self.forgets() {
            let charged: i64 = after.remembered.iter().filter_map(|record| record.resolved.as_ref()).map(|one| one.charged_credits).sum();
            assert_eq!(charged, after.balance.spent, "what the receipts charged, and what was spent");
        }
    }

    fn compare_receipt(&self, record: &HoldRecord) {
        let Attempt { terms, recorded, settles, is_released, .. } = &self.attempts[&record.terms.attempt_id];
        let (resolved, usage) = (record.resolved.as_ref().unwrap(), tokens(record.usage));
        let at_expiry = tokens_cost(&terms.price, recorded.0, recorded.1).min(terms.held_credits);
        let price = cost(&terms.price, usage.0, usage.1).min(terms.held_credits);
        let was_said = |outcome| settles.contains(&(outcome, usage));
        let charged = resolved.charged_credits + resolved.uncollected_credits;
        let right = match (resolved.resolution, resolved.outcome) {
            (Resolution::Expired, None) => usage == *recorded && charged == at_expiry,
            (Resolution::Refunded, Some(Outcome::NothingGenerated)) => usage == (0, 0) && charged == 0,
            (Resolution::SettledLate, Some(Outcome::NothingGenerated)) => usage == *recorded && charged == at_expiry,
            (Resolution::Settled, Some(outcome)) => was_said(outcome) && charged == price && resolved.uncollected_credits == 0,
            (Resolution::SettledLate, Some(outcome)) => was_said(outcome) && charged == price.max(at_expiry),
            _ => false,
        };
        assert!(!is_released || resolved.resolution == Resolution::Refunded, "{record:?} was released");
        assert!(right, "{record:?} of {:?}", self.attempts[&record.terms.attempt_id]);
    }

    /// The ledger is only appended to, and each grant stands in it once.
    fn compare_ledger(&self, after: &AccountSnapshot) {
        assert!(after.ledger.starts_with(&self.before.ledger));
        assert!(after.balance.spent >= self.before.balance.spent);
        let mut granted = BTreeMap::new();
        for entry in after.ledger.iter().filter(|entry| entry.kind == EntryKind::Grant) {
            assert_eq!(granted.insert(entry.request_id.clone(), (entry.credits, entry.entry)), None, "{entry:?} is there twice");
        }
        assert_eq!(granted, self.grants);
    }

    /// Due holds were resolved before all else, as many as one call may. Calls at the same time may come to the same ones.
    fn compare_due(&self, now_ms: i64, calls: usize, after: &AccountSnapshot) {
        let due = |snapshot: &AccountSnapshot| snapshot.open.iter().filter(|hold| hold.expires_at_ms <= now_ms).count();
        let left = due(&self.before).saturating_sub(calls.min(1) * self.limits.sweep_batch as usize);
        assert!(due(after) <= left, "{} are due after {calls} calls, of {}", due(after), due(&self.before));
    }

    /// Until when the account's refunds reach, each with its span behind the one before it.
    fn refunds_until_ms(&self) -> i64 {
        let mut refunds: Vec<_> = self.attempts.values().filter_map(|attempt| attempt.refunded_at_ms).collect();
        refunds.sort_unstable();
        let every_ms = i64::try_from(self.limits.refunds.every.as_millis()).unwrap();
        refunds.into_iter().fold(0, |until_ms, at_ms| at_ms.max(until_ms) + every_ms)
    }

    /// Checks are refused for the sake of refunds exactly when there were too many, as far as an order of the calls can be found for it:
    /// at the time of each, some of the round's refunds had happened, and others not yet.
    fn compare_refunds(&mut self, before_ms: i64, answers: &[Answered]) {
        if self.forgets() {
            // What expired and was forgotten at once was never seen.
            return;
        }
        let every_ms = i64::try_from(self.limits.refunds.every.as_millis()).unwrap();
        let full_ms = self.now_ms + (i64::from(self.limits.refunds.burst) - 1) * every_ms;
        let (least_ms, most_ms) = (before_ms - full_ms, self.refunds_until_ms() - full_ms);
        for answered in answers {
            match answered {
                Answered::Check { answer: CheckAnswer::Held(..), charge } => {
                    assert!(least_ms <= 0, "{charge:?} was held {least_ms} ms early")
                }
                Answered::Check { answer: CheckAnswer::Refused(Refusal::TooManyRefunds { retry_after }), charge } => {
                    let wait_ms = i64::try_from(retry_after.as_millis()).unwrap();
                    assert!((least_ms.max(1)..=most_ms).contains(&wait_ms), "{charge:?} waits {wait_ms} ms, of {least_ms} to {most_ms}");
                    self.refused_for_refunds += 1;
                }
                _ => {}
            }
        }
    }
}

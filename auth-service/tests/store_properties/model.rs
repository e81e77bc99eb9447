//! A store of one account in plain collections, written from the hold's table and without regard to speed.

use std::collections::BTreeMap;

use auth_service::hold::{HoldHandle, HoldRecord, Outcome, Resolution, ResolvedHold, TokenUsage, request_digest};
use auth_service::store::{
    AccountSnapshot, Balance, CheckAnswer, EntryKind, ExtendAnswer, GrantAnswer, Held, LedgerEntry, Principal, Refusal,
    STARTING_GRANT_NOTE, STARTING_GRANT_REQUEST_ID, SettleAnswer, StoreLimits,
};
use auth_service::user::Role;

use crate::Operation;
use crate::fixture::Person;

#[derive(Debug)]
pub(crate) struct Model {
    limits: StoreLimits,
    person: Person,
    now_ms: i64,
    balance: Balance,
    /// By request id; refunded ones that were held again by `request id#ledger entry`.
    holds: BTreeMap<String, HoldRecord>,
    grants: BTreeMap<String, (i64, u64)>,
    ledger: Vec<LedgerEntry>,
}

impl Model {
    pub(crate) fn new(limits: StoreLimits, person: &Person, credits: i64, now_ms: i64) -> Self {
        let mut model = Self {
            limits,
            person: person.clone(),
            now_ms,
            balance: Balance::default(),
            holds: BTreeMap::new(),
            grants: BTreeMap::new(),
            ledger: Vec::new(),
        };
        model.add(credits, STARTING_GRANT_REQUEST_ID, STARTING_GRANT_NOTE);
        model
    }

    pub(crate) fn snapshot(&self) -> AccountSnapshot {
        let (open, mut remembered): (_, Vec<_>) = self.holds.values().cloned().partition(|hold| hold.resolved.is_none());
        remembered.sort_by_key(|hold| (hold.request_id.clone(), hold.resolved.as_ref().map(|resolved| resolved.ledger_entry)));
        AccountSnapshot { balance: self.balance, open, remembered, ledger: self.ledger.clone() }
    }

    pub(crate) fn apply(&mut self, now_ms: i64, operation: &Operation) -> String {
        self.now_ms = now_ms;
        match operation.clone() {
            Operation::Wait { .. } => return String::new(),
            Operation::Walk => {
                // The walk looks at every account, and again for as long as more is due there.
                self.sweep();
                while self.has_due() || self.has_to_forget() {
                    self.sweep();
                }
                return String::new();
            }
            _ => {}
        }
        match operation {
            // Check asks for its own request and for a place: only these make it forget.
            Operation::Check { request, .. } => {
                let remembered = self.holds.values().filter(|hold| hold.resolved.is_some()).count();
                let asked_for = self.holds.contains_key(&format!("request-{request}"));
                if asked_for || remembered + self.limits.sweep_batch as usize >= self.limits.max_remembered_requests as usize {
                    self.forget();
                }
                self.expire();
            }
            _ => self.sweep(),
        }
        match operation.clone() {
            Operation::Check { request, attempt, fingerprint, price, max_in, max_out, require_full } => {
                let wanted = HoldRecord {
                    user_id: self.person.id.clone(),
                    key_id: None,
                    request_id: format!("request-{request}"),
                    attempt_id: format!("attempt-{attempt}"),
                    fingerprint: format!("{fingerprint:04x}"),
                    model: "llama3".to_owned(),
                    price,
                    held_credits: price.of(max_in, max_out),
                    max_input_tokens: max_in,
                    max_output_tokens: max_out,
                    usage: TokenUsage::default(),
                    expires_at_ms: now_ms + millis(self.limits.hold_ttl),
                    resolved: None,
                };
                format!("{:?}", self.check(wanted, require_full))
            }
            Operation::Extend { request, attempt, usage } => {
                format!("{:?}", self.extend(&format!("request-{request}"), &format!("attempt-{attempt}"), usage))
            }
            Operation::Settle { request, attempt, outcome, usage } => {
                format!("{:?}", self.settle(&format!("request-{request}"), &format!("attempt-{attempt}"), outcome, usage))
            }
            Operation::Grant { request, credits } => format!("{:?}", self.grant(&format!("grant-{request}"), credits)),
            Operation::Balance => format!("{:?}", Some(self.balance)),
            Operation::Receipt { request } => format!("{:?}", self.holds.get(&format!("request-{request}"))),
            Operation::Ledger { before, limit } => {
                let below = self.ledger.iter().rev().filter(|entry| before.is_none_or(|before| entry.entry < before));
                format!("{:?}", below.take(limit as usize).collect::<Vec<_>>())
            }
            Operation::Walk | Operation::Wait { .. } => String::new(),
        }
    }

    fn has_due(&self) -> bool {
        self.holds.values().any(|hold| hold.resolved.is_none() && hold.expires_at_ms <= self.now_ms)
    }

    fn has_to_forget(&self) -> bool {
        let forget_after_ms = millis(self.limits.forget_after);
        self.holds.values().any(|hold| hold.resolved.as_ref().is_some_and(|resolved| resolved.at_ms + forget_after_ms <= self.now_ms))
    }

    /// The first few by time, then by the hold's name.
    fn first(&self, time: impl Fn(&HoldRecord) -> Option<i64>) -> Vec<String> {
        let mut reached: Vec<_> = self
            .holds
            .iter()
            .filter_map(|(key, hold)| {
                let name = key.replacen(&hold.request_id, &request_digest(&hold.request_id), 1);
                Some((time(hold)?, name, key.clone()))
            })
            .filter(|(at_ms, ..)| *at_ms <= self.now_ms)
            .collect();
        reached.sort();
        reached.into_iter().take(self.limits.sweep_batch as usize).map(|(.., key)| key).collect()
    }

    fn sweep(&mut self) {
        self.forget();
        self.expire();
    }

    fn forget(&mut self) {
        let forget_after_ms = millis(self.limits.forget_after);
        for key in self.first(|hold| hold.resolved.as_ref().map(|resolved| resolved.at_ms + forget_after_ms)) {
            self.holds.remove(&key);
        }
    }

    fn expire(&mut self) {
        for request_id in self.first(|hold| hold.resolved.is_none().then_some(hold.expires_at_ms)) {
            let hold = self.holds[&request_id].clone();
            let due = hold.due_at_expiry();
            self.resolve(hold, Resolution::Expired, None, due);
        }
    }

    fn check(&mut self, mut wanted: HoldRecord, require_full: bool) -> CheckAnswer {
        let principal = Principal { user_id: self.person.id.clone(), role: Role::User, key_id: None };
        let before = self.holds.get(&wanted.request_id).cloned();
        if let Some(hold) = &before {
            let same = hold.attempt_id == wanted.attempt_id;
            if hold.fingerprint != wanted.fingerprint {
                return CheckAnswer::Refused(Refusal::RequestIdReused);
            }
            match &hold.resolved {
                None if same => return CheckAnswer::Held(principal, self.held(hold)),
                None => return CheckAnswer::Refused(Refusal::RequestInProgress),
                Some(resolved) if resolved.resolution == Resolution::Refunded && !same => {}
                Some(_) => return CheckAnswer::Recorded(principal, hold.clone()),
            }
        }
        let open = self.holds.values().filter(|hold| hold.resolved.is_none()).count();
        let remembered = self.holds.len() - open;
        if open >= self.limits.max_open_holds as usize {
            return CheckAnswer::Refused(Refusal::TooManyOpenHolds);
        }
        if remembered >= self.limits.max_remembered_requests as usize {
            return CheckAnswer::Refused(Refusal::TooManyRememberedRequests);
        }
        let available = self.balance.available;
        if wanted.held_credits > available {
            let least = if require_full { wanted.held_credits } else { wanted.price.of(wanted.max_input_tokens, 1) };
            if least > available {
                return CheckAnswer::Refused(if self.has_due() {
                    Refusal::SweepInProgress
                } else {
                    Refusal::InsufficientCredits { needed: least, available }
                });
            }
            // The most tokens that can be paid for, by trying all.
            let fits = |tokens: &u32| wanted.price.of(wanted.max_input_tokens, *tokens) <= available;
            wanted.max_output_tokens = (1..=wanted.max_output_tokens).rev().find(fits).unwrap();
            wanted.held_credits = wanted.price.of(wanted.max_input_tokens, wanted.max_output_tokens);
        }
        self.balance.available -= wanted.held_credits;
        self.balance.held += wanted.held_credits;
        if let Some(refunded) = before {
            let entry = refunded.resolved.as_ref().unwrap().ledger_entry;
            self.holds.insert(format!("{}#{entry}", refunded.request_id), refunded);
        }
        self.holds.insert(wanted.request_id.clone(), wanted.clone());
        CheckAnswer::Held(principal, self.held(&wanted))
    }

    fn held(&self, hold: &HoldRecord) -> Held {
        Held {
            handle: HoldHandle {
                account: self.person.account.clone(),
                user_id: self.person.id.clone(),
                request_id: hold.request_id.clone(),
                attempt_id: hold.attempt_id.clone(),
            },
            held_credits: hold.held_credits,
            remaining_credits: self.balance.available,
            max_output_tokens: hold.max_output_tokens,
            expires_at_ms: hold.expires_at_ms,
        }
    }

    fn extend(&mut self, request_id: &str, attempt_id: &str, usage: TokenUsage) -> ExtendAnswer {
        let later = self.now_ms + millis(self.limits.hold_ttl);
        let Some(hold) = self.holds.get_mut(request_id) else { return ExtendAnswer::NotFound };
        if hold.resolved.is_some() || hold.attempt_id != attempt_id {
            return ExtendAnswer::Resolved;
        }
        let usage = hold.clamp(usage);
        hold.usage.input_tokens = hold.usage.input_tokens.max(usage.input_tokens);
        hold.usage.output_tokens = hold.usage.output_tokens.max(usage.output_tokens);
        hold.usage.estimated = usage.estimated;
        hold.expires_at_ms = hold.expires_at_ms.max(later);
        ExtendAnswer::Extended { expires_at_ms: hold.expires_at_ms }
    }

    fn settle(&mut self, request_id: &str, attempt_id: &str, outcome: Outcome, usage: TokenUsage) -> SettleAnswer {
        let Some(mut hold) = self.holds.get(request_id).cloned() else { return SettleAnswer::NotFound };
        if hold.attempt_id != attempt_id {
            return SettleAnswer::Superseded;
        }
        let usage = hold.clamp(usage);
        let due = hold.due(outcome, usage);
        let nothing = outcome == Outcome::NothingGenerated;
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
                let (charged, uncollected) = (before.charged_credits + additional, missing - additional);
                SettleAnswer::Settled(self.remember(hold, Resolution::SettledLate, Some(outcome), additional, charged, uncollected))
            }
            Some(_) => SettleAnswer::Settled(hold),
        }
    }

    fn resolve(&mut self, hold: HoldRecord, resolution: Resolution, outcome: Option<Outcome>, charged: i64) -> HoldRecord {
        self.balance.held -= hold.held_credits;
        self.balance.available += hold.held_credits - charged;
        self.balance.spent += charged;
        self.remember(hold, resolution, outcome, charged, charged, 0)
    }

    fn remember(
        &mut self,
        mut hold: HoldRecord,
        resolution: Resolution,
        outcome: Option<Outcome>,
        charged_now: i64,
        charged_credits: i64,
        uncollected_credits: i64,
    ) -> HoldRecord {
        let ledger_entry = self.ledger.len() as u64 + 1;
        self.ledger.push(LedgerEntry {
            entry: ledger_entry,
            kind: EntryKind::Resolved(resolution),
            credits: -charged_now,
            available: self.balance.available,
            request_id: hold.request_id.clone(),
            user_id: hold.user_id.clone(),
            key_id: None,
            model: hold.model.clone(),
            usage: Some(hold.usage),
            at_ms: self.now_ms,
            note: String::new(),
        });
        hold.resolved = Some(ResolvedHold {
            resolution,
            outcome,
            charged_credits,
            uncollected_credits,
            remaining_credits: self.balance.available,
            ledger_entry,
            at_ms: self.now_ms,
        });
        self.holds.insert(hold.request_id.clone(), hold.clone());
        hold
    }

    fn grant(&mut self, request_id: &str, credits: i64) -> GrantAnswer {
        match self.grants.get(request_id) {
            Some((amount, entry)) if *amount == credits => GrantAnswer::Replayed { entry: *entry, balance: self.balance },
            Some(_) => GrantAnswer::RequestIdReused,
            None => {
                let entry = self.add(credits, request_id, "a note");
                GrantAnswer::Granted { entry, balance: self.balance }
            }
        }
    }

    fn add(&mut self, credits: i64, request_id: &str, note: &str) -> u64 {
        self.balance.available += credits;
        self.balance.granted += credits;
        let entry = self.ledger.len() as u64 + 1;
        self.ledger.push(LedgerEntry {
            entry,
            kind: EntryKind::Grant,
            credits,
            available: self.balance.available,
            request_id: request_id.to_owned(),
            user_id: self.person.id.clone(),
            key_id: None,
            model: String::new(),
            usage: None,
            at_ms: self.now_ms,
            note: note.to_owned(),
        });
        self.grants.insert(request_id.to_owned(), (credits, entry));
        entry
    }
}

fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap()
}

//! A store of one account in plain collections, written from the hold's table and without regard to speed. It uses none of the rules'
//! functions: it is the second opinion on them.

#[path = "model/holds.rs"]
mod holds;

use std::collections::{BTreeMap, BTreeSet};

use auth_service::access::{RightsVersion, RightsVersions};
use auth_service::hold::{Fields, HoldRecord, Resolution, Standing, Terms, TokenUsage, request_digest};
use auth_service::price::Price;
use auth_service::store::{
    AccountSnapshot, Balance, CheckAnswer, Checkpoint, EntryKind, GrantAnswer, LedgerEntry, PresentedCredential, Refusal,
    STARTING_GRANT_NOTE, STARTING_GRANT_REQUEST_ID, StoreLimits,
};

use crate::fixture::Person;
use crate::{Change, Handle, Operation};

/// What can happen.
pub(crate) const ALL: [&str; 27] = [
    "a part is held",
    "asked by a token of before the user was enabled",
    "asked for by a disabled user",
    "asked for what is forgotten and still there",
    "extended by a token of before the user was enabled",
    "extended for a disabled user",
    "extended with an altered handle",
    "folded",
    "forgotten at its time",
    "forgotten before its time",
    "held already",
    "more due than one operation resolves",
    "more refunds than there can be",
    "more to forget than one operation removes",
    "refunded and asked for by another attempt",
    "released",
    "released after it was resolved",
    "released again",
    "released by an attempt that holds nothing",
    "settled again",
    "settled by an attempt that is superseded",
    "settled late",
    "settled with an altered handle",
    "too few credits while more is due",
    "too many open holds",
    "too many refunds",
    "uncollected",
];

/// Which of two requests is forgotten first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Oldest {
    /// The one that was resolved first, also when the clock went back in between.
    InOrder,
    /// By their times; of the same time, the one with the lesser request id.
    ByTime,
}

#[derive(Debug)]
pub(crate) struct Model {
    limits: StoreLimits,
    person: Person,
    now_ms: i64,
    balance: Balance,
    /// By request id.
    holds: BTreeMap<String, HoldRecord>,
    grants: BTreeMap<String, (i64, u64)>,
    ledger: Vec<LedgerEntry>,
    /// What stands for the entries before those.
    checkpoint: Option<Checkpoint>,
    /// Handles that Check answered, oldest first.
    given_out: Vec<Terms>,
    /// Until when the refunds reach.
    refunds_until_ms: i64,
    /// Which of two goes first.
    oldest: Oldest,
    /// The request ids, in the order in which they were resolved.
    resolved: Vec<String>,
    is_disabled: bool,
    /// When the user was disabled or enabled last.
    valid_from_ms: i64,
    /// The rights version that Checks were answered with since then.
    rights_version: Option<RightsVersion>,
    /// What has happened, so that a test can see that its operations come to everything.
    pub(crate) reached: BTreeSet<&'static str>,
}

impl Model {
    pub(crate) fn new(limits: StoreLimits, oldest: Oldest, person: &Person, credits: i64, now_ms: i64) -> Self {
        let mut model = Self {
            limits,
            person: person.clone(),
            now_ms,
            balance: Balance::default(),
            holds: BTreeMap::new(),
            grants: BTreeMap::new(),
            ledger: Vec::new(),
            checkpoint: None,
            given_out: Vec::new(),
            refunds_until_ms: 0,
            oldest,
            resolved: Vec::new(),
            is_disabled: false,
            valid_from_ms: 0,
            rights_version: None,
            reached: BTreeSet::new(),
        };
        model.add(credits, STARTING_GRANT_REQUEST_ID, STARTING_GRANT_NOTE);
        model
    }

    pub(crate) fn snapshot(&self) -> AccountSnapshot {
        let (open, remembered) = self.holds.values().cloned().partition(|hold| hold.resolved.is_none());
        AccountSnapshot {
            balance: self.balance,
            open,
            remembered,
            ledger: self.ledger.clone(),
            checkpoint: self.checkpoint,
            usage: Vec::new(),
        }
    }

    /// A handle that was given out, and perhaps altered; `None`: none was yet.
    pub(crate) fn handle(&self, handle: Handle) -> Option<Terms> {
        let back = handle.back % self.given_out.len().max(1);
        let given_out = self.given_out.iter().rev().nth(back)?;
        let mut fields: Fields = (**given_out).clone();
        match handle.change {
            Change::Nothing => return Some(given_out.clone()),
            Change::Attempt(attempt) => fields.attempt_id = format!("attempt-{attempt}"),
            Change::Request(request) => fields.request_id = format!("request-{request}"),
            Change::Key => fields.key_id = Some(auth_service::ids::KeyId::parse("0123456789ab")?),
            Change::Fingerprint => fields.fingerprint.push(7),
            Change::Model => fields.model.push('x'),
            Change::PerCall => fields.price.per_call += 1,
            Change::HeldCredits => fields.held_credits += 1,
            Change::MaxInput => fields.max_input_tokens += 1,
            Change::MaxOutput => fields.max_output_tokens += 1,
            Change::Standing => fields.standing = None,
        }
        Some(Terms::new(fields))
    }

    /// Applies an operation, and tells its answer in words. `handle`: what an Extend or Settle is given. `standing`: what the store says
    /// that a hold was made with, of which the rights version alone is its secret.
    pub(crate) fn apply(&mut self, now_ms: i64, operation: &Operation, handle: Option<&Terms>, standing: Option<Standing>) -> String {
        self.now_ms = now_ms;
        match operation {
            Operation::Wait { .. } => return String::new(),
            Operation::Extend { .. } | Operation::Settle { .. } if handle.is_none() => return String::new(),
            Operation::Walk => {
                // The walk looks at every account, and again for as long as there is more to do there.
                loop {
                    self.expire();
                    self.forget();
                    if !self.has_due() && !self.has_to_forget() {
                        return String::new();
                    }
                }
            }
            // Nothing is swept for it.
            Operation::Fold { entries, is_stale } => return format!("{}", self.fold(*entries as usize, *is_stale)),
            Operation::Disable(disabled) => return self.disable(*disabled),
            Operation::Check { .. } => match self.refusal_of(self.now_ms) {
                // Nor is it for whoever isn't let in.
                Some(refusal) => {
                    self.reached.insert(match refusal {
                        Refusal::UserDisabled => "asked for by a disabled user",
                        _ => "asked by a token of before the user was enabled",
                    });
                    return format!("{:?}", CheckAnswer::Refused(refusal));
                }
                None => self.expire(),
            },
            _ => self.expire(),
        }
        match (operation.clone(), handle) {
            (Operation::Check { request, attempt, fingerprint, price, max_in, max_out, require_full }, _) => {
                let wanted = Fields {
                    account: self.person.account.clone(),
                    user_id: self.person.id.clone(),
                    key_id: None,
                    request_id: format!("request-{request}"),
                    attempt_id: format!("attempt-{attempt}"),
                    fingerprint: vec![fingerprint],
                    model: "llama3".to_owned(),
                    price,
                    held_credits: cost(&price, max_in, max_out),
                    max_input_tokens: max_in,
                    max_output_tokens: max_out,
                    standing: None,
                };
                let answer = self.check(wanted, require_full, standing);
                if let CheckAnswer::Held(_, held) = &answer {
                    self.given_out.push(held.terms.clone());
                }
                format!("{answer:?}")
            }
            (Operation::Extend { usage, .. }, Some(handle)) => format!("{:?}", self.extend(handle, usage)),
            (Operation::Settle { outcome, usage, .. }, Some(handle)) => format!("{:?}", self.settle(handle, outcome, usage)),
            (Operation::Release { request, attempt }, _) => {
                format!("{:?}", self.release(&format!("request-{request}"), &format!("attempt-{attempt}")))
            }
            (Operation::Grant { request, credits }, _) => format!("{:?}", self.grant(&format!("grant-{request}"), credits)),
            (Operation::Balance, _) => format!("{:?}", Some(self.balance)),
            (Operation::Receipt { request }, _) => format!("{:?}", self.known(&format!("request-{request}"))),
            (Operation::Ledger { before, limit }, _) => {
                let below = self.ledger.iter().rev().filter(|entry| before.is_none_or(|before| entry.entry < before));
                format!("{:?}", below.take(limit as usize).collect::<Vec<_>>())
            }
            (
                Operation::Extend { .. }
                | Operation::Settle { .. }
                | Operation::Fold { .. }
                | Operation::Walk
                | Operation::Wait { .. }
                | Operation::Disable(_),
                _,
            ) => String::new(),
        }
    }

    /// Why a token that was issued at this time lets nobody in.
    fn refusal_of(&self, issued_at_ms: i64) -> Option<Refusal> {
        let second = |ms: i64| ms.div_euclid(1000);
        if self.is_disabled {
            Some(Refusal::UserDisabled)
        } else {
            (second(issued_at_ms) < second(self.valid_from_ms)).then_some(Refusal::CredentialRevoked)
        }
    }

    fn disable(&mut self, disabled: bool) -> String {
        let changed = self.is_disabled != disabled;
        if changed {
            (self.is_disabled, self.valid_from_ms, self.rights_version) = (disabled, self.now_ms, None);
        }
        format!("{changed}")
    }

    /// What is made now is made with this: the rights version is the one before, or any, once the rights have changed.
    fn standing(&mut self, stored: Standing) -> Standing {
        let credential = PresentedCredential::AccessToken { user_id: self.person.id.clone(), session: None, issued_at_ms: self.now_ms };
        let good_until_ms = Some(self.now_ms + millis(self.limits.session_idle));
        let account = *self.rights_version.get_or_insert(stored.rights_versions.account);
        Standing { credential, rights_versions: RightsVersions { account, home: None }, good_until_ms }
    }

    fn forget_at_ms(&self, hold: &HoldRecord) -> Option<i64> {
        hold.resolved.as_ref().map(|resolved| resolved.at_ms + millis(self.limits.forget_after))
    }

    /// A hold or request of this name that counts.
    fn known(&mut self, request_id: &str) -> Option<HoldRecord> {
        let hold = self.holds.get(request_id)?;
        if self.forget_at_ms(hold).is_some_and(|forget_at_ms| forget_at_ms <= self.now_ms) {
            self.reached.insert("asked for what is forgotten and still there");
            return None;
        }
        Some(hold.clone())
    }

    fn has_due(&self) -> bool {
        self.holds.values().any(|hold| hold.resolved.is_none() && hold.expires_at_ms <= self.now_ms)
    }

    fn has_to_forget(&self) -> bool {
        let is_over = |(at_ms, _): &(i64, String)| *at_ms <= self.now_ms;
        [true, false].into_iter().any(|is_paid| self.first_resolved(is_paid).first().is_some_and(is_over))
    }

    /// The first few resolved requests that were charged, or that cost nothing.
    fn first_resolved(&self, is_paid: bool) -> Vec<(i64, String)> {
        let is_kind = |hold: &HoldRecord| is_charged(hold) == Some(is_paid);
        match self.oldest {
            Oldest::ByTime => self.first(|hold| is_kind(hold).then(|| self.forget_at_ms(hold)).flatten()),
            Oldest::InOrder => {
                let mut all: Vec<_> = self.holds.iter().filter(|(_, hold)| is_kind(hold)).collect();
                all.sort_by_key(|(id, _)| self.resolved.iter().rposition(|resolved| resolved == *id));
                let first = all.into_iter().take(self.limits.sweep_batch as usize);
                first.filter_map(|(id, hold)| Some((self.forget_at_ms(hold)?, id.clone()))).collect()
            }
        }
    }

    /// The first few by time, then by the hold's name, which in Redis is a digest.
    fn first(&self, time: impl Fn(&HoldRecord) -> Option<i64>) -> Vec<(i64, String)> {
        let name = |id: &String| if self.oldest == Oldest::InOrder { request_digest(id) } else { id.clone() };
        let mut all: Vec<_> = self.holds.iter().filter_map(|(id, hold)| Some((time(hold)?, name(id), id.clone()))).collect();
        all.sort();
        all.into_iter().take(self.limits.sweep_batch as usize).map(|(at_ms, _, id)| (at_ms, id)).collect()
    }

    fn expire(&mut self) {
        for (at_ms, id) in self.first(|hold| hold.resolved.is_none().then_some(hold.expires_at_ms)) {
            if at_ms <= self.now_ms {
                let hold = self.holds[&id].clone();
                let TokenUsage { input_tokens, output_tokens, .. } = hold.usage;
                let charge = tokens_cost(&hold.terms.price, input_tokens, output_tokens).min(hold.terms.held_credits);
                self.resolve(hold, Resolution::Expired, None, charge);
            }
        }
        if self.has_due() {
            self.reached.insert("more due than one operation resolves");
        }
    }

    fn forget(&mut self) {
        for (is_paid, most) in [(true, self.limits.max_remembered_requests), (false, self.limits.max_free_requests)] {
            for (at_ms, id) in self.first_resolved(is_paid) {
                let remembered = self.holds.values().filter(|hold| is_charged(hold) == Some(is_paid)).count();
                let is_over = at_ms <= self.now_ms;
                if !is_over && remembered <= most as usize {
                    break;
                }
                self.reached.insert(if is_over { "forgotten at its time" } else { "forgotten before its time" });
                self.holds.remove(&id);
            }
        }
        if self.has_to_forget() {
            self.reached.insert("more to forget than one operation removes");
        }
    }

    fn next_entry(&self) -> u64 {
        self.checkpoint.map_or(0, |checkpoint| checkpoint.last_entry) + self.ledger.len() as u64 + 1
    }

    /// Whether the oldest entries are folded into what stands for those before them.
    fn fold(&mut self, entries: usize, is_stale: bool) -> bool {
        if is_stale || self.ledger.is_empty() {
            return false;
        }
        self.reached.insert("folded");
        for entry in self.ledger.drain(..entries.min(self.ledger.len())) {
            let before = self.checkpoint.map_or((0, 0), |checkpoint| (checkpoint.granted, checkpoint.charged));
            let (granted, charged) = if entry.credits > 0 { (entry.credits, 0) } else { (0, -entry.credits) };
            self.checkpoint = Some(Checkpoint {
                last_entry: entry.entry,
                granted: before.0 + granted,
                charged: before.1 + charged,
                available: entry.available,
                at_ms: entry.at_ms,
            });
        }
        true
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
        let entry = self.next_entry();
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

/// Whether a resolved request was charged.
fn is_charged(hold: &HoldRecord) -> Option<bool> {
    hold.resolved.as_ref().map(|resolved| resolved.charged_credits > 0)
}

/// What a call costs, rounded up once.
pub(crate) fn cost(price: &Price, input_tokens: u32, output_tokens: u32) -> i64 {
    price.per_call + tokens_cost(price, input_tokens, output_tokens)
}

/// The tokens' part of it.
pub(crate) fn tokens_cost(price: &Price, input_tokens: u32, output_tokens: u32) -> i64 {
    let thousandths = i64::from(input_tokens) * price.per_1k_input_tokens + i64::from(output_tokens) * price.per_1k_output_tokens;
    (thousandths + 999) / 1000
}

fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap()
}

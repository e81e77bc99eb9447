//! Grants, balances and receipts in Redis.

use shared::ledger::MAX_CREDITS;

use super::RedisStore;
use super::decision::{Next, Operation, Situation};
use super::ledger::{CHECKPOINT, checkpoint};
use super::member_usage::usages;
use super::move_script::{Done, Move};
use super::scripts::ScriptCall;
use super::stored::{Counters, Stored, StreamEntry, ledger, unreadable};
use crate::grant::on_grant;
use crate::hold::{HoldRecord, hold_id};
use crate::ids::{AccountId, UserId};
use crate::store::{AccountSnapshot, AuditEvent, Balance, GrantAnswer, GrantRequest, StoreError, records};

struct Grant<'a>(&'a GrantRequest, &'a AuditEvent);

impl Operation for Grant<'_> {
    type Answer = GrantAnswer;

    fn first(&mut self) -> Move {
        let GrantRequest { request_id, granted_by, note, credits, .. } = self.0;
        Move::grant(request_id, *credits, records::grant_entry_bytes(request_id, granted_by, note), self.1)
    }

    fn done(&mut self, _: i64, Done { counters, .. }: Done) -> Result<GrantAnswer, StoreError> {
        Ok(GrantAnswer::Granted { entry: counters.entries, balance: counters.balance })
    }

    fn decide(&mut self, situation: Situation<'_>) -> Result<Next<GrantAnswer>, StoreError> {
        let Some(Counters { balance, .. }) = situation.found.counters()? else { return Ok(Next::Answer(GrantAnswer::NotFound)) };
        let before = match situation.found.record()? {
            None => None,
            Some(Stored::Grant { credits, entry }) => Some((credits, entry)),
            Some(Stored::Hold(_)) => return Err(unreadable("a grant")),
        };
        Ok(on_grant(before, balance, self.0.credits).map_or_else(|| Next::Move(self.first()), Next::Answer))
    }
}

/// Reads an account's figures and one of its records, after what is due. `None`: no such account.
pub(super) struct Read(pub(super) String);

impl Operation for Read {
    type Answer = Option<(i64, Counters, Option<Stored>)>;

    fn first(&mut self) -> Move {
        Move::read(std::mem::take(&mut self.0))
    }

    fn done(&mut self, _: i64, _: Done) -> Result<Self::Answer, StoreError> {
        Err(unreadable("a script's answer"))
    }

    fn decide(&mut self, Situation { now_ms, found, .. }: Situation<'_>) -> Result<Next<Self::Answer>, StoreError> {
        let Some(counters) = found.counters()? else { return Ok(Next::Answer(None)) };
        Ok(Next::Answer(Some((now_ms, counters, found.record()?))))
    }
}

impl RedisStore {
    pub(super) async fn grant_credits(&self, grant: &GrantRequest, event: &AuditEvent) -> Result<GrantAnswer, StoreError> {
        if !(1..=MAX_CREDITS).contains(&grant.credits) {
            return Err(StoreError::Corrupt(format!("a grant of {} credits", grant.credits)));
        }
        self.operate(&grant.account, Grant(grant, event)).await
    }

    pub(super) async fn read_balance(&self, account: &AccountId) -> Result<Option<Balance>, StoreError> {
        Ok(self.operate(account, Read(String::new())).await?.map(|(_, counters, _)| counters.balance))
    }

    pub(super) async fn read_receipt(
        &self,
        account: &AccountId,
        user: &UserId,
        request_id: &str,
    ) -> Result<Option<HoldRecord>, StoreError> {
        let Some((now_ms, _, Some(stored))) = self.operate(account, Read(hold_id(user, request_id))).await? else { return Ok(None) };
        Ok(Some(stored.hold()?).filter(|hold| !hold.is_forgotten(self.limits.forget_after, now_ms)))
    }

    pub(super) async fn read_snapshot(&self, account: &AccountId) -> Result<Option<AccountSnapshot>, StoreError> {
        type Fields = Vec<(String, Vec<u8>)>;
        type Parts = (Fields, Vec<(String, f64)>, usize, usize, Vec<StreamEntry>, Fields);
        let keys = ["acct", "due", "paid", "free", "log", "usage"].map(|part| self.keys.account_part(account, part));
        let mut call = ScriptCall::new(&self.scripts.snapshot, keys.iter());
        call.arg(self.now());
        let (fields, due, paid, free, log, usage): Parts = self.run(&call).await?;
        if fields.is_empty() {
            return Ok(None);
        }
        let own = |name| fields.iter().find(|(field, _)| field == name).map(|(_, bytes)| bytes.as_slice());
        let counters = Counters::parse(own("counters").ok_or_else(|| unreadable("the account's counters"))?)?;
        let checkpoint = checkpoint(own(CHECKPOINT))?;
        let (mut open, mut remembered) = (Vec::new(), Vec::new());
        for (field, record) in fields.iter().filter(|(field, _)| !["counters", CHECKPOINT].contains(&field.as_str())) {
            match Stored::read(record)? {
                Stored::Grant { .. } => {}
                Stored::Hold(hold) if hold.resolved.is_some() => remembered.push(hold),
                Stored::Hold(hold) => {
                    #[expect(clippy::cast_precision_loss, reason = "a time in milliseconds")]
                    let is_due_then = due.iter().any(|(id, at_ms)| id == field && *at_ms == hold.expires_at_ms as f64);
                    if !is_due_then || hold.expires_at_ms < counters.next_due_ms {
                        return Err(StoreError::Corrupt("an open hold is never due".to_owned()));
                    }
                    open.push(hold);
                }
            }
        }
        let charged = remembered.iter().filter(|hold| hold.resolved.as_ref().is_some_and(|resolved| resolved.charged_credits > 0)).count();
        let counted = (counters.open as usize, counters.paid as usize, counters.free as usize);
        if counted != (open.len(), charged, remembered.len() - charged) || (due.len(), paid, free) != counted {
            return Err(StoreError::Corrupt("the account's counts of holds are not those of the holds there are".to_owned()));
        }
        for holds in [&mut open, &mut remembered] {
            holds.sort_by(|a, b| (&a.terms.user_id, &a.terms.request_id).cmp(&(&b.terms.user_id, &b.terms.request_id)));
        }
        Ok(Some(AccountSnapshot { balance: counters.balance, open, remembered, ledger: ledger(&log)?, checkpoint, usage: usages(&usage)? }))
    }
}

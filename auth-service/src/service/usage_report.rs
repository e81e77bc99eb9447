//! `GetUsage`: reads a ledger backwards, page by page, and sums it up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use shared::proto::auth as pb;
use tonic::Request;

use crate::ids::{AccountId, UserId};
use crate::service::accounts::AccountsService;
use crate::service::call::Call;
use crate::service::ledger_page::whose;
use crate::service::service_error::ServiceError;
use crate::service::violations::{Violation, Violations};
use crate::store::Store;
use crate::usage::{Day, Days, Figures, MAX_DAYS, MAX_ENTRIES, UsageSum, WrongDays};

/// Entries that are read at a time: others' operations come in between.
const PAGE_ENTRIES: u32 = 500;

/// Sums in progress. An account has one at a time, and others of it wait: each reads much.
#[derive(Debug, Default)]
pub struct UsageReads(Mutex<HashMap<AccountId, Weak<tokio::sync::Mutex<()>>>>);

impl UsageReads {
    /// The turn of an account. Whoever holds it sums up.
    fn turn_of(&self, account: &AccountId) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = turns.get(account).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        turns.insert(account.clone(), Arc::downgrade(&turn));
        turn
    }
}

impl AccountsService {
    pub(super) async fn answer_get_usage(&self, request: Request<pb::GetUsageRequest>) -> Result<pb::GetUsageResponse, ServiceError> {
        let caller = self.authorizer.reader(Call::of(&request)).await?;
        let pb::GetUsageRequest { first_day, last_day, user_id } = request.into_inner();
        let mut violations = Violations::default();
        let whose = violations.keep(whose(&caller, &user_id));
        let first = violations.keep(day("first_day", &first_day));
        let last = violations.keep(day("last_day", &last_day));
        let ((first, last), whose) = violations.finish(first.zip(last).zip(whose))?;
        let turn = self.usage_reads.turn_of(&caller.account);
        let _turn = turn.lock().await;
        // Behind every entry there is: for the store's clock.
        let now_ms = self.store.oldest_entries(&caller.account, i64::MAX.unsigned_abs(), 1).await?.now_ms;
        let days = Days::asked(first, last, Day::of_ms(now_ms)).map_err(wrong_days)?;
        let sum = sum_up(&*self.store, &caller.account, whose, days, MAX_ENTRIES).await?;
        Ok(pb::GetUsageResponse {
            account_id: caller.account.to_string(),
            first_day: days.first().to_string(),
            last_day: days.last().to_string(),
            complete_from_day: sum.complete_from().to_string(),
            rows: sum.into_rows().map(row).collect(),
        })
    }
}

/// Sums up an account's ledger over these days, of one user's calls or of everybody's. It reads at most so many entries, in whole pages.
///
/// # Errors
/// The store can't be read.
pub async fn sum_up(
    store: &dyn Store,
    account: &AccountId,
    whose: Option<UserId>,
    days: Days,
    most: usize,
) -> Result<UsageSum, ServiceError> {
    let mut sum = UsageSum::over(days).of(whose);
    let (mut read, mut before) = (0, None);
    loop {
        let page = store.ledger_entries(account, before, PAGE_ENTRIES).await?;
        let is_within = sum.add(&page.entries);
        if let Some(folded) = page.checkpoint {
            sum.end_at(&folded);
        }
        // A page that has room was the last one.
        if page.entries.len() < PAGE_ENTRIES as usize || !is_within {
            return Ok(sum);
        }
        read += page.entries.len();
        before = page.entries.last().map(|entry| entry.entry);
        if read >= most {
            if before != Some(1) {
                sum.break_off();
            }
            return Ok(sum);
        }
    }
}

/// A day that may be left out.
fn day(field: &'static str, text: &str) -> Result<Option<Day>, Violation> {
    match text {
        "" => Ok(None),
        text => Day::parse(text).map(Some).ok_or_else(|| Violation::new(field, "must be a day such as 2026-11-29, or empty")),
    }
}

fn wrong_days(wrong: WrongDays) -> ServiceError {
    match wrong {
        WrongDays::Backwards => ServiceError::field("first_day", "must not be after last_day, which is today where it is empty"),
        WrongDays::TooMany => ServiceError::field("first_day", format!("must be at most {MAX_DAYS} days before the end of last_day")),
    }
}

fn row((day, model, figures): (Day, String, Figures)) -> pb::UsageRow {
    let Figures { calls, input_tokens, output_tokens, charged_credits } = figures;
    pb::UsageRow {
        day: day.to_string(),
        model,
        calls: Some(calls),
        input_tokens: Some(input_tokens),
        output_tokens: Some(output_tokens),
        charged_credits: Some(charged_credits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::clock::Clock;
    use crate::store::sqlite::SqliteStore;
    use crate::store::{AuditAction, AuditEvent, GrantRequest, NewUser, StoreLimits};
    use crate::user::{Role, UserName};

    #[tokio::test]
    async fn a_sum_reads_so_many_entries_and_says_so_if_there_are_more() {
        let store = SqliteStore::in_memory(StoreLimits::default(), Clock::Store).unwrap();
        let user_id = UserId::random().unwrap();
        let account = AccountId::from(&user_id);
        let user = NewUser {
            user_id: user_id.clone(),
            user_name: UserName::parse("mario").unwrap(),
            password_hash: String::new(),
            full_name: String::new(),
            email: String::new(),
            role: Role::User,
            starting_credits: 0,
        };
        store.create_user(user, AuditEvent::new(AuditAction::CreateUser)).await.unwrap();
        let grant = async |number: u32| {
            let (request_id, note) = (number.to_string(), String::new());
            let grant = GrantRequest { account: account.clone(), credits: 1, request_id, note, granted_by: user_id.clone() };
            store.grant(grant, AuditEvent::new(AuditAction::GrantCredits)).await.unwrap();
        };
        for number in 0..2 * PAGE_ENTRIES {
            grant(number).await;
        }
        let now_ms = store.oldest_entries(&account, i64::MAX.unsigned_abs(), 1).await.unwrap().now_ms;
        let today = Day::of_ms(now_ms);
        let days = Days::asked(None, None, today).unwrap();
        let whole_from = async |most: u32| sum_up(&store, &account, None, days, most as usize).await.unwrap().complete_from();
        assert_eq!(whole_from(2 * PAGE_ENTRIES).await, days.first(), "all were read, to the first");
        assert_eq!(whole_from(PAGE_ENTRIES).await, today.plus(1));
        grant(2 * PAGE_ENTRIES).await;
        assert_eq!(whole_from(2 * PAGE_ENTRIES).await, today.plus(1), "one more");
        assert_eq!(whole_from(2 * PAGE_ENTRIES + 1).await, days.first());
    }

    #[test]
    fn one_account_sums_up_one_at_a_time_and_another_doesnt_wait_for_it() {
        let reads = UsageReads::default();
        let (one, other) = (AccountId::from(&UserId::random().unwrap()), AccountId::from(&UserId::random().unwrap()));
        let first = reads.turn_of(&one);
        let held = first.try_lock().unwrap();
        assert!(reads.turn_of(&one).try_lock().is_err());
        assert!(reads.turn_of(&other).try_lock().is_ok());
        drop(held);
        assert!(reads.turn_of(&one).try_lock().is_ok());
        drop(first);
        reads.turn_of(&other);
        assert_eq!(reads.0.lock().unwrap().len(), 1, "nothing is kept of those that are done");
    }
}

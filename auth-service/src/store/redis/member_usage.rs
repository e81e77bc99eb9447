//! What the principals of an organization spent in a month of its account, in Redis.

use super::RedisStore;
use super::stored::{month_usage, unreadable};
use crate::ids::{AccountId, UserId};
use crate::month::Month;
use crate::organization::MonthUsage;
use crate::store::StoreError;

/// Usages by the ids of principals, as they are stored.
pub(super) type StoredUsages = Vec<(String, Vec<u8>)>;

impl RedisStore {
    pub(super) async fn read_month_usage(&self, account: &AccountId) -> Result<Vec<(UserId, MonthUsage)>, StoreError> {
        let mut pipeline = ::redis::pipe();
        pipeline.hgetall(self.keys.account_part(account, "usage")).cmd("TIME");
        type Parts = (StoredUsages, (i64, i64));
        let (fields, time): Parts = self.query(&pipeline).await?;
        let month = Month::of_ms(self.time_ms(time));
        Ok(usages(&fields)?.into_iter().map(|(user_id, usage)| (user_id, usage.in_month(month))).collect())
    }
}

/// As it is stored, by id.
pub(super) fn usages(fields: &[(String, Vec<u8>)]) -> Result<Vec<(UserId, MonthUsage)>, StoreError> {
    let read = |(user_id, bytes): &(String, Vec<u8>)| {
        Ok((UserId::parse(user_id).ok_or_else(|| unreadable("whose usage it is"))?, month_usage(bytes)?))
    };
    let mut usages = fields.iter().map(read).collect::<Result<Vec<_>, StoreError>>()?;
    usages.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(usages)
}

//! Lists of audit events in Redis: three streams, each bounded.

use std::collections::HashMap;

use super::RedisStore;
use super::stored::unreadable;
use crate::ids::UserId;
use crate::store::audit_page::{AuditLog, AuditPageInProgress, ReadEvent};
use crate::store::{AuditPage, AuditPlace, AuditPosition, AuditQuery, StoreError, records};

/// A stream's entry: its id, and its fields with their bytes.
type Entry = (String, Vec<(String, Vec<u8>)>);

impl RedisStore {
    pub(super) async fn list_audit_events(&self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        let mut page = AuditPageInProgress::new(query, self.newest_audit_events().await?);
        let page = loop {
            let room = page.room();
            let mut pipeline = ::redis::pipe();
            for log in AuditLog::ALL {
                let AuditPlace(ms, number) = page.bound(log);
                let (command, from) = if page.newest_first() { ("XREVRANGE", "-") } else { ("XRANGE", "+") };
                // One more tells whether something follows.
                let bound = format!("({ms}-{number}");
                pipeline.cmd(command).arg(self.keys.audit(log)).arg(bound).arg(from).arg("COUNT").arg(room + 1);
            }
            let [changes, operators, attempts]: [Vec<Entry>; 3] = self.query(&pipeline).await?;
            let more = page.take([read_all(changes)?, read_all(operators)?, read_all(attempts)?]);
            if !more || page.room() == 0 {
                break page.finish(more);
            }
        };
        self.with_names(page).await
    }

    async fn newest_audit_events(&self) -> Result<AuditPosition, StoreError> {
        let mut pipeline = ::redis::pipe();
        for log in AuditLog::ALL {
            pipeline.cmd("XREVRANGE").arg(self.keys.audit(log)).arg("+").arg("-").arg("COUNT").arg(1);
        }
        let [changes, operators, attempts]: [Vec<Entry>; 3] = self.query(&pipeline).await?;
        let newest = |entries: Vec<Entry>| entries.first().map_or(Ok(AuditPlace::default()), |(id, _)| place(id));
        Ok(AuditPosition::of_each([newest(changes)?, newest(operators)?, newest(attempts)?]))
    }

    /// Adds the names of users of whom only the ids were known.
    async fn with_names(&self, mut page: AuditPage) -> Result<AuditPage, StoreError> {
        let unnamed: Vec<UserId> = page.unnamed().into_iter().collect();
        let users = self.users_of(unnamed.iter()).await?.into_iter().flatten();
        let names: HashMap<UserId, String> = users.map(|user| (user.user_id, user.user_name.to_string())).collect();
        page.name(&names);
        Ok(page)
    }
}

fn place(id: &str) -> Result<AuditPlace, StoreError> {
    let parse = || {
        let (ms, number) = id.split_once('-')?;
        Some(AuditPlace(ms.parse().ok()?, number.parse().ok()?))
    };
    parse().ok_or_else(|| unreadable("the id of an audit event"))
}

fn read_all(entries: Vec<Entry>) -> Result<Vec<ReadEvent>, StoreError> {
    entries.into_iter().map(|(id, fields)| Ok(read(place(&id)?, &fields))).collect()
}

fn read(place: AuditPlace, fields: &[(String, Vec<u8>)]) -> ReadEvent {
    let bytes = fields.iter().find(|(name, _)| name == "e").map(|(_, bytes)| bytes.as_slice()).unwrap_or_default();
    // Redis's own, of which its clock is a part that never goes back.
    let order_ms = i64::try_from(place.0).unwrap_or(i64::MAX);
    let (at_ms, event) = match bytes.split_first_chunk::<8>() {
        #[expect(clippy::cast_possible_truncation, reason = "a time in milliseconds")]
        Some((at_ms, event)) => (f64::from_le_bytes(*at_ms) as i64, records::audit_event(event)),
        None => (order_ms, None),
    };
    ReadEvent { place, order_ms, at_ms, event }
}

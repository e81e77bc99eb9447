//! The audit log, for operators: what was changed, and what failed.

use shared::ledger::MAX_PAGE_ENTRIES;

use crate::client::Client;
use crate::error::Error;
use crate::paged::Paged;
use crate::proto::auth::{AuditEvent, ListAuditEventsRequest, ListAuditEventsResponse};

/// Which events are asked for. The default: all.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Of this user: who did it, or to whom it was done. Empty: all.
    pub user_name: String,
    /// Of this action, such as `disable_user`. Empty: all.
    pub action: String,
}

/// All events that were asked for, newest first.
pub type AuditEvents = Paged<AuditEvent>;

/// What comes after an event, as it comes.
#[derive(Debug, Clone)]
pub struct AuditTail {
    client: Client,
    filter: AuditFilter,
    since: String,
}

impl AuditTail {
    /// What has come since the last call, oldest first: each event once, also when a call in between failed. The flag says that there is
    /// more already.
    pub async fn next(&mut self) -> Result<(Vec<AuditEvent>, bool), Error> {
        let page = self.client.audit_request(&self.filter, MAX_PAGE_ENTRIES, "", &self.since).await?;
        self.since = page.newest_token;
        Ok((page.events, !page.next_page_token.is_empty()))
    }
}

impl Client {
    async fn audit_request(
        &self,
        filter: &AuditFilter,
        page_size: u32,
        page_token: &str,
        since_token: &str,
    ) -> Result<ListAuditEventsResponse, Error> {
        let message = ListAuditEventsRequest {
            page_size,
            page_token: page_token.to_owned(),
            since_token: since_token.to_owned(),
            user_name: filter.user_name.clone(),
            action: filter.action.clone(),
        };
        let answer = self.admin().list_audit_events(self.request(message)).await;
        self.connections.auth.answer(answer, None)
    }

    /// A page of the audit log, newest first: 1 to 500 events (0: 50), from the last page's token (empty: from the newest). It may have
    /// fewer than were asked for though more follow.
    pub async fn audit_page(&self, filter: &AuditFilter, page_size: u32, page_token: &str) -> Result<ListAuditEventsResponse, Error> {
        self.audit_request(filter, page_size, page_token, "").await
    }

    /// All of the audit log, or what is asked for, newest first. `page_size` is how many events are asked for at a time: 1 to 500, 0: 50.
    #[must_use]
    pub fn audit_events(&self, filter: AuditFilter, page_size: u32) -> AuditEvents {
        let (client, page_size) = (self.clone(), page_size.min(MAX_PAGE_ENTRIES));
        Paged::new(move |page_token| {
            let (client, filter) = (client.clone(), filter.clone());
            async move {
                let page = client.audit_page(&filter, page_size, &page_token).await?;
                Ok((page.events, page.next_page_token))
            }
        })
    }

    /// The last events there are, at most so many (1 to 500), oldest first; and what comes after them.
    pub async fn audit_tail(&self, filter: AuditFilter, last: u32) -> Result<(Vec<AuditEvent>, AuditTail), Error> {
        let last = last.clamp(1, MAX_PAGE_ENTRIES);
        let mut page = self.audit_page(&filter, last, "").await?;
        let (since, mut events) = (page.newest_token.clone(), std::mem::take(&mut page.events));
        // Of few events among many, a page has none.
        while events.len() < last as usize && !page.next_page_token.is_empty() {
            page = self.audit_page(&filter, last, &page.next_page_token).await?;
            events.append(&mut page.events);
        }
        events.truncate(last as usize);
        events.reverse();
        Ok((events, AuditTail { client: self.clone(), filter, since }))
    }
}

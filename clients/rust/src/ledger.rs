//! The account's ledger, page by page or entry by entry.

use shared::ledger::MAX_PAGE_ENTRIES;

use crate::client::Client;
use crate::error::Error;
use crate::paged::Paged;
use crate::proto::auth::{LedgerEntry, ListLedgerEntriesRequest, ListLedgerEntriesResponse};

/// All entries of a ledger, newest first.
pub type Ledger = Paged<LedgerEntry>;

impl Client {
    /// A page of the account's ledger, newest first: 1 to 500 entries (0: 50), from the last page's token (empty: from the newest).
    pub async fn ledger_page(&self, page_size: u32, page_token: &str) -> Result<ListLedgerEntriesResponse, Error> {
        self.ledger_page_of("", page_size, page_token).await
    }

    /// The same of one member of an organization, by the id of the user or service account; empty: of all that the caller may see. A page
    /// may have fewer entries than were asked for though more follow.
    pub async fn ledger_page_of(&self, user_id: &str, page_size: u32, page_token: &str) -> Result<ListLedgerEntriesResponse, Error> {
        let message = ListLedgerEntriesRequest { page_size, page_token: page_token.to_owned(), user_id: user_id.to_owned() };
        let answer = self.accounts().list_ledger_entries(self.account_request(message)).await;
        self.connections.auth.answer(answer, None)
    }

    /// All of the account's ledger, newest first. `page_size` is how many entries are asked for at a time: 1 to 500, 0: 50.
    #[must_use]
    pub fn ledger(&self, page_size: u32) -> Ledger {
        self.ledger_of("", page_size)
    }

    /// The same of one member of an organization, as in [`Client::ledger_page_of`].
    #[must_use]
    pub fn ledger_of(&self, user_id: &str, page_size: u32) -> Ledger {
        let (client, user_id, page_size) = (self.clone(), user_id.to_owned(), page_size.min(MAX_PAGE_ENTRIES));
        Paged::new(move |page_token| {
            let (client, user_id) = (client.clone(), user_id.clone());
            async move {
                let page = client.ledger_page_of(&user_id, page_size, &page_token).await?;
                Ok((page.entries, page.next_page_token))
            }
        })
    }
}

//! The account's ledger, page by page or entry by entry.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use shared::ledger::MAX_PAGE_ENTRIES;

use crate::client::Client;
use crate::error::Error;
use crate::proto::auth::{LedgerEntry, ListLedgerEntriesRequest, ListLedgerEntriesResponse};

/// All entries of a ledger, newest first: a stream that asks for the next page when it needs it. It ends after an error.
pub struct Ledger(BoxStream<'static, Result<LedgerEntry, Error>>);

impl Ledger {
    /// The next entry; `None` when there are no more.
    pub async fn next(&mut self) -> Option<Result<LedgerEntry, Error>> {
        self.0.next().await
    }
}

impl Stream for Ledger {
    type Item = Result<LedgerEntry, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

/// Where a walk through the ledger is: entries at hand, and the page after them.
struct Walk {
    client: Client,
    page_size: u32,
    entries: VecDeque<LedgerEntry>,
    next_page: Option<String>,
}

impl Walk {
    async fn next(mut self) -> Result<Option<(LedgerEntry, Self)>, Error> {
        loop {
            if let Some(entry) = self.entries.pop_front() {
                return Ok(Some((entry, self)));
            }
            let Some(page_token) = self.next_page.take() else { return Ok(None) };
            let page = self.client.ledger_page(self.page_size, &page_token).await?;
            self.next_page = Some(page.next_page_token).filter(|token| !token.is_empty());
            self.entries = page.entries.into();
        }
    }
}

impl Client {
    /// A page of the account's ledger, newest first: 1 to 500 entries (0: 50), from the last page's token (empty: from the newest).
    pub async fn ledger_page(&self, page_size: u32, page_token: &str) -> Result<ListLedgerEntriesResponse, Error> {
        let message = ListLedgerEntriesRequest { page_size, page_token: page_token.to_owned() };
        let answer = self.accounts().list_ledger_entries(self.request(message)).await;
        self.connections.auth.answer(answer, None)
    }

    /// All of the account's ledger, newest first. `page_size` is how many entries are asked for at a time: 1 to 500, 0: 50.
    #[must_use]
    pub fn ledger(&self, page_size: u32) -> Ledger {
        let page_size = page_size.min(MAX_PAGE_ENTRIES);
        let walk = Walk { client: self.clone(), page_size, entries: VecDeque::new(), next_page: Some(String::new()) };
        Ledger(stream::try_unfold(walk, Walk::next).boxed())
    }
}

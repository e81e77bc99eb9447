//! Lists of users, for operators.

use shared::ledger::MAX_PAGE_ENTRIES;

use crate::client::Client;
use crate::error::Error;
use crate::paged::Paged;
use crate::proto::auth::{ListUsersRequest, ListUsersResponse, User, UserState};

/// Which users are asked for. The default: all.
#[derive(Debug, Clone, Default)]
pub struct UserFilter {
    /// What their names begin with; empty: all.
    pub name_prefix: String,
    /// In which state; `None`: all.
    pub state: Option<UserState>,
}

/// All users, or those that were asked for, by name.
pub type Users = Paged<User>;

impl Client {
    /// A page of users, by name: 1 to 500 (0: 50), from the last page's token (empty: from the first). It may have fewer than were asked
    /// for though more follow.
    pub async fn users_page(&self, filter: &UserFilter, page_size: u32, page_token: &str) -> Result<ListUsersResponse, Error> {
        let message = ListUsersRequest {
            page_size,
            page_token: page_token.to_owned(),
            name_prefix: filter.name_prefix.clone(),
            state: filter.state.unwrap_or_default().into(),
        };
        let answer = self.admin().list_users(self.request(message)).await;
        self.connections.auth.answer(answer, None)
    }

    /// All users that are asked for, by name. `page_size` is how many are asked for at a time: 1 to 500, 0: 50.
    #[must_use]
    pub fn users(&self, filter: UserFilter, page_size: u32) -> Users {
        let (client, page_size) = (self.clone(), page_size.min(MAX_PAGE_ENTRIES));
        Paged::new(move |page_token| {
            let (client, filter) = (client.clone(), filter.clone());
            async move {
                let page = client.users_page(&filter, page_size, &page_token).await?;
                Ok((page.users, page.next_page_token))
            }
        })
    }
}

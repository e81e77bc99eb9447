//! Organizations and their members. What changes one needs an access token; who may do what, each method says.

use shared::ledger::MAX_PAGE_ENTRIES;

use crate::client::Client;
use crate::error::Error;
use crate::paged::Paged;
use crate::proto::auth::{
    AddMemberRequest, CreateOrganizationRequest, ListAllOrganizationsRequest, ListAllOrganizationsResponse, ListMembersRequest,
    ListOrganizationsRequest, Member, MemberRole, Organization, RemoveMemberRequest, ServiceAccount, SetMemberCapRequest,
    SetMemberRoleRequest,
};

/// Whose cap was set.
#[derive(Debug, Clone, PartialEq)]
pub enum Capped {
    /// A user's, as they are now.
    Member(Member),
    /// A service account's, as it is now.
    ServiceAccount(ServiceAccount),
}

impl Client {
    /// Makes an organization, whose first owner is the caller. The name has 1 to 100 characters. Its account has no credits until an
    /// operator grants it some.
    pub async fn create_organization(&self, name: &str) -> Result<Organization, Error> {
        let message = CreateOrganizationRequest { name: name.to_owned() };
        let answer = self.accounts().create_organization(self.request(message)).await;
        Ok(self.connections.auth.answer(answer, None)?.organization.unwrap_or_default())
    }

    /// The organizations that the caller is a member of, by name: at most 100. [`Client::with_account`] with the `account_id` of one pays
    /// from its credits.
    pub async fn organizations(&self) -> Result<Vec<Organization>, Error> {
        let answer = self.accounts().list_organizations(self.request(ListOrganizationsRequest {})).await;
        Ok(self.connections.auth.answer(answer, None)?.organizations)
    }

    /// A page of all organizations, whoever is a member, in the order of their accounts' ids: 1 to 500 (0: 50) whose names begin with this
    /// (empty: all), from the last page's token (empty: from the first). It may have fewer than were asked for though more follow.
    /// Operators.
    pub async fn all_organizations_page(
        &self,
        name_prefix: &str,
        page_size: u32,
        page_token: &str,
    ) -> Result<ListAllOrganizationsResponse, Error> {
        let (page_token, name_prefix) = (page_token.to_owned(), name_prefix.to_owned());
        let message = ListAllOrganizationsRequest { page_size, page_token, name_prefix };
        let answer = self.admin().list_all_organizations(self.request(message)).await;
        self.connections.auth.answer(answer, None)
    }

    /// All organizations whose names begin with this (empty: all), in the order of their accounts' ids. `page_size` is how many are asked
    /// for at a time: 1 to 500, 0: 50. Operators.
    #[must_use]
    pub fn all_organizations(&self, name_prefix: &str, page_size: u32) -> Paged<Organization> {
        let (client, name_prefix, page_size) = (self.clone(), name_prefix.to_owned(), page_size.min(MAX_PAGE_ENTRIES));
        Paged::new(move |page_token| {
            let (client, name_prefix) = (client.clone(), name_prefix.clone());
            async move {
                let page = client.all_organizations_page(&name_prefix, page_size, &page_token).await?;
                Ok((page.organizations, page.next_page_token))
            }
        })
    }

    /// An organization's members, oldest first. What each may spend and has spent is told to owners, and to the member.
    pub async fn members(&self, account_id: &str) -> Result<Vec<Member>, Error> {
        let message = ListMembersRequest { account_id: account_id.to_owned() };
        let answer = self.accounts().list_members(self.request(message)).await;
        Ok(self.connections.auth.answer(answer, None)?.members)
    }

    /// Makes a user a member. The cap is in credits per calendar month (UTC), 0 to 10^12; `None`: no cap. Owners.
    pub async fn add_member(
        &self,
        account_id: &str,
        user_name: &str,
        role: MemberRole,
        monthly_cap_credits: Option<i64>,
    ) -> Result<Member, Error> {
        let (account_id, user_name) = (account_id.to_owned(), user_name.to_owned());
        let message = AddMemberRequest { account_id, user_name, role: role.into(), monthly_cap_credits };
        let answer = self.accounts().add_member(self.request(message)).await;
        Ok(self.connections.auth.answer(answer, None)?.member.unwrap_or_default())
    }

    /// Ends a membership: the member's keys of this account are revoked, and answers that run end. Owners. The last owner stays.
    pub async fn remove_member(&self, account_id: &str, user_id: &str) -> Result<(), Error> {
        let message = RemoveMemberRequest { account_id: account_id.to_owned(), user_id: user_id.to_owned() };
        let answer = self.accounts().remove_member(self.request(message)).await;
        self.connections.auth.answer(answer, None)?;
        Ok(())
    }

    /// Ends the caller's own membership, as [`Client::remove_member`] does.
    pub async fn leave_organization(&self, account_id: &str) -> Result<(), Error> {
        self.remove_member(account_id, "").await
    }

    /// Makes a member an owner, or an owner a member. Idempotent. Owners. The last owner stays one.
    pub async fn set_member_role(&self, account_id: &str, user_id: &str, role: MemberRole) -> Result<Member, Error> {
        let message = SetMemberRoleRequest { account_id: account_id.to_owned(), user_id: user_id.to_owned(), role: role.into() };
        let answer = self.accounts().set_member_role(self.request(message)).await;
        Ok(self.connections.auth.answer(answer, None)?.member.unwrap_or_default())
    }

    /// Bounds what a member or a service account, by its id, spends from the organization's account in a calendar month (UTC): 0 to 10^12
    /// credits, of which what was spent this month counts. `None`: no cap. Idempotent. Owners.
    pub async fn set_member_cap(&self, account_id: &str, id: &str, monthly_cap_credits: Option<i64>) -> Result<Capped, Error> {
        let message = SetMemberCapRequest { account_id: account_id.to_owned(), user_id: id.to_owned(), monthly_cap_credits };
        let answer = self.accounts().set_member_cap(self.request(message)).await;
        let capped = self.connections.auth.answer(answer, None)?;
        Ok(match capped.service_account {
            Some(service_account) => Capped::ServiceAccount(service_account),
            None => Capped::Member(capped.member.unwrap_or_default()),
        })
    }
}

//! Invitations to organizations: made, listed, withdrawn, and accepted by whoever has the code.

use std::fmt;
use std::time::Duration;

use crate::client::Client;
use crate::error::Error;
use crate::proto::auth::{
    AcceptInvitationRequest, GetInvitationRequest, Invitation, InviteMemberRequest, ListInvitationsRequest, MemberRole, Organization,
    WithdrawInvitationRequest,
};

/// What an invitation is to. The default: a member without a cap, for 7 days.
#[derive(Debug, Clone, Default)]
pub struct InvitationOptions {
    /// What whoever accepts it becomes.
    pub role: MemberRole,
    /// Credits per calendar month (UTC) that they may spend: 0 to 10^12. `None`: no cap.
    pub monthly_cap_credits: Option<i64>,
    /// How long it is good: 1 minute to 30 days. `None`: 7 days.
    pub lifetime: Option<Duration>,
    /// For people: who it is for; at most 200 characters. May be empty.
    pub note: String,
}

/// An invitation that was made just now.
#[derive(Clone)]
pub struct NewInvitation {
    /// To be given to one person; it can't be had again.
    pub code: String,
    /// What the service keeps of it.
    pub invitation: Invitation,
}

impl fmt::Debug for NewInvitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewInvitation").field("invitation", &self.invitation.invitation_id).finish_non_exhaustive()
    }
}

impl Client {
    /// Makes an invitation to an organization. Its code is good once, until the invitation ends, and while the caller may invite. Owners.
    pub async fn invite_member(&self, account_id: &str, options: InvitationOptions) -> Result<NewInvitation, Error> {
        let InvitationOptions { role, monthly_cap_credits, lifetime, note } = options;
        let unusable = |_| Error::Configuration("the lifetime is longer than a duration can be".to_owned());
        let lifetime = lifetime.map(TryInto::try_into).transpose().map_err(unusable)?;
        let message = InviteMemberRequest { account_id: account_id.to_owned(), role: role.into(), monthly_cap_credits, lifetime, note };
        let answer = self.accounts().invite_member(self.request(message)).await;
        let made = self.connections.auth.answer(answer, None)?;
        Ok(NewInvitation { code: made.invitation_code, invitation: made.invitation.unwrap_or_default() })
    }

    /// The organization's open invitations, newest first, without their codes. Owners.
    pub async fn invitations(&self, account_id: &str) -> Result<Vec<Invitation>, Error> {
        let message = ListInvitationsRequest { account_id: account_id.to_owned() };
        let answer = self.accounts().list_invitations(self.request(message)).await;
        Ok(self.connections.auth.answer(answer, None)?.invitations)
    }

    /// Takes an invitation back: its code is good for nothing from then on. Idempotent. Owners.
    pub async fn withdraw_invitation(&self, account_id: &str, invitation_id: &str) -> Result<(), Error> {
        let message = WithdrawInvitationRequest { account_id: account_id.to_owned(), invitation_id: invitation_id.to_owned() };
        let answer = self.accounts().withdraw_invitation(self.request(message)).await;
        self.connections.auth.answer(answer, None)?;
        Ok(())
    }

    /// What an invitation is to, by its code.
    pub async fn invitation(&self, code: &str) -> Result<Invitation, Error> {
        let message = GetInvitationRequest { invitation_code: code.to_owned() };
        let answer = self.accounts().get_invitation(self.request(message)).await;
        Ok(self.connections.auth.answer(answer, None)?.invitation.unwrap_or_default())
    }

    /// Makes the caller a member of the organization whose code it is.
    pub async fn accept_invitation(&self, code: &str) -> Result<Organization, Error> {
        let message = AcceptInvitationRequest { invitation_code: code.to_owned() };
        let answer = self.accounts().accept_invitation(self.request(message)).await;
        Ok(self.connections.auth.answer(answer, None)?.organization.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitations_code_is_not_shown() {
        let invitation = Invitation { invitation_id: "i1".into(), ..Invitation::default() };
        let shown = format!("{:?}", NewInvitation { code: "canary".into(), invitation });
        assert!(shown.contains("i1") && !shown.contains("canary"), "{shown}");
    }
}

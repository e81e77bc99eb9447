//! Who may do what in an organization.

use crate::access::{self, Rows, SessionRights};
use crate::ids::{AccountId, UserId};
use crate::organization::change::OrganizationRefusal;
use crate::organization::{MemberRole, Organization, People, Person};
use crate::store::{CheckRequest, Permission, PresentedCredential, Refusal, Scope};
use crate::user::Role;

/// Who asks, found to be in force.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker<'p> {
    pub(super) id: &'p UserId,
    pub(super) person: &'p Person,
    credential: &'p PresentedCredential,
}

/// As what somebody may do what owners may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Authority {
    Owner,
    /// Of another's organization. It is recorded as what operators do.
    Operator,
}

/// Whose access token it is.
#[must_use]
pub fn asker_of(credential: &PresentedCredential) -> Option<&UserId> {
    match credential {
        PresentedCredential::AccessToken { user_id, session: Some(_), .. } => Some(user_id),
        // What changes an organization is somebody's who is there.
        PresentedCredential::AccessToken { session: None, .. } | PresentedCredential::ApiKey { .. } => None,
    }
}

/// Finds who asks, if their access token is in force.
pub(super) fn asker<'p>(credential: &'p PresentedCredential, people: &'p People, now_ms: i64) -> Result<Asker<'p>, OrganizationRefusal> {
    let unknown = OrganizationRefusal::Credential(Refusal::CredentialUnknown);
    let id = asker_of(credential).ok_or(unknown)?;
    let person = people.get(id).ok_or(unknown)?;
    let asker = Asker { id, person, credential };
    asker.require(&Permission::of(Scope::Account), now_ms)?;
    Ok(asker)
}

impl Asker<'_> {
    /// Requires that the access token is good for this on the user's own account.
    fn require(&self, permission: &Permission, now_ms: i64) -> Result<(), OrganizationRefusal> {
        let request = CheckRequest {
            account: AccountId::from(self.id),
            credential: self.credential.clone(),
            permission: permission.clone(),
            charge: None,
            caller_address: None,
        };
        access::authorize(&request, self.rows(), now_ms).map(|_| ()).map_err(OrganizationRefusal::Credential)
    }

    fn rows(&self) -> Rows {
        let PresentedCredential::AccessToken { session, .. } = self.credential else { return Rows::default() };
        let state = &self.person.state;
        let session = session.as_ref().and_then(|id| state.sessions.iter().find(|one| one.session_id == *id));
        let session = session.map(|session| SessionRights {
            tokens_valid_from_ms: session.tokens_valid_from_ms,
            ends_at_ms: session.refresh_expires_at_ms.min(session.ends_at_ms),
            created_at_ms: session.created_at_ms,
            second_factor_at_ms: session.second_factor_at_ms,
        });
        Rows { session, member: Some(state.member), ..Rows::default() }
    }

    /// Requires an owner, or an operator who has this permission. A stranger isn't told that there is such an organization.
    pub(super) fn in_charge(
        &self,
        organization: &Organization,
        operator: &Permission,
        now_ms: i64,
    ) -> Result<Authority, OrganizationRefusal> {
        let role = organization.role_of(self.id);
        if role == Some(MemberRole::Owner) {
            return Ok(Authority::Owner);
        }
        if self.person.state.member.role == Role::Admin {
            return self.require(operator, now_ms).map(|()| Authority::Operator);
        }
        Err(if role.is_some() { OrganizationRefusal::OwnerRequired } else { OrganizationRefusal::NotFound })
    }
}

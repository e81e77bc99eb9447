//! What users do with invitations to organizations.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use shared::proto::auth as pb;
use tonic::Request;

use crate::ids::{InvitationId, UserId};
use crate::organization::change::{OrganizationAnswer, OrganizationChange, OrganizationRefusal, OrganizationRequest};
use crate::organization::invitation_code::InvitationCode;
use crate::organization::{Invitation, Organization};
use crate::service::accounts::AccountsService;
use crate::service::call::Call;
use crate::service::contract::timestamp;
use crate::service::guesses;
use crate::service::organization_fields::{account_id, cap, invitation_code, invitation_id, life, role};
use crate::service::organizations::{Seen, place, role_of};
use crate::service::service_error::ServiceError;
use crate::service::violations::{Violations, plain_text};
use crate::store::AuditAction;
use crate::user::UserRecord;

const INVALID: OrganizationRefusal = OrganizationRefusal::InvitationInvalid;

impl AccountsService {
    pub(super) async fn answer_invite_member(
        &self,
        request: Request<pb::InviteMemberRequest>,
    ) -> Result<pb::InviteMemberResponse, ServiceError> {
        let call = Call::of(&request);
        let message = request.get_ref();
        let caller = self.authorizer.signed_in(call).await?;
        let mut violations = Violations::default();
        let (account, role) = (violations.keep(account_id(&message.account_id)), violations.keep(role(message.role)));
        let (cap, life) = (violations.keep(cap(message.monthly_cap_credits)), violations.keep(life(message.lifetime.as_ref())));
        let note = violations.keep(plain_text("note", message.note.clone(), 200));
        let ((account, role), (monthly_cap, (life, note))) = violations.finish(account.zip(role).zip(cap.zip(life.zip(note))))?;
        let code = InvitationCode::random(account.clone())?;
        let (invitation_id, code_hash) = (InvitationId::random()?, code.secret_hash());
        let change = OrganizationChange::Invite { invitation_id, code_hash, role, monthly_cap, note, life };
        let inviter = caller.principal.user_id.clone();
        let made = match self.ask_for(call, AuditAction::InviteMember, caller, account.clone(), change).await? {
            OrganizationAnswer::Invited(made) => made,
            _ => return Err(ServiceError::defect("an invitation's answer is none")),
        };
        let organization = self.store.organization(&account).await?.ok_or(ServiceError::Organization(OrganizationRefusal::NotFound))?;
        let inviter = self.user(&inviter).await?;
        let invitation = Some(invitation(&organization, &made, Some(&inviter)));
        Ok(pb::InviteMemberResponse { invitation_code: code.reveal().to_owned(), invitation })
    }

    pub(super) async fn answer_list_invitations(
        &self,
        request: Request<pb::ListInvitationsRequest>,
    ) -> Result<pb::ListInvitationsResponse, ServiceError> {
        let caller = self.authorizer.reader(Call::of(&request)).await?;
        let Seen { organization, in_charge } = self.seen(&caller, &account_id(&request.get_ref().account_id)?).await?;
        if !in_charge {
            return Err(ServiceError::Organization(OrganizationRefusal::OwnerRequired));
        }
        let mut open: Vec<_> = organization.invitations.iter().collect();
        open.sort_by_key(|invitation| Reverse((invitation.created_at_ms, &invitation.invitation_id)));
        let ids: Vec<UserId> = open.iter().map(|invitation| invitation.created_by.clone()).collect();
        let users: BTreeMap<UserId, UserRecord> =
            self.store.users_by_id(&ids).await?.into_iter().flatten().map(|user| (user.user_id.clone(), user)).collect();
        let invitations = open.into_iter().map(|one| invitation(&organization, one, users.get(&one.created_by))).collect();
        Ok(pb::ListInvitationsResponse { invitations })
    }

    pub(super) async fn answer_withdraw_invitation(
        &self,
        request: Request<pb::WithdrawInvitationRequest>,
    ) -> Result<pb::WithdrawInvitationResponse, ServiceError> {
        let call = Call::of(&request);
        let message = request.get_ref();
        let caller = self.authorizer.signed_in(call).await?;
        let mut violations = Violations::default();
        let account = violations.keep(account_id(&message.account_id));
        let invitation_id = violations.keep(invitation_id(&message.invitation_id));
        let (account, invitation_id) = violations.finish(account.zip(invitation_id))?;
        self.ask_for(call, AuditAction::WithdrawInvitation, caller, account, OrganizationChange::Withdraw { invitation_id }).await?;
        Ok(pb::WithdrawInvitationResponse {})
    }

    pub(super) async fn answer_get_invitation(
        &self,
        request: Request<pb::GetInvitationRequest>,
    ) -> Result<pb::GetInvitationResponse, ServiceError> {
        let call = Call::of(&request);
        let caller = self.authorizer.reader(call).await?;
        let code = invitation_code(&request.get_ref().invitation_code)?;
        let looking = async {
            self.require_invitation(&code).await?;
            let organization = self.store.organization(code.account()).await?.ok_or(INVALID)?;
            let hash = code.secret_hash();
            let found = organization.invitations.iter().find(|invitation| invitation.code_hash == hash).ok_or(INVALID)?;
            let inviter = self.store.user_by_id(&found.created_by).await?;
            if !inviter.as_ref().is_some_and(|inviter| organization.may_invite(inviter)) {
                return Err(INVALID.into());
            }
            Ok(pb::GetInvitationResponse { invitation: Some(invitation(&organization, found, inviter.as_ref())) })
        };
        guesses::counted(&self.guesses.invitation_codes, call, &caller.principal.user_id, code.reveal(), looking).await
    }

    pub(super) async fn answer_accept_invitation(
        &self,
        request: Request<pb::AcceptInvitationRequest>,
    ) -> Result<pb::AcceptInvitationResponse, ServiceError> {
        let call = Call::of(&request);
        let caller = self.authorizer.signed_in(call).await?;
        let code = invitation_code(&request.get_ref().invitation_code)?;
        let (account, user_id) = (code.account().clone(), caller.principal.user_id.clone());
        call.know(|event| event.to_object(&account));
        let accepting = async {
            self.require_invitation(&code).await?;
            let change = OrganizationChange::Accept { code_hash: code.secret_hash() };
            place(self.ask_for(call, AuditAction::AcceptInvitation, caller, account.clone(), change).await?)
        };
        guesses::counted(&self.guesses.invitation_codes, call, &user_id, code.reveal(), accepting).await?;
        Ok(pb::AcceptInvitationResponse { organization: Some(self.own_organization(&account, &user_id).await?) })
    }

    /// Refuses a code that no invitation has, before anything else is read for it. Whether there is such an organization, it doesn't tell.
    async fn require_invitation(&self, code: &InvitationCode) -> Result<(), ServiceError> {
        if self.store.has_invitation(code.account(), &code.secret_hash()).await? { Ok(()) } else { Err(INVALID.into()) }
    }

    /// Withdraws the invitation whose code somebody shows, whoever it is; whether there was one.
    pub(super) async fn withdraw_shown(&self, call: Call<'_>, shown: &InvitationCode) -> Result<bool, ServiceError> {
        if !self.store.has_invitation(shown.account(), &shown.secret_hash()).await? {
            return Ok(false);
        }
        let change = OrganizationChange::WithdrawShown { code_hash: shown.secret_hash() };
        let request = OrganizationRequest { account: shown.account().clone(), asked_by: None, operator: self.operators(), change };
        match self.store.change_organization(request, call.event(AuditAction::RevokeCredential)).await? {
            OrganizationAnswer::Withdrawn(withdrawn) => Ok(withdrawn.is_some()),
            OrganizationAnswer::Refused(OrganizationRefusal::NotFound) => Ok(false),
            OrganizationAnswer::Refused(refusal) => Err(refusal.into()),
            OrganizationAnswer::Invited(_) | OrganizationAnswer::Place { .. } => Err(ServiceError::defect("an answer about no invitation")),
        }
    }
}

/// An invitation, without its code.
fn invitation(organization: &Organization, made: &Invitation, inviter: Option<&UserRecord>) -> pb::Invitation {
    pb::Invitation {
        invitation_id: made.invitation_id.to_string(),
        account_id: organization.account.to_string(),
        organization_name: organization.record.name.clone(),
        role: role_of(made.role).into(),
        monthly_cap_credits: made.monthly_cap,
        note: made.note.clone(),
        created_by: made.created_by.to_string(),
        created_by_name: inviter.map(|inviter| inviter.user_name.to_string()).unwrap_or_default(),
        created_at: Some(timestamp(made.created_at_ms)),
        expires_at: Some(timestamp(made.ends_at_ms)),
    }
}

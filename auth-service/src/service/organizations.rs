//! What users do with organizations, their members and their service accounts. What they do with invitations is in `invitations.rs`.

use std::collections::BTreeMap;

use shared::proto::auth as pb;
use tonic::Request;

use crate::ids::{AccountId, UserId};
use crate::organization::change::{OrganizationAnswer, OrganizationChange, OrganizationRefusal, OrganizationRequest};
use crate::organization::creation::NewOrganization;
use crate::organization::{MemberRole, Membership, MonthUsage, Organization, OrganizationRecord, Principal};
use crate::service::accounts::AccountsService;
use crate::service::authorizer::Caller;
use crate::service::call::Call;
use crate::service::contract::timestamp;
use crate::service::guesses;
use crate::service::organization_fields::{account_id, cap, name, place_named, required_role, role};
use crate::service::service_error::ServiceError;
use crate::service::user_fields::user_name;
use crate::service::violations::Violations;
use crate::store::{AuditAction, Permission, Scope};
use crate::user::{Role, UserRecord};

/// An organization that somebody may look at.
pub(super) struct Seen {
    pub(super) organization: Organization,
    /// Whether they see what all have spent, and invitations.
    pub(super) in_charge: bool,
}

/// What principals spent this month, what they hold included.
type Spent = BTreeMap<UserId, i64>;

impl AccountsService {
    pub(super) async fn answer_create_organization(
        &self,
        request: Request<pb::CreateOrganizationRequest>,
    ) -> Result<pb::CreateOrganizationResponse, ServiceError> {
        let call = Call::of(&request);
        let caller = self.authorizer.signed_in(call).await?;
        let event = call.event(AuditAction::CreateOrganization).by(&caller.principal);
        let new = NewOrganization { account: AccountId::random()?, name: name(&request.get_ref().name)? };
        let account = new.account.clone();
        place(self.store.create_organization(new, &caller.credential, event).await?)?;
        tracing::info!(
            target: "audit", action = "create_organization", actor = %caller.principal.user_id, subject = %account,
            "an organization was made"
        );
        Ok(pb::CreateOrganizationResponse { organization: Some(self.own_organization(&account, &caller.principal.user_id).await?) })
    }

    pub(super) async fn answer_list_organizations(
        &self,
        request: Request<pb::ListOrganizationsRequest>,
    ) -> Result<pb::ListOrganizationsResponse, ServiceError> {
        let caller = self.authorizer.reader(Call::of(&request)).await?;
        let user_id = &caller.principal.user_id;
        let mut places = self.store.organizations_of(user_id).await?;
        places.retain(|place| is_told_of(&caller, &place.account) && matches!(place.place.principal, Principal::User(_)));
        places.sort_by_cached_key(|place| (place.record.name.to_lowercase(), place.account.clone()));
        let users = self.store.users_by_id(std::slice::from_ref(user_id)).await?;
        let user = users.into_iter().next().flatten();
        let mut organizations = Vec::with_capacity(places.len());
        for place in places {
            let spent = self.spent(&place.account).await?;
            let me = member(user_id, &place.place, user.as_ref(), Some(&spent), false);
            organizations.push(organization(&place.account, &place.record, me));
        }
        Ok(pb::ListOrganizationsResponse { organizations })
    }

    pub(super) async fn answer_add_member(&self, request: Request<pb::AddMemberRequest>) -> Result<pb::AddMemberResponse, ServiceError> {
        let call = Call::of(&request);
        let message = request.get_ref();
        let caller = self.authorizer.signed_in(call).await?;
        let mut violations = Violations::default();
        let (account, name) = (violations.keep(account_id(&message.account_id)), violations.keep(user_name(&message.user_name)));
        let (role, cap) = (violations.keep(role(message.role)), violations.keep(cap(message.monthly_cap_credits)));
        let ((account, name), (role, monthly_cap)) = violations.finish(account.zip(name).zip(role.zip(cap)))?;
        call.know(|event| event.to_object(&account));
        let (asker, is_operator, guess) = (caller.principal.user_id.clone(), caller.principal.role == Role::Admin, name.to_string());
        let adding = async {
            // Only for who may add members, it is looked whether there is such a user: nobody else learns it, by the time it takes either.
            let found = if self.is_in_charge(&caller, &account).await? { self.store.user_by_name(&name).await? } else { None };
            let user = found.map_or_else(nobody, |user| Ok(user.user_id))?;
            let change = OrganizationChange::AddMember { user, role, monthly_cap };
            self.change_member(call, AuditAction::AddMember, caller, account, change).await
        };
        // Operators have the list of all users.
        let member =
            if is_operator { adding.await } else { guesses::counted(&self.guesses.user_names, call, &asker, &guess, adding).await };
        Ok(pb::AddMemberResponse { member: Some(member?) })
    }

    pub(super) async fn answer_list_members(
        &self,
        request: Request<pb::ListMembersRequest>,
    ) -> Result<pb::ListMembersResponse, ServiceError> {
        let caller = self.authorizer.reader(Call::of(&request)).await?;
        let Seen { organization, in_charge } = self.seen(&caller, &account_id(&request.get_ref().account_id)?).await?;
        let spent = self.spent(&organization.account).await?;
        let mut places: Vec<_> = organization.places.iter().filter(|(_, place)| matches!(place.principal, Principal::User(_))).collect();
        places.sort_by_key(|(id, place)| (place.added_at_ms, *id));
        let ids: Vec<UserId> = places.iter().map(|(id, _)| (*id).clone()).collect();
        let users = self.store.users_by_id(&ids).await?;
        let one = |((id, place), user): ((&UserId, &Membership), Option<UserRecord>)| {
            let spent = (in_charge || *id == caller.principal.user_id).then_some(&spent);
            member(id, place, user.as_ref(), spent, in_charge)
        };
        Ok(pb::ListMembersResponse { members: places.into_iter().zip(users).filter_map(one).collect() })
    }

    pub(super) async fn answer_remove_member(
        &self,
        request: Request<pb::RemoveMemberRequest>,
    ) -> Result<pb::RemoveMemberResponse, ServiceError> {
        let call = Call::of(&request);
        let message = request.get_ref();
        let caller = self.authorizer.signed_in(call).await?;
        let mut violations = Violations::default();
        let user_id = if message.user_id.is_empty() { caller.principal.user_id.as_str() } else { &message.user_id };
        let named = place_named(&mut violations, &message.account_id, ("user_id", user_id));
        let (account, user) = violations.finish(named)?;
        self.change(call, AuditAction::RemoveMember, caller, account, OrganizationChange::RemoveMember { user }).await?;
        Ok(pb::RemoveMemberResponse {})
    }

    pub(super) async fn answer_set_member_role(
        &self,
        request: Request<pb::SetMemberRoleRequest>,
    ) -> Result<pb::SetMemberRoleResponse, ServiceError> {
        let call = Call::of(&request);
        let message = request.get_ref();
        let caller = self.authorizer.signed_in(call).await?;
        let mut violations = Violations::default();
        let named = place_named(&mut violations, &message.account_id, ("user_id", &message.user_id));
        let role = violations.keep(required_role(message.role));
        let ((account, user), role) = violations.finish(named.zip(role))?;
        let change = OrganizationChange::SetRole { user, role };
        Ok(pb::SetMemberRoleResponse { member: Some(self.change_member(call, AuditAction::SetMemberRole, caller, account, change).await?) })
    }

    pub(super) async fn answer_set_member_cap(
        &self,
        request: Request<pb::SetMemberCapRequest>,
    ) -> Result<pb::SetMemberCapResponse, ServiceError> {
        let call = Call::of(&request);
        let message = request.get_ref();
        let caller = self.authorizer.signed_in(call).await?;
        let mut violations = Violations::default();
        let named = place_named(&mut violations, &message.account_id, ("user_id", &message.user_id));
        let cap = violations.keep(cap(message.monthly_cap_credits));
        let ((account, principal), monthly_cap) = violations.finish(named.zip(cap))?;
        let change = OrganizationChange::SetCap { principal, monthly_cap };
        let (id, place, user) = self.change(call, AuditAction::SetMemberCap, caller, account.clone(), change).await?;
        let place = place.ok_or(ServiceError::Organization(OrganizationRefusal::MemberNotFound))?;
        let spent = self.spent(&account).await?;
        Ok(pb::SetMemberCapResponse {
            member: member(&id, &place, user.as_ref(), Some(&spent), true),
            service_account: service_account(&account, &id, &place, Some(&spent)),
        })
    }

    pub(super) async fn answer_create_service_account(
        &self,
        request: Request<pb::CreateServiceAccountRequest>,
    ) -> Result<pb::CreateServiceAccountResponse, ServiceError> {
        let call = Call::of(&request);
        let message = request.get_ref();
        let caller = self.authorizer.signed_in(call).await?;
        let mut violations = Violations::default();
        let (account, name) = (violations.keep(account_id(&message.account_id)), violations.keep(name(&message.name)));
        let cap = violations.keep(cap(message.monthly_cap_credits));
        let ((account, name), monthly_cap) = violations.finish(account.zip(name).zip(cap))?;
        let change = OrganizationChange::CreateServiceAccount { id: UserId::random()?, name, monthly_cap };
        let (id, place, _) = self.change(call, AuditAction::CreateServiceAccount, caller, account.clone(), change).await?;
        let made = place.and_then(|place| service_account(&account, &id, &place, Some(&Spent::new())));
        Ok(pb::CreateServiceAccountResponse { service_account: made })
    }

    pub(super) async fn answer_list_service_accounts(
        &self,
        request: Request<pb::ListServiceAccountsRequest>,
    ) -> Result<pb::ListServiceAccountsResponse, ServiceError> {
        let caller = self.authorizer.reader(Call::of(&request)).await?;
        let Seen { organization, in_charge } = self.seen(&caller, &account_id(&request.get_ref().account_id)?).await?;
        let spent = self.spent(&organization.account).await?;
        let mut places: Vec<_> = organization.places.iter().collect();
        places.sort_by_key(|(id, place)| (place.added_at_ms, *id));
        let one = |(id, place): (&UserId, &Membership)| {
            let spent = (in_charge || *id == caller.principal.user_id).then_some(&spent);
            service_account(&organization.account, id, place, spent)
        };
        Ok(pb::ListServiceAccountsResponse { service_accounts: places.into_iter().filter_map(one).collect() })
    }

    pub(super) async fn answer_remove_service_account(
        &self,
        request: Request<pb::RemoveServiceAccountRequest>,
    ) -> Result<pb::RemoveServiceAccountResponse, ServiceError> {
        let call = Call::of(&request);
        let message = request.get_ref();
        let caller = self.authorizer.signed_in(call).await?;
        let mut violations = Violations::default();
        let named = place_named(&mut violations, &message.account_id, ("service_account_id", &message.service_account_id));
        let (account, id) = violations.finish(named)?;
        self.change(call, AuditAction::RemoveServiceAccount, caller, account, OrganizationChange::RemoveServiceAccount { id }).await?;
        Ok(pb::RemoveServiceAccountResponse {})
    }

    /// The organization and the service account of a caller on an account that isn't a user's own.
    pub(super) async fn place_of(
        &self,
        Caller { principal, account, .. }: &Caller,
    ) -> Result<(Option<pb::Organization>, Option<pb::ServiceAccount>), ServiceError> {
        if account.is_own_of(&principal.user_id) {
            return Ok((None, None));
        }
        let Some(found) = self.store.organization(account).await? else { return Ok((None, None)) };
        let Some(place) = found.places.get(&principal.user_id) else { return Ok((None, None)) };
        let spent = self.spent(account).await?;
        let user = self.store.user_by_id(&principal.user_id).await?;
        let me = member(&principal.user_id, place, user.as_ref(), Some(&spent), false);
        let robot = service_account(account, &principal.user_id, place, Some(&spent));
        Ok((Some(organization(account, &found.record, me)), robot))
    }

    /// An organization with the place of a user who is a member.
    pub(super) async fn own_organization(&self, account: &AccountId, user_id: &UserId) -> Result<pb::Organization, ServiceError> {
        let found = self.store.organization(account).await?.ok_or(ServiceError::Organization(OrganizationRefusal::NotFound))?;
        let (spent, user) = (self.spent(account).await?, self.user(user_id).await?);
        // Somebody may have ended the membership since.
        let me = found.places.get(user_id).and_then(|place| member(user_id, place, Some(&user), Some(&spent), false));
        Ok(organization(account, &found.record, me))
    }

    /// The organization, if the caller may look at it: a member, a service account of it, or an operator who has signed in. To others,
    /// there is none.
    pub(super) async fn seen(&self, caller: &Caller, account: &AccountId) -> Result<Seen, ServiceError> {
        let found = if is_told_of(caller, account) { self.store.organization(account).await? } else { None };
        let organization = found.ok_or(ServiceError::Organization(OrganizationRefusal::NotFound))?;
        let principal = &caller.principal;
        let is_operator = principal.role == Role::Admin && principal.session_id.is_some();
        if !organization.places.contains_key(&principal.user_id) && !is_operator {
            return Err(ServiceError::Organization(OrganizationRefusal::NotFound));
        }
        let in_charge = is_operator || organization.role_of(&principal.user_id) == Some(MemberRole::Owner);
        Ok(Seen { organization, in_charge })
    }

    /// Whether the caller may change the organization: an owner, or an operator.
    async fn is_in_charge(&self, caller: &Caller, account: &AccountId) -> Result<bool, ServiceError> {
        match self.seen(caller, account).await {
            Ok(Seen { in_charge, .. }) => Ok(in_charge),
            Err(ServiceError::Organization(OrganizationRefusal::NotFound)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn spent(&self, account: &AccountId) -> Result<Spent, ServiceError> {
        let usage = self.store.month_usage(account).await?;
        Ok(usage.into_iter().map(|(id, MonthUsage { spent, held, .. })| (id, spent.saturating_add(held))).collect())
    }

    async fn change_member(
        &self,
        call: Call<'_>,
        action: AuditAction,
        caller: Caller,
        account: AccountId,
        change: OrganizationChange,
    ) -> Result<pb::Member, ServiceError> {
        let (id, place, user) = self.change(call, action, caller, account.clone(), change).await?;
        let place = place.ok_or(ServiceError::Organization(OrganizationRefusal::MemberNotFound))?;
        let spent = self.spent(&account).await?;
        member(&id, &place, user.as_ref(), Some(&spent), true).ok_or(ServiceError::Organization(OrganizationRefusal::MemberNotFound))
    }

    /// Has the store change an organization for who calls.
    async fn change(
        &self,
        call: Call<'_>,
        action: AuditAction,
        caller: Caller,
        account: AccountId,
        change: OrganizationChange,
    ) -> Result<(UserId, Option<Membership>, Option<UserRecord>), ServiceError> {
        place(self.ask_for(call, action, caller, account, change).await?)
    }

    /// The same, whatever is answered.
    pub(super) async fn ask_for(
        &self,
        call: Call<'_>,
        action: AuditAction,
        caller: Caller,
        account: AccountId,
        change: OrganizationChange,
    ) -> Result<OrganizationAnswer, ServiceError> {
        let event = call.event(action).by(&caller.principal);
        call.know(|event| event.to_object(&account));
        let asked_by = Some(caller.credential);
        let request = OrganizationRequest { account: account.clone(), asked_by, operator: self.operators(), change };
        let answer = self.store.change_organization(request, event).await?;
        if let OrganizationAnswer::Refused(refusal) = answer {
            return Err(refusal.into());
        }
        let (action, actor) = (action.name(), &caller.principal.user_id);
        tracing::info!(target: "audit", action, %actor, subject = %account, "an organization was changed");
        Ok(answer)
    }

    /// What an operator's access token must be good for, to change an organization that isn't their own.
    pub(super) fn operators(&self) -> Permission {
        Permission { admin: true, step_up: self.authorizer.require_admin_totp, ..Permission::of(Scope::Account) }
    }
}

/// Whether what a caller shows is good for this account: a key of one organization tells nothing of another.
fn is_told_of(Caller { principal, account, .. }: &Caller, asked: &AccountId) -> bool {
    principal.key_id.is_none() || account.is_own_of(&principal.user_id) || account == asked
}

/// Nobody's id.
fn nobody() -> Result<UserId, ServiceError> {
    UserId::parse("0000000000000000").ok_or_else(|| ServiceError::defect("nobody's id"))
}

/// The place that an answer is about.
pub(super) fn place(answer: OrganizationAnswer) -> Result<(UserId, Option<Membership>, Option<UserRecord>), ServiceError> {
    match answer {
        OrganizationAnswer::Place { id, place, user } => Ok((id, place, user.map(|user| *user))),
        OrganizationAnswer::Refused(refusal) => Err(refusal.into()),
        OrganizationAnswer::Invited(_) | OrganizationAnswer::Withdrawn(_) => Err(ServiceError::defect("an answer about no place")),
    }
}

/// An organization, with the place of whom it is told.
pub(super) fn organization(account: &AccountId, record: &OrganizationRecord, me: Option<pb::Member>) -> pb::Organization {
    let OrganizationRecord { name, created_at_ms, .. } = record.clone();
    pb::Organization { account_id: account.to_string(), name, created_at: Some(timestamp(created_at_ms)), me }
}

/// A role, as the contract says it.
pub(super) fn role_of(role: MemberRole) -> pb::MemberRole {
    match role {
        MemberRole::Member => pb::MemberRole::Member,
        MemberRole::Owner => pb::MemberRole::Owner,
    }
}

/// A user's place; `None`: it is a service account's. `spent`: who may see what was spent, sees the cap too.
fn member(id: &UserId, place: &Membership, user: Option<&UserRecord>, spent: Option<&Spent>, in_charge: bool) -> Option<pb::Member> {
    let Principal::User(role) = place.principal else { return None };
    Some(pb::Member {
        user_id: id.to_string(),
        user_name: user.map(|user| user.user_name.to_string()).unwrap_or_default(),
        role: role_of(role).into(),
        added_at: Some(timestamp(place.added_at_ms)),
        monthly_cap_credits: spent.and(place.monthly_cap),
        spent_this_month_credits: spent.map(|spent| spent.get(id).copied().unwrap_or_default()),
        disabled: in_charge && user.is_some_and(|user| user.disabled),
    })
}

/// A service account; `None`: it is a user's place.
fn service_account(account: &AccountId, id: &UserId, place: &Membership, spent: Option<&Spent>) -> Option<pb::ServiceAccount> {
    let Principal::ServiceAccount { name, created_by } = &place.principal else { return None };
    Some(pb::ServiceAccount {
        service_account_id: id.to_string(),
        name: name.clone(),
        created_at: Some(timestamp(place.added_at_ms)),
        created_by: created_by.to_string(),
        monthly_cap_credits: spent.and(place.monthly_cap),
        spent_this_month_credits: spent.map(|spent| spent.get(id).copied().unwrap_or_default()),
        account_id: account.to_string(),
    })
}

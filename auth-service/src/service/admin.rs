//! The Admin service: what operators do. Every action is logged with the target `audit`.

use std::sync::Arc;

use shared::ledger::{self, MAX_CREDITS};
use shared::proto::auth as pb;
use shared::proto::auth::admin_server::Admin;
use shared::request_id::{REQUEST_ID_RULE, is_request_id};
use tonic::{Request, Response, Status};

use crate::ids::{AccountId, UserId};
use crate::one_time_password;
use crate::organization::change::OrganizationRefusal;
use crate::password::{NewPassword, Owner, PasswordHashing};
use crate::service::audit_list::{self, AuditFields};
use crate::service::audit_trail::{AuditTrail, recorded};
use crate::service::authorizer::Authorizer;
use crate::service::call::Call;
use crate::service::contract;
use crate::service::not_built::not_built;
use crate::service::organization_fields::account_id;
use crate::service::organization_list;
use crate::service::service_error::ServiceError;
use crate::service::user_fields::{UserFields, user_name};
use crate::service::user_list;
use crate::service::violations::{Violation, Violations, plain_text};
use crate::store::{AuditAction, AuditEvent, GrantAnswer, GrantRequest, Store, UserChange, UserCreation};
use crate::user::{Role, UserName, UserRecord};
use crate::user_state::NewState;

/// What is said of an action that was a repetition.
const NO_CHANGE: &str = "no change";

/// The Admin service.
#[derive(Debug)]
pub struct AdminService {
    /// Lets operators in.
    pub authorizer: Authorizer,
    /// Users, and their credits.
    pub store: Arc<dyn Store>,
    /// Hashes passwords.
    pub passwords: Arc<PasswordHashing>,
    /// Credits of a new user, unless said otherwise.
    pub starting_credits: i64,
    /// Records what fails.
    pub trail: Arc<AuditTrail>,
}

impl AdminService {
    async fn answer_create_user(&self, request: Request<pb::CreateUserRequest>) -> Result<pb::CreateUserResponse, ServiceError> {
        let call = Call::of(&request);
        let actor = self.authorizer.operator(call).await?;
        let event = call.event(AuditAction::CreateUser).by(&actor);
        let request = request.into_inner();
        let mut violations = Violations::default();
        let role = violations.keep(match request.role() {
            pb::Role::Unspecified if request.role != 0 => Err(Violation::new("role", "must be ROLE_USER or ROLE_ADMIN")),
            pb::Role::Unspecified | pb::Role::User => Ok(Role::User),
            pb::Role::Admin => Ok(Role::Admin),
        });
        let starting_credits = request.starting_credits.unwrap_or(self.starting_credits);
        violations.require((0..=MAX_CREDITS).contains(&starting_credits), "starting_credits", || "must be from 0 to 10^12".to_owned());
        let fields = violations.keep_all(UserFields::parse(&request.user_name, &request.password, request.full_name, request.email));
        let (fields, role) = violations.finish(fields.zip(role))?;
        let password_hash = self.passwords.hash(fields.password.clone()).await?;
        let user = fields.into_new_user(password_hash, role, starting_credits)?;
        let detail = format!("{}, {}", role_name(role), ledger::credits(starting_credits));
        let event = AuditEvent { detail, ..event.to_user(&user.user_id, &user.user_name) };
        match self.store.create_user(user, event).await? {
            UserCreation::Created(user) => {
                tracing::info!(
                    target: "audit", action = "create_user", actor = %actor.user_id, subject = %user.user_id, ?role, starting_credits,
                    "a user was made"
                );
                Ok(pb::CreateUserResponse { user: Some(contract::user(user)), available_credits: Some(starting_credits) })
            }
            UserCreation::NameTaken => Err(ServiceError::UserNameTaken),
            UserCreation::NameInProgress { retry_after } => Err(ServiceError::UserNameInProgress { retry_after }),
        }
    }

    /// Disables, enables, locks or unlocks a user.
    async fn change_state(&self, call: Call<'_>, name: &str, new: NewState, reason: String) -> Result<pb::User, ServiceError> {
        let actor = self.authorizer.operator(call).await?;
        let mut violations = Violations::default();
        let (name, reason) = (violations.keep(user_name(name)), violations.keep(plain_text("reason", reason, 200)));
        let (name, reason) = violations.finish(name.zip(reason))?;
        let user = self.find(&name).await?;
        call.know(|event| event.to_user(&user.user_id, &user.user_name));
        let event = AuditEvent { detail: reason.clone(), ..call.event(action(new)).by(&actor).to_user(&user.user_id, &user.user_name) };
        let change = match new {
            NewState::Disabled(disabled) => self.store.set_disabled(&user.user_id, disabled, &reason, event.clone()).await?,
            NewState::Locked(locked) => self.store.set_locked(&user.user_id, locked, &reason, event.clone()).await?,
        };
        self.changed(event, change).await
    }

    /// The answer to an operator, once a user was changed.
    async fn changed(&self, event: AuditEvent, change: Option<UserChange>) -> Result<pb::User, ServiceError> {
        let UserChange { user, changed, refused } = change.ok_or(ServiceError::UserNotFound)?;
        if let Some(refusal) = refused {
            return Err(ServiceError::Store(refusal));
        }
        tell(&event);
        if !changed {
            // What was so before, the store hasn't recorded.
            self.trail.record(AuditEvent { detail: NO_CHANGE.to_owned(), ..event }).await;
        }
        Ok(contract::user_for_operators(user))
    }

    async fn answer_disable_user(&self, request: Request<pb::DisableUserRequest>) -> Result<pb::DisableUserResponse, ServiceError> {
        let pb::DisableUserRequest { user_name, reason } = request.get_ref().clone();
        let user = self.change_state(Call::of(&request), &user_name, NewState::Disabled(true), reason).await?;
        Ok(pb::DisableUserResponse { user: Some(user) })
    }

    async fn answer_enable_user(&self, request: Request<pb::EnableUserRequest>) -> Result<pb::EnableUserResponse, ServiceError> {
        let name = &request.get_ref().user_name;
        let user = self.change_state(Call::of(&request), name, NewState::Disabled(false), String::new()).await?;
        Ok(pb::EnableUserResponse { user: Some(user) })
    }

    async fn answer_lock_user(&self, request: Request<pb::LockUserRequest>) -> Result<pb::LockUserResponse, ServiceError> {
        let pb::LockUserRequest { user_name, reason } = request.get_ref().clone();
        let user = self.change_state(Call::of(&request), &user_name, NewState::Locked(true), reason).await?;
        Ok(pb::LockUserResponse { user: Some(user) })
    }

    async fn answer_unlock_user(&self, request: Request<pb::UnlockUserRequest>) -> Result<pb::UnlockUserResponse, ServiceError> {
        let name = &request.get_ref().user_name;
        let user = self.change_state(Call::of(&request), name, NewState::Locked(false), String::new()).await?;
        Ok(pb::UnlockUserResponse { user: Some(user) })
    }

    async fn answer_reset_password(&self, request: Request<pb::ResetPasswordRequest>) -> Result<pb::ResetPasswordResponse, ServiceError> {
        let call = Call::of(&request);
        let actor = self.authorizer.operator(call).await?;
        let user = self.find(&user_name(&request.get_ref().user_name)?).await?;
        call.know(|event| event.to_user(&user.user_id, &user.user_name));
        let event = call.event(AuditAction::ResetPassword).by(&actor).to_user(&user.user_id, &user.user_name);
        let one_time_password = one_time_password::draw()?;
        let password = NewPassword::parse(&one_time_password, &Owner::default()).map_err(ServiceError::defect)?;
        let hash = self.passwords.hash(password).await?;
        let user = self.store.reset_password(&user.user_id, &hash, event.clone()).await?.ok_or(ServiceError::UserNotFound)?;
        tell(&event);
        let expires_at = user.reset_ends_at_ms.map(contract::timestamp);
        // The password is given in any case.
        let linked_identities = self.store.identities(&user.user_id).await.map_or(0, |identities| identities.len());
        let linked_identities = u32::try_from(linked_identities).unwrap_or(u32::MAX);
        let user = Some(contract::user_for_operators(user));
        Ok(pb::ResetPasswordResponse { one_time_password, expires_at, user, linked_identities })
    }

    async fn answer_reset_second_factor(
        &self,
        request: Request<pb::ResetSecondFactorRequest>,
    ) -> Result<pb::ResetSecondFactorResponse, ServiceError> {
        let call = Call::of(&request);
        let actor = self.authorizer.operator(call).await?;
        let user = self.find(&user_name(&request.get_ref().user_name)?).await?;
        call.know(|event| event.to_user(&user.user_id, &user.user_name));
        let event = call.event(AuditAction::ResetSecondFactor).by(&actor).to_user(&user.user_id, &user.user_name);
        let change = self.store.reset_second_factor(&user.user_id, event.clone()).await?;
        let user = self.changed(event, change).await?;
        Ok(pb::ResetSecondFactorResponse { user: Some(user) })
    }

    async fn answer_grant_credits(&self, request: Request<pb::GrantCreditsRequest>) -> Result<pb::GrantCreditsResponse, ServiceError> {
        let call = Call::of(&request);
        let actor = self.authorizer.operator(call).await?;
        let message = request.get_ref();
        let mut violations = Violations::default();
        let grantee = violations.keep(Grantee::parse(&message.user_name, &message.account_id));
        violations.require((1..=MAX_CREDITS).contains(&message.credits), "credits", || "must be from 1 to 10^12".to_owned());
        violations.require(is_request_id(&message.request_id), "request_id", || REQUEST_ID_RULE.to_owned());
        let note = violations.keep(plain_text("note", message.note.clone(), 200));
        let (grantee, note) = violations.finish(grantee.zip(note))?;
        let credits = message.credits;
        let amount = ledger::credits(credits);
        let detail = if note.is_empty() { amount } else { format!("{amount}: {note}") };
        let event = AuditEvent { detail, ..call.event(AuditAction::GrantCredits).by(&actor) };
        // Whose account it is; `None`: an organization's, or nobody's.
        let (account, user) = match grantee {
            Grantee::User(name) => {
                let user = self.find(&name).await?;
                (AccountId::from(&user.user_id), Some(user))
            }
            Grantee::Account(account) => {
                let user = match UserId::parse(account.as_str()) {
                    Some(id) => self.store.user_by_id(&id).await?,
                    None => None,
                };
                (account, user)
            }
        };
        let to = |event: AuditEvent| match &user {
            Some(user) => event.to_user(&user.user_id, &user.user_name),
            None => event.to_object(&account),
        };
        call.know(to);
        let event = to(event);
        let grant = GrantRequest {
            account: account.clone(),
            credits,
            request_id: message.request_id.clone(),
            note,
            granted_by: actor.user_id.clone(),
        };
        let (balance, entry, replayed) = match self.store.grant(grant, event.clone()).await? {
            GrantAnswer::Granted { entry, balance } => (balance, entry, false),
            GrantAnswer::Replayed { entry, balance } => (balance, entry, true),
            GrantAnswer::RequestIdReused => return Err(ServiceError::GrantRequestIdReused),
            GrantAnswer::TooMuch => return Err(ServiceError::TooManyCredits),
            GrantAnswer::NotFound if user.is_none() => return Err(OrganizationRefusal::NotFound.into()),
            GrantAnswer::NotFound => return Err(ServiceError::UserNotFound),
        };
        tracing::info!(
            target: "audit", action = "grant_credits", actor = %actor.user_id, subject = %account, credits, entry, replayed,
            "credits were granted"
        );
        if replayed {
            self.trail.record(AuditEvent { detail: format!("{}; {NO_CHANGE}", event.detail), ..event }).await;
        }
        Ok(pb::GrantCreditsResponse { balance: Some(contract::balance(balance)), ledger_entry_id: entry.to_string(), replayed })
    }

    async fn answer_list_users(&self, request: Request<pb::ListUsersRequest>) -> Result<pb::ListUsersResponse, ServiceError> {
        self.authorizer.operator_reading(Call::of(&request)).await?;
        let query = user_list::parse(request.get_ref())?;
        Ok(user_list::answer(self.store.users(&query).await?))
    }

    async fn answer_list_all_organizations(
        &self,
        request: Request<pb::ListAllOrganizationsRequest>,
    ) -> Result<pb::ListAllOrganizationsResponse, ServiceError> {
        self.authorizer.operator_reading(Call::of(&request)).await?;
        let wanted = organization_list::parse(request.get_ref())?;
        Ok(organization_list::page(&*self.store, wanted).await?)
    }

    async fn answer_list_audit_events(
        &self,
        request: Request<pb::ListAuditEventsRequest>,
    ) -> Result<pb::ListAuditEventsResponse, ServiceError> {
        self.authorizer.operator_reading(Call::of(&request)).await?;
        let fields = AuditFields::parse(request.get_ref())?;
        let user = match &fields.user {
            Some(name) => Some(self.find(name).await?.user_id),
            None => None,
        };
        Ok(audit_list::answer(self.store.audit_events(&fields.query(user)).await?))
    }

    async fn find(&self, name: &UserName) -> Result<UserRecord, ServiceError> {
        self.store.user_by_name(name).await?.ok_or(ServiceError::UserNotFound)
    }
}

/// Who gets credits.
enum Grantee {
    User(UserName),
    Account(AccountId),
}

impl Grantee {
    /// Exactly one of them is named.
    fn parse(name: &str, account: &str) -> Result<Self, Violation> {
        match (name, account) {
            (name, "") => user_name(name).map(Self::User),
            ("", account) => account_id(account).map(Self::Account),
            _ => Err(Violation::new("account_id", "must be empty beside user_name")),
        }
    }
}

fn action(new: NewState) -> AuditAction {
    match new {
        NewState::Disabled(true) => AuditAction::DisableUser,
        NewState::Disabled(false) => AuditAction::EnableUser,
        NewState::Locked(true) => AuditAction::LockUser,
        NewState::Locked(false) => AuditAction::UnlockUser,
    }
}

/// Logs what an operator did to a user.
fn tell(event: &AuditEvent) {
    let id = |user: &Option<UserId>| user.as_ref().map(ToString::to_string);
    let (action, actor, subject) = (event.action.name(), id(&event.actor), id(&event.subject));
    tracing::info!(target: "audit", action, actor, subject, "a user's state was changed");
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Admin => "admin",
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    recorded! {
        create_user(CreateUserRequest) -> CreateUserResponse, CreateUser, answer_create_user;
        list_users(ListUsersRequest) -> ListUsersResponse, ListUsers, answer_list_users;
        disable_user(DisableUserRequest) -> DisableUserResponse, DisableUser, answer_disable_user;
        enable_user(EnableUserRequest) -> EnableUserResponse, EnableUser, answer_enable_user;
        lock_user(LockUserRequest) -> LockUserResponse, LockUser, answer_lock_user;
        unlock_user(UnlockUserRequest) -> UnlockUserResponse, UnlockUser, answer_unlock_user;
        reset_password(ResetPasswordRequest) -> ResetPasswordResponse, ResetPassword, answer_reset_password;
        reset_second_factor(ResetSecondFactorRequest) -> ResetSecondFactorResponse, ResetSecondFactor, answer_reset_second_factor;
        grant_credits(GrantCreditsRequest) -> GrantCreditsResponse, GrantCredits, answer_grant_credits;
        list_all_organizations(ListAllOrganizationsRequest) -> ListAllOrganizationsResponse, ListAllOrganizations,
            answer_list_all_organizations;
        list_audit_events(ListAuditEventsRequest) -> ListAuditEventsResponse, ListAuditEvents, answer_list_audit_events;
    }

    not_built! {
        verify_ledger(VerifyLedgerRequest) -> VerifyLedgerResponse, "Admin.VerifyLedger";
    }
}

//! The Admin service: what operators do. Every action is logged with the target `audit`.

use std::sync::Arc;

use shared::ledger::MAX_CREDITS;
use shared::proto::auth as pb;
use shared::proto::auth::admin_server::Admin;
use shared::request_id::{REQUEST_ID_RULE, is_request_id};
use tonic::{Request, Response, Status};

use crate::ids::{AccountId, random_base62};
use crate::password::{NewPassword, PasswordHashing};
use crate::service::authorizer::Authorizer;
use crate::service::call::Call;
use crate::service::contract;
use crate::service::not_built::not_built;
use crate::service::service_error::ServiceError;
use crate::service::user_fields::{UserFields, user_name};
use crate::service::violations::{Violation, Violations, plain_text};
use crate::store::{AuditAction, AuditEvent, GrantAnswer, GrantRequest, Store, UserCreation};
use crate::user::{Role, UserName, UserRecord};
use crate::user_state::NewState;

/// Characters of a one-time password: 142 random bits.
const ONE_TIME_PASSWORD_CHARACTERS: usize = 24;

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
        let event = event.to_user(&user.user_id, &user.user_name);
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
        let action = match new {
            NewState::Disabled(true) => AuditAction::DisableUser,
            NewState::Disabled(false) => AuditAction::EnableUser,
            NewState::Locked(true) => AuditAction::LockUser,
            NewState::Locked(false) => AuditAction::UnlockUser,
        };
        let event = AuditEvent { detail: reason.clone(), ..call.event(action).by(&actor).to_user(&user.user_id, &user.user_name) };
        let change = match new {
            NewState::Disabled(disabled) => self.store.set_disabled(&user.user_id, disabled, &reason, event).await?,
            NewState::Locked(locked) => self.store.set_locked(&user.user_id, locked, &reason, event).await?,
        };
        let user = change.ok_or(ServiceError::UserNotFound)?.user;
        tracing::info!(target: "audit", action = action.name(), actor = %actor.user_id, subject = %user.user_id, "a user's state was set");
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
        let one_time_password = random_base62(ONE_TIME_PASSWORD_CHARACTERS)?;
        let password = NewPassword::parse(&one_time_password, None).map_err(ServiceError::defect)?;
        let hash = self.passwords.hash(password).await?;
        let event = call.event(AuditAction::ResetPassword).by(&actor).to_user(&user.user_id, &user.user_name);
        let user = self.store.reset_password(&user.user_id, &hash, event).await?.ok_or(ServiceError::UserNotFound)?;
        tracing::info!(target: "audit", action = "reset_password", actor = %actor.user_id, subject = %user.user_id, "a password was reset");
        let expires_at = user.reset_ends_at_ms.map(contract::timestamp);
        Ok(pb::ResetPasswordResponse { one_time_password, expires_at, user: Some(contract::user_for_operators(user)) })
    }

    async fn answer_grant_credits(&self, request: Request<pb::GrantCreditsRequest>) -> Result<pb::GrantCreditsResponse, ServiceError> {
        let actor = self.authorizer.operator(Call::of(&request)).await?;
        let request = request.into_inner();
        let mut violations = Violations::default();
        let name = violations.keep(user_name(&request.user_name));
        violations.require((1..=MAX_CREDITS).contains(&request.credits), "credits", || "must be from 1 to 10^12".to_owned());
        violations.require(is_request_id(&request.request_id), "request_id", || REQUEST_ID_RULE.to_owned());
        let note = violations.keep(plain_text("note", request.note, 200));
        let (name, note) = violations.finish(name.zip(note))?;
        let user = self.find(&name).await?;
        let grant = GrantRequest {
            account: AccountId::from(&user.user_id),
            credits: request.credits,
            request_id: request.request_id,
            note,
            granted_by: actor.user_id.clone(),
        };
        let (balance, entry, replayed) = match self.store.grant(grant).await? {
            GrantAnswer::Granted { entry, balance } => (balance, entry, false),
            GrantAnswer::Replayed { entry, balance } => (balance, entry, true),
            GrantAnswer::RequestIdReused => return Err(ServiceError::GrantRequestIdReused),
            GrantAnswer::TooMuch => return Err(ServiceError::TooManyCredits),
            GrantAnswer::NotFound => return Err(ServiceError::UserNotFound),
        };
        let credits = request.credits;
        tracing::info!(
            target: "audit", action = "grant_credits", actor = %actor.user_id, subject = %user.user_id, credits, entry, replayed,
            "credits were granted"
        );
        Ok(pb::GrantCreditsResponse { balance: Some(contract::balance(balance)), ledger_entry_id: entry.to_string(), replayed })
    }

    async fn find(&self, name: &UserName) -> Result<UserRecord, ServiceError> {
        self.store.user_by_name(name).await?.ok_or(ServiceError::UserNotFound)
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn create_user(&self, request: Request<pb::CreateUserRequest>) -> Result<Response<pb::CreateUserResponse>, Status> {
        Ok(Response::new(self.answer_create_user(request).await?))
    }

    async fn disable_user(&self, request: Request<pb::DisableUserRequest>) -> Result<Response<pb::DisableUserResponse>, Status> {
        Ok(Response::new(self.answer_disable_user(request).await?))
    }

    async fn enable_user(&self, request: Request<pb::EnableUserRequest>) -> Result<Response<pb::EnableUserResponse>, Status> {
        Ok(Response::new(self.answer_enable_user(request).await?))
    }

    async fn grant_credits(&self, request: Request<pb::GrantCreditsRequest>) -> Result<Response<pb::GrantCreditsResponse>, Status> {
        Ok(Response::new(self.answer_grant_credits(request).await?))
    }

    async fn lock_user(&self, request: Request<pb::LockUserRequest>) -> Result<Response<pb::LockUserResponse>, Status> {
        Ok(Response::new(self.answer_lock_user(request).await?))
    }

    async fn unlock_user(&self, request: Request<pb::UnlockUserRequest>) -> Result<Response<pb::UnlockUserResponse>, Status> {
        Ok(Response::new(self.answer_unlock_user(request).await?))
    }

    async fn reset_password(&self, request: Request<pb::ResetPasswordRequest>) -> Result<Response<pb::ResetPasswordResponse>, Status> {
        Ok(Response::new(self.answer_reset_password(request).await?))
    }

    not_built! {
        list_users(ListUsersRequest) -> ListUsersResponse, "Admin.ListUsers";
        verify_ledger(VerifyLedgerRequest) -> VerifyLedgerResponse, "Admin.VerifyLedger";
        list_audit_events(ListAuditEventsRequest) -> ListAuditEventsResponse, "Admin.ListAuditEvents";
    }
}

//! The Admin service: what operators do. Every action is logged with the target `audit`.

use std::sync::Arc;

use shared::ledger::MAX_CREDITS;
use shared::proto::auth as pb;
use shared::proto::auth::admin_server::Admin;
use shared::request_id::{REQUEST_ID_RULE, is_request_id};
use tonic::{Request, Response, Status};

use crate::ids::AccountId;
use crate::password::PasswordHashing;
use crate::service::authorizer::Authorizer;
use crate::service::call::Call;
use crate::service::contract;
use crate::service::not_built::not_built;
use crate::service::service_error::ServiceError;
use crate::service::user_fields::{UserFields, user_name};
use crate::service::violations::{Violation, Violations, plain_text};
use crate::store::{AuditAction, GrantAnswer, GrantRequest, Store, UserCreation};
use crate::user::{Role, UserName, UserRecord};

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

    async fn set_disabled(&self, call: Call<'_>, name: &str, disabled: bool) -> Result<UserRecord, ServiceError> {
        let actor = self.authorizer.operator(call).await?;
        let user = self.find(&user_name(name)?).await?;
        let action = if disabled { AuditAction::DisableUser } else { AuditAction::EnableUser };
        let event = call.event(action).by(&actor).to_user(&user.user_id, &user.user_name);
        let change = self.store.set_disabled(&user.user_id, disabled, "", event).await?.ok_or(ServiceError::UserNotFound)?;
        let user = change.user;
        tracing::info!(target: "audit", action = action.name(), actor = %actor.user_id, subject = %user.user_id, "a user was disabled or enabled");
        Ok(user)
    }

    async fn answer_disable_user(&self, request: Request<pb::DisableUserRequest>) -> Result<pb::DisableUserResponse, ServiceError> {
        let user = self.set_disabled(Call::of(&request), &request.get_ref().user_name, true).await?;
        Ok(pb::DisableUserResponse { user: Some(contract::user(user)) })
    }

    async fn answer_enable_user(&self, request: Request<pb::EnableUserRequest>) -> Result<pb::EnableUserResponse, ServiceError> {
        let user = self.set_disabled(Call::of(&request), &request.get_ref().user_name, false).await?;
        Ok(pb::EnableUserResponse { user: Some(contract::user(user)) })
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

    not_built! {
        list_users(ListUsersRequest) -> ListUsersResponse, "Admin.ListUsers";
        lock_user(LockUserRequest) -> LockUserResponse, "Admin.LockUser";
        unlock_user(UnlockUserRequest) -> UnlockUserResponse, "Admin.UnlockUser";
        reset_password(ResetPasswordRequest) -> ResetPasswordResponse, "Admin.ResetPassword";
        verify_ledger(VerifyLedgerRequest) -> VerifyLedgerResponse, "Admin.VerifyLedger";
        list_audit_events(ListAuditEventsRequest) -> ListAuditEventsResponse, "Admin.ListAuditEvents";
    }
}

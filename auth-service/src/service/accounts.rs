//! The Accounts service: what end users do with their own account.

use std::sync::Arc;
use std::time::Instant;

use shared::proto::auth as pb;
use shared::proto::auth::accounts_server::Accounts;
use shared::request_id::{REQUEST_ID_RULE, is_request_id};
use tonic::{Request, Response, Status};

use crate::access_token::AccessTokens;
use crate::ids::{AccountId, UserId};
use crate::key_lifetimes::KeyLifetimes;
use crate::password::PasswordHashing;
use crate::public_url::PublicUrl;
use crate::service::audit_trail::{AuditTrail, recorded};
use crate::service::authorizer::{Authorizer, Caller};
use crate::service::call::Call;
use crate::service::contract;
use crate::service::device_sign_in::DeviceSignIns;
use crate::service::guesses::Guesses;
use crate::service::ledger_page::{page_of, page_of_one, page_size, page_start, whose};
use crate::service::service_error::ServiceError;
use crate::service::sign_up_policy::{Origin, SignUpPolicy};
use crate::service::usage_report::UsageReads;
use crate::service::user_fields::UserFields;
use crate::service::violations::Violations;
use crate::sign_in_issuers::SignInIssuers;
use crate::store::{AuditAction, AuditEvent, Refusal, Store, UserCreation};
use crate::throttle::{LoginThrottle, SignUpThrottle};
use crate::user::{Role, UserRecord};

/// The Accounts service.
#[derive(Debug)]
pub struct AccountsService {
    /// Lets callers in.
    pub authorizer: Authorizer,
    /// Users, keys and credits.
    pub store: Arc<dyn Store>,
    /// Issues access tokens.
    pub tokens: Arc<AccessTokens>,
    /// Hashes and compares passwords.
    pub passwords: Arc<PasswordHashing>,
    /// Slows down guessing.
    pub logins: LoginThrottle,
    /// Bounds sign-ups by address.
    pub sign_ups: SignUpThrottle,
    /// Who may sign up.
    pub sign_up: SignUpPolicy,
    /// Credits of a new user.
    pub starting_credits: i64,
    /// How long API keys last.
    pub key_lifetimes: KeyLifetimes,
    /// Records what fails.
    pub trail: Arc<AuditTrail>,
    /// Whom people sign in with, beside us.
    pub issuers: SignInIssuers,
    /// Where people reach this service, as an operator says.
    pub public_url: Option<PublicUrl>,
    /// Who reads a ledger to sum it up.
    pub usage_reads: UsageReads,
    /// Devices that sign in.
    pub devices: DeviceSignIns,
    /// Slows down guessing by those who are signed in.
    pub guesses: Guesses,
}

impl AccountsService {
    async fn answer_sign_up(&self, request: Request<pb::SignUpRequest>) -> Result<pb::SignUpResponse, ServiceError> {
        let (origin, event) = (Origin::of(&request), Call::of(&request).event(AuditAction::SignUp));
        if !self.sign_up.admits(origin) {
            return Err(ServiceError::SignUpClosed);
        }
        let request = request.into_inner();
        let fields = UserFields::parse(&request.user_name, &request.password, request.full_name, request.email)?;
        self.sign_ups.admit(origin.address, Instant::now()).map_err(|retry_after| ServiceError::Throttled { retry_after })?;
        let password_hash = self.passwords.hash_for_sign_up(fields.password.clone()).await?;
        let user = fields.into_new_user(password_hash, Role::User, self.starting_credits)?;
        let event = AuditEvent { actor: Some(user.user_id.clone()), ..event.to_user(&user.user_id, &user.user_name) };
        match self.store.create_user(user, event).await? {
            UserCreation::Created(user) => {
                tracing::info!(target: "audit", action = "sign_up", actor = %user.user_id, subject = %user.user_id, "a user signed up");
                Ok(pb::SignUpResponse { user: Some(contract::user(user)), available_credits: Some(self.starting_credits) })
            }
            UserCreation::NameTaken => Err(ServiceError::UserNameTaken),
            UserCreation::NameInProgress { retry_after } => Err(ServiceError::UserNameInProgress { retry_after }),
        }
    }

    async fn answer_get_me(&self, request: Request<pb::GetMeRequest>) -> Result<pb::GetMeResponse, ServiceError> {
        let caller = self.authorizer.anybody(Call::of(&request)).await?;
        self.describe(caller).await
    }

    /// Who calls, and the account's credits where the credential may read them.
    pub(crate) async fn who_am_i(&self, call: Call<'_>) -> Result<(pb::GetMeResponse, Option<pb::Balance>), ServiceError> {
        match self.authorizer.reader(call).await {
            Ok(caller) => {
                let balance = self.read_balance(&caller.account).await?;
                Ok((self.describe(caller).await?, Some(balance)))
            }
            Err(ServiceError::Store(Refusal::ScopeRequired)) => {
                let caller = self.authorizer.anybody(call).await?;
                Ok((self.describe(caller).await?, None))
            }
            Err(refused) => Err(refused),
        }
    }

    async fn describe(&self, caller: Caller) -> Result<pb::GetMeResponse, ServiceError> {
        let (organization, service_account) = self.place_of(&caller).await?;
        let Caller { principal, account, .. } = caller;
        // A service account is no user.
        let user = match service_account {
            Some(_) => None,
            None => Some(contract::user(self.user(&principal.user_id).await?)),
        };
        let api_key_id = principal.key_id.map(|id| id.to_string()).unwrap_or_default();
        Ok(pb::GetMeResponse { user, account_id: account.to_string(), api_key_id, organization, service_account })
    }

    /// A user who has just proved to be one.
    pub(crate) async fn user(&self, id: &UserId) -> Result<UserRecord, ServiceError> {
        self.store.user_by_id(id).await?.ok_or_else(|| ServiceError::defect("an authenticated user has no record"))
    }

    async fn read_balance(&self, account: &AccountId) -> Result<pb::Balance, ServiceError> {
        let balance = self.store.balance(account).await?.ok_or_else(|| ServiceError::defect("an authorized account has no balance"))?;
        Ok(contract::balance(balance))
    }

    async fn answer_get_balance(&self, request: Request<pb::GetBalanceRequest>) -> Result<pb::GetBalanceResponse, ServiceError> {
        let caller = self.authorizer.reader(Call::of(&request)).await?;
        let balance = self.read_balance(&caller.account).await?;
        Ok(pb::GetBalanceResponse { account_id: caller.account.to_string(), balance: Some(balance) })
    }

    async fn answer_get_receipt(&self, request: Request<pb::GetReceiptRequest>) -> Result<pb::GetReceiptResponse, ServiceError> {
        let caller = self.authorizer.reader(Call::of(&request)).await?;
        let request_id = request.into_inner().request_id;
        if !is_request_id(&request_id) {
            return Err(ServiceError::field("request_id", REQUEST_ID_RULE));
        }
        let record = self.store.receipt(&caller.account, &caller.principal.user_id, &request_id).await?;
        Ok(pb::GetReceiptResponse { receipt: Some(contract::receipt(record.ok_or(ServiceError::RequestNotFound)?)) })
    }

    async fn answer_list_ledger_entries(
        &self,
        request: Request<pb::ListLedgerEntriesRequest>,
    ) -> Result<pb::ListLedgerEntriesResponse, ServiceError> {
        let caller = self.authorizer.reader(Call::of(&request)).await?;
        let request = request.into_inner();
        let mut violations = Violations::default();
        let size = violations.keep(page_size(request.page_size));
        let before = violations.keep(page_start(&request.page_token));
        let whose = violations.keep(whose(&caller, &request.user_id));
        let ((size, before), whose) = violations.finish(size.zip(before).zip(whose))?;
        if let Some(whose) = whose {
            return Ok(page_of_one(&*self.store, &caller.account, &whose, before, size).await?);
        }
        // One more than asked for tells whether there is a next page.
        Ok(page_of(self.store.ledger_entries(&caller.account, before, size + 1).await?, size))
    }
}

#[tonic::async_trait]
impl Accounts for AccountsService {
    recorded! {
        sign_up(SignUpRequest) -> SignUpResponse, SignUp, answer_sign_up;
        logout(LogoutRequest) -> LogoutResponse, SignOut, answer_logout;
        logout_everywhere(LogoutEverywhereRequest) -> LogoutEverywhereResponse, SignOutEverywhere, answer_logout_everywhere;
        revoke_session(RevokeSessionRequest) -> RevokeSessionResponse, RevokeSession, answer_revoke_session;
        change_password(ChangePasswordRequest) -> ChangePasswordResponse, ChangePassword, answer_change_password;
        create_api_key(CreateApiKeyRequest) -> CreateApiKeyResponse, CreateApiKey, answer_create_api_key;
        rotate_api_key(RotateApiKeyRequest) -> RotateApiKeyResponse, RotateApiKey, answer_rotate_api_key;
        revoke_api_key(RevokeApiKeyRequest) -> RevokeApiKeyResponse, RevokeApiKey, answer_revoke_api_key;
        exchange_id_token(ExchangeIdTokenRequest) -> ExchangeIdTokenResponse, SignInWithIssuer, answer_exchange_id_token;
        link_identity(LinkIdentityRequest) -> LinkIdentityResponse, LinkIdentity, answer_link_identity;
        unlink_identity(UnlinkIdentityRequest) -> UnlinkIdentityResponse, UnlinkIdentity, answer_unlink_identity;
        create_organization(CreateOrganizationRequest) -> CreateOrganizationResponse, CreateOrganization, answer_create_organization;
        invite_member(InviteMemberRequest) -> InviteMemberResponse, InviteMember, answer_invite_member;
        withdraw_invitation(WithdrawInvitationRequest) -> WithdrawInvitationResponse, WithdrawInvitation, answer_withdraw_invitation;
        accept_invitation(AcceptInvitationRequest) -> AcceptInvitationResponse, AcceptInvitation, answer_accept_invitation;
        add_member(AddMemberRequest) -> AddMemberResponse, AddMember, answer_add_member;
        remove_member(RemoveMemberRequest) -> RemoveMemberResponse, RemoveMember, answer_remove_member;
        set_member_role(SetMemberRoleRequest) -> SetMemberRoleResponse, SetMemberRole, answer_set_member_role;
        set_member_cap(SetMemberCapRequest) -> SetMemberCapResponse, SetMemberCap, answer_set_member_cap;
        create_service_account(CreateServiceAccountRequest) -> CreateServiceAccountResponse, CreateServiceAccount,
            answer_create_service_account;
        remove_service_account(RemoveServiceAccountRequest) -> RemoveServiceAccountResponse, RemoveServiceAccount,
            answer_remove_service_account;
        begin_totp(BeginTotpRequest) -> BeginTotpResponse, BeginSecondFactor, answer_begin_totp;
        confirm_totp(ConfirmTotpRequest) -> ConfirmTotpResponse, EnableSecondFactor, answer_confirm_totp;
        remove_totp(RemoveTotpRequest) -> RemoveTotpResponse, DisableSecondFactor, answer_remove_totp;
        create_recovery_codes(CreateRecoveryCodesRequest) -> CreateRecoveryCodesResponse, CreateRecoveryCodes, answer_create_recovery_codes;
        step_up(StepUpRequest) -> StepUpResponse, StepUp, answer_step_up;
    }

    async fn get_second_factor(
        &self,
        request: Request<pb::GetSecondFactorRequest>,
    ) -> Result<Response<pb::GetSecondFactorResponse>, Status> {
        Ok(Response::new(self.answer_get_second_factor(request).await?))
    }

    async fn login(&self, request: Request<pb::LoginRequest>) -> Result<Response<pb::LoginResponse>, Status> {
        Ok(Response::new(self.answer_login(request).await?))
    }

    async fn refresh(&self, request: Request<pb::RefreshRequest>) -> Result<Response<pb::RefreshResponse>, Status> {
        Ok(Response::new(self.answer_refresh(request).await?))
    }

    async fn list_sessions(&self, request: Request<pb::ListSessionsRequest>) -> Result<Response<pb::ListSessionsResponse>, Status> {
        Ok(Response::new(self.answer_list_sessions(request).await?))
    }

    async fn complete_password_reset(
        &self,
        request: Request<pb::CompletePasswordResetRequest>,
    ) -> Result<Response<pb::CompletePasswordResetResponse>, Status> {
        Ok(Response::new(self.answer_complete_password_reset(request).await?))
    }

    async fn revoke_credential(
        &self,
        request: Request<pb::RevokeCredentialRequest>,
    ) -> Result<Response<pb::RevokeCredentialResponse>, Status> {
        Ok(Response::new(self.answer_revoke_credential(request).await?))
    }

    async fn get_me(&self, request: Request<pb::GetMeRequest>) -> Result<Response<pb::GetMeResponse>, Status> {
        Ok(Response::new(self.answer_get_me(request).await?))
    }

    async fn list_api_keys(&self, request: Request<pb::ListApiKeysRequest>) -> Result<Response<pb::ListApiKeysResponse>, Status> {
        Ok(Response::new(self.answer_list_api_keys(request).await?))
    }

    async fn get_balance(&self, request: Request<pb::GetBalanceRequest>) -> Result<Response<pb::GetBalanceResponse>, Status> {
        Ok(Response::new(self.answer_get_balance(request).await?))
    }

    async fn get_receipt(&self, request: Request<pb::GetReceiptRequest>) -> Result<Response<pb::GetReceiptResponse>, Status> {
        Ok(Response::new(self.answer_get_receipt(request).await?))
    }

    async fn list_ledger_entries(
        &self,
        request: Request<pb::ListLedgerEntriesRequest>,
    ) -> Result<Response<pb::ListLedgerEntriesResponse>, Status> {
        Ok(Response::new(self.answer_list_ledger_entries(request).await?))
    }

    async fn get_usage(&self, request: Request<pb::GetUsageRequest>) -> Result<Response<pb::GetUsageResponse>, Status> {
        Ok(Response::new(self.answer_get_usage(request).await?))
    }

    async fn list_organizations(
        &self,
        request: Request<pb::ListOrganizationsRequest>,
    ) -> Result<Response<pb::ListOrganizationsResponse>, Status> {
        Ok(Response::new(self.answer_list_organizations(request).await?))
    }

    async fn list_invitations(
        &self,
        request: Request<pb::ListInvitationsRequest>,
    ) -> Result<Response<pb::ListInvitationsResponse>, Status> {
        Ok(Response::new(self.answer_list_invitations(request).await?))
    }

    async fn get_invitation(&self, request: Request<pb::GetInvitationRequest>) -> Result<Response<pb::GetInvitationResponse>, Status> {
        Ok(Response::new(self.answer_get_invitation(request).await?))
    }

    async fn list_members(&self, request: Request<pb::ListMembersRequest>) -> Result<Response<pb::ListMembersResponse>, Status> {
        Ok(Response::new(self.answer_list_members(request).await?))
    }

    async fn list_service_accounts(
        &self,
        request: Request<pb::ListServiceAccountsRequest>,
    ) -> Result<Response<pb::ListServiceAccountsResponse>, Status> {
        Ok(Response::new(self.answer_list_service_accounts(request).await?))
    }

    async fn get_jwks(&self, _: Request<pb::GetJwksRequest>) -> Result<Response<pb::GetJwksResponse>, Status> {
        let keys = self.tokens.public_keys().map_err(ServiceError::defect)?;
        Ok(Response::new(pb::GetJwksResponse { keys: keys.into_iter().map(contract::json_web_key).collect() }))
    }

    async fn list_sign_in_issuers(
        &self,
        _: Request<pb::ListSignInIssuersRequest>,
    ) -> Result<Response<pb::ListSignInIssuersResponse>, Status> {
        Ok(Response::new(self.answer_list_sign_in_issuers()))
    }

    async fn begin_sign_in(&self, request: Request<pb::BeginSignInRequest>) -> Result<Response<pb::BeginSignInResponse>, Status> {
        Ok(Response::new(self.answer_begin_sign_in(request).await?))
    }

    async fn list_identities(&self, request: Request<pb::ListIdentitiesRequest>) -> Result<Response<pb::ListIdentitiesResponse>, Status> {
        Ok(Response::new(self.answer_list_identities(request).await?))
    }

    async fn begin_device_sign_in(
        &self,
        request: Request<pb::BeginDeviceSignInRequest>,
    ) -> Result<Response<pb::BeginDeviceSignInResponse>, Status> {
        Ok(Response::new(self.answer_begin_device_sign_in(request).await?))
    }

    async fn exchange_device_code(
        &self,
        request: Request<pb::ExchangeDeviceCodeRequest>,
    ) -> Result<Response<pb::ExchangeDeviceCodeResponse>, Status> {
        Ok(Response::new(self.answer_exchange_device_code(request).await?))
    }

    async fn get_device_sign_in(
        &self,
        request: Request<pb::GetDeviceSignInRequest>,
    ) -> Result<Response<pb::GetDeviceSignInResponse>, Status> {
        Ok(Response::new(self.answer_get_device_sign_in(request).await?))
    }

    async fn approve_device(&self, request: Request<pb::ApproveDeviceRequest>) -> Result<Response<pb::ApproveDeviceResponse>, Status> {
        self.approve_or_deny(request).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::caller_address::CallerAddress;
    use shared::secret::Secret;

    use super::*;
    use crate::access_token::SigningSecret;
    use crate::key_uses::KeyUses;
    use crate::password::{HashingCost, HashingError};
    use crate::store::StoreLimits;
    use crate::store::clock::Clock;
    use crate::store::sqlite::SqliteStore;

    fn service(folder: &tempfile::TempDir) -> AccountsService {
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(&folder.path().join("store"), StoreLimits::default(), Clock::Store).unwrap());
        let secret = SigningSecret { kid: "1".to_owned(), secret: Secret::generate().unwrap().0 };
        let tokens = Arc::new(AccessTokens::new(&[secret], Duration::from_secs(60), Duration::ZERO).unwrap());
        let issuers = Arc::new(crate::foreign_issuer::ForeignIssuers::none());
        let credentials = crate::credential::Credentials { tokens: Arc::clone(&tokens), issuers, store: Arc::clone(&store) };
        AccountsService {
            authorizer: Authorizer { store: Arc::clone(&store), credentials, key_uses: KeyUses::new().0, require_admin_totp: false },
            trail: Arc::new(AuditTrail::new(Arc::clone(&store))),
            issuers: SignInIssuers::new(Vec::new(), &tokens, Duration::ZERO).unwrap(),
            public_url: None,
            store,
            tokens,
            passwords: Arc::new(PasswordHashing::new(HashingCost::default()).unwrap()),
            logins: LoginThrottle::default(),
            sign_ups: SignUpThrottle::new(1),
            sign_up: SignUpPolicy::Open,
            starting_credits: 0,
            key_lifetimes: KeyLifetimes::default(),
            usage_reads: UsageReads::default(),
            devices: DeviceSignIns::new(None, false),
            guesses: Guesses::default(),
        }
    }

    fn login(password: &str) -> Request<pb::LoginRequest> {
        Request::new(pb::LoginRequest { user_name: "mario".to_owned(), password: password.to_owned(), ..Default::default() })
    }

    fn from_behind_a_proxy<T>(mut request: Request<T>, ip: &str) -> Request<T> {
        request.extensions_mut().insert(CallerAddress { ip: ip.parse().unwrap(), through_proxy: true });
        request
    }

    #[tokio::test]
    async fn callers_behind_a_listed_proxy_are_counted_by_their_own_addresses() {
        let folder = tempfile::tempdir().unwrap();
        let service = AccountsService { sign_up: SignUpPolicy::OnThisHost, ..service(&folder) };
        for number in 0..5 {
            let attacker = from_behind_a_proxy(login(&number.to_string()), "192.0.2.1");
            assert!(matches!(service.answer_login(attacker).await, Err(ServiceError::LoginFailed)));
        }
        let attacker = from_behind_a_proxy(login("one more"), "192.0.2.1");
        assert!(matches!(service.answer_login(attacker).await, Err(ServiceError::Throttled { .. })));
        let other = from_behind_a_proxy(login("one more"), "192.0.2.2");
        assert!(matches!(service.answer_login(other).await, Err(ServiceError::LoginFailed)));
        // An address that a proxy names is never this host, not even a loopback one.
        for ip in ["127.0.0.1", "::1", "192.0.2.1"] {
            let sign_up = from_behind_a_proxy(Request::new(pb::SignUpRequest::default()), ip);
            assert!(matches!(service.answer_sign_up(sign_up).await, Err(ServiceError::SignUpClosed)), "{ip}");
        }
        let service = AccountsService { sign_up: SignUpPolicy::Open, ..service };
        let sign_up = || pb::SignUpRequest { user_name: "mario".into(), password: "it is me, the plumber".into(), ..Default::default() };
        service.answer_sign_up(from_behind_a_proxy(Request::new(sign_up()), "192.0.2.1")).await.unwrap();
        let again = service.answer_sign_up(from_behind_a_proxy(Request::new(sign_up()), "192.0.2.1")).await;
        assert!(matches!(again, Err(ServiceError::Throttled { .. })), "{again:?}");
        let other = service.answer_sign_up(from_behind_a_proxy(Request::new(sign_up()), "192.0.2.2")).await;
        assert!(matches!(other, Err(ServiceError::UserNameTaken)), "{other:?}");
    }

    #[tokio::test]
    async fn logins_that_are_cancelled_count_as_failed() {
        let folder = tempfile::tempdir().unwrap();
        let service = service(&folder);
        for _ in 0..5 {
            // Polled once, and dropped while the store or the pool works.
            let cancelled = tokio::time::timeout(Duration::ZERO, service.answer_login(login("the same each time"))).await;
            assert!(cancelled.is_err(), "{cancelled:?}");
        }
        assert!(matches!(service.answer_login(login("another")).await, Err(ServiceError::Throttled { .. })));
    }

    #[tokio::test]
    async fn a_crowd_is_put_off_in_words_that_blame_nobodys_attempts() {
        let folder = tempfile::tempdir().unwrap();
        let service = service(&folder);
        let mut crowd = Vec::new();
        for number in 0..1000 {
            let (logins, password) = (service.logins.clone(), number.to_string());
            let mut login = Box::pin(async move { logins.begin("mario", &password, None).await });
            // Those that are let through are under way; the others wait for them, as many as may.
            let first = std::future::poll_fn(|cx| std::task::Poll::Ready(login.as_mut().poll(cx))).await;
            crowd.push((login, first));
        }
        let put_off = Status::from(service.answer_login(login("right")).await.unwrap_err());
        assert_eq!(shared::error::reason_of(&put_off), Some(shared::ErrorReason::RateLimited));
        assert!(put_off.message().starts_with("too many log in at once"), "{put_off:?}");
        assert!(shared::error::retry_delay_of(&put_off).is_some());
    }

    #[tokio::test]
    async fn logins_whose_password_was_never_compared_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let service = service(&folder);
        let full = service.passwords.fill();
        for _ in 0..50 {
            assert!(matches!(service.answer_login(login("not the password")).await, Err(ServiceError::Hashing(HashingError::Busy))));
        }
        drop(full);
        assert!(matches!(service.answer_login(login("not the password")).await, Err(ServiceError::LoginFailed)));
    }
}

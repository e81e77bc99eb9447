//! The methods of Accounts about the user's own second factor.

use shared::proto::auth as pb;
use tonic::Request;

use crate::ids::SessionId;
use crate::second_factor::{AttemptId, FactorAnswer, FactorChange, FactorChangeRequest, PresentedCode, RECENT, RecoveryCodes, TotpSecret};
use crate::service::accounts::AccountsService;
use crate::service::authorizer::Caller;
use crate::service::call::Call;
use crate::service::contract::timestamp;
use crate::service::service_error::ServiceError;
use crate::service::sign_in::{MOST_VERIFICATIONS, Sent, Unverified};
use crate::store::{AuditAction, AuditEvent};
use crate::throttle::LoginAttempt;
use crate::user::UserRecord;

impl AccountsService {
    pub(super) async fn answer_get_second_factor(
        &self,
        request: Request<pb::GetSecondFactorRequest>,
    ) -> Result<pb::GetSecondFactorResponse, ServiceError> {
        let caller = self.authorizer.owner(Call::of(&request)).await?;
        let status = self.store.second_factor(&caller.principal.user_id, caller.principal.session_id.as_ref()).await?;
        let status = status.ok_or_else(no_record)?;
        Ok(pb::GetSecondFactorResponse {
            enabled: status.enabled_at_ms.is_some(),
            enabled_at: status.enabled_at_ms.map(timestamp),
            recovery_codes_left: u32::try_from(status.recovery_codes_left).unwrap_or(u32::MAX),
            proved_at: status.proved_at_ms.map(timestamp),
        })
    }

    pub(super) async fn answer_begin_totp(&self, request: Request<pb::BeginTotpRequest>) -> Result<pb::BeginTotpResponse, ServiceError> {
        let (metadata, extensions, message) = request.into_parts();
        let call = Call::new(&metadata, &extensions);
        let (caller, session, event) = self.own_session(call, AuditAction::BeginSecondFactor).await?;
        let secret = TotpSecret::draw()?;
        for _ in 0..MOST_VERIFICATIONS {
            let user = self.user(&caller.principal.user_id).await?;
            let (user, attempt) = self.verify_own_password(call, user, &message.password).await?;
            let change = FactorChange::Begin { secret: secret.clone(), verified_hash: user.password_hash };
            let answer = self.change_second_factor(&caller, &session, change, &event).await;
            match (&answer, attempt) {
                (Ok(_), Some(attempt)) => attempt.succeeded(),
                (Err(_), Some(attempt)) => attempt.withdraw(),
                (_, None) => {}
            }
            match answer? {
                FactorAnswer::PasswordReplaced => {}
                answer => {
                    done(answer)?;
                    let otpauth_uri = secret.otpauth_uri(&user.user_name);
                    return Ok(pb::BeginTotpResponse { totp_secret: secret.to_base32(), otpauth_uri });
                }
            }
        }
        Err(ServiceError::LoginFailed)
    }

    pub(super) async fn answer_confirm_totp(
        &self,
        request: Request<pb::ConfirmTotpRequest>,
    ) -> Result<pb::ConfirmTotpResponse, ServiceError> {
        let (metadata, extensions, message) = request.into_parts();
        let call = Call::new(&metadata, &extensions);
        let (caller, session, event) = self.own_session(call, AuditAction::EnableSecondFactor).await?;
        let (code, recovery_codes) = (required(&message.second_factor_code)?, RecoveryCodes::draw()?);
        let change = FactorChange::Confirm { code, recovery_codes: recovery_codes.hashes() };
        done(self.change_second_factor(&caller, &session, change, &event).await?)?;
        tell(&event);
        Ok(pb::ConfirmTotpResponse { recovery_codes: recovery_codes.reveal() })
    }

    pub(super) async fn answer_remove_totp(&self, request: Request<pb::RemoveTotpRequest>) -> Result<pb::RemoveTotpResponse, ServiceError> {
        let (metadata, extensions, message) = request.into_parts();
        let call = Call::new(&metadata, &extensions);
        let (caller, session, event) = self.own_session(call, AuditAction::DisableSecondFactor).await?;
        let change = FactorChange::Remove { code: required(&message.second_factor_code)? };
        done(self.change_second_factor(&caller, &session, change, &event).await?)?;
        tell(&event);
        Ok(pb::RemoveTotpResponse {})
    }

    pub(super) async fn answer_create_recovery_codes(
        &self,
        request: Request<pb::CreateRecoveryCodesRequest>,
    ) -> Result<pb::CreateRecoveryCodesResponse, ServiceError> {
        let (metadata, extensions, message) = request.into_parts();
        let call = Call::new(&metadata, &extensions);
        let (caller, session, event) = self.own_session(call, AuditAction::CreateRecoveryCodes).await?;
        let (code, recovery_codes) = (required(&message.second_factor_code)?, RecoveryCodes::draw()?);
        let change = FactorChange::NewRecoveryCodes { code, recovery_codes: recovery_codes.hashes() };
        done(self.change_second_factor(&caller, &session, change, &event).await?)?;
        tell(&event);
        Ok(pb::CreateRecoveryCodesResponse { recovery_codes: recovery_codes.reveal() })
    }

    pub(super) async fn answer_step_up(&self, request: Request<pb::StepUpRequest>) -> Result<pb::StepUpResponse, ServiceError> {
        let (metadata, extensions, message) = request.into_parts();
        let call = Call::new(&metadata, &extensions);
        let (caller, session, event) = self.own_session(call, AuditAction::StepUp).await?;
        let change = FactorChange::StepUp { code: required(&message.second_factor_code)? };
        let at_ms = done(self.change_second_factor(&caller, &session, change, &event).await?)?;
        let recent_ms = i64::try_from(RECENT.as_millis()).unwrap_or(i64::MAX);
        Ok(pb::StepUpResponse { good_until: Some(timestamp(at_ms.saturating_add(recent_ms))) })
    }

    /// Who calls by a token of one of their sessions, and what is recorded of it.
    async fn own_session(&self, call: Call<'_>, action: AuditAction) -> Result<(Caller, SessionId, AuditEvent), ServiceError> {
        let caller = self.authorizer.owner(call).await?;
        // A release before sessions issued a token that has none: it ends by itself.
        let session = caller.principal.session_id.clone().ok_or(ServiceError::SessionNotFound)?;
        let event = call.event(action).by(&caller.principal);
        let event = AuditEvent { subject: event.actor.clone(), ..event };
        Ok((caller, session, event))
    }

    /// Verifies a user's own password, as an attempt that has yet to be told its verdict. Of a user who has none, nothing.
    async fn verify_own_password(
        &self,
        call: Call<'_>,
        user: UserRecord,
        password: &str,
    ) -> Result<(UserRecord, Option<LoginAttempt>), ServiceError> {
        if user.password_hash.is_empty() {
            return Ok((user, None));
        }
        // Whoever has stolen an access token may guess no more than whoever has none.
        let sent = Sent { user_name: user.user_name.as_str(), password, second_factor_code: "" };
        match self.verify_password(call.address, sent, |_| true).await {
            Ok(verified) => Ok((verified.user, Some(verified.attempt))),
            Err(Unverified::Broken(error)) => Err(error),
            Err(Unverified::Failed(_)) => Err(ServiceError::LoginFailed),
        }
    }

    async fn change_second_factor(
        &self,
        caller: &Caller,
        session: &SessionId,
        change: FactorChange,
        event: &AuditEvent,
    ) -> Result<FactorAnswer, ServiceError> {
        let request = FactorChangeRequest { session: session.clone(), attempt: AttemptId::draw()?, change };
        let answer = self.store.change_second_factor(&caller.principal.user_id, request, event.clone()).await?.ok_or_else(no_record)?;
        if matches!(answer, FactorAnswer::Done { by_recovery_code: true, .. }) {
            let detail = event.action.name().to_owned();
            self.trail.record(AuditEvent { action: AuditAction::UseRecoveryCode, detail, ..event.clone() }).await;
        }
        Ok(answer)
    }
}

/// When it was done, or why it wasn't.
fn done(answer: FactorAnswer) -> Result<i64, ServiceError> {
    match answer {
        FactorAnswer::Done { at_ms, .. } => Ok(at_ms),
        FactorAnswer::Refused(refusal) => Err(ServiceError::Store(refusal)),
        FactorAnswer::PasswordReplaced => Err(ServiceError::LoginFailed),
        FactorAnswer::PasswordChangeRequired => Err(ServiceError::PasswordChangeRequired),
        FactorAnswer::RecentSignInRequired => Err(ServiceError::RecentSignInRequired),
        FactorAnswer::NotSetUp => Err(ServiceError::SecondFactorNotSetUp),
        FactorAnswer::SetUp => Err(ServiceError::SecondFactorSetUp),
        FactorAnswer::Wrong => Err(ServiceError::SecondFactorInvalid),
        FactorAnswer::Wait(retry_after) => Err(ServiceError::Throttled { retry_after }),
    }
}

fn required(code: &str) -> Result<PresentedCode, ServiceError> {
    PresentedCode::parse(code).ok_or_else(|| ServiceError::field("second_factor_code", "must be six digits of the app, or a recovery code"))
}

fn no_record() -> ServiceError {
    ServiceError::defect("an authenticated user has no record")
}

/// Logs what a user did with their own second factor.
fn tell(event: &AuditEvent) {
    let (action, actor) = (event.action.name(), event.actor.as_ref().map(ToString::to_string));
    tracing::info!(target: "audit", action, actor, "a second factor was changed");
}

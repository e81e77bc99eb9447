//! How people sign in with a password, by whichever door, and choose another one.

use std::net::IpAddr;

use shared::ErrorReason;
use shared::proto::auth as pb;
use tonic::Request;

use crate::access_token::IssuedToken;
use crate::ids::{SessionId, UserId};
use crate::password::{self, HashingError, NewPassword, Owner};
use crate::refresh_token::RefreshToken;
use crate::second_factor::PresentedCode;
use crate::service::accounts::AccountsService;
use crate::service::call::Call;
use crate::service::contract::timestamp;
use crate::service::service_error::ServiceError;
use crate::service::user_fields::{new_password, user_name};
use crate::service::violations::{Violation, Violations, plain_text};
use crate::session::{NewSession, Session, SessionStart, Shown, SignInMethod};
use crate::store::{AuditAction, AuditEvent};
use crate::throttle::{LoginAttempt, PutOff};
use crate::token_scopes::TokenScopes;
use crate::user::{UserName, UserRecord};
use crate::user_state::PasswordChange;

/// How often a password is verified in one call, at most. It is verified again when its hash was replaced meanwhile: of two logins at once
/// with an outdated one, the other may have hashed it anew.
pub(super) const MOST_VERIFICATIONS: usize = 3;

/// What somebody who signs in sends.
#[derive(Clone, Copy)]
pub(crate) struct SignIn<'a> {
    /// As it was sent.
    pub(crate) user_name: &'a str,
    /// As it was sent.
    pub(crate) password: &'a str,
    /// Of the second factor, as it was sent; may be empty.
    pub(crate) second_factor_code: &'a str,
    /// What the client calls itself; empty: what the call's user-agent says.
    pub(crate) client: &'a str,
    /// What the session's access tokens may be used for.
    pub(crate) scopes: &'a TokenScopes,
}

/// What somebody sends whose password was reset.
#[derive(Clone, Copy)]
pub(crate) struct PasswordReset<'a> {
    /// As it was sent.
    pub(crate) user_name: &'a str,
    /// What the operator was given.
    pub(crate) one_time_password: &'a str,
    /// As it was sent.
    pub(crate) new_password: &'a str,
    /// Of the second factor, as it was sent; may be empty.
    pub(crate) second_factor_code: &'a str,
    /// What the client calls itself; empty: what the call's user-agent says.
    pub(crate) client: &'a str,
}

/// What a sign-in or a refresh gives.
pub(crate) struct SignedIn {
    /// For calls.
    pub(crate) access_token: IssuedToken,
    /// For the next refresh.
    pub(crate) refresh_token: RefreshToken,
    /// What both belong to.
    pub(crate) session: Session,
    /// What the access token may be used for; no more than the session.
    pub(crate) scopes: TokenScopes,
}

/// What is compared, as it was sent.
#[derive(Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) user_name: &'a str,
    pub(super) password: &'a str,
    /// May be empty.
    pub(super) second_factor_code: &'a str,
}

/// A user whose password was just verified.
pub(super) struct Verified {
    pub(super) user: UserRecord,
    outdated: bool,
    pub(super) attempt: LoginAttempt,
}

/// Why nobody was verified.
pub(super) enum Unverified {
    /// The password is wrong, or the user is none who may sign in. The attempt counts.
    Failed(Option<UserRecord>),
    /// No password was compared.
    Broken(ServiceError),
}

impl AccountsService {
    pub(super) async fn answer_login(&self, request: Request<pb::LoginRequest>) -> Result<pb::LoginResponse, ServiceError> {
        let (metadata, extensions, message) = request.into_parts();
        let client = plain_text("client", message.client.clone(), 200)?;
        let pb::LoginRequest { user_name, password, second_factor_code, .. } = &message;
        let sign_in = SignIn { user_name, password, second_factor_code, client: &client, scopes: &TokenScopes::All };
        let SignedIn { access_token, refresh_token, session, .. } = self.sign_in(Call::new(&metadata, &extensions), sign_in).await?;
        Ok(pb::LoginResponse {
            access_token: access_token.token,
            expires_at: Some(access_token.expires_at.into()),
            refresh_token: refresh_token.reveal().to_owned(),
            refresh_expires_at: Some(timestamp(session.refresh_expires_at_ms)),
            session_id: session.session_id.to_string(),
        })
    }

    /// Signs a user in, by whichever door: attempts by all of them are counted together. Unknown user, wrong password, disabled and locked
    /// user do the same work and get the same answer.
    pub(crate) async fn sign_in(&self, call: Call<'_>, sign_in: SignIn<'_>) -> Result<SignedIn, ServiceError> {
        let SignIn { user_name, password, second_factor_code, client, scopes } = sign_in;
        let code = PresentedCode::parse(second_factor_code);
        let event = call.event(AuditAction::SignIn);
        for _ in 0..MOST_VERIFICATIONS {
            let may_sign_in = |user: &UserRecord| !user.disabled && !user.locked;
            let sent = Sent { user_name, password, second_factor_code };
            let verified = self.verify_password(call.address, sent, may_sign_in).await;
            let Verified { user, outdated, attempt } = match verified {
                Ok(verified) => verified,
                Err(unverified) => return Err(self.refused(event, unverified).await),
            };
            let event = of_user(event.clone(), &user);
            let (first, new) = new_session(call, &user.user_id, client, scopes)?;
            let shown = Shown { verified_hash: &user.password_hash, code: code.as_ref() };
            match self.store.begin_session(&user.user_id, shown, new, event.clone()).await {
                Ok(SessionStart::Begun(session)) => {
                    attempt.succeeded();
                    self.used_recovery_code(event, code.as_ref(), &session).await;
                    if outdated {
                        self.rehash(&user, password).await;
                    }
                    return self.signed_in(&user.user_id, first, session, scopes.clone());
                }
                // The next verification is another attempt, and counts as what it comes to.
                Ok(SessionStart::PasswordReplaced) => attempt.withdraw(),
                Ok(SessionStart::PasswordChangeRequired) => {
                    attempt.withdraw();
                    self.trail.record(event.failed(ErrorReason::PasswordChangeRequired)).await;
                    return Err(ServiceError::PasswordChangeRequired);
                }
                Ok(why @ (SessionStart::SecondFactorRequired | SessionStart::SecondFactorWrong | SessionStart::SecondFactorWait(_))) => {
                    return Err(self.without_second_factor(event, attempt, &why).await);
                }
                Ok(SessionStart::Refused) => {
                    attempt.failed();
                    return Err(self.refused(event, Unverified::Failed(None)).await);
                }
                Err(error) => {
                    attempt.withdraw();
                    return Err(error.into());
                }
            }
        }
        Err(self.refused(event, Unverified::Failed(None)).await)
    }

    pub(super) async fn answer_complete_password_reset(
        &self,
        request: Request<pb::CompletePasswordResetRequest>,
    ) -> Result<pb::CompletePasswordResetResponse, ServiceError> {
        let (metadata, extensions, message) = request.into_parts();
        let pb::CompletePasswordResetRequest { user_name, one_time_password, new_password, client, second_factor_code } = &message;
        let reset = PasswordReset { user_name, one_time_password, new_password, second_factor_code, client };
        let SignedIn { access_token, refresh_token, session, .. } = self.complete_reset(Call::new(&metadata, &extensions), reset).await?;
        Ok(pb::CompletePasswordResetResponse {
            access_token: access_token.token,
            expires_at: Some(access_token.expires_at.into()),
            refresh_token: refresh_token.reveal().to_owned(),
            refresh_expires_at: Some(timestamp(session.refresh_expires_at_ms)),
            session_id: session.session_id.to_string(),
        })
    }

    /// Puts a password of the user's own in the place of the one-time password, and signs the user in, by whichever door.
    pub(crate) async fn complete_reset(&self, call: Call<'_>, reset: PasswordReset<'_>) -> Result<SignedIn, ServiceError> {
        let mut violations = Violations::default();
        let name = violations.keep(user_name(reset.user_name));
        let owner = Owner { user_name: name.as_ref().map_or("", UserName::as_str), ..Owner::default() };
        let new_password = violations.keep(another_password(reset.new_password, reset.one_time_password, &owner));
        let client = violations.keep(plain_text("client", reset.client.to_owned(), 200));
        let (new_password, client) = violations.finish(name.zip(new_password.zip(client)).map(|(_, fields)| fields))?;
        let event = call.event(AuditAction::CompletePasswordReset);
        // A user's own password is no one-time password, right or wrong.
        let is_reset = |user: &UserRecord| !user.disabled && !user.locked && user.reset_ends_at_ms.is_some();
        let PasswordReset { user_name, one_time_password: password, second_factor_code, .. } = reset;
        let code = PresentedCode::parse(second_factor_code);
        let verified = self.verify_password(call.address, Sent { user_name, password, second_factor_code }, is_reset).await;
        let Verified { user, attempt, .. } = match verified {
            Ok(verified) => verified,
            Err(unverified) => return Err(self.refused(event, unverified).await),
        };
        let event = of_user(event, &user);
        // Of the user's names nobody is told before the one-time password was right.
        if let Err(violation) = another_password(reset.new_password, reset.one_time_password, &Owner::from(&user)) {
            attempt.withdraw();
            return Err(violation.into());
        }
        let new_hash = match self.passwords.hash(new_password).await {
            Ok(hash) => hash,
            Err(error) => {
                attempt.withdraw();
                return Err(error.into());
            }
        };
        let scopes = TokenScopes::All;
        let (first, new) = new_session(call, &user.user_id, &client, &scopes)?;
        let shown = Shown { verified_hash: &user.password_hash, code: code.as_ref() };
        match self.store.complete_password_reset(&user.user_id, shown, &new_hash, new, event.clone()).await {
            Ok(SessionStart::Begun(session)) => {
                attempt.succeeded();
                self.used_recovery_code(event, code.as_ref(), &session).await;
                self.signed_in(&user.user_id, first, session, scopes)
            }
            Ok(why @ (SessionStart::SecondFactorRequired | SessionStart::SecondFactorWrong | SessionStart::SecondFactorWait(_))) => {
                Err(self.without_second_factor(event, attempt, &why).await)
            }
            Ok(SessionStart::Refused | SessionStart::PasswordReplaced | SessionStart::PasswordChangeRequired) => {
                attempt.failed();
                Err(self.refused(event, Unverified::Failed(None)).await)
            }
            Err(error) => {
                attempt.withdraw();
                Err(error.into())
            }
        }
    }

    pub(super) async fn answer_change_password(
        &self,
        request: Request<pb::ChangePasswordRequest>,
    ) -> Result<pb::ChangePasswordResponse, ServiceError> {
        let (metadata, extensions, message) = request.into_parts();
        let call = Call::new(&metadata, &extensions);
        let caller = self.authorizer.owner(call).await?;
        let id = &caller.principal.user_id;
        let user = self.store.user_by_id(id).await?.ok_or_else(|| ServiceError::defect("an authenticated user has no record"))?;
        if user.password_hash.is_empty() {
            return Err(ServiceError::NoPassword);
        }
        let new_password = another_password(&message.new_password, &message.current_password, &Owner::from(&user))?;
        call.know(|event| event.to_user(&user.user_id, &user.user_name));
        let event = of_user(call.event(AuditAction::ChangePassword).by(&caller.principal), &user);
        let mut new_hash = None;
        for _ in 0..MOST_VERIFICATIONS {
            // Whoever has stolen an access token may guess no more than whoever has none.
            let sent = Sent { user_name: user.user_name.as_str(), password: &message.current_password, second_factor_code: "" };
            let verified = self.verify_password(call.address, sent, |_| true).await;
            let Verified { user, attempt, .. } = match verified {
                Ok(verified) => verified,
                Err(Unverified::Broken(error)) => return Err(error),
                Err(Unverified::Failed(_)) => return Err(ServiceError::LoginFailed),
            };
            let hash = match &new_hash {
                Some(hash) => hash,
                None => match self.passwords.hash(new_password.clone()).await {
                    Ok(hash) => new_hash.insert(hash),
                    Err(error) => {
                        attempt.withdraw();
                        return Err(error.into());
                    }
                },
            };
            let change = self.store.change_password(id, &caller.credential, &user.password_hash, hash, event.clone()).await;
            match change {
                Ok(Some(PasswordChange::Changed { ended_sessions })) => {
                    attempt.succeeded();
                    tracing::info!(target: "audit", action = "change_password", actor = %id, subject = %id, "a password was changed");
                    return Ok(pb::ChangePasswordResponse { ended_sessions });
                }
                Ok(Some(PasswordChange::PasswordReplaced)) => attempt.withdraw(),
                Ok(Some(PasswordChange::PasswordChangeRequired)) => {
                    attempt.withdraw();
                    return Err(ServiceError::PasswordChangeRequired);
                }
                Ok(Some(PasswordChange::Refused(refusal))) => {
                    attempt.withdraw();
                    return Err(ServiceError::Store(refusal));
                }
                Ok(None) => return Err(ServiceError::defect("an authenticated user has no record")),
                Err(error) => {
                    attempt.withdraw();
                    return Err(error.into());
                }
            }
        }
        Err(ServiceError::LoginFailed)
    }

    /// Compares a password, as one attempt that the throttle lets through. Whoever `may` not, whatever the password, fails like a wrong
    /// one.
    pub(super) async fn verify_password(
        &self,
        address: Option<IpAddr>,
        sent: Sent<'_>,
        may: impl Fn(&UserRecord) -> bool,
    ) -> Result<Verified, Unverified> {
        let Sent { user_name, password, second_factor_code } = sent;
        // A longer password is nobody's, and all of them are one. With another code it is another attempt: each wrong code counts.
        let tried = [&*password::comparable(password).unwrap_or_default(), "\0", second_factor_code].concat();
        let attempt = self.logins.begin(&user_name.to_ascii_lowercase(), &tried, address).await;
        let attempt = attempt.map_err(|put_off| {
            Unverified::Broken(match put_off {
                PutOff::Failures(retry_after) => ServiceError::Throttled { retry_after },
                PutOff::Crowd(retry_after) => ServiceError::Crowded { retry_after },
            })
        })?;
        let found = match UserName::parse(user_name) {
            Some(name) => self.store.user_by_name(&name).await,
            None => Ok(None),
        };
        let user = match found {
            Ok(user) => user,
            Err(error) => {
                attempt.withdraw();
                return Err(Unverified::Broken(error.into()));
            }
        };
        // Who has no password fails as a user does who isn't there: with the same work.
        let hash = user.as_ref().map(|user| user.password_hash.as_str()).filter(|hash| !hash.is_empty());
        let verified = match self.passwords.verify(password, hash).await {
            Ok(verified) => verified,
            Err(HashingError::Busy) => {
                attempt.withdraw();
                return Err(Unverified::Broken(HashingError::Busy.into()));
            }
            Err(broken @ HashingError::Broken(_)) => return Err(Unverified::Broken(broken.into())),
        };
        match user {
            Some(user) if verified.matches && may(&user) => Ok(Verified { user, outdated: verified.outdated, attempt }),
            user => {
                attempt.failed();
                Err(Unverified::Failed(user))
            }
        }
    }

    /// The answer to an attempt that came to nothing; it is recorded when a password was compared.
    async fn refused(&self, event: AuditEvent, why: Unverified) -> ServiceError {
        match why {
            Unverified::Broken(error) => error,
            Unverified::Failed(user) => {
                let event = event.failed(ErrorReason::LoginFailed);
                // Of a name that is nobody's, nothing: it may be a password in the wrong field.
                let event = match &user {
                    Some(user) => of_user(event, user),
                    None => event,
                };
                self.trail.record(event).await;
                ServiceError::LoginFailed
            }
        }
    }

    /// The answer to whoever has shown the right password, and no right code with it. A wrong code is a failed attempt: whoever guesses
    /// waits as for passwords, beside what the user's record says.
    async fn without_second_factor(&self, event: AuditEvent, attempt: LoginAttempt, why: &SessionStart) -> ServiceError {
        let (error, reason) = match why {
            SessionStart::SecondFactorWrong => {
                attempt.failed();
                (ServiceError::SecondFactorInvalid, ErrorReason::SecondFactorInvalid)
            }
            SessionStart::SecondFactorWait(retry_after) => {
                attempt.withdraw();
                return ServiceError::Throttled { retry_after: *retry_after };
            }
            _ => {
                attempt.withdraw();
                (ServiceError::SecondFactorRequired, ErrorReason::SecondFactorRequired)
            }
        };
        self.trail.record(event.failed(reason)).await;
        error
    }

    /// Records that a sign-in used a recovery code up: beside the sign-in, so that it is found among others of its kind.
    async fn used_recovery_code(&self, event: AuditEvent, code: Option<&PresentedCode>, session: &Session) {
        if session.second_factor_at_ms.is_some() && matches!(code, Some(PresentedCode::Recovery(_))) {
            self.trail.record(AuditEvent { action: AuditAction::UseRecoveryCode, ..event.to_object(&session.session_id) }).await;
        }
    }

    pub(super) fn signed_in(
        &self,
        user_id: &UserId,
        refresh_token: RefreshToken,
        session: Session,
        scopes: TokenScopes,
    ) -> Result<SignedIn, ServiceError> {
        let access_token = self.tokens.issue_in(user_id, &session.session_id, &scopes, session.ends_at_ms)?;
        Ok(SignedIn { access_token, refresh_token, session, scopes })
    }

    /// A login is good without it; the next one tries again.
    async fn rehash(&self, user: &UserRecord, password: &str) {
        match self.passwords.rehash(password).await {
            Ok(new) => {
                if let Err(error) = self.store.replace_password_hash(&user.user_id, &user.password_hash, &new).await {
                    tracing::warn!(%error, user_id = %user.user_id, "a password's outdated hash was not replaced");
                }
            }
            Err(error) => tracing::warn!(%error, user_id = %user.user_id, "a password's outdated hash was not replaced"),
        }
    }
}

/// A user who signs in, or has tried to, as who acts and to whom it is done.
pub(super) fn of_user(event: AuditEvent, user: &UserRecord) -> AuditEvent {
    let actor = event.actor.clone().or_else(|| event.failure.is_none().then(|| user.user_id.clone()));
    AuditEvent { actor, actor_name: user.user_name.to_string(), ..event.to_user(&user.user_id, &user.user_name) }
}

pub(super) fn new_session(
    call: Call<'_>,
    user_id: &UserId,
    client: &str,
    scopes: &TokenScopes,
) -> Result<(RefreshToken, NewSession), ServiceError> {
    let first = RefreshToken::random(user_id.clone(), SessionId::random()?)?;
    let new = NewSession {
        session_id: first.session_id().clone(),
        family_hash: first.family_hash(),
        token_hash: first.token_hash(),
        client: if client.is_empty() { call.client() } else { client.to_owned() },
        address: call.address,
        method: SignInMethod::Password,
        scopes: scopes.clone(),
    };
    Ok((first, new))
}

/// A password to take the place of another one.
fn another_password(text: &str, before: &str, owner: &Owner<'_>) -> Result<NewPassword, Violation> {
    let is_same = password::comparable(text).is_some_and(|new| Some(new) == password::comparable(before));
    if is_same {
        return Err(Violation::new("new_password", "must be another than the one before"));
    }
    new_password("new_password", text, owner)
}

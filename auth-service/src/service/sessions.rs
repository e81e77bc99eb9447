//! The methods of Accounts that keep, list and end sessions.

use shared::credential_form::{API_KEY_PREFIX, INVITATION_PREFIX, REFRESH_TOKEN_PREFIX};
use shared::proto::auth as pb;
use tonic::Request;

use crate::api_key::ApiKey;
use crate::credential;
use crate::ids::{KeyId, SessionId};
use crate::organization::invitation_code::InvitationCode;
use crate::refresh_token::RefreshToken;
use crate::service::accounts::AccountsService;
use crate::service::call::Call;
use crate::service::contract;
use crate::service::contract::timestamp;
use crate::service::service_error::ServiceError;
use crate::service::sign_in::SignedIn;
use crate::session::{Refresh, RefreshAnswer, RefreshRefusal, Session};
use crate::sign_in_issuers::FormerSession;
use crate::store::{AuditAction, AuditEvent, Refusal};
use crate::token_scopes::TokenScopes;

/// Keeps refresh tokens that are derived apart from whatever else is derived from the same secrets.
const SHARED_SALT: &[u8] = b"tollgate refresh token of a browser";

/// What became of a credential that somebody showed to have it revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RevokedCredential {
    /// An API key's secret is no longer in force.
    Key(KeyId),
    /// A session is over.
    Session(SessionId),
    /// All sessions of the user are over: the token had none of its own.
    AllSessions,
    /// An invitation is withdrawn.
    Invitation,
    /// It is a foreign issuer's, by what it says: that one alone can revoke it.
    Foreign,
    /// It is nobody's.
    Unknown,
}

impl AccountsService {
    pub(super) async fn answer_refresh(&self, request: Request<pb::RefreshRequest>) -> Result<pb::RefreshResponse, ServiceError> {
        let (metadata, extensions, message) = request.into_parts();
        let refreshed = self.refresh(Call::new(&metadata, &extensions), &message.refresh_token, None).await?;
        let SignedIn { access_token, refresh_token, session, .. } = refreshed;
        Ok(pb::RefreshResponse {
            access_token: access_token.token,
            expires_at: Some(access_token.expires_at.into()),
            refresh_token: refresh_token.reveal().to_owned(),
            refresh_expires_at: Some(timestamp(session.refresh_expires_at_ms)),
            session_id: session.session_id.to_string(),
        })
    }

    /// Gives new tokens for a refresh token, by whichever door. `scopes`: what the access token is to be limited to; it gets no more than
    /// the session has. `None`: the session's.
    pub(crate) async fn refresh(&self, call: Call<'_>, text: &str, scopes: Option<&TokenScopes>) -> Result<SignedIn, ServiceError> {
        let shown = parse(text)?;
        let next = shown.next()?;
        self.refresh_with(call, shown, next, false, scopes).await
    }

    /// The same for a token that the tabs of a browser have in common: those that show it at once get the same one.
    pub(crate) async fn refresh_shared(&self, call: Call<'_>, text: &str) -> Result<SignedIn, ServiceError> {
        let shown = parse(text)?;
        let seed = self.tokens.derive(SHARED_SALT, shown.reveal().as_bytes()).map_err(ServiceError::defect)?;
        let next = shown.next_of(&seed);
        self.refresh_with(call, shown, next, true, None).await
    }

    async fn refresh_with(
        &self,
        call: Call<'_>,
        shown: RefreshToken,
        next: RefreshToken,
        is_shared: bool,
        scopes: Option<&TokenScopes>,
    ) -> Result<SignedIn, ServiceError> {
        let refresh = Refresh {
            is_shared,
            session_id: shown.session_id().clone(),
            family_hash: shown.family_hash(),
            token_hash: shown.token_hash(),
            next_token_hash: next.token_hash(),
            address: call.address,
        };
        let event = AuditEvent { subject: Some(shown.user_id().clone()), ..call.event(AuditAction::Refresh) };
        match self.store.refresh_session(shown.user_id(), refresh, event.clone()).await? {
            RefreshAnswer::Rotated(session) => {
                let scopes = scopes.map_or_else(|| session.scopes.clone(), |asked| asked.within(&session.scopes));
                // What is in force: it may have been shown already.
                let (user, in_force) = (shown.user_id().clone(), if session.token_hash == shown.token_hash() { shown } else { next });
                self.signed_in(&user, in_force, session, scopes)
            }
            RefreshAnswer::Refused(refusal) => {
                let (subject, session) = (shown.user_id(), shown.session_id());
                match refusal {
                    // It was recorded with the session's end.
                    RefreshRefusal::Reused => tracing::warn!(
                        target: "audit", action = "refresh", %subject, %session,
                        "a refresh token was used twice; its session is ended"
                    ),
                    // It is made up of two ids: nobody has proved to have been the user. Such ones are recorded up to a bound.
                    RefreshRefusal::Invalid => self.refused_refresh(AuditEvent { subject: None, ..event }, refusal).await,
                    RefreshRefusal::UserDisabled
                    | RefreshRefusal::UserLocked
                    | RefreshRefusal::PasswordChangeRequired
                    | RefreshRefusal::Revoked
                    | RefreshRefusal::Expired => self.refused_refresh(event.to_object(session), refusal).await,
                }
                Err(ServiceError::Refresh(refusal))
            }
        }
    }

    async fn refused_refresh(&self, event: AuditEvent, refusal: RefreshRefusal) {
        self.trail.record_failure(event, &ServiceError::Refresh(refusal).into()).await;
    }

    pub(super) async fn answer_logout(&self, request: Request<pb::LogoutRequest>) -> Result<pb::LogoutResponse, ServiceError> {
        let call = Call::of(&request);
        let caller = match self.authorizer.owner(call).await {
            Ok(caller) => caller,
            Err(refused) => {
                let is_over = |live: &[Session], own: &SessionId| live.iter().all(|session| session.session_id != *own);
                return self.was_done_before(call, refused, is_over).await.map(|()| pb::LogoutResponse {});
            }
        };
        // A release before sessions issued a token that has none: it ends by itself, or with LogoutEverywhere.
        let session = caller.principal.session_id.as_ref().ok_or(ServiceError::SessionNotFound)?;
        let event = own(call.event(AuditAction::SignOut).by(&caller.principal));
        // Whether it was still there or somebody else was quicker: it is over.
        self.store.end_session(&caller.principal.user_id, session, event).await?;
        Ok(pb::LogoutResponse {})
    }

    /// Ends the session of a refresh token. One of a session that is over, or of none, is signed out already.
    pub(crate) async fn sign_out(&self, call: Call<'_>, text: &str) -> Result<(), ServiceError> {
        let Some(token) = RefreshToken::parse(text) else { return Ok(()) };
        self.end_shown(call, &FormerSession::from(&token)).await
    }

    /// Ends a session that whoever calls has shown a refresh token of. One that was made up changes nothing.
    pub(crate) async fn end_shown(&self, call: Call<'_>, shown: &FormerSession) -> Result<(), ServiceError> {
        let FormerSession { user_id: user, session_id, family_hash } = shown;
        let event = AuditEvent { actor: Some(user.clone()), subject: Some(user.clone()), ..call.event(AuditAction::SignOut) };
        self.store.end_session_of(user, session_id, *family_hash, event).await?;
        Ok(())
    }

    pub(super) async fn answer_logout_everywhere(
        &self,
        request: Request<pb::LogoutEverywhereRequest>,
    ) -> Result<pb::LogoutEverywhereResponse, ServiceError> {
        let call = Call::of(&request);
        let caller = match self.authorizer.owner(call).await {
            Ok(caller) => caller,
            Err(refused) => {
                // A token that has ended ends no session that began since: nor is it told that there is none.
                let is_over = |live: &[Session], _: &SessionId| live.is_empty();
                let repeated = self.was_done_before(call, refused, is_over).await;
                return repeated.map(|()| pb::LogoutEverywhereResponse { ended_sessions: 0 });
            }
        };
        let event = own(call.event(AuditAction::SignOutEverywhere).by(&caller.principal));
        let ended = self.store.end_all_sessions(&caller.principal.user_id, event).await?;
        let ended_sessions = ended.ok_or_else(|| ServiceError::defect("an authenticated user has no record"))?;
        Ok(pb::LogoutEverywhereResponse { ended_sessions })
    }

    /// What is answered to whom ends sessions with a token that was refused: success, if the token's session is over and what is asked for
    /// `is_over`, given the user's live sessions and the token's own. It was done before, and the answer may have been lost. It changes
    /// nothing, and nothing is recorded. Else it is refused as it was.
    async fn was_done_before(
        &self,
        call: Call<'_>,
        refused: ServiceError,
        is_over: impl FnOnce(&[Session], &SessionId) -> bool,
    ) -> Result<(), ServiceError> {
        let ServiceError::Store(Refusal::CredentialRevoked | Refusal::CredentialExpired | Refusal::UserDisabled | Refusal::UserLocked) =
            &refused
        else {
            return Err(refused);
        };
        // Of ours, with a good signature and in time: the session was there once.
        let token = self.tokens.verify(credential::bearer(call.metadata)?).ok();
        let Some((user_id, Some(own))) = token.map(|token| (token.user_id, token.session)) else { return Err(refused) };
        let live = self.store.sessions(&user_id).await?;
        if is_over(&live, &own) { Ok(()) } else { Err(refused) }
    }

    pub(super) async fn answer_list_sessions(
        &self,
        request: Request<pb::ListSessionsRequest>,
    ) -> Result<pb::ListSessionsResponse, ServiceError> {
        let caller = self.authorizer.owner(Call::of(&request)).await?;
        let sessions = self.store.sessions(&caller.principal.user_id).await?;
        let current = caller.principal.session_id.as_ref();
        Ok(pb::ListSessionsResponse { sessions: sessions.into_iter().map(|session| contract::session(session, current)).collect() })
    }

    pub(super) async fn answer_revoke_session(
        &self,
        request: Request<pb::RevokeSessionRequest>,
    ) -> Result<pb::RevokeSessionResponse, ServiceError> {
        let call = Call::of(&request);
        let named = SessionId::parse(&request.get_ref().session_id);
        let caller = match self.authorizer.owner(call).await {
            Ok(caller) => caller,
            Err(refused) => {
                // By the session's own token, it is a log-out.
                let is_over = |live: &[Session], own: &SessionId| {
                    named.as_ref() == Some(own) && live.iter().all(|session| session.session_id != *own)
                };
                return self.was_done_before(call, refused, is_over).await.map(|()| pb::RevokeSessionResponse {});
            }
        };
        let session = named.ok_or(ServiceError::SessionNotFound)?;
        let event = own(call.event(AuditAction::RevokeSession).by(&caller.principal));
        if self.store.end_session(&caller.principal.user_id, &session, event).await? {
            Ok(pb::RevokeSessionResponse {})
        } else {
            Err(ServiceError::SessionNotFound)
        }
    }

    pub(super) async fn answer_revoke_credential(
        &self,
        request: Request<pb::RevokeCredentialRequest>,
    ) -> Result<pb::RevokeCredentialResponse, ServiceError> {
        use pb::revoke_credential_response::Result as Outcome;
        let (metadata, extensions, message) = request.into_parts();
        let revoked = self.revoke_shown(Call::new(&metadata, &extensions), &message.credential).await?;
        let outcome = match revoked {
            RevokedCredential::Key(_) | RevokedCredential::Session(_) | RevokedCredential::AllSessions | RevokedCredential::Invitation => {
                Outcome::Revoked
            }
            RevokedCredential::Foreign | RevokedCredential::Unknown => Outcome::Unknown,
        };
        let (api_key_id, session_id) = match revoked {
            RevokedCredential::Key(key) => (key.to_string(), String::new()),
            RevokedCredential::Session(session) => (String::new(), session.to_string()),
            _ => (String::new(), String::new()),
        };
        Ok(pb::RevokeCredentialResponse { result: outcome.into(), api_key_id, session_id })
    }

    /// Revokes a credential by showing it, by whichever door: possession is the authority. What has a wrong checksum or signature costs no
    /// look-up.
    pub(crate) async fn revoke_shown(&self, call: Call<'_>, text: &str) -> Result<RevokedCredential, ServiceError> {
        if text.starts_with(API_KEY_PREFIX) {
            let Some(key) = ApiKey::parse(text) else { return Ok(RevokedCredential::Unknown) };
            return Ok(self.revoke_secret(call, &key).await?.map_or(RevokedCredential::Unknown, RevokedCredential::Key));
        }
        if text.starts_with(INVITATION_PREFIX) {
            let Some(code) = InvitationCode::parse(text) else { return Ok(RevokedCredential::Unknown) };
            let is_withdrawn = self.withdraw_shown(call, &code).await?;
            return Ok(if is_withdrawn { RevokedCredential::Invitation } else { RevokedCredential::Unknown });
        }
        let event = call.event(AuditAction::RevokeCredential);
        if text.starts_with(REFRESH_TOKEN_PREFIX) {
            let Some(token) = RefreshToken::parse(text) else { return Ok(RevokedCredential::Unknown) };
            let (user, session) = (token.user_id(), token.session_id());
            let event = AuditEvent { subject: Some(user.clone()), ..event };
            let ended = self.store.end_session_of(user, session, token.family_hash(), event).await?;
            return Ok(if ended { RevokedCredential::Session(session.clone()) } else { RevokedCredential::Unknown });
        }
        // Also one that is past its time: its session may not be.
        let Ok(token) = self.tokens.owner(text) else {
            let is_foreign = self.authorizer.credentials.issuers.are_named_by(text);
            return Ok(if is_foreign { RevokedCredential::Foreign } else { RevokedCredential::Unknown });
        };
        let event = AuditEvent { subject: Some(token.user_id.clone()), ..event };
        match token.session {
            Some(session) => {
                // A good signature says that it was there once.
                self.store.end_session(&token.user_id, &session, event).await?;
                Ok(RevokedCredential::Session(session))
            }
            // As LogoutEverywhere does, which it may call as well.
            None if !token.scopes.is_limited() => {
                let ended = self.store.end_all_sessions(&token.user_id, event).await?;
                Ok(if ended.is_some() { RevokedCredential::AllSessions } else { RevokedCredential::Unknown })
            }
            None => Ok(RevokedCredential::Unknown),
        }
    }
}

/// Nonsense costs no look-up.
fn parse(text: &str) -> Result<RefreshToken, ServiceError> {
    RefreshToken::parse(text).ok_or(ServiceError::Refresh(RefreshRefusal::Invalid))
}

/// What a user does to themselves.
fn own(event: AuditEvent) -> AuditEvent {
    AuditEvent { subject: event.actor.clone(), ..event }
}

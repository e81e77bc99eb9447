//! What a credential is, for services that are shown one (RFC 7662): whose, what for and until when, by the store's word at this moment.

use std::net::IpAddr;

use shared::credential_form::REFRESH_TOKEN_PREFIX;

use crate::credential::{CredentialError, Presented};
use crate::foreign_issuer::ForeignTokenError;
use crate::organization::{self, Membership};
use crate::refresh_token::RefreshToken;
use crate::service::accounts::AccountsService;
use crate::service::contract;
use crate::service::service_error::ServiceError;
use crate::session::Session;
use crate::store::{PresentedCredential, Principal};
use crate::token_scopes::TokenScopes;

/// A credential in force.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Introspected {
    /// Whose it is.
    pub(crate) user_id: String,
    /// Their name; empty for a service account.
    pub(crate) user_name: String,
    /// What it may be used for, with spaces between.
    pub(crate) scope: String,
    /// When it was issued or made, in seconds since 1970.
    pub(crate) issued_at_s: i64,
    /// When it ends by itself.
    pub(crate) expires_at_s: Option<i64>,
    /// What kind it is.
    pub(crate) kind: CredentialKind,
    /// The foreign issuer; `None`: it is ours.
    pub(crate) foreign_issuer: Option<String>,
}

/// What a credential is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CredentialKind {
    /// An access token, and its session, where it has one.
    AccessToken {
        /// Its id.
        session_id: Option<String>,
    },
    /// A refresh token.
    RefreshToken {
        /// The id of its session.
        session_id: String,
    },
    /// An API key.
    ApiKey {
        /// Its id.
        key_id: String,
        /// The account that it pays from.
        account_id: String,
    },
}

impl AccountsService {
    /// What a credential is; `None`: it is not in force, or nobody knows it. `address`: where it was shown from, as far as that is known: a
    /// key that is limited to networks is in force only there.
    ///
    /// # Errors
    /// It can't be said: the store gave no answer, or a foreign issuer's keys can't be had.
    pub(crate) async fn introspect(&self, text: &str, address: Option<IpAddr>) -> Result<Option<Introspected>, ServiceError> {
        if text.starts_with(REFRESH_TOKEN_PREFIX) {
            return self.introspect_refresh_token(text).await;
        }
        let presented = match self.authorizer.credentials.present(text, "").await {
            Ok(presented) => presented,
            Err(unsaid @ (CredentialError::Store(_) | CredentialError::ForeignToken(ForeignTokenError::KeysUnavailable(_)))) => {
                return Err(unsaid.into());
            }
            Err(_) => return Ok(None),
        };
        match self.authorizer.anybody_with(presented.clone(), address).await {
            Ok(caller) => self.introspected(presented, caller.principal).await.map(Some),
            Err(ServiceError::Store(_)) => Ok(None),
            Err(unsaid) => Err(unsaid),
        }
    }

    async fn introspect_refresh_token(&self, text: &str) -> Result<Option<Introspected>, ServiceError> {
        let Some(token) = RefreshToken::parse(text) else { return Ok(None) };
        let Some(session) = self.session_of(&token).await?.filter(|session| session.token_hash == token.token_hash()) else {
            return Ok(None);
        };
        let user = self.store.user_by_id(token.user_id()).await?;
        Ok(user.filter(|user| !user.disabled && !user.locked).map(|user| Introspected {
            user_id: user.user_id.to_string(),
            user_name: user.user_name.to_string(),
            scope: session.scopes.to_string(),
            issued_at_s: session.last_used_at_ms / 1000,
            expires_at_s: Some(session.refresh_expires_at_ms.min(session.ends_at_ms) / 1000),
            kind: CredentialKind::RefreshToken { session_id: session.session_id.to_string() },
            foreign_issuer: None,
        }))
    }

    /// What the session of a refresh token may be used for; it never changes. `None`: there is no such session, or the token was never one
    /// of its.
    pub(crate) async fn session_scopes(&self, text: &str) -> Result<Option<TokenScopes>, ServiceError> {
        let Some(token) = RefreshToken::parse(text) else { return Ok(None) };
        Ok(self.session_of(&token).await?.map(|session| session.scopes))
    }

    async fn session_of(&self, token: &RefreshToken) -> Result<Option<Session>, ServiceError> {
        let sessions = self.store.sessions(token.user_id()).await?;
        let is_its = |session: &Session| session.session_id == *token.session_id() && session.family_hash == token.family_hash();
        Ok(sessions.into_iter().find(is_its))
    }

    async fn introspected(&self, presented: Presented, principal: Principal) -> Result<Introspected, ServiceError> {
        let user_name = match &principal.membership {
            // No user has its name: whoever goes by user names must not take it for one.
            Some(Membership { principal: organization::Principal::ServiceAccount { .. }, .. }) => String::new(),
            _ => self.user(&principal.user_id).await?.user_name.to_string(),
        };
        let user_id = principal.user_id.to_string();
        let (scope, issued_at_s, expires_at_s, kind) = match &presented.credential {
            PresentedCredential::AccessToken { issued_at_ms, .. } => {
                let session_id = principal.session_id.as_ref().map(ToString::to_string);
                let expires_at_s = presented.expires_at_s.and_then(|at| i64::try_from(at).ok());
                let issued_at_s = presented.foreign.as_ref().map_or(issued_at_ms / 1000, |foreign| foreign.issued_at_s);
                (presented.scopes.to_string(), issued_at_s, expires_at_s, CredentialKind::AccessToken { session_id })
            }
            PresentedCredential::ApiKey { .. } => {
                let keys = self.store.api_keys(&presented.account).await?;
                let key = keys.into_iter().find(|key| principal.key_id.as_ref() == Some(&key.key.key_id)).map(contract::api_key);
                let key = key.ok_or_else(|| ServiceError::defect("a key in force is not listed"))?;
                // A secret whose place another one takes ends before its key does.
                let secret = key.secrets.into_iter().find(|secret| secret.number == principal.key_secret).unwrap_or_default();
                let issued_at_s = secret.created_at.or(key.created_at).map(|at| at.seconds).unwrap_or_default();
                let expires_at_s = secret.expires_at.or(key.expires_at).map(|at| at.seconds);
                let kind = CredentialKind::ApiKey { key_id: key.api_key_id, account_id: presented.account.to_string() };
                (key.scopes.join(" "), issued_at_s, expires_at_s, kind)
            }
        };
        let foreign_issuer = presented.foreign.map(|foreign| foreign.issuer);
        Ok(Introspected { user_id, user_name, scope, issued_at_s, expires_at_s, kind, foreign_issuer })
    }
}

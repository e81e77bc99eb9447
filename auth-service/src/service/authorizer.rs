//! Lets callers of Accounts and Admin in: those with a credential in force that is good for the method.

use std::sync::Arc;

use tonic::metadata::MetadataMap;

use crate::access_token::AccessTokens;
use crate::credential::{self, Presented};
use crate::ids::{AccountId, UserId};
use crate::service::service_error::ServiceError;
use crate::store::{CheckAnswer, CheckRequest, Permission, PresentedCredential, Principal, Refusal, Scope, Store};

/// An authenticated and authorized caller.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub principal: Principal,
    /// The account that the call is about.
    pub account: AccountId,
}

/// Lets callers in.
#[derive(Debug, Clone)]
pub struct Authorizer {
    /// Says whether a credential is in force.
    pub store: Arc<dyn Store>,
    /// Says whether a token is ours.
    pub tokens: Arc<AccessTokens>,
}

impl Authorizer {
    /// Anybody with a credential in force, whatever its scopes.
    pub async fn anybody(&self, metadata: &MetadataMap) -> Result<Caller, ServiceError> {
        let presented = self.present(metadata)?;
        // A key has at least one scope; it says who calls with any of them.
        let mut refused = Refusal::ScopeRequired;
        for scope in [Scope::Account, Scope::Chat, Scope::ListModels, Scope::Generate, Scope::Embed, Scope::Models] {
            match self.check(presented.clone(), scope, false).await {
                Err(ServiceError::Store(Refusal::ScopeRequired)) => refused = Refusal::ScopeRequired,
                answer => return answer,
            }
        }
        Err(ServiceError::Store(refused))
    }

    /// Who may read the account: an access token, or an API key with the scope `account`.
    pub async fn reader(&self, metadata: &MetadataMap) -> Result<Caller, ServiceError> {
        self.check(self.present(metadata)?, Scope::Account, false).await
    }

    /// Who may manage the account's keys: an access token that may do all that its user may. A key could do more than another.
    pub async fn owner(&self, metadata: &MetadataMap) -> Result<Caller, ServiceError> {
        let presented = self.present(metadata)?;
        require_access_token(&presented)?;
        self.check(presented, Scope::Account, false).await
    }

    /// An operator: the access token of a user with the admin role.
    pub async fn operator(&self, metadata: &MetadataMap) -> Result<UserId, ServiceError> {
        let text = credential::bearer(metadata)?;
        // The role is the user's, not an account's: which account is named doesn't count here, but several are refused as everywhere.
        credential::account_header(metadata)?;
        let presented = credential::present(text, "", &self.tokens)?;
        require_access_token(&presented)?;
        Ok(self.check(presented, Scope::Account, true).await?.principal.user_id)
    }

    fn present(&self, metadata: &MetadataMap) -> Result<Presented, ServiceError> {
        Ok(credential::present(credential::bearer(metadata)?, credential::account_header(metadata)?, &self.tokens)?)
    }

    async fn check(&self, presented: Presented, scope: Scope, admin: bool) -> Result<Caller, ServiceError> {
        presented.require(scope).map_err(ServiceError::Store)?;
        let Presented { account, credential, .. } = presented;
        let permission = Permission { scope, admin, model: String::new() };
        let request = CheckRequest { account: account.clone(), credential, permission, charge: None };
        match self.store.check(request).await? {
            CheckAnswer::Allowed(principal) => Ok(Caller { principal, account }),
            CheckAnswer::Refused(refusal) => Err(ServiceError::Store(refusal)),
            CheckAnswer::Held(..) | CheckAnswer::Recorded(..) => {
                Err(ServiceError::defect("the store answered a charge that was not asked for"))
            }
        }
    }
}

/// An access token that isn't limited to less than its user may do.
fn require_access_token(presented: &Presented) -> Result<(), ServiceError> {
    match presented.credential {
        PresentedCredential::AccessToken { .. } => presented.require_all().map_err(ServiceError::Store),
        PresentedCredential::ApiKey { .. } => Err(ServiceError::AccessTokenRequired),
    }
}

//! Lets callers of Accounts and Admin in: those with a credential in force that is good for the method.

use std::net::IpAddr;
use std::sync::Arc;

use crate::credential::{self, Credentials, Presented};
use crate::ids::AccountId;
use crate::key_uses::KeyUses;
use crate::service::call::Call;
use crate::service::service_error::ServiceError;
use crate::store::{AuditEvent, CheckAnswer, CheckRequest, Permission, PresentedCredential, Principal, Refusal, Scope, Store};

/// An authenticated and authorized caller.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub principal: Principal,
    /// The account that the call is about.
    pub account: AccountId,
    /// What it showed.
    pub credential: PresentedCredential,
}

/// Lets callers in.
#[derive(Debug, Clone)]
pub struct Authorizer {
    /// Says whether a credential is in force.
    pub store: Arc<dyn Store>,
    /// Takes credentials apart.
    pub credentials: Credentials,
    /// Takes note of the API keys that are used.
    pub key_uses: KeyUses,
    /// Whether operators' changes need a second factor that was proved just now.
    pub require_admin_totp: bool,
}

impl Authorizer {
    /// Anybody with a credential in force, whatever its scopes.
    pub async fn anybody(&self, call: Call<'_>) -> Result<Caller, ServiceError> {
        self.anybody_with(self.present(call).await?, call.address).await
    }

    /// The same of a credential that was taken apart, and of the address that it was shown from.
    pub async fn anybody_with(&self, presented: Presented, address: Option<IpAddr>) -> Result<Caller, ServiceError> {
        // A key has at least one scope; it says who calls with any of them.
        let mut refused = Refusal::ScopeRequired;
        for scope in [Scope::Account, Scope::Chat, Scope::ListModels, Scope::Generate, Scope::Embed, Scope::Models] {
            match self.check(presented.clone(), address, Permission::of(scope)).await {
                Err(ServiceError::Store(Refusal::ScopeRequired)) => refused = Refusal::ScopeRequired,
                answer => return answer,
            }
        }
        Err(ServiceError::Store(refused))
    }

    /// Who may read the account: an access token, or an API key with the scope `account`.
    pub async fn reader(&self, call: Call<'_>) -> Result<Caller, ServiceError> {
        let presented = self.present(call).await?;
        self.check(presented, call.address, Permission::of(Scope::Account)).await
    }

    /// Who may manage the account's keys: an access token of ours that may do all that its user may. A key could do more than another.
    pub async fn owner(&self, call: Call<'_>) -> Result<Caller, ServiceError> {
        let presented = self.present(call).await?;
        require_access_token(&presented)?;
        if presented.foreign.is_some() {
            // It would end with its issuer's word, and what it made would stay.
            return Err(ServiceError::AccessTokenRequired);
        }
        self.check(presented, call.address, Permission::of(Scope::Account)).await
    }

    /// Whoever has signed in to us: an access token of ours, with a session, that may do all that its user may. What organization is meant,
    /// the call's message says; which account is named doesn't count, but several are refused as everywhere.
    pub async fn signed_in(&self, call: Call<'_>) -> Result<Caller, ServiceError> {
        let text = credential::bearer(call.metadata)?;
        credential::account_header(call.metadata)?;
        let presented = self.credentials.present(text, "").await?;
        tell(call, &presented);
        require_access_token(&presented)?;
        let has_session = matches!(&presented.credential, PresentedCredential::AccessToken { session: Some(_), .. });
        if presented.foreign.is_some() || !has_session {
            return Err(ServiceError::AccessTokenRequired);
        }
        self.check(presented, call.address, Permission::of(Scope::Account)).await
    }

    /// An operator who changes something: the access token of a user with the admin role, whose session has proved the second factor just
    /// now where that is required.
    pub async fn operator(&self, call: Call<'_>) -> Result<Principal, ServiceError> {
        self.operator_with(call, self.require_admin_totp).await
    }

    /// An operator who only reads.
    pub async fn operator_reading(&self, call: Call<'_>) -> Result<Principal, ServiceError> {
        self.operator_with(call, false).await
    }

    async fn operator_with(&self, call: Call<'_>, step_up: bool) -> Result<Principal, ServiceError> {
        let text = credential::bearer(call.metadata)?;
        // The role is the user's, not an account's: which account is named doesn't count here, but several are refused as everywhere.
        credential::account_header(call.metadata)?;
        let presented = self.credentials.present(text, "").await?;
        tell(call, &presented);
        require_access_token(&presented)?;
        let permission = Permission { admin: true, step_up, ..Permission::of(Scope::Account) };
        Ok(self.check(presented, call.address, permission).await?.principal)
    }

    async fn present(&self, call: Call<'_>) -> Result<Presented, ServiceError> {
        let account = credential::account_header(call.metadata)?;
        let presented = self.credentials.present(credential::bearer(call.metadata)?, account).await?;
        tell(call, &presented);
        Ok(presented)
    }

    async fn check(&self, presented: Presented, caller_address: Option<IpAddr>, permission: Permission) -> Result<Caller, ServiceError> {
        presented.require(permission.scope).map_err(ServiceError::Store)?;
        if permission.admin {
            presented.require_operators_own().map_err(ServiceError::Store)?;
        }
        let Presented { account, credential, .. } = presented;
        let request = CheckRequest { account: account.clone(), credential: credential.clone(), permission, charge: None, caller_address };
        match self.store.check(request).await? {
            CheckAnswer::Allowed(principal) => {
                self.key_uses.used_by(&account, &credential);
                Ok(Caller { principal, account, credential })
            }
            CheckAnswer::Refused(refusal) => Err(ServiceError::Store(refusal)),
            CheckAnswer::Held(..) | CheckAnswer::Recorded(..) => {
                Err(ServiceError::defect("the store answered a charge that was not asked for"))
            }
        }
    }
}

/// Tells who calls, for the audit log: an access token was verified by now. Whether an API key is one, only the store knows.
fn tell(call: Call<'_>, presented: &Presented) {
    if let PresentedCredential::AccessToken { user_id, session, .. } = &presented.credential {
        let actor_credential = session.as_ref().map(ToString::to_string).unwrap_or_default();
        call.know(|event| AuditEvent { actor: Some(user_id.clone()), actor_credential, ..event });
    }
}

/// An access token that isn't limited to less than its user may do.
fn require_access_token(presented: &Presented) -> Result<(), ServiceError> {
    match presented.credential {
        PresentedCredential::AccessToken { .. } => presented.require_all().map_err(ServiceError::Store),
        PresentedCredential::ApiKey { .. } => Err(ServiceError::AccessTokenRequired),
    }
}

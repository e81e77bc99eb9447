//! auth-service's HTTP doors: OAuth2's endpoints, `/users/me`, and the account page. They end in the methods of [`AccountsService`].

mod oauth2;
mod oauth2_device;
mod oauth2_error;
mod oauth2_introspection;
mod oauth2_revocation;
mod oauth2_token;
mod token_form;
mod users_me;
mod well_known;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use shared::doors::Door;
use shared::doors::openapi::{Answerer, Doors};
use shared::doors::published::with_published;
use shared::secret::Secret;

use crate::access_token::{AccessTokens, DEFAULT_LEEWAY, SigningSecret};
use crate::account_page::AccountPage;
use crate::credential::Credentials;
use crate::foreign_issuer::ForeignIssuers;
use crate::key_lifetimes::KeyLifetimes;
use crate::key_uses::KeyUses;
use crate::password::{HashingCost, PasswordHashing};
use crate::service::accounts::AccountsService;
use crate::service::audit_trail::AuditTrail;
use crate::service::authorizer::Authorizer;
use crate::service::device_sign_in::DeviceSignIns;
use crate::service::guesses::Guesses;
use crate::service::sign_up_policy::SignUpPolicy;
use crate::service::usage_report::UsageReads;
use crate::sign_in_issuers::SignInIssuers;
use crate::startup::{SERVICES, StartError, policy};
use crate::store::clock::Clock;
use crate::store::sqlite::SqliteStore;
use crate::store::{Store, StoreLimits};
use crate::throttle::{LoginThrottle, SignUpThrottle};

pub use self::oauth2::OAuth2Config;
pub use self::oauth2_device::REFUSED as DEVICE_AUTHORIZATION_REFUSED;
pub(crate) use self::oauth2_error::json as never_stored_json;
pub use self::oauth2_introspection::REFUSED as INTROSPECT_REFUSED;
pub use self::oauth2_revocation::REFUSED as REVOKE_REFUSED;
pub use self::oauth2_token::REFUSED as TOKEN_REFUSED;
pub use self::users_me::REFUSED as USERS_ME_REFUSED;
pub use crate::account_page::REFUSED as ACCOUNT_SESSION_REFUSED;
pub use crate::account_page::SIGN_IN_REFUSED as ACCOUNT_SIGN_IN_REFUSED;

/// What auth-service answers over HTTP.
#[must_use]
pub fn doors(accounts: &Arc<AccountsService>, config: OAuth2Config, page: Option<&AccountPage>) -> Vec<Door> {
    let mut doors = vec![oauth2::door(accounts, config), users_me::door(Arc::clone(accounts))];
    doors.extend(page.into_iter().flat_map(|page| page.doors(accounts)));
    with_published(doors, Answerer::Auth, &SERVICES, policy)
}

/// The same doors, to be described and not to be served: nobody is behind them.
///
/// # Errors
/// No randomness, or too little memory for a password's hash.
pub fn described() -> Result<Vec<Door>, StartError> {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::in_memory(StoreLimits::default(), Clock::Store)?);
    let (secret, _) = Secret::generate()?;
    let signing = SigningSecret { kid: "1".to_owned(), secret };
    let tokens = AccessTokens::new(&[signing], Duration::from_secs(1), DEFAULT_LEEWAY).ok_or(StartError::NoSigningSecret)?;
    let tokens = Arc::new(tokens);
    let issuers = Arc::new(ForeignIssuers::none());
    let credentials = Credentials { tokens: Arc::clone(&tokens), issuers, store: Arc::clone(&store) };
    let accounts = Arc::new(AccountsService {
        authorizer: Authorizer { store: Arc::clone(&store), credentials, key_uses: KeyUses::new().0, require_admin_totp: false },
        trail: Arc::new(AuditTrail::new(Arc::clone(&store))),
        issuers: SignInIssuers::new(Vec::new(), &tokens, DEFAULT_LEEWAY)?,
        public_url: None,
        store,
        tokens,
        passwords: Arc::new(PasswordHashing::new(HashingCost::default())?),
        logins: LoginThrottle::default(),
        sign_ups: SignUpThrottle::new(1),
        sign_up: SignUpPolicy::Closed,
        starting_credits: 0,
        key_lifetimes: KeyLifetimes::default(),
        usage_reads: UsageReads::default(),
        devices: DeviceSignIns::new(None, false),
        guesses: Guesses::default(),
    });
    Ok(doors(&accounts, OAuth2Config::default(), Some(&AccountPage::default())))
}

/// The OpenAPI document of all of them.
///
/// # Errors
/// As [`described`]'s.
pub fn document() -> Result<Value, StartError> {
    let doors = described()?;
    Ok(Doors { answerer: Answerer::Auth, doors: &doors, services: &SERVICES, policy }.document())
}

//! auth-service from outside: its three services through real clients, and its binary.

mod account_page;
mod accounts;
mod api_keys;
mod audit;
mod auth;
mod binary;
mod devices;
mod devices_http;
mod fields;
mod floods;
mod foreign_service_accounts;
mod foreign_tokens;
mod hostile_tokens;
mod http;
mod identities;
mod issuer_page;
mod issuer_sign_in;
mod issuer_troubles;
mod logins;
mod model_patterns;
mod oauth2;
mod oauth2_sessions;
#[expect(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test support that other crates' tests have too"
)]
#[path = "../../../tests/integration/src/oidc_issuer.rs"]
mod oidc_issuer;
mod organization_guesses;
mod organization_list;
mod organizations;
mod passwords;
mod published;
mod release;
mod revocations;
mod second_factor;
mod second_factor_log;
mod sessions;
mod shared_account;
mod support;
#[expect(dead_code, clippy::unwrap_used, reason = "test support, of which the unit tests have more")]
#[path = "../../src/foreign_issuer/test_issuer.rs"]
mod test_issuer;
mod token_keys;
mod usage;
mod user_list;

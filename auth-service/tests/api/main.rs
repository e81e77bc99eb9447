//! auth-service from outside: its three services through real clients, and its binary.

mod accounts;
mod api_keys;
mod auth;
mod binary;
mod fields;
mod foreign_tokens;
mod hostile_tokens;
mod http;
mod logins;
mod model_patterns;
mod oauth2;
mod published;
mod release;
mod sessions;
mod support;
#[expect(dead_code, reason = "the unit tests have more answers of it")]
#[path = "../../src/foreign_issuer/test_issuer.rs"]
mod test_issuer;
mod token_keys;

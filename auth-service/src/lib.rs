//! Who may spend what: users, passwords, access tokens, API keys, and the ledger of credits.
//!
//! [`startup::Application`] is what `main` and the tests start. From the wire inwards: [`doors`] or gRPC → [`service`] →
//! [`credential`] → [`access_token`] or [`api_key`] → [`store`].

pub mod access;
pub mod access_token;
pub mod account_page;
mod account_secret;
pub mod api_key;
pub mod command_line;
pub mod config;
pub mod credential;
pub mod device_sign_in;
pub mod doors;
pub mod foreign_issuer;
pub mod grant;
pub mod hold;
pub mod identity;
pub mod ids;
pub mod key_lifetimes;
pub mod key_uses;
pub mod keyring;
pub mod ledger_export;
pub mod model_pattern;
pub mod month;
pub mod networks;
mod one_time_password;
pub mod organization;
pub mod password;
pub mod price;
pub mod price_table;
pub mod profile;
pub mod public_url;
pub mod refresh_token;
pub mod refunds;
pub mod revocation_feed;
pub mod scope;
pub mod second_factor;
pub mod service;
pub mod session;
pub mod sign_in_issuers;
pub mod startup;
pub mod store;
pub mod store_health;
pub mod sweeper;
pub mod throttle;
pub mod token_scopes;
pub mod usage;
pub mod user;
pub mod user_state;

//! auth-service from outside: its three services through real clients, and its binary.

mod accounts;
mod api_keys;
mod auth;
mod binary;
mod fields;
mod hostile_tokens;
mod http;
mod logins;
mod model_patterns;
mod oauth2;
mod published;
mod release;
mod support;

//! The three gRPC services. Fields are parsed here, at the edge; what is below never sees a proto type.

pub mod accounts;
pub mod admin;
mod api_keys;
mod audit_list;
pub mod audit_trail;
pub mod auth;
pub mod authorizer;
pub mod call;
pub mod call_lines;
pub mod contract;
pub(crate) mod introspection;
pub(crate) mod issuer_sign_in;
mod key_fields;
mod ledger_page;
mod not_built;
pub mod service_error;
pub(crate) mod sessions;
pub(crate) mod sign_in;
pub mod sign_up_policy;
pub mod usage_report;
mod user_fields;
mod user_list;
pub mod violations;

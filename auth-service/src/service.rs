//! The three gRPC services. Fields are parsed here, at the edge; what is below never sees a proto type.

pub mod accounts;
pub mod admin;
pub mod auth;
pub mod caller;
pub mod convert;
pub mod refused;
pub mod sign_up_policy;

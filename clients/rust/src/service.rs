//! Tollgate's two services.

use std::fmt;

/// One of Tollgate's two services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Accounts, keys, credits.
    Auth,
    /// Chats and models.
    Inference,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auth => "auth-service",
            Self::Inference => "inference-service",
        })
    }
}

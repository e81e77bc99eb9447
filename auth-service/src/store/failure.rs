//! Why a store gives no answer, or can't be opened.

use shared::ErrorReason;
use shared::error::reason_name;

/// Why an operation gave no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The store can't be reached, or broke off. The operation may or may not have happened.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The store, or its disk, has no room; nothing was written.
    #[error("the store is full: {0}")]
    Full(String),
    /// The store takes no writes; nothing was written.
    #[error("the store takes no writes: {0}")]
    ReadOnly(String),
    /// The store's own configuration or version can't be used. Needs an operator. The operation may or may not have happened.
    #[error("the store can't be used as it is set up: {0}")]
    Misconfigured(String),
    /// What is stored contradicts itself; nothing was written. Needs an operator.
    #[error("the store is corrupt: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// The reason that a caller is given.
    #[must_use]
    pub fn error_reason(&self) -> ErrorReason {
        match self {
            Self::Unavailable(_) => ErrorReason::StoreUnavailable,
            Self::Full(_) => ErrorReason::StoreFull,
            Self::ReadOnly(_) => ErrorReason::StoreReadOnly,
            Self::Misconfigured(_) => ErrorReason::StoreMisconfigured,
            Self::Corrupt(_) => ErrorReason::Internal,
        }
    }

    /// Its name, as the log has it.
    pub(super) fn reason(&self) -> &'static str {
        reason_name(self.error_reason())
    }
}

/// Why a store can't be opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreOpenError {
    /// Nothing answers there. The same may work later.
    #[error("the store can't be reached: {0}")]
    Unreachable(String),
    /// Redis is set up so that it may lose credits. Needs another setting, there or here.
    #[error("this Redis may lose credits: {0}")]
    Unsafe(String),
    /// The address, or the user and password, are wrong.
    #[error("Redis can't be used as it is configured: {0}")]
    Misconfigured(String),
    /// The file, or what answers at the address, can't be used.
    #[error("the store can't be opened: {0}")]
    Unusable(String),
}

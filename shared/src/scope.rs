//! What an API key may do, by its names in the contract.

/// Chat, generate, list and show models.
pub const INFERENCE: &str = "inference";
/// Make and remove models; works for operators only.
pub const MODELS: &str = "models";
/// Read balance, receipts and history.
pub const ACCOUNT: &str = "account";

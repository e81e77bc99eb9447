//! What an API key or an access token may be used for, by its names in the contract.

/// Chat.
pub const CHAT: &str = "chat";
/// Generate.
pub const GENERATE: &str = "generate";
/// Embed.
pub const EMBED: &str = "embed";
/// List models, and show them.
pub const LIST_MODELS: &str = "list_models";
/// The four before.
pub const INFERENCE: &str = "inference";
/// Make and remove models; works for operators only.
pub const MODELS: &str = "models";
/// Read balance, receipts and ledger.
pub const ACCOUNT: &str = "account";

/// All names.
pub const ALL: [&str; 7] = [CHAT, GENERATE, EMBED, LIST_MODELS, INFERENCE, MODELS, ACCOUNT];

//! What an API key, or a device's session, may do.

use clap::ValueEnum;
use shared::scope;

/// What an API key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scope {
    /// Chat
    Chat,
    /// Let a model go on from a text
    Generate,
    /// Turn texts into vectors
    Embed,
    /// List and show models
    #[value(name = scope::LIST_MODELS)]
    ListModels,
    /// All four of them
    Inference,
    /// Make and remove models; works for operators only
    Models,
    /// Read balance, receipts and history
    Account,
}

impl Scope {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chat => scope::CHAT,
            Self::Generate => scope::GENERATE,
            Self::Embed => scope::EMBED,
            Self::ListModels => scope::LIST_MODELS,
            Self::Inference => scope::INFERENCE,
            Self::Models => scope::MODELS,
            Self::Account => scope::ACCOUNT,
        }
    }
}

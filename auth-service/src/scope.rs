//! What a credential may be used for: single operations, and their names, of which one stands for several.

use shared::scope;

/// One thing that an API key, or a limited access token, may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Chat.
    Chat,
    /// Generate.
    Generate,
    /// Embed.
    Embed,
    /// List and show models.
    ListModels,
    /// Make and remove models; needs the admin role too.
    Models,
    /// Read the account's balance, receipts and ledger.
    Account,
}

impl Scope {
    /// Every scope, in the order in which they are kept and shown.
    pub const ALL: [Self; 6] = [Self::Chat, Self::Generate, Self::Embed, Self::ListModels, Self::Models, Self::Account];
    /// What the name `inference` stands for.
    pub const INFERENCE: [Self; 4] = [Self::Chat, Self::Generate, Self::Embed, Self::ListModels];

    /// Its name in the contract.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => scope::CHAT,
            Self::Generate => scope::GENERATE,
            Self::Embed => scope::EMBED,
            Self::ListModels => scope::LIST_MODELS,
            Self::Models => scope::MODELS,
            Self::Account => scope::ACCOUNT,
        }
    }

    fn is_named(self, name: &str) -> bool {
        name == self.name() || (name == scope::INFERENCE && Self::INFERENCE.contains(&self))
    }
}

/// What names stand for, each scope once and in one order. A name that isn't known stands for nothing.
pub fn named<'n>(names: impl IntoIterator<Item = &'n str>) -> Vec<Scope> {
    let names: Vec<&str> = names.into_iter().collect();
    Scope::ALL.into_iter().filter(|scope| names.iter().any(|name| scope.is_named(name))).collect()
}

/// The shortest list of names that stands for these scopes.
#[must_use]
pub fn names(scopes: &[Scope]) -> Vec<&'static str> {
    let has = |scope: &Scope| scopes.contains(scope);
    let all_inference = Scope::INFERENCE.iter().all(has);
    let single = Scope::ALL.iter().filter(|scope| has(scope) && !(all_inference && Scope::INFERENCE.contains(scope)));
    all_inference.then_some(scope::INFERENCE).into_iter().chain(single.map(|scope| scope.name())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inference_stands_for_its_four_operations_and_a_list_of_all_four_is_shown_by_that_name() {
        assert_eq!(named(["inference"]), Scope::INFERENCE);
        assert_eq!(names(&Scope::INFERENCE), ["inference"]);
        assert_eq!(names(&named(["list_models", "embed", "account", "chat", "generate"])), ["inference", "account"]);
        assert_eq!(names(&named(["embed", "chat", "chat"])), ["chat", "embed"]);
        assert_eq!(named(["Chat", "", "generate "]), []);
    }

    #[test]
    fn every_name_stands_for_something_and_every_scope_has_a_name() {
        assert!(scope::ALL.iter().all(|name| !named([*name]).is_empty()));
        assert_eq!(named(scope::ALL), Scope::ALL);
        for scope in Scope::ALL {
            assert_eq!((named([scope.name()]), names(&[scope])), (vec![scope], vec![scope.name()]));
        }
    }
}

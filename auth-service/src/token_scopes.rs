//! What an access token may be used for: all that its user may do, or what its request for it named.

use std::fmt;

use crate::scope::{self, Scope};

/// What an access token may be used for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TokenScopes {
    /// All that its user may do.
    #[default]
    All,
    /// No more than this, each scope once and in one order. Such a token doesn't manage API keys: they could do more than itself.
    Only(Vec<Scope>),
}

impl TokenScopes {
    /// Reads a list of names with spaces between. All of them, and none, are all there is. `None`: a name is unknown.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let names = || text.split(' ').filter(|name| !name.is_empty());
        if !names().all(|name| shared::scope::ALL.contains(&name)) {
            return None;
        }
        let named = scope::named(names());
        let is_all = named.is_empty() || named == Scope::ALL;
        Some(if is_all { Self::All } else { Self::Only(named) })
    }

    /// Reads a token's claim. A name that this release doesn't know gives nothing, and no name is no scope.
    pub(crate) fn of_claim(claim: &str) -> Self {
        Self::Only(scope::named(claim.split(' ')))
    }

    /// The claim; `None` for a token that isn't limited, as all are that older releases made.
    pub(crate) fn to_claim(&self) -> Option<String> {
        self.is_limited().then(|| self.to_string())
    }

    /// Whether the token may do less than its user.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        matches!(self, Self::Only(_))
    }

    /// These, as far as others have them too.
    #[must_use]
    pub fn within(&self, others: &Self) -> Self {
        match (self, others) {
            (Self::All, others) => others.clone(),
            (scopes, Self::All) => scopes.clone(),
            (Self::Only(scopes), others) => Self::Only(scopes.iter().copied().filter(|scope| others.cover(*scope)).collect()),
        }
    }

    /// Whether the token is good for a scope.
    #[must_use]
    pub fn cover(&self, scope: Scope) -> bool {
        match self {
            Self::All => true,
            Self::Only(scopes) => scopes.contains(&scope),
        }
    }
}

impl fmt::Display for TokenScopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scopes: &[Scope] = match self {
            Self::All => &Scope::ALL,
            Self::Only(scopes) => scopes,
        };
        f.write_str(&scope::names(scopes).join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_order_and_as_often_as_they_come_and_an_unknown_one_is_refused() {
        let account = TokenScopes::Only(vec![Scope::Account]);
        assert_eq!(TokenScopes::parse("account"), Some(account.clone()));
        assert_eq!(TokenScopes::parse(" account  account "), Some(account));
        let two = TokenScopes::parse("account inference").unwrap();
        assert_eq!(two.to_string(), "inference account");
        assert!(two.is_limited() && two.cover(Scope::Account) && two.cover(Scope::Chat) && !two.cover(Scope::Models));
        let finer = TokenScopes::parse("embed chat").unwrap();
        assert_eq!((finer.to_string(), finer.cover(Scope::Chat), finer.cover(Scope::Generate)), ("chat embed".to_owned(), true, false));
        for all in ["", " ", "models account inference", "models account list_models chat embed generate"] {
            assert_eq!(TokenScopes::parse(all), Some(TokenScopes::All), "{all:?}");
        }
        for unknown in ["openid", "account openid", "Account", "account,models"] {
            assert_eq!(TokenScopes::parse(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_claim_gives_no_more_than_it_names() {
        for scopes in [TokenScopes::All, TokenScopes::Only(vec![Scope::Chat]), TokenScopes::Only(vec![])] {
            let claim = scopes.to_claim();
            assert_eq!(claim.map_or(TokenScopes::All, |claim| TokenScopes::of_claim(&claim)), scopes);
        }
        assert_eq!(TokenScopes::of_claim("a-scope-of-later"), TokenScopes::Only(vec![]));
        assert_eq!(
            TokenScopes::of_claim("inference models account a-scope-of-later"),
            TokenScopes::Only([&Scope::INFERENCE[..], &[Scope::Models, Scope::Account]].concat())
        );
    }
}

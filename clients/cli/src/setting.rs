//! What can be set: by a flag, by a variable, and in a profile of the config file.

/// A value that a command is run with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Setting {
    /// An API key or access token.
    Key,
    /// A session's file.
    Session,
    /// Where inference-service listens.
    Url,
    /// Where auth-service listens.
    AuthUrl,
    /// The account that pays.
    Account,
    /// A file of authorities.
    Ca,
    /// A file of the certificate to show.
    ClientCertificate,
    /// A file of its private key.
    ClientKey,
    /// The model to talk to.
    Model,
}

/// What a profile says in place of a key that is in the operating system's keychain.
pub(crate) const IN_KEYCHAIN: &str = "keychain";

impl Setting {
    /// All of them, as they are listed.
    pub(crate) const ALL: [Self; 9] = [
        Self::Key,
        Self::Session,
        Self::AuthUrl,
        Self::Url,
        Self::Account,
        Self::Model,
        Self::Ca,
        Self::ClientCertificate,
        Self::ClientKey,
    ];

    /// Its name in a profile.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Session => "session",
            Self::Url => "url",
            Self::AuthUrl => "auth_url",
            Self::Account => "account",
            Self::Ca => "ca",
            Self::ClientCertificate => "client_certificate",
            Self::ClientKey => "client_key",
            Self::Model => "model",
        }
    }

    /// The setting of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|setting| setting.name() == name)
    }

    /// Its environment variable.
    pub(crate) fn variable(self) -> &'static str {
        match self {
            Self::Key => "TOLLGATE_API_KEY",
            Self::Session => "TOLLGATE_SESSION",
            Self::Url => "TOLLGATE_URL",
            Self::AuthUrl => "TOLLGATE_AUTH_URL",
            Self::Account => "TOLLGATE_ACCOUNT",
            Self::Ca => "TOLLGATE_CA",
            Self::ClientCertificate => "TOLLGATE_CLIENT_CERTIFICATE",
            Self::ClientKey => "TOLLGATE_CLIENT_KEY",
            Self::Model => "TOLLGATE_MODEL",
        }
    }

    /// Its flag; a model is no flag, but the first argument of what asks one.
    pub(crate) fn flag(self) -> &'static str {
        match self {
            Self::Key => "--key",
            Self::Session => "--session",
            Self::Url => "--url",
            Self::AuthUrl => "--auth-url",
            Self::Account => "--account",
            Self::Ca => "--ca",
            Self::ClientCertificate => "--client-cert",
            Self::ClientKey => "--client-key",
            Self::Model => "MODEL",
        }
    }

    /// What it is.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Key => "API key or access token",
            Self::Session => "file of a session",
            Self::Url => "where inference-service listens",
            Self::AuthUrl => "where auth-service listens",
            Self::Account => "the account that pays",
            Self::Ca => "file of the authorities to trust",
            Self::ClientCertificate => "file of the certificate to show",
            Self::ClientKey => "file of its private key",
            Self::Model => "the model to chat with where none is named",
        }
    }

    /// Whether it names a file.
    pub(crate) fn is_path(self) -> bool {
        matches!(self, Self::Session | Self::Ca | Self::ClientCertificate | Self::ClientKey)
    }

    /// Whether it says how to reach a server.
    pub(crate) fn is_of_server(self) -> bool {
        matches!(self, Self::Url | Self::AuthUrl | Self::Ca | Self::ClientCertificate | Self::ClientKey)
    }

    /// All names, for people.
    pub(crate) fn names() -> String {
        let mut names = Self::ALL.map(Self::name);
        names.sort_unstable();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_found_by_its_name() {
        for setting in Setting::ALL {
            assert_eq!(Setting::named(setting.name()), Some(setting));
        }
        assert_eq!(Setting::named("keys"), None);
    }
}

//! Which servers are called, and by what credential: flags, variables, and the file of a session.

use std::path::PathBuf;

use clap::Args;
use tollgate_client::{Client, ClientBuilder};

use crate::failure::Failure;
use crate::output::hint;
use crate::session_file::SessionFile;

#[derive(Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    // Not clap's `env`: its error messages would list what the environment gives as if it had been typed.
    /// API key or access token [env: TOLLGATE_API_KEY, which others on this machine can't see]
    #[arg(long, global = true, value_name = "KEY")]
    key: Option<String>,
    /// File of a session: login writes it, and every command uses and refreshes it [env: TOLLGATE_SESSION]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "key")]
    session: Option<PathBuf>,
    /// Where auth-service listens [env: TOLLGATE_AUTH_URL]
    #[arg(long, global = true, value_name = "URL")]
    auth_url: Option<String>,
    /// Where inference-service listens [env: TOLLGATE_URL]
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// The account that pays, when an access token may pay from several
    #[arg(long, global = true, value_name = "ACCOUNT")]
    account: Option<String>,
    /// Certificate authorities to trust, in PEM, in place of the system's [env: TOLLGATE_CA]
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Client certificate to show, in PEM [env: TOLLGATE_CLIENT_CERTIFICATE]
    #[arg(long, global = true, value_name = "FILE")]
    client_cert: Option<PathBuf>,
    /// Its private key, in PEM [env: TOLLGATE_CLIENT_KEY]
    #[arg(long, global = true, value_name = "FILE")]
    client_key: Option<PathBuf>,
}

// Not derived: the key must not be shown.
impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("auth_url", &self.auth_url).field("url", &self.url).finish_non_exhaustive()
    }
}

/// Who a command calls as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Nobody yet: the command gets or shows a credential of its own.
    Nobody,
    /// Whoever the flags and the environment name.
    User,
}

/// A client, and the file of its session if it has one.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) client: Client,
    pub(crate) file: Option<SessionFile>,
}

impl Connection {
    /// A client as these flags say, and the environment where they say nothing; what is empty counts as unset. Of credentials, `--key`
    /// counts before `--session`, that before `TOLLGATE_API_KEY`, and that before `TOLLGATE_SESSION`.
    pub(crate) fn open(self, caller: Caller) -> Result<Connected, Failure> {
        let given = |value: Option<String>| value.filter(|value| !value.is_empty());
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let mut builder = ClientBuilder::from_env();
        let key = given(self.key);
        let named = self.session.filter(|path| !path.as_os_str().is_empty());
        // Where a session goes that this command begins, a key beside it doesn't matter.
        let by_variable = || variable("TOLLGATE_SESSION").map(PathBuf::from);
        let has_key = key.is_some() || (caller == Caller::User && variable("TOLLGATE_API_KEY").is_some());
        let file = named.or_else(|| if has_key { None } else { by_variable() }).map(SessionFile::at);
        if let Some(key) = key {
            builder = builder.credential(key);
        }
        if let Some(url) = given(self.auth_url) {
            builder = builder.auth_url(url);
        }
        if let Some(url) = given(self.url) {
            builder = builder.inference_url(url);
        }
        if let Some(account) = given(self.account) {
            builder = builder.account(account);
        }
        if let Some(file) = self.ca {
            builder = builder.ca_file(file);
        }
        if let Some(file) = self.client_cert {
            builder = builder.client_certificate_file(file);
        }
        if let Some(file) = self.client_key {
            builder = builder.client_key_file(file);
        }
        let allowed = variable("TOLLGATE_ALLOW_PLAINTEXT").is_some_and(|value| value == "true");
        for url in builder.plaintext_urls().into_iter().filter(|_| !allowed) {
            hint(&format!(
                "tollgate: {url} is called without TLS: others on the way can read passwords and keys. Use https://, or say \
                 TOLLGATE_ALLOW_PLAINTEXT=true"
            ));
        }
        let client = builder.build()?;
        let client = match &file {
            Some(file) if caller == Caller::User => {
                let session = file.read()?.ok_or_else(|| Failure::NoSession { path: file.path().to_owned() })?;
                client.with_stored_session(session, file.clone())
            }
            _ => client,
        };
        Ok(Connected { client, file })
    }
}

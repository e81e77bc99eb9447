//! Codes of the second factor: given, asked for on a terminal, or a line of standard input.

use std::io::{self, IsTerminal};

use clap::Args;
use tollgate_client::{Error, ErrorReason, Session};

use crate::failure::Failure;
use crate::password;

const WHAT: &str = "code";
const PROMPT: &str = "Code of your second factor: ";

/// A code that may stand on the command line: it is good once, and a recovery code is better typed where nobody sees it.
#[derive(Args)]
pub(crate) struct Given {
    /// Six digits of the authenticator app, or a recovery code [default: asked for, or a line of standard input]
    #[arg(long, value_name = "CODE")]
    second_factor_code: Option<String>,
}

// Not derived: a code must not be shown.
impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Given(…)")
    }
}

impl Given {
    /// The code, which is asked for if it wasn't given.
    pub(crate) fn read(self) -> Result<String, Failure> {
        self.second_factor_code.map_or_else(|| password::read_secret(WHAT, PROMPT), Ok)
    }

    /// Signs in with the password alone, and with a code as well when the user has a second factor.
    pub(crate) async fn sign_in(self, sign_in: impl AsyncFn(String) -> Result<Session, Error>) -> Result<Session, Failure> {
        let is_given = self.second_factor_code.is_some();
        match sign_in(self.second_factor_code.unwrap_or_default()).await {
            Err(error) if error.reason() == Some(ErrorReason::SecondFactorRequired) && !is_given => {
                // Without one, what the service said is the best that can be said.
                let code = password::read_secret(WHAT, PROMPT).ok().filter(|code| !code.is_empty()).ok_or(error)?;
                Ok(sign_in(code).await?)
            }
            answered => Ok(answered?),
        }
    }
}

/// Asks for the code that a call needs to go on; `None` where there is nobody to ask.
pub(crate) async fn to_go_on() -> Option<String> {
    if !io::stdin().is_terminal() {
        return None;
    }
    let asked = tokio::task::spawn_blocking(|| password::read_secret(WHAT, "This needs your second factor anew. Its code: "));
    asked.await.ok()?.ok()
}

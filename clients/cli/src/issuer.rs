//! The way through a browser to an OpenID issuer and back.

use std::time::Duration;

use tollgate_client::{Client, Error, Proof};

use crate::browser;
use crate::failure::Failure;
use crate::interruption::unless_interrupted;
use crate::loopback::{CameBack, Loopback, Said};
use crate::output::hint;

/// How long the service lets a sign-in take.
pub(crate) const LONGEST: Duration = Duration::from_secs(10 * 60);
/// What is shown of an issuer's own words.
const MOST_SHOWN: usize = 100;

/// How a browser is used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    /// Whether to open one.
    pub(crate) opens: bool,
    /// How long to wait for the person.
    pub(crate) within: Duration,
}

/// Sends the person to the issuer, waits for them or for Ctrl-C, and ends what they came for. The browser shows what became of it.
pub(crate) async fn by_browser<T>(
    client: &Client,
    issuer: &str,
    way: Way,
    end: impl AsyncFnOnce(Proof) -> Result<T, Error>,
) -> Result<T, Failure> {
    unless_interrupted(there_and_back(client, issuer, way, end)).await
}

async fn there_and_back<T>(
    client: &Client,
    issuer: &str,
    way: Way,
    end: impl AsyncFnOnce(Proof) -> Result<T, Error>,
) -> Result<T, Failure> {
    let cant_listen = |source| Failure::Io { what: "no browser could come back to this host's loopback".to_owned(), source };
    let loopback = Loopback::listen(issuer).await.map_err(cant_listen)?;
    let sign_in = client.begin_sign_in(issuer, &loopback.redirect_uri()).await?;
    let url = &sign_in.authorization_url;
    let opened = way.opens && browser::open(url);
    hint(if opened {
        "a browser is opening; if it doesn't, open this address on this machine:"
    } else {
        "open this address on this machine:"
    });
    hint(url);
    hint(&format!("waiting for {} (Ctrl-C stops)", sign_in.issuer.name));
    let name = &sign_in.issuer.name;
    let came_back = tokio::time::timeout(way.within, loopback.comes_back(|state| sign_in.has_state(state))).await;
    let came_back = came_back.map_err(|_| Failure::Late(format!("nobody came back from {name} in time")))?.map_err(cant_listen)?;
    // Another issuer's code must not be sent to this one, who could use it: it has another path, or says its name (RFC 9207).
    if !came_back.is_own || came_back.issuer.as_ref().is_some_and(|said| *said != sign_in.issuer.issuer) {
        came_back.answer("This came from another issuer. Nothing was done. You can close this window.").await;
        return Err(Failure::Denied(format!("another issuer than {name} sent the browser back; don't sign in with {name} again")));
    }
    let CameBack { said: Said::Code(code), .. } = &came_back else { return Err(denied(name, came_back).await) };
    let ended = end(sign_in.with_code(code, &came_back.state)).await;
    let page = match &ended {
        Ok(_) => "Done. You can close this window, and go on at the terminal.",
        Err(_) => "This didn't work. The terminal says why; you can close this window.",
    };
    came_back.answer(page).await;
    Ok(ended?)
}

async fn denied(issuer: &str, came_back: CameBack) -> Failure {
    let why: String = match &came_back.said {
        Said::Error(error) => error.chars().take(MOST_SHOWN).collect(),
        Said::Code(_) => String::new(),
    };
    came_back.answer("Nothing was done. You can close this window.").await;
    Failure::Denied(format!("{issuer} was not allowed to sign you in ({why})"))
}

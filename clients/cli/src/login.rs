//! Signing in: with a password, with an issuer through a browser, or as a device that somebody approves elsewhere.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tollgate_client::{Client, LockedSession as _, Session, SignInOptions, SignedIn};

use crate::connection::Connected;
use crate::display::{json_time, time};
use crate::duration::parse_duration;
use crate::failure::Failure;
use crate::interruption::unless_interrupted;
use crate::issuer::{self, Way};
use crate::key_scope::Scope;
use crate::output::{Output, hint};
use crate::password;
use crate::second_factor_code::Given;
use crate::session_file::SessionFile;
use crate::settings::{Caller, Source, Which};

/// What a session of this command is called, unless it gets a name.
pub(crate) const CLIENT: &str = concat!("tollgate ", env!("CARGO_PKG_VERSION"));

#[derive(Debug, Args)]
#[group(id = "way", args = ["name", "with", "device"], required = true, multiple = false)]
pub(crate) struct Login {
    /// User name; the password is asked for
    name: Option<String>,
    /// Sign in with this issuer, such as google, through a browser on this machine
    #[arg(long, value_name = "ISSUER")]
    with: Option<String>,
    /// Show a code, and wait until you approve it where you are signed in: for a machine without a browser
    #[arg(long)]
    device: bool,
    #[command(flatten)]
    code: Given,
    /// With --with: only print the address
    #[arg(long, conflicts_with_all = ["name", "device"])]
    no_browser: bool,
    /// With --device: what the session may do; may be repeated [default: all that you may do]
    #[arg(long = "scope", value_name = "SCOPE", value_enum, conflicts_with_all = ["name", "with"])]
    scopes: Vec<Scope>,
    /// With --with and --device: how long to wait for you, at most 10m
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "name")]
    timeout: Option<Duration>,
    /// What the session is called in `sessions list`
    #[arg(long, value_name = "TEXT", default_value = CLIENT)]
    client: String,
    /// Print an access token, which is good for 30 minutes, and keep nothing
    #[arg(long)]
    print_token: bool,
}

pub(crate) async fn login(connected: Connected, arguments: Login, output: &mut Output) -> Result<(), Failure> {
    let Login { name, with, device: _, code, no_browser, scopes, timeout, client, print_token } = arguments;
    let connected = connected.keeping(!print_token);
    let within = timeout.unwrap_or(issuer::LONGEST).min(issuer::LONGEST);
    if let Some(name) = name {
        let password = password::read(&format!("Password for {name}: "))?;
        let options = |second_factor_code| SignInOptions { client: client.clone(), second_factor_code };
        let sign_in = async |anybody: &Client| {
            let session = code.sign_in(async |code| anybody.login_with(&name, &password, options(code)).await).await?;
            Ok(signed_in(&name, session))
        };
        return begin(connected, output, sign_in).await;
    }
    if let Some(issuer) = with {
        let way = Way { opens: !no_browser, within };
        let sign_in =
            async |anybody: &Client| issuer::by_browser(anybody, &issuer, way, async |proof| anybody.sign_in(proof, &client).await).await;
        return begin(connected, output, sign_in).await;
    }
    let scopes: Vec<String> = scopes.into_iter().map(|scope| scope.name().to_owned()).collect();
    begin(connected, output, async |anybody| unless_interrupted(as_device(anybody, &client, &scopes, within)).await).await
}

pub(crate) async fn complete_reset(
    connected: Connected,
    name: &str,
    client: &str,
    code: Given,
    output: &mut Output,
) -> Result<(), Failure> {
    let one_time = password::read(&format!("One-time password for {name}: "))?;
    let new = password::read_new("New password (15 characters or more): ")?;
    let options = |second_factor_code| SignInOptions { client: client.to_owned(), second_factor_code };
    let sign_in = async |anybody: &Client| {
        let session = code.sign_in(async |code| anybody.complete_password_reset(name, &one_time, &new, options(code)).await).await?;
        Ok(signed_in(name, session))
    };
    begin(connected, output, sign_in).await
}

fn signed_in(name: &str, session: Session) -> SignedIn {
    SignedIn { session, user_name: name.to_owned(), created: false }
}

/// Shows a code, and waits until somebody who is signed in has approved it.
async fn as_device(anybody: &Client, client: &str, scopes: &[String], within: Duration) -> Result<SignedIn, Failure> {
    let device = anybody.begin_device_sign_in(client, scopes).await?;
    hint(&format!("open this address where you are signed in: {}", device.verification_uri));
    hint(&format!("and type this code: {}", device.user_code));
    hint(&format!("or open {}", device.verification_uri_complete));
    hint(&format!("or, at another terminal: tollgate devices approve {}", device.user_code));
    let until = device.expires_at.map(|end| format!(" until {}", time(Some(end.into())))).unwrap_or_default();
    hint(&format!("waiting{until} (Ctrl-C stops)"));
    match tokio::time::timeout(within, anybody.wait_for_device(&device)).await {
        Ok(signed_in) => Ok(signed_in?),
        Err(_) => Err(Failure::Late("nobody approved in time".to_owned())),
    }
}

/// Begins a session, and keeps it in its file, or prints its access token where there is none.
async fn begin(
    connected: Connected,
    output: &mut Output,
    sign_in: impl AsyncFnOnce(&Client) -> Result<SignedIn, Failure>,
) -> Result<(), Failure> {
    let Connected { client, file, situation, .. } = connected;
    let Some(file) = file else {
        let SignedIn { session, user_name: name, created } = sign_in(&client).await?;
        say_if_made(&name, created);
        let token = session.access_token.expose();
        let expires_at = session.expires_at.map(Into::into);
        output.said(token, json!({"userName": name, "accessToken": token, "expiresAt": json_time(expires_at)}))?;
        if expires_at.is_some() {
            hint(&format!("access token until {}; with --session FILE a session is kept and refreshed", time(expires_at)));
        }
        return Ok(());
    };
    // First, so that no session begins that can't be kept. Not for as long as a person takes: other commands refresh under this lock.
    drop(file.hold()?);
    let SignedIn { session, user_name: name, created } = sign_in(&client).await?;
    say_if_made(&name, created);
    let before = match keep(&file, &session) {
        Ok(before) => before,
        Err(failure) => {
            // Nobody could ever use it.
            let _ = client.with_credential(session.access_token.clone()).logout().await;
            return Err(failure);
        }
    };
    let until =
        session.refresh_expires_at.map(|end| format!(", until {} if it isn't used before", time(Some(end.into())))).unwrap_or_default();
    hint(&format!("{name} is signed in: session {} is kept in {}{until}", session.session_id, file.path().display()));
    if output.is_json() {
        output.document(&json!({
            "userName": name,
            "sessionId": session.session_id,
            "file": file.path(),
            "refreshExpiresAt": json_time(session.refresh_expires_at.map(Into::into)),
        }))?;
    }
    match situation.credential(Caller::User) {
        Which::Key(Source::Variable) => hint("TOLLGATE_API_KEY is set, and counts before this session"),
        Which::Key(Source::Profile) => hint(&format!(
            "profile {} has a key, which goes on asking and paying; keys, sessions, password, orgs and admin use this session",
            situation.profile.name
        )),
        Which::Nothing | Which::Key(Source::Flag) | Which::Session(_) | Which::Kept => {}
    }
    // Nothing knows the session that was there before any more.
    if let Some(token) = before.and_then(|before| before.refresh_token)
        && client.revoke_credential(token.expose()).await.is_err()
    {
        hint("the session that the file kept before could not be ended; tollgate sessions list shows it");
    }
    Ok(())
}

/// Keeps a session in place of the one that the file had.
fn keep(file: &SessionFile, session: &Session) -> Result<Option<Session>, Failure> {
    let mut held = file.hold()?;
    let before = held.what_is_there();
    held.save(session).map_err(|error| file.failure(error))?;
    Ok(before)
}

fn say_if_made(name: &str, created: bool) {
    if created {
        hint(&format!("{name} is a new user"));
    }
}

//! Signing in and out, the places where a user is signed in, and the password.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tollgate_client::proto::auth::{Session as UserSession, SignInMethod};
use tollgate_client::{Client, Error, ErrorReason, LockedSession as _, Session};

use crate::connection::Connected;
use crate::display::{json_text, json_time, time};
use crate::failure::Failure;
use crate::output::{Output, hint};
use crate::password;
use crate::session_file::SessionFile;
use crate::settings::{Caller, Source, Which};
use crate::table::Table;

/// What a session of this command is called, unless it gets a name.
pub(crate) const CLIENT: &str = concat!("tollgate ", env!("CARGO_PKG_VERSION"));

#[derive(Debug, Subcommand)]
pub(crate) enum Sessions {
    /// List the sessions, the one used last first
    List,
    /// End a session: its tokens are refused from then on
    Revoke {
        /// The session's id, from `sessions list`
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Password {
    /// Change the password; ends all other sessions
    Change,
    /// Choose a password in place of the one-time password that an operator gave, and sign in
    CompleteReset {
        /// User name
        name: String,
        /// What the session is called in `sessions list`
        #[arg(long, value_name = "TEXT", default_value = CLIENT)]
        client: String,
        /// Print an access token, which is good for 30 minutes, and keep nothing
        #[arg(long)]
        print_token: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Login {
    /// User name
    pub(crate) name: String,
    /// What the session is called in `sessions list`
    #[arg(long, value_name = "TEXT", default_value = CLIENT)]
    pub(crate) client: String,
    /// Print an access token, which is good for 30 minutes, and keep nothing
    #[arg(long)]
    pub(crate) print_token: bool,
}

pub(crate) async fn login(connected: Connected, arguments: Login, output: &mut Output) -> Result<(), Failure> {
    let Login { name, client, print_token } = arguments;
    let password = password::read(&format!("Password for {name}: "))?;
    begin(connected.keeping(!print_token), &name, output, async |anybody| anybody.login_as(&name, &password, &client).await).await
}

/// Chooses a password after an operator's reset, or in place of the present one.
pub(crate) async fn password(connected: Connected, command: Password, output: &mut Output) -> Result<(), Failure> {
    let (name, client, print_token) = match command {
        Password::Change => return change_password(&connected.client, output).await,
        Password::CompleteReset { name, client, print_token } => (name, client, print_token),
    };
    let one_time = password::read(&format!("One-time password for {name}: "))?;
    let new = password::read_new("New password (15 characters or more): ")?;
    let connected = connected.keeping(!print_token);
    begin(connected, &name, output, async |anybody| anybody.complete_password_reset(&name, &one_time, &new, &client).await).await
}

/// Begins a session, and keeps it in its file, or prints its access token where there is none.
async fn begin(
    connected: Connected,
    name: &str,
    output: &mut Output,
    sign_in: impl AsyncFn(&Client) -> Result<Session, Error>,
) -> Result<(), Failure> {
    let Connected { client, file, situation } = connected;
    let Some(file) = file else {
        let session = sign_in(&client).await?;
        let token = session.access_token.expose();
        let expires_at = session.expires_at.map(Into::into);
        output.said(token, json!({"userName": name, "accessToken": token, "expiresAt": json_time(expires_at)}))?;
        if expires_at.is_some() {
            hint(&format!("access token until {}; with --session FILE a session is kept and refreshed", time(expires_at)));
        }
        return Ok(());
    };
    // First, so that no session begins that can't be kept.
    let mut held = file.hold()?;
    let before = held.what_is_there();
    let session = sign_in(&client).await?;
    if let Err(error) = held.save(&session) {
        // Nobody could ever use it.
        let _ = client.with_credential(session.access_token.clone()).logout().await;
        return Err(file.failure(error));
    }
    drop(held);
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
            "profile {} has a key, which goes on asking and paying; keys, sessions, password and admin use this session",
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

pub(crate) async fn logout(connected: Connected, everywhere: bool, output: &mut Output) -> Result<(), Failure> {
    let Connected { client, file, .. } = connected;
    let mut ended = 1;
    let said = if everywhere {
        ended = client.logout_everywhere().await?;
        format!("signed out everywhere: {ended} {} ended", if ended == 1 { "session is" } else { "sessions are" })
    } else {
        match client.logout().await {
            Ok(()) => "signed out".to_owned(),
            // It was somebody's wish before, or it had ended by itself. A server that doesn't know it may be another one.
            Err(Error::SessionEnded(refusal)) if refusal.reason != Some(ErrorReason::CredentialInvalid) => {
                ended = 0;
                "signed out before".to_owned()
            }
            Err(error) => return Err(error.into()),
        }
    };
    forget(&client, file.as_ref())?;
    output.said(&said, json!({"everywhere": everywhere, "endedSessions": ended}))
}

/// Removes the file of a session that is no more.
fn forget(client: &Client, file: Option<&SessionFile>) -> Result<(), Failure> {
    let (Some(file), Some(session)) = (file, client.session()) else { return Ok(()) };
    file.hold()?.remove(&session.session_id).map_err(|error| file.failure(error))
}

pub(crate) async fn run(connected: Connected, command: Sessions, output: &mut Output) -> Result<(), Failure> {
    let Connected { client, file, .. } = connected;
    match command {
        Sessions::List => {
            let mut table = Table::new(&["ID", "STATE", "CREATED", "USED", "REFRESH-BY", "ENDS", "ADDRESS", "METHOD", "SCOPES", "CLIENT"]);
            let mut records = Vec::new();
            for session in client.sessions().await? {
                records.push(record(&session));
                let state = if session.current { "current" } else { "active" };
                let method = method(session.method());
                let (created, used) = (time(session.created_at), time(session.last_used_at));
                let (refresh_by, ends) = (time(session.refresh_expires_at), time(session.ends_at));
                let scopes = if session.scopes.is_empty() { "*".to_owned() } else { session.scopes.join(",") };
                table.row([
                    session.session_id,
                    state.to_owned(),
                    created,
                    used,
                    refresh_by,
                    ends,
                    session.address,
                    method.to_owned(),
                    scopes,
                    session.client,
                ]);
            }
            output.records(&records, &table)
        }
        Sessions::Revoke { id } => {
            let is_own = client.session().is_some_and(|session| session.session_id == id);
            client.revoke_session(&id).await?;
            if is_own {
                forget(&client, file.as_ref())?;
            }
            output.said(&format!("session {id} is ended"), json!({"sessionId": id}))
        }
    }
}

async fn change_password(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let current = password::read("Current password: ")?;
    let new = password::read_new("New password (15 characters or more): ")?;
    let ended = client.change_password(&current, &new).await?;
    let said = format!("the password is changed; {ended} other {} ended", if ended == 1 { "session is" } else { "sessions are" });
    output.said(&said, json!({"endedSessions": ended}))
}

fn record(session: &UserSession) -> Value {
    json!({
        "sessionId": session.session_id,
        "current": session.current,
        "createdAt": json_time(session.created_at),
        "lastUsedAt": json_time(session.last_used_at),
        "refreshExpiresAt": json_time(session.refresh_expires_at),
        "endsAt": json_time(session.ends_at),
        "address": json_text(&session.address),
        "method": json_text(method(session.method())),
        "scopes": session.scopes,
        "client": json_text(&session.client),
    })
}

fn method(method: SignInMethod) -> &'static str {
    match method {
        SignInMethod::Unspecified => "",
        SignInMethod::Password => "password",
        SignInMethod::Issuer => "issuer",
        SignInMethod::Device => "device",
    }
}

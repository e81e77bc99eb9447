//! Signing out, the places where a user is signed in, and the password.

use clap::Subcommand;
use serde_json::{Value, json};
use tollgate_client::proto::auth::{Session as UserSession, SignInMethod};
use tollgate_client::{Client, Error, ErrorReason};

use crate::connection::Connected;
use crate::display::{json_text, json_time, time};
use crate::failure::Failure;
use crate::login::{self, CLIENT};
use crate::output::Output;
use crate::password;
use crate::second_factor_code::Given;
use crate::session_file::SessionFile;
use crate::table::Table;

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
        #[command(flatten)]
        code: Given,
        /// Print an access token, which is good for 30 minutes, and keep nothing
        #[arg(long)]
        print_token: bool,
    },
}

/// Chooses a password after an operator's reset, or in place of the present one.
pub(crate) async fn password(connected: Connected, command: Password, output: &mut Output) -> Result<(), Failure> {
    match command {
        Password::Change => change_password(&connected.client, output).await,
        Password::CompleteReset { name, client, code, print_token } => {
            login::complete_reset(connected.keeping(!print_token), &name, &client, code, output).await
        }
    }
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
        "issuer": json_text(&session.issuer),
        "secondFactorAt": json_time(session.second_factor_at),
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

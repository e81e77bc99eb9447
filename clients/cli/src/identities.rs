//! The issuers' identities that sign a user in.

use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};
use tollgate_client::Client;
use tollgate_client::proto::auth::Identity;

use crate::display::{json_text, json_time, time};
use crate::duration::parse_duration;
use crate::failure::Failure;
use crate::issuer::{self, Way};
use crate::output::Output;
use crate::table::Table;

#[derive(Debug, Subcommand)]
pub(crate) enum Identities {
    /// List the identities that sign you in
    List,
    /// Let an identity at an issuer sign you in from now on, through a browser on this machine
    Link {
        /// The issuer, such as google
        #[arg(long, value_name = "ISSUER")]
        with: String,
        /// Only print the address
        #[arg(long)]
        no_browser: bool,
        /// How long to wait for you, at most 10m
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        timeout: Option<Duration>,
    },
    /// Let an identity sign you in no longer; sessions that it began end
    Unlink {
        /// The issuer: its name or identifier
        issuer: String,
        /// Who it is at the issuer, from `me identities list`; only where there are several
        subject: Option<String>,
    },
}

pub(crate) async fn run(client: &Client, command: Identities, output: &mut Output) -> Result<(), Failure> {
    match command {
        Identities::List => list(client, "", output).await,
        Identities::Link { with, no_browser, timeout } => {
            let way = Way { opens: !no_browser, within: timeout.unwrap_or(issuer::LONGEST).min(issuer::LONGEST) };
            let identity = issuer::by_browser(client, &with, way, async |proof| client.link_identity(proof).await).await?;
            output.said(&format!("{} signs you in at {with} from now on", shown(&identity)), record(&identity))
        }
        Identities::Unlink { issuer, subject } => unlink(client, "", &issuer, subject.as_deref(), output).await,
    }
}

/// Those of a user, for an operator; without a name, one's own.
pub(crate) async fn list(client: &Client, user_name: &str, output: &mut Output) -> Result<(), Failure> {
    let identities = client.identities_of(user_name).await?;
    let mut table = Table::new(&["ISSUER", "SUBJECT", "EMAIL", "LINKED", "IDENTIFIER"]);
    let records: Vec<Value> = identities.iter().map(record).collect();
    for one in identities {
        table.row([one.issuer_name, one.subject, one.email, time(one.linked_at), one.issuer]);
    }
    output.records(&records, &table)
}

/// Takes one away from a user, for an operator; without a name, from oneself.
pub(crate) async fn unlink(
    client: &Client,
    user_name: &str,
    issuer: &str,
    subject: Option<&str>,
    output: &mut Output,
) -> Result<(), Failure> {
    let identity = one_of(&client.identities_of(user_name).await?, issuer, subject)?;
    let ended = client.unlink_identity_of(user_name, &identity.issuer, &identity.subject).await?;
    let said = format!(
        "{} signs {} in no longer; {ended} {} ended",
        shown(&identity),
        if user_name.is_empty() { "you" } else { user_name },
        if ended == 1 { "session is" } else { "sessions are" }
    );
    let document = json!({"issuer": identity.issuer, "subject": identity.subject, "endedSessions": ended});
    output.said(&said, document)
}

/// What people know it by.
fn shown(identity: &Identity) -> &str {
    if identity.email.is_empty() { &identity.subject } else { &identity.email }
}

/// The identity that is meant.
fn one_of(identities: &[Identity], issuer: &str, subject: Option<&str>) -> Result<Identity, Failure> {
    let is_meant = |one: &&Identity| {
        let at = one.issuer == issuer || (one.issuer_name == issuer && !issuer.is_empty());
        at && subject.is_none_or(|subject| one.subject == subject)
    };
    match identities.iter().filter(is_meant).collect::<Vec<_>>().as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(Failure::NotThere(
            "there is no such identity; `me identities list`, or `admin identities NAME`, shows what there is".to_owned(),
        )),
        several => {
            let subjects: Vec<&str> = several.iter().map(|one| one.subject.as_str()).collect();
            Err(Failure::NotThere(format!("there are several at {issuer}; say which: {}", subjects.join(", "))))
        }
    }
}

fn record(identity: &Identity) -> Value {
    json!({
        "issuer": identity.issuer,
        "issuerName": json_text(&identity.issuer_name),
        "subject": identity.subject,
        "email": json_text(&identity.email),
        "linkedAt": json_time(identity.linked_at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_meant_by_its_issuer_where_there_is_one_alone_and_by_its_subject_where_there_are_several() {
        let one = |name: &str, subject: &str| Identity {
            issuer: format!("https://{subject}.example"),
            issuer_name: name.into(),
            subject: subject.into(),
            ..Identity::default()
        };
        let all = [one("google", "a"), one("lab", "b"), one("lab", "c"), one("", "d")];
        assert_eq!(one_of(&all, "google", None).unwrap().subject, "a");
        assert_eq!(one_of(&all, "https://d.example", None).unwrap().subject, "d");
        assert_eq!(one_of(&all, "lab", Some("c")).unwrap().subject, "c");
        assert!(one_of(&all, "lab", None).unwrap_err().to_string().contains("b, c"));
        for (issuer, subject) in [("", None), ("github", None), ("google", Some("b"))] {
            assert!(one_of(&all, issuer, subject).is_err(), "{issuer}");
        }
    }
}

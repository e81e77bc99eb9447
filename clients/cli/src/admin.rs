//! What operators do with users and credits.

mod arguments;
mod audit;
mod users;

use std::fmt;

use serde_json::json;
use tollgate_client::proto::auth::Organization;
use tollgate_client::{Client, NewUser, Profile, new_request_id};

pub(crate) use self::arguments::Admin;
use crate::connection::Connected;
use crate::display::{credits, json_time, role, time};
use crate::failure::Failure;
use crate::identities;
use crate::named;
use crate::output::{Output, hint};
use crate::password;
use crate::setting::Setting;
use crate::table::Table;

pub(crate) async fn run(connected: &Connected, command: Admin, output: &mut Output) -> Result<(), Failure> {
    let client = &connected.client;
    match command {
        Admin::CreateUser { user, admin, credits: starting_credits } => {
            let password = password::read_new(&format!("New password for {} (15 characters or more): ", user.name))?;
            let profile = Profile { full_name: user.full_name, email: user.email };
            let made = client.create_user(NewUser { user_name: user.name, profile, admin, starting_credits }, &password).await?;
            let (available, user) = (made.available_credits(), made.user.unwrap_or_default());
            let article = if admin { "an" } else { "a" };
            let said = format!("{} is {article} {} with {}", user.user_name, role(user.role()), credits(available));
            output.said(&said, json!({"userName": user.user_name, "role": role(user.role()), "availableCredits": available}))
        }
        Admin::Grant { name, credits: granted, request_id, note } => {
            let given = request_id.is_some();
            let request_id = request_id.unwrap_or_else(new_request_id);
            let to = receiver(connected, name).await?;
            let answer = match &to {
                Receiver::User(name) => client.grant_credits(name, granted, &request_id, &note).await,
                Receiver::Account(id) => client.grant_credits_to_account(id, granted, &request_id, &note).await,
            };
            let answer = answer.inspect_err(|error| {
                // The grant may have been made: only the same id tells.
                if error.is_retryable() && !given {
                    hint(&format!("to repeat this grant without granting twice: --request-id {request_id}"));
                }
            })?;
            let available = answer.balance.unwrap_or_default().available_credits();
            let what = if answer.replayed { "had got these" } else { "got" };
            output.said(
                &format!("{to} {what} {}, and has {available} available (request {request_id})", credits(granted)),
                json!({
                    "userName": to.user_name(),
                    "accountId": to.account_id(),
                    "credits": granted,
                    "availableCredits": available,
                    "requestId": request_id,
                    "replayed": answer.replayed,
                }),
            )
        }
        Admin::Users(arguments) => users::list(client, arguments, output).await,
        Admin::Orgs { prefix } => organizations(client, &prefix, output).await,
        Admin::Disable(arguments) => users::disable(client, arguments, output).await,
        Admin::Enable { name } => users::say_state(&client.enable_user(&name).await?, output),
        Admin::Lock(arguments) => users::lock(client, arguments, output).await,
        Admin::Unlock { name } => users::say_state(&client.unlock_user(&name).await?, output),
        Admin::ResetSecondFactor { name } => {
            let user = client.reset_second_factor(&name).await?;
            output.said(&format!("{} has no second factor; their sessions are ended", user.user_name), users::record(&user))
        }
        Admin::ResetPassword { name } => users::reset_password(client, &name, output).await,
        Admin::Identities { name } => identities::list(client, &name, output).await,
        Admin::UnlinkIdentity { name, issuer, subject } => identities::unlink(client, &name, &issuer, subject.as_deref(), output).await,
        Admin::Audit(arguments) => audit::run(client, arguments, output).await,
    }
}

/// Organizations that are asked for at a time.
const PAGE: u32 = 500;

async fn organizations(client: &Client, prefix: &str, output: &mut Output) -> Result<(), Failure> {
    let mut all = Vec::new();
    let mut pages = client.all_organizations(prefix, PAGE);
    while let Some(one) = pages.next().await {
        all.push(one?);
    }
    all.sort_by_cached_key(|one| (one.name.to_lowercase(), one.account_id.clone()));
    let record = |one: &Organization| json!({"accountId": one.account_id, "name": one.name, "createdAt": json_time(one.created_at)});
    let records: Vec<_> = all.iter().map(record).collect();
    let mut table = Table::new(&["NAME", "CREATED", "ID"]);
    for one in all {
        table.row([one.name, time(one.created_at), one.account_id]);
    }
    output.records(&records, &table)
}

/// Who gets credits.
enum Receiver {
    /// A user, into their own account.
    User(String),
    /// An account, by its id.
    Account(String),
}

impl Receiver {
    fn user_name(&self) -> Option<&str> {
        if let Self::User(name) = self { Some(name) } else { None }
    }

    fn account_id(&self) -> Option<&str> {
        if let Self::Account(id) = self { Some(id) } else { None }
    }
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => f.write_str(name),
            Self::Account(id) => write!(f, "account {id}"),
        }
    }
}

/// Who is named: a user, or by the flag an account. What the environment or a profile says of an account is about who pays.
async fn receiver(connected: &Connected, name: Option<String>) -> Result<Receiver, Failure> {
    let flag = connected.situation.settings.flags.get(&Setting::Account).and_then(|account| account.to_str());
    match (name, flag) {
        (Some(name), None) => Ok(Receiver::User(name)),
        (None, Some(named)) => named::account_id(&connected.client, named).await.map(Receiver::Account),
        (Some(_), Some(_)) => Err(Failure::Usage("say either a user's NAME, or an account by --account".to_owned())),
        (None, None) => Err(Failure::Usage("say who gets them: a user's NAME, or an account by --account".to_owned())),
    }
}

//! Users, as an operator sees them.

use serde_json::{Value, json};
use tollgate_client::proto::auth::User;
use tollgate_client::{Client, UserFilter};

use super::arguments::{Restriction, Users};
use crate::display::{json_text, json_time, role, time};
use crate::failure::Failure;
use crate::output::{Output, hint};
use crate::table::Table;

/// How many users are asked for at a time.
const PAGE: u32 = 500;

pub(crate) async fn list(client: &Client, arguments: Users, output: &mut Output) -> Result<(), Failure> {
    let filter = UserFilter { name_prefix: arguments.prefix, state: arguments.state.map(Into::into) };
    let mut table = Table::new(&["NAME", "ROLE", "STATE", "CREATED", "FULL NAME", "EMAIL", "REASON"]);
    let mut records = Vec::new();
    let mut users = client.users(filter, PAGE);
    while let Some(user) = users.next().await {
        let user = user?;
        if output.is_json() {
            records.push(record(&user));
            continue;
        }
        let (role, state, created) = (role(user.role()).to_owned(), state(&user), time(user.created_at));
        table.row([user.user_name, role, state, created, user.full_name, user.email, user.state_reason]);
    }
    output.records(&records, &table)
}

pub(crate) async fn disable(client: &Client, arguments: Restriction, output: &mut Output) -> Result<(), Failure> {
    say_state(&client.disable_user(&arguments.name, &arguments.reason).await?, output)
}

pub(crate) async fn lock(client: &Client, arguments: Restriction, output: &mut Output) -> Result<(), Failure> {
    say_state(&client.lock_user(&arguments.name, &arguments.reason).await?, output)
}

pub(crate) async fn reset_password(client: &Client, name: &str, output: &mut Output) -> Result<(), Failure> {
    let reset = client.reset_password(name).await?;
    let user_name = &reset.user.user_name;
    output.said(
        &reset.password,
        json!({
            "userName": user_name,
            "oneTimePassword": reset.password,
            "expiresAt": json_time(reset.expires_at.map(Into::into)),
            "linkedIdentities": reset.linked_identities,
        }),
    )?;
    let end = reset.expires_at.map(|end| format!(" until {}", time(Some(end.into())))).unwrap_or_default();
    hint(&format!(
        "one-time password of {user_name}, good once{end}: tollgate password complete-reset {user_name}; it can't be shown again"
    ));
    if reset.linked_identities > 0 {
        hint(&format!(
            "issuers will sign {user_name} in as before, with {} linked; if others had this user: tollgate admin identities {user_name}",
            if reset.linked_identities == 1 { "1 identity".to_owned() } else { format!("{} identities", reset.linked_identities) }
        ));
    }
    Ok(())
}

/// Says what state a user is in now.
pub(crate) fn say_state(user: &User, output: &mut Output) -> Result<(), Failure> {
    output.said(&format!("{} is {}", user.user_name, state(user)), record(user))
}

/// A user as JSON.
pub(crate) fn record(user: &User) -> Value {
    json!({
        "userName": user.user_name,
        "userId": user.user_id,
        "fullName": json_text(&user.full_name),
        "email": json_text(&user.email),
        "role": role(user.role()),
        "disabled": user.disabled,
        "locked": user.locked,
        "passwordChangeRequired": user.password_change_required,
        "stateReason": json_text(&user.state_reason),
        "createdAt": json_time(user.created_at),
    })
}

/// All that keeps a user from something, or `enabled`.
fn state(user: &User) -> String {
    let restrictions = [(user.disabled, "disabled"), (user.locked, "locked"), (user.password_change_required, "password-reset")];
    let words: Vec<&str> = restrictions.iter().filter(|(is_so, _)| *is_so).map(|(_, word)| *word).collect();
    if words.is_empty() { "enabled".to_owned() } else { words.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_state_names_all_that_keeps_them_from_something() {
        let user = |disabled, locked, password_change_required| User { disabled, locked, password_change_required, ..User::default() };
        assert_eq!(state(&user(false, false, false)), "enabled");
        assert_eq!(state(&user(true, false, false)), "disabled");
        assert_eq!(state(&user(true, true, true)), "disabled,locked,password-reset");
    }
}

//! What operators do with users and credits.

mod arguments;
mod audit;
mod users;

use serde_json::json;
use tollgate_client::{Client, NewUser, Profile, new_request_id};

pub(crate) use self::arguments::Admin;
use crate::display::{credits, role};
use crate::failure::Failure;
use crate::output::{Output, hint};
use crate::password;

pub(crate) async fn run(client: &Client, command: Admin, output: &mut Output) -> Result<(), Failure> {
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
            let answer = client.grant_credits(&name, granted, &request_id, &note).await.inspect_err(|error| {
                // The grant may have been made: only the same id tells.
                if error.is_retryable() && !given {
                    hint(&format!("to repeat this grant without granting twice: --request-id {request_id}"));
                }
            })?;
            let available = answer.balance.unwrap_or_default().available_credits();
            let what = if answer.replayed { "had got these" } else { "got" };
            output.said(
                &format!("{name} {what} {}, and has {available} available (request {request_id})", credits(granted)),
                json!({
                    "userName": name,
                    "credits": granted,
                    "availableCredits": available,
                    "requestId": request_id,
                    "replayed": answer.replayed,
                }),
            )
        }
        Admin::Users(arguments) => users::list(client, arguments, output).await,
        Admin::Disable(arguments) => users::disable(client, arguments, output).await,
        Admin::Enable { name } => users::say_state(&client.enable_user(&name).await?, output),
        Admin::Lock(arguments) => users::lock(client, arguments, output).await,
        Admin::Unlock { name } => users::say_state(&client.unlock_user(&name).await?, output),
        Admin::ResetPassword { name } => users::reset_password(client, &name, output).await,
        Admin::Audit(arguments) => audit::run(client, arguments, output).await,
    }
}

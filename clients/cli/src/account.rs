//! Somebody's own account.

use clap::Args;
use serde_json::json;
use tollgate_client::{Client, Profile};

use crate::display::{credits, json_text, json_time, role, time};
use crate::failure::Failure;
use crate::output::Output;
use crate::password;

#[derive(Debug, Args)]
pub(crate) struct SignUp {
    /// User name: 3 to 64 letters, digits, '.', '_' or '-'
    pub(crate) name: String,
    /// Your full name
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) full_name: String,
    /// How to reach you; not used to log in
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    pub(crate) email: String,
}

pub(crate) async fn sign_up(client: &Client, arguments: SignUp, output: &mut Output) -> Result<(), Failure> {
    let password = password::read_new(&format!("New password for {} (15 characters or more): ", arguments.name))?;
    let profile = Profile { full_name: arguments.full_name, email: arguments.email };
    let made = client.sign_up(&arguments.name, &password, profile).await?;
    let (available, name) = (made.available_credits(), made.user.unwrap_or_default().user_name);
    output.said(&format!("{name} has an account with {}", credits(available)), json!({"userName": name, "availableCredits": available}))
}

pub(crate) async fn me(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let me = client.get_me().await?;
    // A service account is no user.
    let (user, service_account) = (me.user.unwrap_or_default(), me.service_account.unwrap_or_default());
    let organization = me.organization.unwrap_or_default();
    let role = if service_account.name.is_empty() { role(user.role()) } else { "service account" };
    let credential = if me.api_key_id.is_empty() { "access token".to_owned() } else { format!("API key {}", me.api_key_id) };
    let document = json!({
        "userName": json_text(&user.user_name),
        "userId": json_text(&user.user_id),
        "fullName": json_text(&user.full_name),
        "email": json_text(&user.email),
        "role": role.replace(' ', "-"),
        "accountId": me.account_id,
        "apiKeyId": json_text(&me.api_key_id),
        "organization": json_text(&organization.name),
        "serviceAccount": json_text(&service_account.name),
        "serviceAccountId": json_text(&service_account.service_account_id),
        "createdAt": json_time(user.created_at),
    });
    let fields = [
        ("user", if user.user_name.is_empty() { service_account.name } else { user.user_name }),
        ("user id", if user.user_id.is_empty() { service_account.service_account_id } else { user.user_id }),
        ("full name", user.full_name),
        ("e-mail", user.email),
        ("role", role.to_owned()),
        ("account", me.account_id),
        ("organization", organization.name),
        ("credential", credential),
        ("since", time(user.created_at)),
    ];
    output.record(&fields, document)
}

pub(crate) async fn balance(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let balance = client.balance().await?.balance.unwrap_or_default();
    let document = json!({
        "availableCredits": balance.available_credits(),
        "heldCredits": balance.held_credits(),
        "spentCredits": balance.spent_credits(),
        "lapsedCredits": balance.lapsed_credits(),
        "grantedCredits": balance.granted_credits(),
    });
    let fields = [
        ("available", balance.available_credits().to_string()),
        ("held", balance.held_credits().to_string()),
        ("spent", balance.spent_credits().to_string()),
        ("lapsed", balance.lapsed_credits().to_string()),
        ("granted", balance.granted_credits().to_string()),
    ];
    output.record(&fields, document)
}

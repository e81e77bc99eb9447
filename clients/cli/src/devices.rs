//! Devices without a browser that want to sign in, as they are shown to whoever approves.

use clap::Subcommand;
use serde_json::{Value, json};
use tollgate_client::Client;
use tollgate_client::proto::auth::GetDeviceSignInResponse;

use crate::display::{json_text, json_time, time};
use crate::failure::Failure;
use crate::output::{Output, hint};
use crate::question;

#[derive(Debug, Subcommand)]
pub(crate) enum Devices {
    /// Show which device asks to sign in as you, and let it after a question
    Approve {
        /// The code that the device shows, such as BCDF-GHJK
        code: String,
        /// Don't ask: you know whose device it is
        #[arg(long)]
        yes: bool,
    },
    /// Refuse a device that asks to sign in
    Deny {
        /// The code that the device shows
        code: String,
    },
}

pub(crate) async fn run(client: &Client, command: Devices, output: &mut Output) -> Result<(), Failure> {
    match command {
        Devices::Approve { code, yes } => {
            let asks = client.device_sign_in(&code).await?;
            fields(&asks).iter().filter(|(_, value)| !value.is_empty()).for_each(|(name, value)| hint(&format!("{name:9}  {value}")));
            if !yes {
                if !question::somebody_is_there() {
                    return Err(Failure::Usage("there is nobody to ask: --yes approves it without a question".to_owned()));
                }
                if !question::is_answered_yes("Is this your own device, and shall it be signed in as you?")? {
                    return Err(Failure::Declined(format!("nothing was approved; tollgate devices deny {} refuses it", asks.user_code)));
                }
            }
            client.approve_device(&asks.user_code).await?;
            output.said(&format!("{} is approved", asks.user_code), record(&asks, true))
        }
        Devices::Deny { code } => {
            let asks = client.device_sign_in(&code).await?;
            client.deny_device(&asks.user_code).await?;
            output.said(&format!("{} is denied", asks.user_code), record(&asks, false))
        }
    }
}

fn scopes(asks: &GetDeviceSignInResponse) -> String {
    if asks.scopes.is_empty() { "all that you may do".to_owned() } else { asks.scopes.join(", ") }
}

fn fields(asks: &GetDeviceSignInResponse) -> [(&'static str, String); 6] {
    [
        ("code", asks.user_code.clone()),
        ("device", asks.client.clone()),
        ("from", asks.address.clone()),
        ("asked at", time(asks.requested_at)),
        ("may do", scopes(asks)),
        ("meaning", asks.description.clone()),
    ]
}

fn record(asks: &GetDeviceSignInResponse, approved: bool) -> Value {
    json!({
        "userCode": asks.user_code,
        "approved": approved,
        "client": json_text(&asks.client),
        "address": json_text(&asks.address),
        "scopes": asks.scopes,
        "requestedAt": json_time(asks.requested_at),
        "expiresAt": json_time(asks.expires_at),
    })
}

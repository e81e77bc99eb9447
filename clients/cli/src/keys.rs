//! API keys.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tollgate_client::proto::auth::{ApiKey, ApiKeySecret};
use tollgate_client::{ApiKeyOptions, Error, NewApiKey, RotationOptions, new_request_id};

use crate::connection::{Connected, Situation};
use crate::display::{json_text, json_time, time};
use crate::duration::{parse_duration, parse_duration_or_zero};
use crate::failure::Failure;
use crate::key_place::KeyPlace;
use crate::key_scope::Scope;
use crate::leaked;
use crate::named;
use crate::output::{Output, hint};
use crate::table::Table;

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make an API key and print it, this once; needs a session or an access token
    Create {
        /// What to call it
        #[arg(long, default_value = "", hide_default_value = true)]
        name: String,
        /// What it may do; may be repeated [default: inference account]
        #[arg(long = "scope", value_name = "SCOPE", value_enum)]
        scopes: Vec<Scope>,
        /// A model it may use, or a pattern such as llama3*, library/* or hf.co/*; may be repeated [default: all]
        #[arg(long = "model", value_name = "PATTERN")]
        models: Vec<String>,
        /// A network it may be used from, such as 10.0.0.0/8, or an address; may be repeated [default: everywhere]
        #[arg(long = "network", value_name = "NETWORK")]
        networks: Vec<String>,
        /// When it ends, such as 12h, 30d or 8w [default: the server's, or never]
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        expires_in: Option<Duration>,
        /// Make it for a service account, by name or id, of the organization that --account names; owners only
        #[arg(long, value_name = "NAME")]
        service_account: Option<String>,
        /// Names the request: repeated under the same id it makes no second key, but a new secret in place of one that was lost
        #[arg(long, value_name = "ID")]
        request_id: Option<String>,
        #[command(flatten)]
        save: Save,
    },
    /// List the account's keys, oldest first: a line for each secret
    List,
    /// Give a key a new secret and print it, this once; the one before stays good for a while; needs a session or an access token
    Rotate {
        /// The key's id, from `keys list`
        id: String,
        /// How long the secrets before stay good, such as 1h; 0: not at all [default: 24h]
        #[arg(long, value_name = "DURATION", value_parser = parse_duration_or_zero)]
        grace: Option<Duration>,
        /// As with `create`
        #[arg(long, value_name = "ID")]
        request_id: Option<String>,
        #[command(flatten)]
        save: Save,
    },
    /// Revoke a key, one of its secrets, or every credential that is found in a text
    Revoke {
        /// The key's id, from `keys list`; needs a session or an access token
        #[arg(required_unless_present = "leaked")]
        id: Option<String>,
        /// Which of its secrets alone, by the number in `keys list`
        #[arg(long, value_name = "N", requires = "id", value_parser = clap::value_parser!(u32).range(1..))]
        secret: Option<u32>,
        /// Any text or binary in which keys, refresh tokens or invitations leaked; - reads standard input; needs no credential
        #[arg(long, value_name = "FILE", conflicts_with_all = ["id", "secret"])]
        leaked: Option<PathBuf>,
    },
}

/// What `list` shows.
const COLUMNS: [&str; 11] = ["ID", "KEY", "STATE", "SCOPES", "MODELS", "NETWORKS", "CREATED", "EXPIRES", "USED", "SECRET", "NAME"];
/// The same of an account that several share.
const COLUMNS_OF_ACCOUNT: [&str; 12] =
    ["ID", "KEY", "STATE", "SCOPES", "MODELS", "NETWORKS", "CREATED", "EXPIRES", "USED", "SECRET", "OF", "NAME"];

/// Where the key goes in place of standard output.
#[derive(Debug, Args)]
pub(crate) struct Save {
    /// Put the key into a profile without showing it: this one, or --save=PROFILE, which may be a new one
    #[arg(long, value_name = "PROFILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    save: Option<String>,
    /// With --save: keep it in the operating system's keychain
    #[arg(long, requires = "save")]
    keychain: bool,
}

impl Save {
    async fn place(&self, situation: &Situation) -> Result<Option<KeyPlace>, Failure> {
        let Some(profile) = &self.save else { return Ok(None) };
        KeyPlace::new(situation, profile, self.keychain).await.map(Some)
    }
}

impl Keys {
    /// Whether an API key could never do it.
    pub(crate) fn needs_a_person(&self) -> bool {
        !self.needs_no_credential()
    }

    /// Whether it shows credentials that it found, and none of its own.
    pub(crate) fn needs_no_credential(&self) -> bool {
        matches!(self, Self::Revoke { leaked: Some(_), .. })
    }
}

pub(crate) async fn run(connected: Connected, command: Keys, output: &mut Output) -> Result<(), Failure> {
    let Connected { client, situation, account, .. } = &connected;
    match command {
        Keys::Create { name, scopes, models, networks, expires_in, service_account, request_id, save } => {
            let service_account_id = match (service_account, account) {
                (None, _) => String::new(),
                (Some(named), Some(account)) => named::service_account(client, account, &named).await?.service_account_id,
                (Some(_), None) => return Err(Failure::Usage("--account says whose service account it is".to_owned())),
            };
            let place = save.place(situation).await?;
            let scopes = scopes.into_iter().map(|scope| scope.name().to_owned()).collect();
            let (request_id, given) = named(request_id);
            let options = ApiKeyOptions {
                name,
                scopes,
                models,
                lifetime: expires_in,
                networks,
                request_id: Some(request_id.clone()),
                service_account_id,
                ..ApiKeyOptions::default()
            };
            let made = client.create_api_key(options).await.inspect_err(|error| say_how_to_repeat(error, given, &request_id))?;
            give(&made, place.as_ref(), &request_id, output).await?;
            let end = made.api_key.expires_at.map(|end| format!(", until {}", time(Some(end)))).unwrap_or_default();
            let once = if place.is_some() { "" } else { "; it can't be shown again" };
            hint(&format!("key {} for {}{end}{once}", made.api_key.api_key_id, made.api_key.scopes.join(", ")));
            Ok(())
        }
        Keys::List => {
            let now = SystemTime::now();
            // Of an organization's keys one wants to know whose they are.
            let names = match account {
                Some(account) => named::names(client, account).await.unwrap_or_default(),
                None => Vec::new(),
            };
            let mut table = Table::new(if account.is_some() { &COLUMNS_OF_ACCOUNT } else { &COLUMNS });
            let mut records = Vec::new();
            for key in client.list_api_keys().await? {
                records.push(record(&key, now));
                for secret in secrets(&key) {
                    let all = |some: &[String]| if some.is_empty() { "*".to_owned() } else { some.join(",") };
                    let number = if secret.number == 0 { String::new() } else { secret.number.to_string() };
                    let state = key_state(&key, &secret, now);
                    let whose = names.iter().find(|(id, _)| *id == key.user_id).map_or(&key.user_id, |(_, name)| name);
                    let cells = [
                        key.api_key_id.clone(),
                        secret.hint,
                        state.to_owned(),
                        key.scopes.join(","),
                        all(&key.models),
                        all(&key.networks),
                        time(secret.created_at),
                        time(secret.expires_at),
                        time(secret.last_used_at),
                        number,
                    ];
                    table.row(cells.into_iter().chain(account.as_ref().map(|_| whose.clone())).chain([key.name.clone()]));
                }
            }
            output.records(&records, &table)
        }
        Keys::Rotate { id, grace, request_id, save } => {
            let place = save.place(situation).await?;
            let (request_id, given) = named(request_id);
            let options = RotationOptions { grace_period: grace, request_id: Some(request_id.clone()) };
            let made = client.rotate_api_key(&id, options).await.inspect_err(|error| say_how_to_repeat(error, given, &request_id))?;
            give(&made, place.as_ref(), &request_id, output).await?;
            let now = SystemTime::now();
            for secret in secrets(&made.api_key).into_iter().skip(1).filter(|secret| key_state(&made.api_key, secret, now) == "active") {
                let end = secret.expires_at.map(|end| format!(" until {}", time(Some(end)))).unwrap_or_default();
                hint(&format!("the secret before, {}, is good{end}", secret.hint));
            }
            let once = if place.is_some() { "" } else { "; it can't be shown again" };
            hint(&format!("key {} has a new secret{once}", made.api_key.api_key_id));
            Ok(())
        }
        Keys::Revoke { leaked: Some(path), .. } => leaked::revoke(client, &path, output).await,
        Keys::Revoke { id, secret: Some(number), .. } => {
            let key = client.revoke_api_key_secret(&id.unwrap_or_default(), number).await?;
            let rest = if key.revoked_at.is_some() { ", and so is the key: no secret of it is left" } else { "" };
            let said = format!("secret {number} of key {} is revoked{rest}", key.api_key_id);
            output.said(&said, record(&key, SystemTime::now()))
        }
        Keys::Revoke { id, .. } => {
            let key = client.revoke_api_key(&id.unwrap_or_default()).await?;
            output.said(&format!("key {} is revoked", key.api_key_id), record(&key, SystemTime::now()))
        }
    }
}

/// Puts a new key where it belongs, or prints it.
async fn give(made: &NewApiKey, place: Option<&KeyPlace>, request_id: &str, output: &mut Output) -> Result<(), Failure> {
    let id = &made.api_key.api_key_id;
    let (said, key) = match place {
        None => (made.key.expose().to_owned(), Value::from(made.key.expose())),
        Some(place) => {
            place.keep(made.key.expose()).await.inspect_err(|_| {
                hint(&format!(
                    "key {id} was made and could not be kept: the same command with --request-id {request_id} gives it another secret, \
                     tollgate keys revoke {id} revokes it"
                ));
            })?;
            (format!("key {id} is kept in {}", place.shown()), Value::Null)
        }
    };
    let mut document = record(&made.api_key, SystemTime::now());
    document["key"] = key;
    document["savedIn"] = place.map(KeyPlace::profile).into();
    output.said(&said, document)
}

/// A key as JSON, with its secrets' hints.
fn record(key: &ApiKey, now: SystemTime) -> Value {
    let secret = |secret: ApiKeySecret| {
        json!({
            "number": secret.number,
            "hint": secret.hint,
            "state": key_state(key, &secret, now),
            "createdAt": json_time(secret.created_at),
            "expiresAt": json_time(secret.expires_at),
            "revokedAt": json_time(secret.revoked_at),
            "lastUsedAt": json_time(secret.last_used_at),
        })
    };
    json!({
        "apiKeyId": key.api_key_id,
        "userId": json_text(&key.user_id),
        "name": json_text(&key.name),
        "scopes": key.scopes,
        "models": key.models,
        "networks": key.networks,
        "createdAt": json_time(key.created_at),
        "expiresAt": json_time(key.expires_at),
        "revokedAt": json_time(key.revoked_at),
        "lastUsedAt": json_time(key.last_used_at),
        "secrets": secrets(key).into_iter().map(secret).collect::<Vec<_>>(),
    })
}

/// A request id, and whether the caller gave it.
fn named(request_id: Option<String>) -> (String, bool) {
    let given = request_id.is_some();
    (request_id.unwrap_or_else(new_request_id), given)
}

/// The key may have been made: only the same id tells.
fn say_how_to_repeat(error: &Error, given: bool, request_id: &str) {
    let is_lost = matches!(error, Error::Interrupted { .. } | Error::TimedOut { .. });
    if (is_lost || error.is_retryable()) && !given {
        hint(&format!("to repeat this without a second key: --request-id {request_id}"));
    }
}

/// A key's secrets, the newest first. A server that lists none has one for each key.
fn secrets(key: &ApiKey) -> Vec<ApiKeySecret> {
    if !key.secrets.is_empty() {
        return key.secrets.clone();
    }
    vec![ApiKeySecret {
        number: 0,
        hint: key.hint.clone(),
        created_at: key.created_at,
        expires_at: key.expires_at,
        revoked_at: key.revoked_at,
        last_used_at: key.last_used_at,
    }]
}

fn key_state(key: &ApiKey, secret: &ApiKeySecret, now: SystemTime) -> &'static str {
    let is_over = |end: Option<prost_types::Timestamp>| end.and_then(|end| SystemTime::try_from(end).ok()).is_some_and(|end| end <= now);
    if key.revoked_at.is_some() || secret.revoked_at.is_some() {
        "revoked"
    } else if is_over(key.expires_at) || is_over(secret.expires_at) {
        "expired"
    } else {
        "active"
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_secret_is_active_until_it_or_its_key_is_revoked_or_past_its_time() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let key = |expires_at, revoked_at| ApiKey { expires_at, revoked_at, ..ApiKey::default() };
        let state = |key: &ApiKey| key_state(key, &secrets(key)[0], now);
        assert_eq!(state(&key(None, None)), "active");
        assert_eq!(state(&key(at(1_001), None)), "active");
        assert_eq!(state(&key(at(1_000), None)), "expired");
        assert_eq!(state(&key(at(1_000), at(5))), "revoked");
        let secret = |number, expires_at, revoked_at| ApiKeySecret { number, expires_at, revoked_at, ..ApiKeySecret::default() };
        let rotated =
            ApiKey { secrets: vec![secret(3, None, None), secret(2, at(999), None), secret(1, None, at(5))], ..ApiKey::default() };
        assert_eq!(
            secrets(&rotated).iter().map(|secret| key_state(&rotated, secret, now)).collect::<Vec<_>>(),
            ["active", "expired", "revoked"]
        );
        let revoked = ApiKey { revoked_at: at(5), ..rotated };
        assert!(secrets(&revoked).iter().all(|secret| key_state(&revoked, secret, now) == "revoked"));
    }
}

//! API keys.

use std::time::SystemTime;

use tollgate_client::proto::auth::ApiKey;
use tollgate_client::{ApiKeyOptions, Client};

use crate::arguments::Keys;
use crate::display::time;
use crate::failure::Failure;
use crate::output::{Output, hint};
use crate::table::Table;

pub(crate) async fn run(client: &Client, command: Keys, output: &mut Output) -> Result<(), Failure> {
    match command {
        Keys::Create { name, scopes, models, expires_in } => {
            let scopes = scopes.into_iter().map(|scope| scope.name().to_owned()).collect();
            let expires_at = expires_in.map(|expires_in| SystemTime::now() + expires_in);
            let made = client.create_api_key(ApiKeyOptions { name, scopes, models, expires_at }).await?;
            output.line(made.key.expose())?;
            let end = made.api_key.expires_at.map(|end| format!(", until {}", time(Some(end)))).unwrap_or_default();
            hint(&format!("key {} for {}{end}; it can't be shown again", made.api_key.api_key_id, made.api_key.scopes.join(", ")));
            Ok(())
        }
        Keys::List => {
            let mut table = Table::new(&["ID", "KEY", "STATE", "SCOPES", "MODELS", "CREATED", "EXPIRES", "NAME"]);
            for key in client.list_api_keys().await? {
                let state = key_state(&key, SystemTime::now());
                let models = if key.models.is_empty() { "*".to_owned() } else { key.models.join(",") };
                let (created, expires) = (time(key.created_at), time(key.expires_at));
                table.row([key.api_key_id, key.hint, state.to_owned(), key.scopes.join(","), models, created, expires, key.name]);
            }
            output.table(&table)
        }
        Keys::Revoke { id } => {
            let key = client.revoke_api_key(&id).await?;
            output.line(&format!("key {} is revoked", key.api_key_id))
        }
    }
}

fn key_state(key: &ApiKey, now: SystemTime) -> &'static str {
    let expired = || key.expires_at.and_then(|end| SystemTime::try_from(end).ok()).is_some_and(|end| end <= now);
    if key.revoked_at.is_some() {
        "revoked"
    } else if expired() {
        "expired"
    } else {
        "active"
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_key_is_active_until_it_is_revoked_or_past_its_time() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let key = |expires_at, revoked_at| ApiKey { expires_at, revoked_at, ..ApiKey::default() };
        assert_eq!(key_state(&key(None, None), now), "active");
        assert_eq!(key_state(&key(at(1_001), None), now), "active");
        assert_eq!(key_state(&key(at(1_000), None), now), "expired");
        assert_eq!(key_state(&key(at(1_000), at(5)), now), "revoked");
    }
}

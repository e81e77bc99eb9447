//! The Secret Service of the desktop, such as GNOME Keyring, KWallet and KeePassXC, over D-Bus.

use std::collections::HashMap;
use std::time::Duration;

use secret_service::{EncryptionType, Error, Item, SecretService};
use tokio::time::timeout;

use super::SERVICE;

/// How long what asks nobody may take. A person who unlocks the keychain takes their time.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

pub(super) async fn get(user: &str) -> Result<Option<String>, String> {
    let service = connect().await?;
    let Some(item) = find(&service, user).await?.into_iter().next() else { return Ok(None) };
    item.ensure_unlocked().await.map_err(in_words)?;
    let secret = item.get_secret().await.map_err(in_words)?;
    String::from_utf8(secret).map(Some).map_err(|_| "what it keeps is no text".to_owned())
}

pub(super) async fn check() -> Result<(), String> {
    let service = connect().await?;
    let collection = service.get_any_collection().await.map_err(in_words)?;
    collection.ensure_unlocked().await.map_err(in_words)
}

pub(super) async fn set(user: &str, secret: &str) -> Result<(), String> {
    let service = connect().await?;
    let collection = service.get_any_collection().await.map_err(in_words)?;
    collection.ensure_unlocked().await.map_err(in_words)?;
    let label = format!("{SERVICE}: {user}");
    // One with the same attributes is replaced.
    collection.create_item(&label, attributes(user), secret.as_bytes(), true, "text/plain").await.map_err(in_words)?;
    Ok(())
}

pub(super) async fn remove(user: &str) -> Result<(), String> {
    let service = connect().await?;
    for item in find(&service, user).await? {
        item.ensure_unlocked().await.map_err(in_words)?;
        item.delete().await.map_err(in_words)?;
    }
    Ok(())
}

/// The secret crosses the bus encrypted.
async fn connect() -> Result<SecretService<'static>, String> {
    let connecting = timeout(ANSWERS_WITHIN, SecretService::connect(EncryptionType::Dh)).await;
    connecting.unwrap_or(Err(Error::Unavailable)).map_err(in_words)
}

/// What is unlocked comes first.
async fn find<'a>(service: &'a SecretService<'_>, user: &str) -> Result<Vec<Item<'a>>, String> {
    let found = timeout(ANSWERS_WITHIN, service.search_items(attributes(user))).await;
    let found = found.unwrap_or(Err(Error::Unavailable)).map_err(in_words)?;
    Ok(found.unlocked.into_iter().chain(found.locked).collect())
}

/// The names that other programs of keychains use as well.
fn attributes(user: &str) -> HashMap<&str, &str> {
    HashMap::from([("service", SERVICE), ("username", user)])
}

fn in_words(error: Error) -> String {
    match error {
        Error::Unavailable => "no Secret Service (such as GNOME Keyring or KWallet) answers on this session's D-Bus".to_owned(),
        Error::Prompt => "it wasn't unlocked".to_owned(),
        Error::Locked => "it is locked".to_owned(),
        Error::NoResult => "it has no collection to keep anything in".to_owned(),
        other => other.to_string(),
    }
}

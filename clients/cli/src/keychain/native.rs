//! The keychain that the system brings along.

use std::sync::Arc;

#[cfg(target_os = "macos")]
use apple_native_keyring_store::keychain::Store;
use keyring_core::api::CredentialStoreApi as _;
use keyring_core::{Entry, Error};
#[cfg(windows)]
use windows_native_keyring_store::Store;

use super::SERVICE;

pub(super) async fn get(user: &str) -> Result<Option<String>, String> {
    with_entry(user, |entry| match entry.get_password() {
        Err(Error::NoEntry) => Ok(None),
        got => got.map(Some),
    })
    .await
}

pub(super) async fn check() -> Result<(), String> {
    // What isn't there can be asked for wherever anything could be kept.
    get("-").await.map(drop)
}

pub(super) async fn set(user: &str, secret: &str) -> Result<(), String> {
    let secret = secret.to_owned();
    with_entry(user, move |entry| entry.set_password(&secret)).await
}

pub(super) async fn remove(user: &str) -> Result<(), String> {
    with_entry(user, |entry| match entry.delete_credential() {
        Err(Error::NoEntry) => Ok(()),
        done => done,
    })
    .await
}

/// It may ask the person, and blocks meanwhile.
async fn with_entry<T: Send + 'static>(user: &str, what: impl FnOnce(&Entry) -> Result<T, Error> + Send + 'static) -> Result<T, String> {
    let user = user.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let store: Arc<Store> = Store::new()?;
        what(&store.build(SERVICE, &user, None)?)
    });
    asked.await.map_err(|stopped| stopped.to_string())?.map_err(|error| error.to_string())
}

//! Keys in the operating system's keychain: the Keychain of macOS, the Credential Manager of Windows, the Secret Service of others.

#[cfg_attr(any(windows, target_os = "macos"), path = "keychain/native.rs")]
#[cfg_attr(not(any(windows, target_os = "macos")), path = "keychain/secret_service.rs")]
mod system;

use crate::failure::Failure;

/// What the entries of this command are filed under; an entry's user is the profile's name.
const SERVICE: &str = "tollgate";

/// The key of a profile.
pub(crate) async fn key(profile: &str) -> Result<String, Failure> {
    let missing = || {
        Failure::Keychain(format!(
            "profile {profile:?} has its key in the keychain, and there is none: tollgate config set key --keychain --profile {profile}"
        ))
    };
    system::get(profile).await.map_err(no_keychain)?.ok_or_else(missing)
}

/// Whether there is a keychain that can keep a key.
pub(crate) async fn check() -> Result<(), Failure> {
    system::check().await.map_err(no_keychain)
}

/// Keeps the key of a profile, in place of the one before.
pub(crate) async fn keep(profile: &str, key: &str) -> Result<(), Failure> {
    system::set(profile, key).await.map_err(no_keychain)
}

/// Forgets the key of a profile, if there is one.
pub(crate) async fn forget(profile: &str) -> Result<(), Failure> {
    system::remove(profile).await.map_err(no_keychain)
}

fn no_keychain(why: String) -> Failure {
    Failure::Keychain(format!(
        "there is no keychain here that can be used: {why}; keep the key in the config file (tollgate config set key), or give it in \
         TOLLGATE_API_KEY"
    ))
}

//! Where a new key goes in place of the screen: into a profile, with the servers that it is for.

use std::path::PathBuf;

use crate::config;
use crate::config_file::ConfigFile;
use crate::connection::{Situation, no_config_file};
use crate::credential_text::shown_key;
use crate::failure::Failure;
use crate::keychain;
use crate::output::hint;
use crate::profile_text::{Change, check_name};
use crate::setting::{IN_KEYCHAIN, Setting};

/// A profile that a key is to be put into.
pub(crate) struct KeyPlace {
    file: ConfigFile,
    profile: String,
    in_keychain: bool,
    /// The key before is there.
    was_in_keychain: bool,
    /// What the profile must say beside the key, so that the key goes to the server that made it. `None`: what it says of another one goes.
    servers: Vec<(Setting, Option<String>)>,
}

impl KeyPlace {
    /// The profile of this name, or the one that the command runs with. Refused where the key couldn't be put: no key should be made then.
    pub(crate) async fn new(situation: &Situation, named: &str, in_keychain: bool) -> Result<Self, Failure> {
        let profile = if named.is_empty() { situation.profile.name.clone() } else { named.to_owned() };
        check_name(&profile).map_err(Failure::Usage)?;
        let file = situation.config.clone().ok_or_else(no_config_file)?;
        config::refuse_two_credentials(&file, &profile, Setting::Key)?;
        if in_keychain {
            keychain::check().await?;
        }
        // That it can be locked says that its folder can be written.
        let held = file.hold()?;
        let text = held.read()?;
        held.check(&Change::Set { profile: &profile, setting: Setting::Key, value: IN_KEYCHAIN })?;
        drop(held);
        let said = |setting| text.profile(&profile).and_then(|profile| profile.get(setting));
        let mut servers = Vec::new();
        for setting in Setting::ALL.into_iter().filter(|setting| setting.is_of_server()) {
            let Some((value, _)) = situation.settings.get(setting) else {
                if said(setting).is_some() {
                    servers.push((setting, None));
                }
                continue;
            };
            let path = PathBuf::from(value);
            let path = if setting.is_path() { std::path::absolute(&path).unwrap_or(path) } else { path };
            let value = path.into_os_string().into_string();
            let value = value.map_err(|_| Failure::Usage(format!("{} isn't UTF-8, and can't be kept", setting.name())))?;
            let is_said = said(setting).is_some_and(|said| match setting.is_path() {
                true => situation.places.named_in_config(said).as_os_str() == value.as_str(),
                false => said == value,
            });
            if !is_said {
                servers.push((setting, Some(value)));
            }
        }
        let before = said(Setting::Key);
        let was_in_keychain = before == Some(IN_KEYCHAIN);
        if let Some(before) = before.filter(|_| !was_in_keychain) {
            let before = shown_key(before, true);
            hint(&format!("the new key takes the place of the one in profile {profile} ({before}), which isn't revoked by that"));
        }
        Ok(Self { file, profile, in_keychain, was_in_keychain, servers })
    }

    /// Puts the key there.
    pub(crate) async fn keep(&self, key: &str) -> Result<(), Failure> {
        config::refuse_two_credentials(&self.file, &self.profile, Setting::Key)?;
        if self.in_keychain {
            keychain::keep(&self.profile, key).await?;
        }
        let written = if self.in_keychain { IN_KEYCHAIN } else { key };
        let profile = self.profile.as_str();
        let servers = self.servers.iter().map(|(setting, value)| match value {
            Some(value) => Change::Set { profile, setting: *setting, value },
            None => Change::Unset { profile, setting: *setting },
        });
        let changes: Vec<Change<'_>> = servers.chain([Change::Set { profile, setting: Setting::Key, value: written }]).collect();
        self.file.hold()?.change(&changes)?;
        if self.was_in_keychain && !self.in_keychain {
            config::forget(profile).await;
        }
        Ok(())
    }

    /// Where it is, for people.
    pub(crate) fn shown(&self) -> String {
        let place = if self.in_keychain { "the keychain".to_owned() } else { self.file.path().display().to_string() };
        format!("profile {} ({place})", self.profile)
    }

    /// The profile's name.
    pub(crate) fn profile(&self) -> &str {
        &self.profile
    }
}

//! The config file of a person: read strictly, and changed by one process at a time.

use std::io;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::private_file::{self, HeldFile, NotPrivate};
use crate::profile_text::{Change, ProfileText, check_name};
use crate::setting::Setting;

/// Nobody has so many profiles.
const MOST_BYTES: u64 = 64 << 10;
/// Who names it has no config file.
const NO_FILE: &str = "/dev/null";

/// The config file, which needn't be there.
#[derive(Debug, Clone)]
pub(crate) struct ConfigFile(PathBuf);

impl ConfigFile {
    pub(crate) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// What it says; nothing when it isn't there. Refused when others can open it.
    pub(crate) fn read(&self) -> Result<ProfileText, Failure> {
        if self.0 == Path::new(NO_FILE) {
            return self.parse(Vec::new());
        }
        self.parse(private_file::read(&self.0, MOST_BYTES).map_err(|source| self.failure(source))?.unwrap_or_default())
    }

    /// Takes the file's lock: what another process changes is waited for. A folder for it is made.
    pub(crate) fn hold(&self) -> Result<HeldConfig<'_>, Failure> {
        if self.0 == Path::new(NO_FILE) {
            return Err(Failure::Usage(format!("TOLLGATE_CONFIG is {NO_FILE}, which keeps nothing")));
        }
        let held = private_file::make_folder_of(&self.0).and_then(|()| private_file::hold(&self.0));
        Ok(HeldConfig { file: self, held: held.map_err(|source| self.failure(source))? })
    }

    /// Sets a setting of a profile, which is made when it isn't there.
    pub(crate) fn set(&self, profile: &str, setting: Setting, value: &str) -> Result<(), Failure> {
        self.hold()?.change(&[Change::Set { profile, setting, value }])
    }

    fn parse(&self, bytes: Vec<u8>) -> Result<ProfileText, Failure> {
        let text = String::from_utf8(bytes).map_err(|_| self.refused("it isn't UTF-8"))?;
        ProfileText::parse(text).map_err(|mistake| self.refused(&mistake.to_string()))
    }

    fn changed(&self, text: &ProfileText, change: &Change<'_>) -> Result<ProfileText, Failure> {
        text.changed(change).ok_or_else(|| self.refused("it is written so that only an editor can change it"))
    }

    fn refused(&self, why: &str) -> Failure {
        Failure::Usage(format!("the config file {}: {why}", self.0.display()))
    }

    fn failure(&self, source: io::Error) -> Failure {
        let path = self.0.display();
        match private_file::not_private(&source) {
            Some(NotPrivate::OpenToOthers) => {
                self.refused(&format!("others than you can open it, and may have read the keys in it: chmod 600 {path}"))
            }
            Some(NotPrivate::AnothersFile) => self.refused("it is another user's, who could have put any server there"),
            None if source.kind() == io::ErrorKind::FileTooLarge => self.refused(&source.to_string()),
            None => Failure::Io { what: format!("the config file {path} can't be used"), source },
        }
    }
}

/// The file while no other process changes it.
pub(crate) struct HeldConfig<'a> {
    file: &'a ConfigFile,
    held: HeldFile,
}

impl HeldConfig<'_> {
    /// What it says now.
    pub(crate) fn read(&self) -> Result<ProfileText, Failure> {
        self.file.read()
    }

    /// Refused where the text is written so that a change can't be made.
    pub(crate) fn check(&self, change: &Change<'_>) -> Result<(), Failure> {
        self.file.changed(&self.read()?, change).map(drop)
    }

    /// Makes changes, all of them or none.
    pub(crate) fn change(&mut self, changes: &[Change<'_>]) -> Result<(), Failure> {
        let mut text = self.file.read()?;
        for change in changes {
            if let Change::Set { profile, .. } = change {
                check_name(profile).map_err(Failure::Usage)?;
            }
            text = self.file.changed(&text, change)?;
        }
        if text.text().len() as u64 > MOST_BYTES {
            return Err(self.file.refused("it would be longer than 64 KiB"));
        }
        self.held.replace(text.text().as_bytes()).map_err(|source| self.file.failure(source))
    }
}

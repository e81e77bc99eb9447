//! The config file's text: profiles in YAML. A strict reading of it, and changes that leave alone what they don't change, comments too.

mod change;
mod reading;

use std::collections::BTreeMap;
use std::ops::Range;

pub(crate) use self::change::Change;
use crate::setting::Setting;

/// Profiles, and where they stand in the text that they were read from.
#[derive(Debug)]
pub(crate) struct ProfileText {
    text: String,
    profiles: Vec<Profile>,
    /// They stand in braces, and not one a line.
    in_braces: bool,
}

/// A profile.
// Not `Debug`: a value may be a key.
#[derive(Clone)]
pub(crate) struct Profile {
    pub(crate) name: String,
    fields: Vec<Field>,
    key: Range<usize>,
    /// Where its mapping stands, if that is in braces.
    braces: Option<Range<usize>>,
}

#[derive(Clone)]
struct Field {
    setting: Setting,
    value: String,
    line: usize,
    key: Range<usize>,
    /// Empty where no value is written.
    place: Range<usize>,
    /// It is a block of lines below `|` or `>`.
    is_block: bool,
}

/// What profiles say, whatever order they say it in.
type Contents<'a> = Vec<(&'a str, BTreeMap<Setting, &'a str>)>;

/// Why a text holds no profiles. It never repeats a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub(crate) struct Mistake {
    line: usize,
    why: String,
}

impl ProfileText {
    /// Reads a text.
    pub(crate) fn parse(text: String) -> Result<Self, Mistake> {
        reading::read(text)
    }

    /// The text itself.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The profiles, as they stand there.
    pub(crate) fn profiles(&self) -> &[Profile] {
        &self.profiles
    }

    /// The profile of this name.
    pub(crate) fn profile(&self, name: &str) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.name == name)
    }

    /// What is to be compared of two texts.
    fn contents(&self) -> Contents<'_> {
        self.profiles.iter().map(|profile| (profile.name.as_str(), profile.values().collect())).collect()
    }
}

impl Profile {
    /// What it says, empty values aside: they count as unset.
    pub(crate) fn values(&self) -> impl Iterator<Item = (Setting, &str)> {
        self.fields.iter().map(|field| (field.setting, field.value.as_str())).filter(|(_, value)| !value.is_empty())
    }

    /// What it says of a setting.
    pub(crate) fn get(&self, setting: Setting) -> Option<&str> {
        self.values().find(|(said, _)| *said == setting).map(|(_, value)| value)
    }
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profile").field("name", &self.name).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Field").field("setting", &self.setting).finish_non_exhaustive()
    }
}

/// What is wrong with a profile's name, if anything is. A session's file has its name, and beside it stands one ending in `.lock`.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let is_fine = (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && !name.to_ascii_lowercase().ends_with(".lock");
    let rule = "a profile's name is 1 to 64 letters, digits, '.', '_' and '-', begins with a letter or digit, and doesn't end in .lock";
    if is_fine { Ok(()) } else { Err(rule.to_owned()) }
}

//! Which source wins: for each setting the flag, the variable, or the profile; and of credentials the one of the highest source.

use std::collections::BTreeMap;
use std::ffi::OsString;

use crate::setting::Setting;

/// What one source says.
pub(crate) type Values = BTreeMap<Setting, OsString>;

/// Where a value comes from, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// The command line.
    Flag,
    /// The environment.
    Variable,
    /// The profile in the config file.
    Profile,
}

/// Who a command calls as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Nobody yet: the command gets or shows a credential of its own.
    Nobody,
    /// Whoever the settings name.
    User,
    /// The same, where an API key could do nothing: of a profile, its session counts before its key.
    Person,
}

/// The credential that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Nothing,
    /// The key of this source.
    Key(Source),
    /// The session file that this source names.
    Session(Source),
    /// The session that `login` keeps for the profile.
    Kept,
}

/// What all sources say.
// Not `Debug`: one value is a key.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    pub(crate) flags: Values,
    pub(crate) variables: Values,
    pub(crate) profile: Values,
}

impl Settings {
    /// The value that counts, and where it comes from.
    pub(crate) fn get(&self, setting: Setting) -> Option<(&OsString, Source)> {
        self.sources().find_map(|(source, values)| values.get(&setting).map(|value| (value, source)))
    }

    /// What this source says.
    pub(crate) fn of(&self, source: Source) -> &Values {
        match source {
            Source::Flag => &self.flags,
            Source::Variable => &self.variables,
            Source::Profile => &self.profile,
        }
    }

    /// The credential that counts. The highest source that has a key or a session file wins over both of the lower ones; what `login` keeps
    /// counts last. Variables may give both at once: then the key counts.
    pub(crate) fn credential(&self, caller: Caller, is_kept: bool) -> Which {
        for (source, values) in self.sources() {
            if source == Source::Profile && caller == Caller::Person && is_kept && !values.contains_key(&Setting::Session) {
                return Which::Kept;
            }
            if caller != Caller::Nobody && values.contains_key(&Setting::Key) {
                return Which::Key(source);
            }
            if values.contains_key(&Setting::Session) {
                return Which::Session(source);
            }
        }
        // Who calls as nobody may begin a session, which needs its place.
        if is_kept || caller == Caller::Nobody { Which::Kept } else { Which::Nothing }
    }

    fn sources(&self) -> impl Iterator<Item = (Source, &Values)> {
        [Source::Flag, Source::Variable, Source::Profile].into_iter().map(|source| (source, self.of(source)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(settings: &[Setting], source: &str) -> Values {
        settings.iter().map(|setting| (*setting, OsString::from(format!("{source} {}", setting.name())))).collect()
    }

    #[test]
    fn each_value_comes_from_the_highest_source_that_has_it() {
        let all = |has: bool, source| values(if has { &Setting::ALL } else { &[] }, source);
        for bits in 0..8 {
            let [flag, variable, profile] = [bits & 4 != 0, bits & 2 != 0, bits & 1 != 0];
            let settings = Settings { flags: all(flag, "flag"), variables: all(variable, "variable"), profile: all(profile, "profile") };
            let expected = match (flag, variable, profile) {
                (true, ..) => Some(("flag", Source::Flag)),
                (_, true, _) => Some(("variable", Source::Variable)),
                (_, _, true) => Some(("profile", Source::Profile)),
                _ => None,
            };
            for setting in Setting::ALL {
                let won = settings.get(setting).map(|(value, source)| (value.to_str().unwrap().to_owned(), source));
                assert_eq!(won, expected.map(|(word, source)| (format!("{word} {}", setting.name()), source)));
            }
        }
    }

    #[test]
    fn a_credential_of_a_higher_source_wins_over_both_of_a_lower_one_and_what_login_keeps_comes_last() {
        use Setting::{Key, Session};
        /// Flags, variables, profile; whether a session is kept; a user's credential, a person's.
        type Row = (&'static [Setting], &'static [Setting], &'static [Setting], bool, Which, Which);
        let none: &[Setting] = &[];
        let table: [Row; 13] = [
            (none, none, none, false, Which::Nothing, Which::Nothing),
            (none, none, none, true, Which::Kept, Which::Kept),
            (none, none, &[Key], false, Which::Key(Source::Profile), Which::Key(Source::Profile)),
            (none, none, &[Key], true, Which::Key(Source::Profile), Which::Kept),
            (none, none, &[Session], true, Which::Session(Source::Profile), Which::Session(Source::Profile)),
            (none, &[Key], &[Session], true, Which::Key(Source::Variable), Which::Key(Source::Variable)),
            (none, &[Session], &[Key], true, Which::Session(Source::Variable), Which::Session(Source::Variable)),
            (none, &[Key, Session], none, true, Which::Key(Source::Variable), Which::Key(Source::Variable)),
            (&[Key], &[Session], &[Session], true, Which::Key(Source::Flag), Which::Key(Source::Flag)),
            (&[Session], &[Key], &[Key], true, Which::Session(Source::Flag), Which::Session(Source::Flag)),
            (&[Session], &[Key, Session], &[Key], false, Which::Session(Source::Flag), Which::Session(Source::Flag)),
            (&[Key], none, none, false, Which::Key(Source::Flag), Which::Key(Source::Flag)),
            (none, &[Session], none, false, Which::Session(Source::Variable), Which::Session(Source::Variable)),
        ];
        for (flags, variables, profile, is_kept, user, person) in table {
            let settings = Settings { flags: values(flags, ""), variables: values(variables, ""), profile: values(profile, "") };
            let shown = format!("{flags:?} {variables:?} {profile:?} {is_kept}");
            assert_eq!(settings.credential(Caller::User, is_kept), user, "{shown}");
            assert_eq!(settings.credential(Caller::Person, is_kept), person, "{shown}");
        }
    }

    #[test]
    fn a_session_that_begins_goes_into_the_file_that_is_named_whatever_keys_there_are() {
        use Setting::{Key, Session};
        let settings = Settings { flags: values(&[Key], ""), variables: values(&[Key, Session], ""), profile: values(&[Key], "") };
        assert_eq!(settings.credential(Caller::Nobody, false), Which::Session(Source::Variable));
        let settings = Settings { profile: values(&[Key], ""), ..Settings::default() };
        assert_eq!(settings.credential(Caller::Nobody, false), Which::Kept);
    }
}

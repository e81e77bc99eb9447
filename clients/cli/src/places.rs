//! Where a person's files are: the config file, and what commands keep between two runs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where the files of a person are. A place that nothing names isn't there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Places {
    config: Option<PathBuf>,
    state: Option<PathBuf>,
    home: Option<PathBuf>,
}

/// The variable that names a person's own folder.
pub(crate) const HOME: &str = if cfg!(windows) { "USERPROFILE" } else { "HOME" };

impl Places {
    /// As the environment says.
    pub(crate) fn of_process() -> Self {
        Self::of(&|name| std::env::var_os(name))
    }

    /// As variables say; those of XDG count only when they are absolute, as its specification wants.
    pub(crate) fn of(variable: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = absolute(HOME);
        let below = |xdg: &str, folder: &str| absolute(xdg).or_else(|| home.as_ref().map(|home| home.join(folder)));
        let named = variable("TOLLGATE_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        Self {
            config: named.or_else(|| below("XDG_CONFIG_HOME", ".config").map(|folder| folder.join("tollgate").join("config.yaml"))),
            state: below("XDG_STATE_HOME", ".local/state").map(|folder| folder.join("tollgate")),
            home,
        }
    }

    /// The config file, which needn't be there.
    pub(crate) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// The folder of what commands keep, such as sessions. It needn't be there: whoever writes makes it, for its owner alone.
    pub(crate) fn state(&self) -> Option<&Path> {
        self.state.as_deref()
    }

    /// The file in which `login` keeps a profile's session.
    pub(crate) fn session(&self, profile: &str) -> Option<PathBuf> {
        self.state.as_ref().map(|state| state.join("sessions").join(profile))
    }

    /// A path of the config file: `~/` is the person's own folder, and what is relative begins at the config file's folder.
    pub(crate) fn named_in_config(&self, path: &str) -> PathBuf {
        if let (Some(rest), Some(home)) = (path.strip_prefix("~/"), &self.home) {
            return home.join(rest);
        }
        self.config.as_deref().and_then(Path::parent).map_or_else(|| PathBuf::from(path), |folder| folder.join(path))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn places(variables: &[(&str, &str)]) -> Places {
        Places::of(&|name| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| OsString::from(value)))
    }

    #[test]
    fn files_are_where_the_variables_say_and_relative_ones_of_xdg_count_as_unset() {
        let config = |variables: &[(&str, &str)]| places(variables).config().map(|path| path.to_str().unwrap().to_owned());
        let session = |variables: &[(&str, &str)]| places(variables).session("work").map(|path| path.to_str().unwrap().to_owned());
        assert_eq!(config(&[]), None);
        assert_eq!(session(&[]), None);
        for no_home in ["", "relative", "."] {
            assert_eq!(config(&[("HOME", no_home), ("XDG_CONFIG_HOME", no_home)]), None, "{no_home:?}");
        }
        let home = ("HOME", "/home/ada");
        assert_eq!(config(&[home]).unwrap(), "/home/ada/.config/tollgate/config.yaml");
        assert_eq!(session(&[home]).unwrap(), "/home/ada/.local/state/tollgate/sessions/work");
        assert_eq!(config(&[home, ("XDG_CONFIG_HOME", "relative")]).unwrap(), "/home/ada/.config/tollgate/config.yaml");
        assert_eq!(session(&[home, ("XDG_STATE_HOME", "./state")]).unwrap(), "/home/ada/.local/state/tollgate/sessions/work");
        assert_eq!(config(&[home, ("XDG_CONFIG_HOME", "/xdg")]).unwrap(), "/xdg/tollgate/config.yaml");
        assert_eq!(session(&[("XDG_STATE_HOME", "/xdg")]).unwrap(), "/xdg/tollgate/sessions/work");
        assert_eq!(config(&[home, ("TOLLGATE_CONFIG", "my.yaml")]).unwrap(), "my.yaml");
        assert_eq!(config(&[home, ("TOLLGATE_CONFIG", "")]).unwrap(), "/home/ada/.config/tollgate/config.yaml");
    }

    #[test]
    fn a_path_in_the_file_begins_at_the_files_folder_or_at_home() {
        let places = places(&[("HOME", "/home/ada"), ("XDG_CONFIG_HOME", "/xdg")]);
        assert_eq!(places.named_in_config("ca.pem"), Path::new("/xdg/tollgate/ca.pem"));
        assert_eq!(places.named_in_config("~/ca.pem"), Path::new("/home/ada/ca.pem"));
        assert_eq!(places.named_in_config("/etc/ca.pem"), Path::new("/etc/ca.pem"));
    }
}

//! The program grpcurl.

use std::ffi::OsString;
use std::path::PathBuf;

/// Where `scripts/fetch-grpcurl` puts it, unless `TOLLGATE_GRPCURL` names another.
#[must_use]
pub fn program() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = || {
        let home = || PathBuf::from(variable("HOME").unwrap_or_default()).join(".cache");
        variable("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("tollgate/bin/grpcurl")
    };
    let path = variable("TOLLGATE_GRPCURL").map_or_else(cache, |path: OsString| PathBuf::from(path));
    assert!(path.is_file(), "there is no grpcurl at {}: run scripts/fetch-grpcurl", path.display());
    path
}

//! Whether a Redis is one that keeps what it is given, asked at the start.

use std::collections::HashMap;

use ::redis::aio::ConnectionManager;
use ::redis::{RedisResult, Value, from_redis_value};

use super::RedisOptions;
use super::failures::open_error;
use crate::store::StoreOpenError;

/// The first version whose scripts say whether they write.
const LEAST_VERSION: u32 = 7;

/// Refuses a Redis that can't do what Tollgate needs, or may lose what it is given.
pub(super) async fn require(connection: &mut ConnectionManager, options: &RedisOptions) -> Result<(), StoreOpenError> {
    let greeting: RedisResult<HashMap<String, Value>> = ::redis::cmd("HELLO").query_async(connection).await;
    match greeting {
        Ok(greeting) => {
            let said =
                |name: &str| greeting.get(name).cloned().and_then(|value| from_redis_value::<String>(value).ok()).unwrap_or_default();
            if let Some(why) = unfit(&said("version"), &said("mode"), &said("role")) {
                return Err(StoreOpenError::Unusable(why));
            }
        }
        // The command came with version 6.
        Err(error) if error.to_string().contains("unknown command") => return Err(StoreOpenError::Unusable(too_old("older than 6"))),
        Err(error) => return Err(open_error(&error)),
    }
    require_safety(connection, options).await?;
    warn_of_snapshots(connection).await
}

/// Says what is set wrongly, and how to mend it. It loses no credit, so it is no reason not to start.
async fn warn_of_snapshots(connection: &mut ConnectionManager) -> Result<(), StoreOpenError> {
    let mut values = [const { String::new() }; 3];
    for (value, name) in values.iter_mut().zip(["appendonly", "save", "stop-writes-on-bgsave-error"]) {
        match setting(connection, name).await {
            Ok(set) => *value = set,
            // The operator has allowed by name what can't be checked.
            Err(StoreOpenError::Unsafe(_)) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    let [appendonly, save, stop_writes] = values;
    if let Some(warning) = wrong_snapshots(&appendonly, &save, &stop_writes) {
        tracing::warn!("{warning}");
    }
    Ok(())
}

/// What is wrong with a Redis whose settings are these: with an append-only file snapshots add nothing, and one that fails (often for lack
/// of memory) stops all writes. Without such a file they are all there is.
fn wrong_snapshots(appendonly: &str, save: &str, stop_writes: &str) -> Option<String> {
    (appendonly == "yes" && !save.is_empty() && stop_writes == "yes").then(|| {
        format!(
            "this Redis takes snapshots beside its append-only file (save {save:?}), and refuses every write from when one fails until one \
             succeeds (stop-writes-on-bgsave-error yes): all calls would be refused; turn them off with `redis-cli config set save \"\"`, \
             and for its next start with `save \"\"` in its configuration"
        )
    })
}

/// Why a Redis that says this of itself can't be used.
fn unfit(version: &str, mode: &str, role: &str) -> Option<String> {
    if mode == "sentinel" {
        return Some("what answers is a Sentinel, which is not supported yet: let TOLLGATE_REDIS_URL name the Redis itself".to_owned());
    }
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < LEAST_VERSION) {
        return Some(too_old(version));
    }
    if mode == "cluster" {
        return Some("this Redis is a node of a cluster, which is not supported yet: use a single Redis (cluster-enabled no)".to_owned());
    }
    (role != "master").then(|| "this Redis is a replica, which takes no writes: let TOLLGATE_REDIS_URL name its primary".to_owned())
}

fn too_old(version: &str) -> String {
    format!("this Redis is version {version}, and Tollgate's scripts need {LEAST_VERSION} or newer, or a Valkey: update it")
}

/// Refuses a Redis that may lose what it is given.
async fn require_safety(connection: &mut ConnectionManager, options: &RedisOptions) -> Result<(), StoreOpenError> {
    if !options.allow_eviction {
        let policy = setting(connection, "maxmemory-policy").await?;
        if policy != "noeviction" {
            return Err(StoreOpenError::Unsafe(format!(
                "its maxmemory-policy is {policy}, which throws keys away when it is full; set it to noeviction"
            )));
        }
    }
    if !options.allow_no_aof {
        let appendonly = setting(connection, "appendonly").await?;
        if appendonly != "yes" {
            return Err(StoreOpenError::Unsafe(
                "it writes no append-only file, so a restart loses what happened since its last snapshot; set appendonly to yes".to_owned(),
            ));
        }
    }
    Ok(())
}

/// One of Redis's settings.
async fn setting(connection: &mut ConnectionManager, name: &str) -> Result<String, StoreOpenError> {
    let mut command = ::redis::cmd("CONFIG");
    command.arg("GET").arg(name);
    let hidden = || {
        StoreOpenError::Unsafe(format!(
            "it doesn't permit CONFIG GET {name}, so nothing can be said about it; permit it, or allow by name what can't be checked"
        ))
    };
    let answer: RedisResult<Vec<String>> = command.query_async(connection).await;
    match answer.as_deref() {
        Ok([_, value]) => Ok(value.clone()),
        Ok(_) => Err(hidden()),
        Err(error) => Err(match open_error(error) {
            // It is still loading, or busy, or gone again.
            StoreOpenError::Unreachable(why) => StoreOpenError::Unreachable(why),
            StoreOpenError::Unsafe(_) | StoreOpenError::Misconfigured(_) | StoreOpenError::Unusable(_) => hidden(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_that_stop_all_writes_when_one_fails_are_warned_of_where_an_append_only_file_makes_them_needless() {
        let warning = wrong_snapshots("yes", "3600 1 300 100 60 10000", "yes").unwrap();
        assert!(warning.contains("config set save \"\"") && warning.contains("3600 1 300 100"), "{warning}");
        for (appendonly, save, stop_writes) in [("yes", "", "yes"), ("yes", "3600 1", "no"), ("no", "3600 1", "yes")] {
            assert_eq!(wrong_snapshots(appendonly, save, stop_writes), None, "{appendonly} {save} {stop_writes}");
        }
    }

    #[test]
    fn a_redis_is_judged_by_what_it_says_of_itself() {
        for (version, mode, role, says) in [
            ("6.2.14", "standalone", "master", "7 or newer"),
            ("6.0.0", "cluster", "master", "7 or newer"),
            ("", "standalone", "master", "7 or newer"),
            ("7.0.15", "cluster", "master", "cluster"),
            ("7.0.15", "cluster", "replica", "cluster"),
            ("7.0.15", "sentinel", "", "Sentinel"),
            ("7.2.4", "standalone", "replica", "replica"),
            ("8.1.0", "standalone", "slave", "replica"),
        ] {
            let why = unfit(version, mode, role).unwrap_or_else(|| panic!("{version} {mode} {role} was taken"));
            assert!(why.contains(says), "{why}");
        }
        // The last is a Valkey.
        for version in ["7.0.0", "7.4.1", "8.1.3", "10.0.0", "255.255.255"] {
            assert_eq!(unfit(version, "standalone", "master"), None, "{version}");
        }
    }
}

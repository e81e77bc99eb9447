//! What Redis refuses with, and what that means for a call and for its connection.

use ::redis::{ErrorKind, RedisError};

use crate::store::{StoreError, StoreOpenError};

/// What a failure is to be blamed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// Redis, which would answer the same on any connection.
    Redis,
    /// The connection was closed, or none could be made. The client connects again by itself.
    Closed,
    /// The connection leads to a Redis that can't help, or was refused: another one may do.
    Connection,
    /// Nobody answered.
    Silence,
}

/// What Redis said: its code, such as `OOM`, and its words.
fn said(error: &RedisError) -> Option<(String, String)> {
    // Also what stands inside a pipeline's error, whose own `code` knows the library's codes only.
    let (_, first) = error.clone().into_server_errors()?.first()?.clone();
    Some((first.code().to_owned(), first.details().unwrap_or_default().to_owned()))
}

/// Whether a script ended by an error of its own, and not because Redis would not run it.
fn is_scripts_own(words: &str) -> bool {
    words.contains("user_script") && !words.contains("The user executing the script") && !words.contains("killed by user")
}

/// What a failure is to be blamed on.
pub(super) fn blame(error: &RedisError) -> Blame {
    if error.is_timeout() {
        return Blame::Silence;
    }
    let Some((code, words)) = said(error) else {
        // Of what isn't an I/O error, the client would keep what it met when it connected.
        return if error.is_io_error() { Blame::Closed } else { Blame::Connection };
    };
    match code.as_str() {
        "TGCORRUPT" | "WRONGTYPE" | "NOSCRIPT" | "OOM" | "MISCONF" | "NOREPLICAS" | "BUSY" | "LOADING" | "CROSSSLOT" => Blame::Redis,
        "ERR" if is_scripts_own(&words) => Blame::Redis,
        // READONLY, MASTERDOWN, NOAUTH, WRONGPASS, NOPERM, MOVED, CLUSTERDOWN, and what no Redis of ours says.
        _ => Blame::Connection,
    }
}

/// What the scripts say about contradictions is [`StoreError::Corrupt`]; all else means that Redis didn't do it.
pub(super) fn store_error(error: &RedisError) -> StoreError {
    let Some((code, words)) = said(error) else { return unsaid(error) };
    match code.as_str() {
        "TGCORRUPT" => {
            // Redis adds the script and the line.
            StoreError::Corrupt(words.split(" script: ").next().unwrap_or_default().to_owned())
        }
        "WRONGTYPE" => StoreError::Corrupt("a key has the wrong type".to_owned()),
        "ERR" if is_scripts_own(&words) => StoreError::Corrupt("a script met something that it can't handle".to_owned()),
        "OOM" => StoreError::Full(format!("Redis uses all of its maxmemory; raise it, or give it a larger machine ({code} {words})")),
        // A write that failed says why; a snapshot that failed does not.
        "MISCONF" if ["No space left", "quota", "File too large"].iter().any(|cause| words.contains(cause)) => {
            StoreError::Full(format!("there is no room for Redis's file; make room on its disk ({code} {words})"))
        }
        "MISCONF" => StoreError::Misconfigured(format!("Redis can't write its files; its log says why ({code} {words})")),
        "READONLY" | "MASTERDOWN" => {
            StoreError::ReadOnly(format!("the Redis at TOLLGATE_REDIS_URL is a replica; let the name lead to its primary ({code} {words})"))
        }
        "NOREPLICAS" => StoreError::ReadOnly(format!("Redis has fewer replicas than its min-replicas-to-write asks for ({code} {words})")),
        "NOAUTH" | "WRONGPASS" => StoreError::Misconfigured(format!("{WRONG_PASSWORD} ({code} {words})")),
        "NOPERM" => StoreError::Misconfigured(format!("{NOT_PERMITTED} ({code} {words})")),
        "ERR" if words.contains("The user executing the script") => StoreError::Misconfigured(format!("{NOT_PERMITTED} ({code} {words})")),
        "MOVED" | "ASK" | "CLUSTERDOWN" | "CROSSSLOT" => {
            StoreError::Misconfigured(format!("Redis is a cluster, which is not supported yet; use a single one ({code} {words})"))
        }
        // Of a longer command Redis says this before it has read its name.
        "ERR" if words.contains("unauthenticated") => StoreError::Misconfigured(format!("{WRONG_PASSWORD} ({code} {words})")),
        "DENIED" => StoreError::Misconfigured(format!("Redis takes nobody from another machine ({code} {words})")),
        "ERR" if words.contains("unknown command") || words.contains("shebang") || words.contains("compiling script") => {
            StoreError::Misconfigured(format!("Redis doesn't know what Tollgate needs: it must be version 7 or newer ({code} {words})"))
        }
        // LOADING, BUSY, TRYAGAIN, and all that passes by itself.
        _ => StoreError::Unavailable(format!("Redis answers {code} {words}")),
    }
}

const WRONG_PASSWORD: &str = "Redis refuses the password of TOLLGATE_REDIS_PASSWORD, or the user or password of TOLLGATE_REDIS_URL";
const NOT_PERMITTED: &str = "the user of TOLLGATE_REDIS_URL may not do what Tollgate needs; permit it in Redis's ACL";

/// What the client says by itself.
fn unsaid(error: &RedisError) -> StoreError {
    match error.kind() {
        // It keeps Redis's words to itself, which are often just these.
        ErrorKind::AuthenticationFailed => StoreError::Misconfigured(WRONG_PASSWORD.to_owned()),
        ErrorKind::Server(_) if error.to_string().contains("refused to switch database") => StoreError::Misconfigured(format!(
            "Redis has no such database as TOLLGATE_REDIS_URL names ({})",
            error.detail().unwrap_or_default()
        )),
        _ if error.is_timeout() => StoreError::Unavailable("Redis gave no answer in time".to_owned()),
        _ => StoreError::Unavailable(error.to_string()),
    }
}

/// Why a Redis can't be opened that failed so at the start.
pub(super) fn open_error(error: &RedisError) -> StoreOpenError {
    match store_error(error) {
        StoreError::Misconfigured(why) => StoreOpenError::Misconfigured(why),
        StoreError::ReadOnly(why) => StoreOpenError::Unusable(why),
        StoreError::Unavailable(why) | StoreError::Full(why) | StoreError::Corrupt(why) => StoreOpenError::Unreachable(why),
    }
}

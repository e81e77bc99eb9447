//! The limit of open files (`RLIMIT_NOFILE`), and how many connections it is enough for.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Descriptors that are kept for files, the store, and what the process asks of others.
const KEPT: u64 = 256;
/// Descriptors that a connection may need: its own, and that of the model server which answers its call.
const PER_CONNECTION: u64 = 2;
/// Connections there may be in any case.
const FEWEST: usize = 16;

/// Raises the soft limit to the hard one, and answers how many connections there may be: at most `wanted`.
#[must_use]
pub fn connections(wanted: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit of open files can't be raised");
        }
    }
    // No limit is as many as wanted.
    let Some(descriptors) = getrlimit(Resource::Nofile).current else { return wanted };
    let enough_for = fitting(descriptors, wanted);
    if enough_for < wanted {
        tracing::info!(descriptors, connections = enough_for, wanted, "the limit of open files bounds the connections");
    }
    enough_for
}

fn fitting(descriptors: u64, wanted: usize) -> usize {
    let enough_for = usize::try_from(descriptors.saturating_sub(KEPT) / PER_CONNECTION).unwrap_or(usize::MAX);
    wanted.min(enough_for.max(FEWEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_connections_is_tied_to_the_descriptors_there_are() {
        assert_eq!(fitting(1_048_576, 10_000), 10_000);
        assert_eq!(fitting(1_024, 10_000), 384);
        assert_eq!(fitting(64, 10_000), FEWEST);
        assert_eq!(fitting(64, 4), 4);
    }
}

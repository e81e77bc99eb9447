//! How often in a second a disk can be told to keep what was written: what a store that answers after its commit is bound by.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Append and sync, again and again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DiskJob {
    /// A folder on the disk.
    pub folder: PathBuf,
    /// For how long.
    pub measured: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct DiskOutcome {
    /// Of 4 KiB each.
    pub syncs_per_second: f64,
}

pub(super) fn run(job: &DiskJob) -> DiskOutcome {
    let mut file = tempfile::tempfile_in(&job.folder).expect("a file in the folder");
    let started = Instant::now();
    let mut syncs = 0_u32;
    while started.elapsed() < job.measured {
        file.write_all(&[0x5a; 4096]).and_then(|()| file.sync_data()).expect("the disk takes it");
        syncs += 1;
    }
    DiskOutcome { syncs_per_second: f64::from(syncs) / started.elapsed().as_secs_f64() }
}

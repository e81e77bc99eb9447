//! How often in a second a disk can be told to keep what was written: what a store that answers after its commit is bound by.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Span;

/// Append and sync, again and again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DiskJob {
    /// A folder on the disk.
    pub folder: PathBuf,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct DiskOutcome {
    /// Of 4 KiB each.
    pub syncs_per_second: f64,
}

pub(super) struct Disk {
    file: File,
    syncs: u32,
    took: Duration,
}

impl Disk {
    pub(super) fn open(job: &DiskJob) -> Self {
        Self { file: tempfile::tempfile_in(&job.folder).expect("a file in the folder"), syncs: 0, took: Duration::ZERO }
    }

    pub(super) fn turn(&mut self, span: Span) {
        let started = Instant::now();
        while started.elapsed() < span.measured {
            self.file.write_all(&[0x5a; 4096]).and_then(|()| self.file.sync_data()).expect("the disk takes it");
            self.syncs += 1;
        }
        self.took += started.elapsed();
    }

    pub(super) fn close(&self) -> DiskOutcome {
        DiskOutcome { syncs_per_second: f64::from(self.syncs) / self.took.as_secs_f64() }
    }
}

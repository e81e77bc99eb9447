//! What SQLite's failures mean. Of a write that failed it says no more than that, so the disk is asked why.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use rustix::process::{Resource, getrlimit};

use super::failure::Failure;
use crate::store::{StoreError, StoreOpenError};

/// A file of this process that ends so close to the longest that it may write can't grow by what one transaction adds.
const NEAR_LIMIT_BYTES: u64 = 64 * 1024;

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        let error = match failure {
            Failure::Corrupt(text) => return Self::Corrupt(text),
            Failure::Sqlite(error) => error,
        };
        if is_contradiction(&error) {
            return Self::Corrupt(error.to_string());
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full(format!("there is no room for its file; make room on its disk ({error})")),
            Some(ErrorCode::ReadOnly) => Self::ReadOnly(format!("its file can't be written ({error})")),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Self::Unavailable(format!("another process keeps its file to itself ({error})"))
            }
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

/// Whether an error says that what is stored contradicts itself.
fn is_contradiction(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        // A constraint that doesn't hold is an invariant that would be broken.
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch)
        // No code of SQLite's: a column that can't be read.
        | None => true,
        Some(_) => false,
    }
}

/// Where the file is.
#[derive(Debug)]
pub(super) struct Disk {
    file: PathBuf,
}

impl Disk {
    pub(super) fn of(file: &Path) -> Self {
        Self { file: file.to_owned() }
    }

    /// What a failure means; of an I/O error, after the disk was asked.
    pub(super) fn explain(&self, failure: Failure) -> StoreError {
        let is_io = matches!(
            &failure,
            Failure::Sqlite(error) if matches!(error.sqlite_error_code(), Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen))
        );
        let error = StoreError::from(failure);
        if !is_io {
            return error;
        }
        match self.try_to_write() {
            Err(why) => refusal(&why),
            Ok(()) => match self.longest() {
                Some(limit) => StoreError::Full(format!("its file is as long as this process may write one: {limit} bytes (ulimit -f)")),
                None => error,
            },
        }
    }

    /// Why the file can't be opened.
    pub(super) fn unusable(&self, failure: Failure) -> StoreOpenError {
        self.unusable_because(match self.explain(failure) {
            StoreError::Full(why) | StoreError::Unavailable(why) | StoreError::Misconfigured(why) | StoreError::Corrupt(why) => why,
            StoreError::ReadOnly(why) => format!("{READ_ONLY} ({why})"),
        })
    }

    /// Why the file can't even be made.
    pub(super) fn unmakeable(&self, error: &io::Error) -> StoreOpenError {
        self.unusable_because(match refusal(error) {
            StoreError::Full(why) => why,
            StoreError::ReadOnly(_) => format!("{READ_ONLY} ({error})"),
            StoreError::Unavailable(_) | StoreError::Misconfigured(_) | StoreError::Corrupt(_) => error.to_string(),
        })
    }

    fn unusable_because(&self, why: impl fmt::Display) -> StoreOpenError {
        StoreOpenError::Unusable(format!("{}: {why}", self.file.display()))
    }

    /// Writes a page beside the file, and takes it away again.
    fn try_to_write(&self) -> io::Result<()> {
        let mut name = self.file.file_name().map(OsString::from).unwrap_or_default();
        name.push(format!("-room-{}", std::process::id()));
        let path = self.file.with_file_name(name);
        let written = OpenOptions::new().write(true).create(true).truncate(true).open(&path).and_then(|mut file| {
            file.write_all(&[0; 4096])?;
            file.sync_data()
        });
        let removed = fs::remove_file(&path);
        written.and(removed)
    }

    /// How long a file of this process may be, if one of the store's is as long.
    fn longest(&self) -> Option<u64> {
        let limit = getrlimit(Resource::Fsize).current?;
        let length = |ending: &str| {
            let mut name = self.file.clone().into_os_string();
            name.push(ending);
            fs::metadata(name).map_or(0, |file| file.len())
        };
        (length("").max(length("-wal")) + NEAR_LIMIT_BYTES > limit).then_some(limit)
    }
}

/// Why nothing can be written.
fn refusal(why: &io::Error) -> StoreError {
    match why.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            StoreError::Full(format!("there is no room for its file; make room on its disk ({why})"))
        }
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
            StoreError::ReadOnly(format!("its folder can't be written; make it writable for this process ({why})"))
        }
        _ => StoreError::Unavailable(format!("its disk fails ({why})")),
    }
}

const READ_ONLY: &str = "the file and its folder must be writable for the user that this process runs as";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_can_be_written_is_not_to_blame_and_keeps_no_trace_of_being_asked() {
        let folder = tempfile::tempdir().unwrap();
        Disk::of(&folder.path().join("store")).try_to_write().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_disk_says_by_its_own_error_whether_it_is_full_read_only_or_broken() {
        let of = |kind: ErrorKind| refusal(&io::Error::from(kind));
        assert!(matches!(of(ErrorKind::StorageFull), StoreError::Full(_)));
        assert!(matches!(of(ErrorKind::QuotaExceeded), StoreError::Full(_)));
        assert!(matches!(of(ErrorKind::ReadOnlyFilesystem), StoreError::ReadOnly(_)));
        assert!(matches!(of(ErrorKind::NotFound), StoreError::Unavailable(_)));
        // The kernel's own full disk.
        let full = OpenOptions::new().write(true).open("/dev/full").and_then(|mut full| full.write_all(&[0; 4096])).unwrap_err();
        assert!(matches!(refusal(&full), StoreError::Full(_)), "{full}");
    }
}

//! A file for its owner's eyes: refused when others can open it, replaced whole, and changed by one process at a time.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long another process is waited for: longer than a refresh of a session can take.
const LOCK_WITHIN: Duration = Duration::from_secs(40);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// The file while no other process changes it. Beside it stands an empty one, `.lock`, that whoever changes it holds locked: the file
/// itself is another one after each change.
pub(crate) struct HeldFile {
    path: PathBuf,
    /// Unlocked when it is closed, also by a crash.
    _lock: File,
}

/// Takes the lock. A draft that a process left which was killed is removed.
pub(crate) fn hold(path: &Path) -> io::Result<HeldFile> {
    // A link stays one: what it leads to is replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let lock = private().create(true).truncate(false).open(beside(&path, "", ".lock")?)?;
    let began = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if began.elapsed() > LOCK_WITHIN => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "another process holds its lock"));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK_AGAIN_AFTER),
        }
    }
    let held = HeldFile { path, _lock: lock };
    held.remove_draft()?;
    Ok(held)
}

impl HeldFile {
    /// The file itself, links followed.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Written whole under another name and then renamed: whoever reads meanwhile, or after a crash, finds what was there or what is new.
    pub(crate) fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        let draft = self.draft()?;
        let write = || {
            let mut file = private().create_new(true).open(&draft)?;
            // Whatever the umask takes from its owner.
            #[cfg(unix)]
            file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
            file.write_all(bytes)?;
            file.sync_all()?;
            drop(file);
            fs::rename(&draft, &self.path)
        };
        let written = write();
        if written.is_err() {
            // It may not have been made.
            let _ = fs::remove_file(&draft);
        }
        written?;
        // So that the rename outlives a crash of the machine; not everywhere can a folder be opened for that.
        if cfg!(unix) { File::open(folder(&self.path))?.sync_all() } else { Ok(()) }
    }

    pub(crate) fn remove(&mut self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    /// One name, since only whoever has the lock writes it.
    fn draft(&self) -> io::Result<PathBuf> {
        beside(&self.path, ".", ".draft")
    }

    fn remove_draft(&self) -> io::Result<()> {
        match fs::remove_file(self.draft()?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Makes the folders above a file, for their owner alone where they aren't there.
pub(crate) fn make_folder_of(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder(path))
}

/// What is in the file if it is no longer than that, and nobody but its owner can open it; `None` when there is no file.
pub(crate) fn read(path: &Path, most_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = open(path)? else { return Ok(None) };
    refuse_readers(&file.metadata()?)?;
    contents(file, most_bytes).map(Some)
}

/// The same, also where others can open it.
pub(crate) fn read_whoever_can(path: &Path, most_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    open(path)?.map(|file| contents(file, most_bytes)).transpose()
}

fn contents(file: File, most_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most_bytes {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {} KiB", most_bytes >> 10)));
    }
    Ok(bytes)
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match fs::metadata(path) {
        Err(error) if is_absent(&error) => return Ok(None),
        // Opening a pipe would wait for whoever writes into it.
        Ok(metadata) if !metadata.is_file() => return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no file")),
        Ok(_) | Err(_) => {}
    }
    File::open(path).map(Some)
}

/// Whether there is something at this path, or may be.
pub(crate) fn is_there(path: &Path) -> bool {
    fs::metadata(path).err().is_none_or(|error| !is_absent(&error))
}

/// Also where what should be a folder is none: a home may be `/dev/null`.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file in the same folder, whose name has something before and behind.
fn beside(path: &Path, before: &str, behind: &str) -> io::Result<PathBuf> {
    let mut name = OsString::from(before);
    name.push(path.file_name().ok_or_else(|| io::Error::other("it names no file"))?);
    name.push(behind);
    Ok(path.with_file_name(name))
}

/// How a file of a secret is opened for writing.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Why a file isn't its owner's alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(not(unix), expect(dead_code, reason = "elsewhere the system's own lists say who may open a file"))]
pub(crate) enum NotPrivate {
    #[error("it is another user's, who could have put anything there")]
    AnothersFile,
    #[error("others than its owner may open it, and may have: keep it at mode 600")]
    OpenToOthers,
}

#[cfg(unix)]
fn refuse_readers(metadata: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let refused = |why: NotPrivate| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return refused(NotPrivate::AnothersFile);
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        return refused(NotPrivate::OpenToOthers);
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_readers(_: &fs::Metadata) -> io::Result<()> {
    Ok(())
}

/// Why the file was refused, if it was refused for its readers.
pub(crate) fn not_private(error: &io::Error) -> Option<NotPrivate> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<NotPrivate>()).copied()
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_draft_of_a_process_that_was_killed_is_removed_by_the_next_one_and_never_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let target = folder.path().join("target");
        fs::write(&target, "of somebody").unwrap();
        std::os::unix::fs::symlink(&target, folder.path().join(".secret.draft")).unwrap();
        hold(&path).unwrap().replace(b"one").unwrap();
        assert_eq!((fs::read_to_string(&target).unwrap().as_str(), fs::read(&path).unwrap().as_slice()), ("of somebody", &b"one"[..]));
        fs::write(folder.path().join(".secret.draft"), "half a secr").unwrap();
        drop(hold(&path).unwrap());
        assert!(!folder.path().join(".secret.draft").exists());
        assert_eq!(fs::read(&path).unwrap(), b"one");
    }

    #[test]
    fn the_mode_is_600_whatever_was_there_and_folders_that_are_made_are_their_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/secret");
        make_folder_of(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder.path().join("a")), mode(&folder.path().join("a/b"))), (0o700, 0o700));
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        hold(&path).unwrap().replace(b"new").unwrap();
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn what_is_longer_than_it_may_be_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        hold(&path).unwrap().replace(&[b'x'; 1024]).unwrap();
        assert_eq!(read(&path, 1024).unwrap().unwrap().len(), 1024);
        assert_eq!(read(&path, 1023).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn another_users_file_is_refused_whatever_its_mode() {
        let theirs = fs::metadata("/proc/1").unwrap();
        let own = std::os::unix::fs::MetadataExt::uid(&theirs) == rustix::process::geteuid().as_raw();
        let refused = refuse_readers(&theirs).is_err_and(|error| not_private(&error) == Some(NotPrivate::AnothersFile));
        // As root, nothing that is always there is somebody else's.
        assert_ne!(own, refused);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        hold(&path).unwrap().replace(b"one").unwrap();
        if own && std::os::unix::fs::chown(&path, Some(12_345), None).is_ok() {
            assert!(read(&path, 1024).unwrap_err().to_string().contains("another user's"));
        }
    }
}

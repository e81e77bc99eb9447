//! A file that keeps a session: readable to its owner alone, replaced whole, and refreshed by one process at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tollgate_client::{Credential, LockedSession, RefreshToken, Session, SessionStore, new_request_id};

use crate::failure::Failure;

/// How long a refresh of another process is waited for: longer than one can take.
const LOCK_WITHIN: Duration = Duration::from_secs(40);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// No session is that long.
const MOST_BYTES: u64 = 64 << 10;

/// The file of a session. Beside it stands an empty one, `.lock`, that whoever refreshes holds locked: the file itself is another one after
/// each change.
#[derive(Debug, Clone)]
pub(crate) struct SessionFile(PathBuf);

/// What the file says, in JSON. Times are milliseconds since 1970.
#[derive(Serialize, Deserialize)]
struct Text {
    session_id: String,
    access_token: String,
    expires_at_ms: Option<u64>,
    refresh_token: Option<String>,
    refresh_expires_at_ms: Option<u64>,
    refresh_at_ms: Option<u64>,
}

impl SessionFile {
    pub(crate) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The session; `None` when there is no file.
    pub(crate) fn read(&self) -> Result<Option<Session>, Failure> {
        load(&self.0).map_err(|source| self.failure(source))
    }

    /// Takes the lock, as a refresh does.
    pub(crate) fn hold(&self) -> Result<HeldFile, Failure> {
        self.held().map_err(|source| self.failure(source))
    }

    /// The failure of something done to this file.
    pub(crate) fn failure(&self, source: io::Error) -> Failure {
        Failure::Io { what: format!("the session file {} can't be used", self.0.display()), source }
    }

    fn held(&self) -> io::Result<HeldFile> {
        // A link stays one: what it leads to is replaced.
        let path = fs::canonicalize(&self.0).unwrap_or_else(|_| self.0.clone());
        let mut name = path.file_name().ok_or_else(|| io::Error::other("it names no file"))?.to_owned();
        name.push(".lock");
        let lock = private().create(true).truncate(false).open(path.with_file_name(name))?;
        let began = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(HeldFile { path, _lock: lock }),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if began.elapsed() > LOCK_WITHIN => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "another process holds its lock"));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK_AGAIN_AFTER),
            }
        }
    }
}

impl SessionStore for SessionFile {
    fn lock(&self) -> io::Result<Box<dyn LockedSession>> {
        Ok(Box::new(self.held()?))
    }
}

/// The file while no other process changes it.
pub(crate) struct HeldFile {
    path: PathBuf,
    /// Unlocked when it is closed, also by a crash.
    _lock: File,
}

impl HeldFile {
    /// The session that is there, also where others could open it: one that is replaced must be ended.
    pub(crate) fn what_is_there(&self) -> Option<Session> {
        open(&self.path).ok().flatten().and_then(|file| parse(file).ok())
    }

    /// Removes the file if it has this session.
    pub(crate) fn remove(&mut self, session_id: &str) -> io::Result<()> {
        if self.load()?.is_some_and(|session| session.session_id == session_id) { fs::remove_file(&self.path) } else { Ok(()) }
    }
}

impl LockedSession for HeldFile {
    fn load(&mut self) -> io::Result<Option<Session>> {
        load(&self.path)
    }

    /// Written whole under another name and then renamed: whoever reads meanwhile, or after a crash, finds the old session or the new one.
    fn save(&mut self, session: &Session) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let draft = folder.join(format!(".tollgate-session-{}", new_request_id()));
        let written = write(&draft, session).and_then(|()| fs::rename(&draft, &self.path));
        if written.is_err() {
            // It may not have been made.
            let _ = fs::remove_file(&draft);
        }
        written?;
        // So that the rename outlives a crash of the machine; not everywhere can a folder be opened for that.
        if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
    }
}

/// How a file of a secret is opened for writing.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn write(path: &Path, session: &Session) -> io::Result<()> {
    let ms = |time: Option<SystemTime>| time?.duration_since(UNIX_EPOCH).ok().and_then(|since| u64::try_from(since.as_millis()).ok());
    let text = Text {
        session_id: session.session_id.clone(),
        access_token: session.access_token.expose().to_owned(),
        expires_at_ms: ms(session.expires_at),
        refresh_token: session.refresh_token.as_ref().map(|token| token.expose().to_owned()),
        refresh_expires_at_ms: ms(session.refresh_expires_at),
        refresh_at_ms: ms(session.refresh_at),
    };
    let mut file = private().create_new(true).open(path)?;
    file.write_all(&serde_json::to_vec(&text).map_err(io::Error::other)?)?;
    file.write_all(b"\n")?;
    file.sync_all()
}

fn load(path: &Path) -> io::Result<Option<Session>> {
    let Some(file) = open(path)? else { return Ok(None) };
    refuse_readers(&file.metadata()?)?;
    parse(file).map(Some)
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // Opening a pipe would wait for whoever writes into it.
        Ok(metadata) if !metadata.is_file() => return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no file")),
        Ok(_) | Err(_) => {}
    }
    File::open(path).map(Some)
}

fn parse(file: File) -> io::Result<Session> {
    let metadata = file.metadata()?;
    // What the parser says could quote a token.
    let no_session = || io::Error::new(io::ErrorKind::InvalidData, "it holds no session: log in again");
    if metadata.len() > MOST_BYTES {
        return Err(no_session());
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes)?;
    let text: Text = serde_json::from_slice(&bytes).map_err(|_| no_session())?;
    let time = |ms: Option<u64>| ms.and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
    Ok(Session {
        session_id: text.session_id,
        access_token: Credential::new(text.access_token).map_err(|_| no_session())?,
        expires_at: time(text.expires_at_ms),
        refresh_token: text.refresh_token.map(RefreshToken::new).transpose().map_err(|_| no_session())?,
        refresh_expires_at: time(text.refresh_expires_at_ms),
        refresh_at: time(text.refresh_at_ms),
    })
}

#[cfg(unix)]
fn refuse_readers(metadata: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let refused = |why| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return refused("it is another user's, who could have put any session there");
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        return refused("others than its owner may open it, and may have: log in again, and keep it at mode 600");
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_readers(_: &fs::Metadata) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: &str) -> Session {
        let at = |ms| Some(UNIX_EPOCH + Duration::from_millis(ms));
        Session {
            session_id: id.to_owned(),
            access_token: Credential::new("canary-access").unwrap(),
            expires_at: at(1_000_001),
            refresh_token: Some(RefreshToken::new("canary-refresh").unwrap()),
            refresh_expires_at: at(9_000_000),
            refresh_at: None,
        }
    }

    #[test]
    fn what_is_saved_is_loaded_and_nothing_else_is_left_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = SessionFile::at(folder.path().join("session"));
        assert!(file.read().unwrap().is_none());
        let mut held = file.hold().unwrap();
        for id in ["one", "two"] {
            held.save(&session(id)).unwrap();
        }
        let kept = file.read().unwrap().unwrap();
        assert_eq!(format!("{kept:?}"), format!("{:?}", session("two")));
        assert_eq!(kept.access_token.expose(), "canary-access");
        assert_eq!(kept.refresh_token.unwrap().expose(), "canary-refresh");
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["session", "session.lock"]);
        held.remove("one").unwrap();
        assert!(file.read().unwrap().is_some(), "another session is not ours to remove");
        held.remove("two").unwrap();
        assert!(file.read().unwrap().is_none());
    }

    #[test]
    #[cfg(unix)]
    fn only_its_owner_reads_it_and_one_that_others_can_open_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("session");
        let file = SessionFile::at(path.clone());
        file.hold().unwrap().save(&session("one")).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for mode in [0o640, 0o604, 0o602, 0o610] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let refused = file.read().unwrap_err().to_string();
            assert!(refused.contains("mode 600") && !refused.contains("canary"), "{mode:o}: {refused}");
        }
        // A new login makes it good again.
        file.hold().unwrap().save(&session("two")).unwrap();
        assert_eq!(file.read().unwrap().unwrap().session_id, "two");
    }

    #[test]
    #[cfg(unix)]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        SessionFile::at(target.clone()).hold().unwrap().save(&session("one")).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        SessionFile::at(link.clone()).hold().unwrap().save(&session("two")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(SessionFile::at(target).read().unwrap().unwrap().session_id, "two");
    }

    #[test]
    #[cfg(unix)]
    fn what_is_no_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [pipe, folder.path().to_owned()] {
            let refused = SessionFile::at(path).read().unwrap_err().to_string();
            assert!(refused.contains("it is no file"), "{refused}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn another_users_file_is_refused_whatever_its_mode() {
        let theirs = fs::metadata("/proc/1").unwrap();
        let own = std::os::unix::fs::MetadataExt::uid(&theirs) == rustix::process::geteuid().as_raw();
        let refused = refuse_readers(&theirs).is_err_and(|error| error.to_string().contains("another user's"));
        // As root, nothing that is always there is somebody else's.
        assert_ne!(own, refused);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("session");
        SessionFile::at(path.clone()).hold().unwrap().save(&session("one")).unwrap();
        if own && std::os::unix::fs::chown(&path, Some(12_345), None).is_ok() {
            assert!(SessionFile::at(path).read().unwrap_err().to_string().contains("another user's"));
        }
    }

    #[test]
    fn what_holds_no_session_is_refused_without_repeating_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("session");
        let long = "x".repeat(1 << 17);
        for text in ["", "canary", "{}", r#"{"session_id": 1, "access_token": "canary"}"#, "\"canary\"", long.as_str()] {
            private().create(true).truncate(true).open(&path).unwrap().write_all(text.as_bytes()).unwrap();
            let refused = SessionFile::at(path.clone()).read().unwrap_err();
            assert!(!format!("{refused} {refused:?}").contains("canary"), "{refused}");
            assert!(refused.to_string().contains("log in again"), "{refused}");
        }
    }
}

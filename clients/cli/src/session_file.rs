//! A file that keeps a session: readable to its owner alone, replaced whole, and refreshed by one process at a time.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tollgate_client::{Credential, LockedSession, RefreshToken, Session, SessionStore};

use crate::failure::Failure;
use crate::private_file::{self, HeldFile, NotPrivate};

/// No session is that long.
const MOST_BYTES: u64 = 64 << 10;

/// The file of a session.
#[derive(Debug, Clone)]
pub(crate) struct SessionFile {
    path: PathBuf,
    /// The auth-service whose session it is; `None` where the person who named the file answers for that.
    auth_url: Option<String>,
}

/// What the file says, in JSON. Times are milliseconds since 1970.
#[derive(Serialize, Deserialize)]
struct Text {
    session_id: String,
    access_token: String,
    expires_at_ms: Option<u64>,
    refresh_token: Option<String>,
    refresh_expires_at_ms: Option<u64>,
    refresh_at_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    auth_url: Option<String>,
}

impl SessionFile {
    /// A file that a person named.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path, auth_url: None }
    }

    /// A file that the command keeps by itself: its tokens go to this auth-service and to no other.
    pub(crate) fn kept(path: PathBuf, auth_url: String) -> Self {
        Self { path, auth_url: Some(auth_url) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The session; `None` when there is no file.
    pub(crate) fn read(&self) -> Result<Option<Session>, Failure> {
        let text = self.load().map_err(|source| self.failure(source))?;
        let Some((session, begun_at)) = text else { return Ok(None) };
        match (&self.auth_url, begun_at) {
            (Some(asked), Some(begun_at)) if !is_same_server(asked, &begun_at) => {
                Err(Failure::OtherServer { path: self.path.clone(), begun_at: begun_at.into(), asked: asked.as_str().into() })
            }
            _ => Ok(Some(session)),
        }
    }

    /// Takes the lock, as a refresh does. A folder for what the command keeps by itself is made.
    pub(crate) fn hold(&self) -> Result<HeldSession, Failure> {
        let made = if self.auth_url.is_some() { private_file::make_folder_of(&self.path) } else { Ok(()) };
        made.and_then(|()| self.held()).map_err(|source| self.failure(source))
    }

    /// The failure of something done to this file.
    pub(crate) fn failure(&self, source: io::Error) -> Failure {
        let source = match private_file::not_private(&source) {
            Some(NotPrivate::OpenToOthers) => {
                io::Error::new(source.kind(), "others than its owner may open it, and may have: log in again, and keep it at mode 600")
            }
            _ => source,
        };
        Failure::Io { what: format!("the session file {} can't be used", self.path.display()), source }
    }

    fn held(&self) -> io::Result<HeldSession> {
        Ok(HeldSession { file: private_file::hold(&self.path)?, auth_url: self.auth_url.clone(), begun_at: None })
    }

    fn load(&self) -> io::Result<Option<(Session, Option<String>)>> {
        private_file::read(&self.path, MOST_BYTES).map_err(no_session_that_long)?.map(|bytes| parse(&bytes)).transpose()
    }
}

impl SessionStore for SessionFile {
    fn lock(&self) -> io::Result<Box<dyn LockedSession>> {
        Ok(Box::new(self.held()?))
    }
}

/// The file while no other process changes it.
pub(crate) struct HeldSession {
    file: HeldFile,
    auth_url: Option<String>,
    /// Where the session that was read was begun: what comes after it says the same.
    begun_at: Option<String>,
}

impl HeldSession {
    /// The session that is there, and where it was begun, also where others could open it: one that is replaced must be ended. None when it
    /// is of another server, which alone could end it.
    pub(crate) fn what_is_there(&self) -> Option<Session> {
        let bytes = private_file::read_whoever_can(self.file.path(), MOST_BYTES).ok().flatten()?;
        let (session, begun_at) = parse(&bytes).ok()?;
        let is_here = self.auth_url.as_ref().zip(begun_at).is_none_or(|(here, begun_at)| is_same_server(here, &begun_at));
        is_here.then_some(session)
    }

    /// Removes the file if it has this session.
    pub(crate) fn remove(&mut self, session_id: &str) -> io::Result<()> {
        if self.load()?.is_some_and(|session| session.session_id == session_id) { self.file.remove() } else { Ok(()) }
    }
}

impl LockedSession for HeldSession {
    fn load(&mut self) -> io::Result<Option<Session>> {
        let bytes = private_file::read(self.file.path(), MOST_BYTES).map_err(no_session_that_long)?;
        let Some((session, begun_at)) = bytes.map(|bytes| parse(&bytes)).transpose()? else { return Ok(None) };
        self.begun_at = begun_at;
        Ok(Some(session))
    }

    fn save(&mut self, session: &Session) -> io::Result<()> {
        self.file.replace(&text_of(session, self.auth_url.clone().or_else(|| self.begun_at.clone()))?)
    }
}

/// Whether two URLs name the same server, as far as text tells.
fn is_same_server(one: &str, other: &str) -> bool {
    one.trim_end_matches('/').eq_ignore_ascii_case(other.trim_end_matches('/'))
}

fn text_of(session: &Session, auth_url: Option<String>) -> io::Result<Vec<u8>> {
    let ms = |time: Option<SystemTime>| time?.duration_since(UNIX_EPOCH).ok().and_then(|since| u64::try_from(since.as_millis()).ok());
    let text = Text {
        session_id: session.session_id.clone(),
        access_token: session.access_token.expose().to_owned(),
        expires_at_ms: ms(session.expires_at),
        refresh_token: session.refresh_token.as_ref().map(|token| token.expose().to_owned()),
        refresh_expires_at_ms: ms(session.refresh_expires_at),
        refresh_at_ms: ms(session.refresh_at),
        auth_url,
    };
    let mut bytes = serde_json::to_vec(&text).map_err(io::Error::other)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// What the parser says could quote a token.
fn no_session() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it holds no session: log in again")
}

fn no_session_that_long(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::FileTooLarge { no_session() } else { error }
}

/// The session, and where it was begun.
fn parse(bytes: &[u8]) -> io::Result<(Session, Option<String>)> {
    let text: Text = serde_json::from_slice(bytes).map_err(|_| no_session())?;
    let time = |ms: Option<u64>| ms.and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
    let session = Session {
        session_id: text.session_id,
        access_token: Credential::new(text.access_token).map_err(|_| no_session())?,
        expires_at: time(text.expires_at_ms),
        refresh_token: text.refresh_token.map(RefreshToken::new).transpose().map_err(|_| no_session())?,
        refresh_expires_at: time(text.refresh_expires_at_ms),
        refresh_at: time(text.refresh_at_ms),
    };
    Ok((session, text.auth_url))
}

#[cfg(test)]
mod tests {
    use std::fs;
    #[cfg(unix)]
    use std::os::unix::fs::PermissionsExt as _;

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
    fn what_holds_no_session_is_refused_without_repeating_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("session");
        let long = "x".repeat(1 << 17);
        for text in ["", "canary", "{}", r#"{"session_id": 1, "access_token": "canary"}"#, "\"canary\"", long.as_str()] {
            fs::write(&path, text).unwrap();
            #[cfg(unix)]
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let refused = SessionFile::at(path.clone()).read().unwrap_err();
            assert!(!format!("{refused} {refused:?}").contains("canary"), "{refused}");
            assert!(refused.to_string().contains("log in again"), "{refused}");
        }
    }

    #[test]
    fn a_session_that_is_kept_goes_to_no_other_server_and_stays_its_servers_over_refreshes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sessions/default");
        let kept = |url: &str| SessionFile::kept(path.clone(), url.to_owned());
        let here = kept("http://here:1/");
        here.hold().unwrap().save(&session("one")).unwrap();
        SessionStore::lock(&here).unwrap().save(&session("two")).unwrap();
        assert_eq!(kept("http://HERE:1").read().unwrap().unwrap().session_id, "two");
        let refused = kept("http://elsewhere:1").read().unwrap_err().to_string();
        assert!(refused.contains("http://here:1") && refused.contains("http://elsewhere:1") && !refused.contains("canary"), "{refused}");
        assert!(kept("http://elsewhere:1").hold().unwrap().what_is_there().is_none());
        let named = SessionFile::at(path.clone());
        assert_eq!(named.read().unwrap().unwrap().session_id, "two", "whoever names the file answers for it");
        // A refresh by its name leaves it its server's.
        let mut held = SessionStore::lock(&named).unwrap();
        held.load().unwrap();
        held.save(&session("three")).unwrap();
        drop(held);
        assert!(kept("http://elsewhere:1").read().is_err());
    }
}

//! What is made of files, and made anew when they change.
//!
//! Contents are compared, and neither times nor names: certbot and Kubernetes swap symbolic links, others write in place. What can't be
//! used is said once, and what was made before stays: a file may be half written, or a key may come a moment after its certificate.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

use super::validity::{Validity, in_words};
use crate::env::Reader;

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// Between two warnings of a certificate that is close to its end.
const WARN_EVERY: Duration = Duration::from_secs(86_400);
/// What a file of certificates may hold, in bytes: a wrong path may name anything.
const MOST_BYTES: u64 = 1 << 20;
/// Permissions that let others than the owner and its group read or write.
const OTHERS: u32 = 0o006;

/// A file, and the variable that names it.
#[derive(Debug, Clone)]
pub struct Source {
    /// The variable.
    pub variable: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Whether nobody but its owner should read it.
    pub is_secret: bool,
}

/// Files that are read together.
pub type Sources = Vec<Source>;

/// Why nothing can be made of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// The variable that names the file which is at fault.
    pub variable: &'static str,
    /// What is wrong with it, as the rest of a sentence that the variable begins.
    pub why: String,
}

impl Reader<'_> {
    /// Records these as mistakes.
    pub fn mistakes_of(&mut self, unfit: Vec<Unfit>) {
        for Unfit { variable, why } in unfit {
            self.mistake(variable, why);
        }
    }
}

/// What was made, and until when its certificate counts.
#[derive(Debug)]
pub struct Made<T> {
    /// What was made.
    pub value: T,
    /// Of the certificate among the files, if there is one.
    pub validity: Option<Validity>,
}

/// Makes something of the contents of the files, in their order. The error names one of them by its place, and ends a sentence about it.
pub type Make<T> = fn(&[&[u8]], &[Source]) -> Result<Made<T>, (usize, String)>;

/// What each file held when it was looked at last, or why it couldn't be read.
type Contents = Vec<Result<Vec<u8>, String>>;

/// What is made of files.
#[derive(Debug)]
pub struct Reloaded<T> {
    sources: Sources,
    make: Make<T>,
    current: watch::Sender<Arc<Made<T>>>,
    seen: Mutex<Contents>,
    /// Watched from the start on: a process that doesn't watch it is ended by SIGHUP.
    hangups: Mutex<Option<Signal>>,
}

impl<T: std::fmt::Debug + Send + Sync + 'static> Reloaded<T> {
    /// Reads the files, which must be usable. The error has every file that can't be read, or the first that nothing can be made of.
    pub fn open(sources: Sources, make: Make<T>) -> Result<Self, Vec<Unfit>> {
        let seen = read(&sources);
        let made = made_of(&seen, &sources, make)?;
        let hangups = Mutex::new(Handle::try_current().is_ok().then(hangups).flatten());
        Ok(Self { sources, make, current: watch::Sender::new(Arc::new(made)), seen: Mutex::new(seen), hangups })
    }

    /// What is in force.
    #[must_use]
    pub fn current(&self) -> Arc<Made<T>> {
        Arc::clone(&self.current.borrow())
    }

    /// Tells of what comes into force from now on.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<Made<T>>> {
        self.current.subscribe()
    }

    /// Looks at the files every few seconds and at SIGHUP, for ever. Says what changed, and warns of what should not stay as it is.
    pub async fn watch(&self) {
        let mut hangups = self.hangups.lock().unwrap_or_else(PoisonError::into_inner).take().or_else(hangups);
        self.warn_of_open_keys();
        let mut warned = None;
        loop {
            self.warn_of_its_end(&mut warned);
            let is_asked = tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => false,
                () = next(&mut hangups) => true,
            };
            let sources = self.sources.clone();
            // A file may be on a file system that doesn't answer.
            match tokio::task::spawn_blocking(move || read(&sources)).await {
                Ok(contents) => self.take(contents, is_asked, &mut warned),
                Err(error) => tracing::error!(%error, "the look at TLS files broke"),
            }
        }
    }

    /// Makes anew what the files are for, if they hold something else than before.
    fn take(&self, contents: Contents, is_asked: bool, warned: &mut Option<Instant>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let files = self.named();
        if *seen == contents {
            if is_asked {
                tracing::info!(files, "the TLS files hold what they held before");
            }
            return;
        }
        *seen = contents;
        match made_of(&seen, &self.sources, self.make) {
            Ok(made) => {
                let counts_for = made.validity.map(|validity| in_words(validity.remaining()));
                self.current.send_replace(Arc::new(made));
                *warned = None;
                tracing::info!(files, counts_for, "new TLS files are in force: new connections use them, and open ones go on");
                self.warn_of_open_keys();
            }
            Err(unfit) => {
                for Unfit { variable, why } in unfit {
                    tracing::warn!(variable, why, "the new TLS files can't be used; what was read before stays in force");
                }
            }
        }
    }

    fn named(&self) -> String {
        let names: Vec<_> = self.sources.iter().map(|source| source.path.display().to_string()).collect();
        names.join(", ")
    }

    fn warn_of_its_end(&self, warned: &mut Option<Instant>) {
        let made = self.current();
        let Some(validity) = made.validity.filter(|validity| validity.is_near_its_end()) else { return };
        if warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
            *warned = Some(Instant::now());
            let remaining = in_words(validity.remaining());
            tracing::warn!(
                files = self.named(),
                remaining,
                "a TLS certificate is close to its end: renew it, and it is read without a restart"
            );
        }
    }

    fn warn_of_open_keys(&self) {
        for Source { variable, path, .. } in self.sources.iter().filter(|source| source.is_secret && is_open(&source.path)) {
            let file = path.display();
            tracing::warn!(variable, %file, "others than its owner can read this private key: `chmod 600` it");
        }
    }
}

fn hangups() -> Option<Signal> {
    signal(SignalKind::hangup()).inspect_err(|error| tracing::warn!(%error, "SIGHUP can't be watched")).ok()
}

/// The next hang-up; never, where they can't be watched.
async fn next(hangups: &mut Option<Signal>) {
    if let Some(hangups) = hangups
        && hangups.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}

fn is_open(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & OTHERS != 0)
}

fn read(sources: &Sources) -> Contents {
    sources.iter().map(|source| read_file(&source.path)).collect()
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    // Reading a pipe might never end. Of a folder, the system says what is wrong.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
        return Err("is no file".to_owned());
    }
    let read = File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(format!("can't be read ({error})")),
        Ok(_) if bytes.len() as u64 > MOST_BYTES => Err(format!("holds more than {MOST_BYTES} bytes, and so is no such file")),
        Ok(_) if bytes.is_empty() => Err("is empty".to_owned()),
        Ok(_) => Ok(bytes),
    }
}

fn made_of<T>(contents: &Contents, sources: &Sources, make: Make<T>) -> Result<Made<T>, Vec<Unfit>> {
    let unfit = |place: usize, why: &str| {
        let Source { variable, path, .. } = &sources[place.min(sources.len() - 1)];
        Unfit { variable, why: format!("names {:?}, which {why}", path.display().to_string()) }
    };
    let unread = contents.iter().enumerate().filter_map(|(place, content)| content.as_ref().err().map(|why| unfit(place, why)));
    let unread: Vec<_> = unread.collect();
    if !unread.is_empty() {
        return Err(unread);
    }
    let read: Vec<&[u8]> = contents.iter().flatten().map(Vec::as_slice).collect();
    make(&read, sources).map_err(|(place, why)| vec![unfit(place, &why)])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes what parses as a number.
    fn number(contents: &[&[u8]], _: &[Source]) -> Result<Made<u32>, (usize, String)> {
        let text = String::from_utf8_lossy(contents[0]);
        let value = text.trim().parse().map_err(|_| (0, "is no number".to_owned()))?;
        Ok(Made { value, validity: None })
    }

    fn source(path: &Path) -> Sources {
        vec![Source { variable: "NUMBER", path: path.to_owned(), is_secret: false }]
    }

    #[test]
    fn a_new_content_counts_and_an_unusable_one_leaves_what_was_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        fs::write(&path, "1").unwrap();
        let reloaded = Reloaded::open(source(&path), number).unwrap();
        let after = |content: Option<&str>| {
            match content {
                Some(content) => fs::write(&path, content).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            reloaded.take(read(&reloaded.sources), false, &mut None);
            reloaded.current().value
        };
        assert_eq!(after(Some("2")), 2);
        for unusable in [Some("half"), Some(""), None] {
            assert_eq!(after(unusable), 2, "{unusable:?}");
        }
        assert_eq!(after(Some("3")), 3);
    }

    #[test]
    fn a_file_that_links_elsewhere_from_now_on_is_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let (link, next) = (folder.path().join("number"), folder.path().join("next"));
        for (name, content) in [("old", "1"), ("new", "2")] {
            fs::write(folder.path().join(name), content).unwrap();
        }
        std::os::unix::fs::symlink("old", &link).unwrap();
        let reloaded = Reloaded::open(source(&link), number).unwrap();
        std::os::unix::fs::symlink("new", &next).unwrap();
        fs::rename(&next, &link).unwrap();
        reloaded.take(read(&reloaded.sources), false, &mut None);
        assert_eq!(reloaded.current().value, 2);
    }

    #[test]
    fn what_can_not_be_used_at_the_start_names_its_variable_and_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        let error = |content: Option<&[u8]>| {
            if let Some(content) = content {
                fs::write(&path, content).unwrap();
            }
            Reloaded::open(source(&path), number).unwrap_err().remove(0)
        };
        let long = vec![b'1'; usize::try_from(MOST_BYTES).unwrap() + 1];
        for (content, why) in
            [(None, "can't be read"), (Some(&b""[..]), "is empty"), (Some(b"x"), "is no number"), (Some(&long), "more than")]
        {
            let Unfit { variable, why: said } = error(content);
            assert_eq!(variable, "NUMBER");
            assert!(said.starts_with("names \"/") && said.contains(why), "{said}");
        }
    }

    #[test]
    fn a_key_that_others_can_read_is_told_from_one_that_they_can_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "key").unwrap();
        for (mode, expected) in [(0o600, false), (0o640, false), (0o644, true), (0o602, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_open(&path), expected, "{mode:o}");
        }
    }
}

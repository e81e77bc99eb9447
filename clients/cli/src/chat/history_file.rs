//! What was asked, kept on disk for the next session: a line of JSON each, in a file that is its owner's alone. Never with a key in it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::leaked::holds_a_credential;
use crate::private_file::make_folder_of;

/// How many are kept, when there are twice as many.
const KEPT: usize = 1_000;
/// What is longer was pasted.
const LONGEST_BYTES: usize = 64 << 10;
/// No history is that long.
const MOST_BYTES: u64 = 16 << 20;

/// The file.
#[derive(Debug, Clone)]
pub(super) struct HistoryFile(PathBuf);

impl HistoryFile {
    /// In this folder, which need not be there yet.
    pub(super) fn in_folder(folder: &Path) -> Self {
        Self(folder.join("chat-history"))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// What was asked, the oldest first. A line that another session is just writing is left out.
    pub(super) fn load(&self) -> io::Result<Vec<String>> {
        let mut file = match self.open(OpenOptions::new().read(true).append(true)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            opened => opened?,
        };
        let mut bytes = Vec::new();
        (&mut file).take(MOST_BYTES).read_to_end(&mut bytes)?;
        let lines = bytes.split(|byte| *byte == b'\n');
        let mut prompts: Vec<String> = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
        if prompts.len() > 2 * KEPT {
            prompts.drain(..prompts.len() - KEPT);
            // Somebody else shortens it just now.
            if file.try_lock().is_ok() {
                let text: Vec<String> = prompts.iter().map(|prompt| line_of(prompt)).collect();
                file.set_len(0)?;
                file.write_all(text.concat().as_bytes())?;
            }
        }
        Ok(prompts)
    }

    /// Adds a prompt, unless it holds a key or a token of ours.
    pub(super) fn add(&self, prompt: &str) -> io::Result<()> {
        if prompt.len() > LONGEST_BYTES || holds_a_credential(prompt) {
            return Ok(());
        }
        make_folder_of(&self.0)?;
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        // One write: sessions beside this one write theirs before or after it.
        self.open(&options)?.write_all(line_of(prompt).as_bytes())
    }

    fn open(&self, options: &OpenOptions) -> io::Result<File> {
        // Opening a pipe would wait for whoever reads it.
        if fs::metadata(&self.0).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no file"));
        }
        let file = options.open(&self.0)?;
        keep_private(&file)?;
        Ok(file)
    }
}

fn line_of(prompt: &str) -> String {
    let mut line = serde_json::Value::from(prompt).to_string();
    line.push('\n');
    line
}

/// Closes it to everybody else, if somebody had opened it.
#[cfg(unix)]
fn keep_private(file: &File) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let metadata = file.metadata()?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is another user's"));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn keep_private(_: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_is_there_again_line_breaks_and_all() {
        let folder = tempfile::tempdir().unwrap();
        let history = HistoryFile::in_folder(&folder.path().join("state").join("tollgate"));
        assert_eq!(history.load().unwrap(), Vec::<String>::new());
        let prompts = ["one", "two\nlines \"quoted\" \\ 🍄 e\u{301}", "/set system x"];
        for prompt in prompts {
            history.add(prompt).unwrap();
        }
        assert_eq!(history.load().unwrap(), prompts);
        assert_eq!(fs::read_to_string(history.path()).unwrap().lines().count(), 3);
    }

    #[test]
    #[cfg(unix)]
    fn the_file_is_its_owners_alone_also_when_it_was_not() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let history = HistoryFile::in_folder(&folder.path().join("state"));
        history.add("one").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(history.path()), mode(history.path().parent().unwrap())), (0o600, 0o700));
        fs::set_permissions(history.path(), fs::Permissions::from_mode(0o644)).unwrap();
        history.load().unwrap();
        assert_eq!(mode(history.path()), 0o600);
    }

    #[test]
    fn a_prompt_with_a_key_in_it_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let history = HistoryFile::in_folder(folder.path());
        let secret = "0123456789abcdefABCDEFGHIJKLMNOPQRSTUVWX";
        let checksum = shared::credential_form::checksum(&format!("tg_{secret}"));
        let key = format!("tg_{secret}{}", std::str::from_utf8(&checksum).unwrap());
        assert!(shared::credential_form::is_api_key(&key), "{key}");
        history.add(&format!("what is \"{key}\" good for?")).unwrap();
        history.add("tg_ begins a key").unwrap();
        assert_eq!(history.load().unwrap(), ["tg_ begins a key"]);
    }

    #[test]
    fn the_newest_are_kept_and_what_is_broken_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let history = HistoryFile::in_folder(folder.path());
        let text: String = (0..2 * KEPT + 1).map(|number| format!("\"{number}\"\n")).collect();
        fs::write(history.path(), format!("{text}\"cut o")).unwrap();
        let loaded = history.load().unwrap();
        assert_eq!((loaded.len(), loaded.last().map(String::as_str)), (KEPT, Some("2000")));
        assert_eq!(history.load().unwrap(), loaded);
        history.add(&"x".repeat(LONGEST_BYTES + 1)).unwrap();
        assert_eq!(history.load().unwrap(), loaded);
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let history = HistoryFile::in_folder(folder.path());
        fs::create_dir(history.path()).unwrap();
        assert!(history.add("one").unwrap_err().to_string().contains("no file"));
        assert!(history.load().unwrap_err().to_string().contains("no file"));
    }
}

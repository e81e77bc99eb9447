//! The folder that the embedded defaults live in: the store's file, and secrets that are made once and read by both services.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::secret::Secret;

/// Why a data folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    /// The folder or a file in it can't be made or read.
    #[error("can't use {path}: {source}")]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A secret's file doesn't hold a secret.
    #[error("{path} holds no usable secret; it {expected}")]
    Secret {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: String,
    },
}

/// A folder that only its owner can read.
#[derive(Debug, Clone)]
pub struct DataFolder(PathBuf);

impl DataFolder {
    /// Opens the folder, and makes it (mode 0700) when it isn't there.
    pub fn open(path: &Path) -> Result<Self, DataFolderError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|source| DataFolderError::Io { path: path.to_owned(), source })?;
        Ok(Self(path.to_owned()))
    }

    /// The path of a file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Reads a secret, and makes it when it isn't there. When several processes do so at once, one makes it and all read the same.
    pub fn secret(&self, name: &str) -> Result<Secret, DataFolderError> {
        let path = self.file(name);
        self.secret_at(&path)
            .map_err(|source| DataFolderError::Io { path: path.clone(), source })?
            .map_err(|expected| DataFolderError::Secret { path: path.clone(), expected })
    }

    fn secret_at(&self, path: &Path) -> io::Result<Result<Secret, String>> {
        if !path.exists() {
            let (_, text) = Secret::generate().map_err(io::Error::other)?;
            // Written whole under a name of its own and then linked: nobody reads half a secret, and a second maker's link fails.
            let draft = self.file(&format!(".draft-{}", uuid::Uuid::now_v7()));
            let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
            writeln!(file, "{text}")?;
            file.sync_all()?;
            let linked = fs::hard_link(&draft, path);
            fs::remove_file(&draft)?;
            match linked {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => File::open(&self.0)?.sync_all()?,
            }
        }
        Ok(Secret::parse(fs::read_to_string(path)?.trim()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_made_once_for_everybody_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let makers: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || DataFolder::open(&path).unwrap().secret("service-credential").unwrap().to_hex())
            })
            .collect();
        let made: Vec<String> = makers.into_iter().map(|maker| maker.join().unwrap()).collect();
        assert!(made.windows(2).all(|pair| pair[0] == pair[1]));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join("service-credential"))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_secret_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path()).unwrap();
        fs::write(data.file("jwt-secret"), "short").unwrap();
        assert!(matches!(data.secret("jwt-secret"), Err(DataFolderError::Secret { .. })));
        assert_eq!(fs::read_to_string(data.file("jwt-secret")).unwrap(), "short");
    }
}

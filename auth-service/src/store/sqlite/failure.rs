//! Why an operation on the file gave no answer.

/// Why an operation gave no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// SQLite said no.
    Sqlite(rusqlite::Error),
    /// What is stored contradicts itself.
    Corrupt(String),
}

/// What an operation gives inside its transaction.
pub(super) type StoreResult<T> = Result<T, Failure>;

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Failure {
    /// What is stored says this.
    pub(super) fn corrupt(what: &str) -> Self {
        Self::Corrupt(what.to_owned())
    }
}

//! How identifiers and records stand in columns.

use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use super::failure::{Failure, StoreResult};
use crate::device_sign_in::UserCode;
use crate::ids::{AccountId, InvitationId, SessionId, UserId};
use crate::user::UserName;

macro_rules! text_column {
    ($($name:ident),+) => { $(
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.as_str().into())
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                $name::parse(value.as_str()?).ok_or(FromSqlError::InvalidType)
            }
        }
    )+ };
}

text_column!(UserId, AccountId, SessionId, InvitationId, UserName);

impl ToSql for UserCode {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.letters().into())
    }
}

impl FromSql for UserCode {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::parse(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}

/// Reads a record that only Rust reads. `what`: for the operator, when it can't be read.
pub(super) fn record<T>(row: &Row<'_>, column: usize, what: &str, decode: impl FnOnce(&[u8]) -> Option<T>) -> StoreResult<T> {
    let bytes = row.get_ref(column)?.as_blob().map_err(rusqlite::Error::from)?;
    decode(bytes).ok_or_else(|| Failure::Corrupt(format!("{what} can't be read")))
}

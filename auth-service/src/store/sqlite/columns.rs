//! How identifiers and enums stand in columns.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use crate::hold::{Outcome, Resolution};
use crate::ids::{AccountId, KeyId, UserId};
use crate::store::Scope;
use crate::user::{Role, UserName};

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

text_column!(UserId, AccountId, KeyId, UserName);

macro_rules! enum_column {
    ($name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(match self { $(Self::$variant => $text),+ }.into())
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                match value.as_str()? {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(FromSqlError::InvalidType),
                }
            }
        }
    };
}

enum_column!(Role { User = "user", Admin = "admin" });
enum_column!(Resolution { Settled = "settled", Refunded = "refunded", Expired = "expired", SettledLate = "settled_late" });
enum_column!(Outcome {
    Completed = "completed",
    Cancelled = "cancelled",
    UpstreamFailed = "upstream_failed",
    NothingGenerated = "nothing_generated",
});

/// A key's scopes, as a JSON list of names.
pub(super) struct Scopes(pub(super) Vec<Scope>);

impl ToSql for Scopes {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let names: Vec<&str> = self.0.iter().map(|scope| scope_name(*scope)).collect();
        json(&names)
    }
}

impl FromSql for Scopes {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let names: Vec<String> = serde_json::from_str(value.as_str()?).map_err(FromSqlError::other)?;
        let scope = |name: &String| {
            [Scope::Inference, Scope::Models, Scope::Account]
                .into_iter()
                .find(|scope| scope_name(*scope) == name)
                .ok_or(FromSqlError::InvalidType)
        };
        names.iter().map(scope).collect::<FromSqlResult<_>>().map(Self)
    }
}

fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Inference => "inference",
        Scope::Models => "models",
        Scope::Account => "account",
    }
}

/// A key's model patterns, as a JSON list.
pub(super) struct Models(pub(super) Vec<String>);

impl ToSql for Models {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        json(&self.0)
    }
}

impl FromSql for Models {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map(Self).map_err(FromSqlError::other)
    }
}

fn json<T: serde::Serialize>(value: &T) -> rusqlite::Result<ToSqlOutput<'static>> {
    serde_json::to_string(value).map(Into::into).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

//! The file's schema: made in a new file, and brought up in one that an earlier release wrote.

use rusqlite::{Connection, TransactionBehavior};

use super::failure::{Failure, StoreResult};
use super::version_4;

const VERSION: i64 = 10;
/// The whole schema of version 5.
const SCHEMA_5: &str = include_str!("schema_5.sql");
/// From version 5 to 6.
const STEP_6: &str = include_str!("schema_6.sql");
/// From version 6 to 7.
const STEP_7: &str = include_str!("schema_7.sql");
/// From version 7 to 8.
const STEP_8: &str = include_str!("schema_8.sql");
/// From version 8 to 9.
const STEP_9: &str = include_str!("schema_9.sql");
/// From version 9 to 10.
const STEP_10: &str = include_str!("schema_10.sql");

/// What makes a new file's schema.
pub(super) const SCHEMA: [&str; 6] = [SCHEMA_5, STEP_6, STEP_7, STEP_8, STEP_9, STEP_10];

/// Brings the file's schema to this release's version, in one transaction.
pub(super) fn bring_up(connection: &mut Connection) -> StoreResult<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version = transaction.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))?;
    match version {
        VERSION => return Ok(()),
        0 => transaction.execute_batch(&SCHEMA.concat())?,
        9 => transaction.execute_batch(STEP_10)?,
        8 => transaction.execute_batch(&[STEP_9, STEP_10].concat())?,
        7 => transaction.execute_batch(&[STEP_8, STEP_9, STEP_10].concat())?,
        6 => transaction.execute_batch(&[STEP_7, STEP_8, STEP_9, STEP_10].concat())?,
        5 => transaction.execute_batch(&[STEP_6, STEP_7, STEP_8, STEP_9, STEP_10].concat())?,
        1..5 => {
            let steps = [(1, include_str!("schema_2.sql")), (2, include_str!("schema_3.sql")), (3, include_str!("schema_4.sql"))];
            for (_, step) in steps.iter().filter(|(from, _)| version <= *from) {
                transaction.execute_batch(step)?;
            }
            version_4::set_aside(&transaction)?;
            transaction.execute_batch(SCHEMA_5)?;
            version_4::carry_over(&transaction)?;
            transaction.execute_batch(&[STEP_6, STEP_7, STEP_8, STEP_9, STEP_10].concat())?;
        }
        _ => {
            let what = format!("its schema is version {version}, and this release knows {VERSION}; start a later release");
            return Err(Failure::Corrupt(what));
        }
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    Ok(transaction.commit()?)
}

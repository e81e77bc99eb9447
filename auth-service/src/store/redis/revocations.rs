//! Reading what was revoked, in Redis: every process that writes there appends to one stream.

use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, RedisResult, Value};
use tokio::sync::Mutex;

use super::RedisStore;
use super::link::Link;
use super::scripts::ScriptCall;
use super::stored::unreadable;
use crate::store::{RevocationCursor, RevocationPage, StoreError, records};

/// Entries that are read at a time.
const PAGE: usize = 1000;
/// Bytes of an entry's time, before what Rust reads.
const TIME_SIZE: usize = 8;
/// How long Redis may take to begin to wait, and to say that nothing came.
const GRACE: Duration = Duration::from_millis(300);
/// The pause in place of a wait that can't be had.
const PAUSE: Duration = Duration::from_millis(100);

/// An entry, as the stream has it: its id, and the fields.
type Entry = (String, Vec<(String, Vec<u8>)>);

/// The connection on which Redis is waited for. Others can't share it: nothing else is answered on it meanwhile.
#[derive(Default)]
pub(super) struct WaitingLine(Mutex<Option<MultiplexedConnection>>);

impl WaitingLine {
    /// Waits for something behind this place, for so long at most. An error says nothing about the stream.
    async fn wait(&self, link: &Link, stream: &str, from: &str, patience: Duration) -> RedisResult<()> {
        // One waits at a time: two on a connection would wait for each other.
        let mut line = self.0.lock().await;
        let mut connection = match line.take() {
            Some(connection) => connection,
            None => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(GRACE.max(patience)))
                    .set_response_timeout(Some(patience + GRACE));
                link.client().get_multiplexed_async_connection_with_config(&config).await?
            }
        };
        let mut command = ::redis::cmd("XREAD");
        command.arg("COUNT").arg(1).arg("BLOCK").arg(patience.as_millis().max(1) as u64).arg("STREAMS").arg(stream).arg(from);
        let _woken: Value = command.query_async(&mut connection).await?;
        // Only one that has answered is used again.
        *line = Some(connection);
        Ok(())
    }
}

impl RedisStore {
    pub(super) async fn read_revocations(&self, after: Option<&RevocationCursor>) -> Result<RevocationPage, StoreError> {
        let from = after.map(|cursor| if is_id(cursor.as_str()) { cursor.as_str() } else { "" });
        let mut call = ScriptCall::new(&self.scripts.revocations, std::iter::once(self.keys.revocations()));
        call.arg(from.unwrap_or_default()).arg(PAGE);
        let (gap, end, entries): (i64, String, Vec<Entry>) = self.run(&call).await?;
        let revocations = entries.into_iter().map(|(id, fields)| {
            let [(_, entry)] = &fields[..] else { return Err(unreadable("a revocation")) };
            let record = entry.get(TIME_SIZE..).and_then(records::revocation).ok_or_else(|| unreadable("a revocation"))?;
            Ok((RevocationCursor::of(id), record))
        });
        let revocations = revocations.collect::<Result<Vec<_>, StoreError>>()?;
        let end = RevocationCursor::of(end);
        let next = revocations.last().map_or_else(|| end.clone(), |(cursor, _)| cursor.clone());
        // A place that is none of this stream's is one whose entry is gone.
        Ok(RevocationPage { has_more: next != end, has_gap: gap != 0 || from == Some(""), next, revocations })
    }

    pub(super) async fn wait_for_revocation(&self, after: &RevocationCursor, patience: Duration) {
        let waited = self.waiting.wait(&self.link, &self.keys.revocations(), after.as_str(), patience).await;
        if let Err(error) = waited {
            tracing::debug!(%error, "Redis can't be waited for; it is asked again");
            tokio::time::sleep(PAUSE.min(patience)).await;
        }
    }
}

/// Whether a text is an entry's id: two numbers.
fn is_id(text: &str) -> bool {
    text.split_once('-').is_some_and(|(time, number)| time.parse::<u64>().is_ok() && number.parse::<u64>().is_ok())
}

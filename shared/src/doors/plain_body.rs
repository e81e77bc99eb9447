//! The body of a plain HTTP request, read whole within the bounds that a gRPC message has.
//!
//! What a `Content-Length` announces is judged before a byte is read; what comes in chunks is counted. More than
//! [`MAX_UNCONFIRMED_BYTES`] are read only of a caller whose credential is confirmed. What is being received comes out of the budget that
//! all connections share, and has its time.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body::Body as HttpBody;
use tokio::time::{Instant, timeout_at};

use crate::admission::Unconfirmed;
use crate::error::CallError;
use crate::message_guard::{
    BodyRules, Budgets, MAX_UNCONFIRMED_BYTES, PREFIX_BYTES, RECEIVE_TIMEOUT, UNCONFIRMED_TIMEOUT, gunzipped, server_busy, too_large,
    too_slow,
};
use crate::receive_budget::BudgetPermit;
use crate::runtime::work_through;

/// What is allocated at once for a body, however long it says that it is.
const MAX_FIRST_ALLOCATION: usize = 1 << 20;
/// What is taken from the budget for a body of which nothing has come, while its caller isn't confirmed.
const FIRST_TAKEN_BYTES: usize = 4 << 10;

/// A body that wasn't read yet, and what it must keep to.
pub(crate) struct PlainBody {
    pub(crate) inner: Body,
    /// The longest, without its compression.
    pub(crate) most_bytes: usize,
    /// Whether it is compressed with gzip.
    pub(crate) gzip: bool,
    /// Whose budget counts.
    pub(crate) network: IpAddr,
    pub(crate) budgets: Arc<Budgets>,
    /// The caller, who isn't confirmed; `None` where nothing long is taken from anybody.
    pub(crate) caller: Option<Unconfirmed>,
}

/// A body that was read. Its bytes are counted until this is dropped.
pub(crate) struct ReadBody {
    pub(crate) bytes: Bytes,
    _taken: Option<BudgetPermit>,
}

impl PlainBody {
    /// A body that keeps to the rules of a message.
    pub(crate) fn new(inner: tonic::body::Body, rules: BodyRules) -> Self {
        let BodyRules { most_bytes, many_messages: _, gzip, network, budgets, caller } = rules;
        Self { inner: Body::new(inner), most_bytes, gzip, network, budgets, caller }
    }

    /// Reads all of it.
    pub(crate) async fn read(mut self) -> Result<ReadBody, CallError> {
        let mut reading = Reading { deadline: Instant::now() + UNCONFIRMED_TIMEOUT, confirmed: false, taken: None, taken_bytes: 0 };
        let mut bytes = self.gather(&mut reading).await?;
        if self.gzip && !bytes.is_empty() {
            bytes = self.unzip(&mut reading, &bytes).await?;
        }
        Ok(ReadBody { bytes, _taken: reading.taken })
    }

    async fn gather(&mut self, reading: &mut Reading) -> Result<Bytes, CallError> {
        let announced = self.inner.size_hint().exact().map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        if announced == Some(0) {
            return Ok(Bytes::new());
        }
        let announced_bytes = announced.unwrap_or(1);
        reading.judge(self, announced_bytes).await?;
        // An announcement costs its sender nothing, so until there is confirmation only what comes is taken for.
        reading.take(self, if reading.confirmed { announced_bytes } else { announced_bytes.min(FIRST_TAKEN_BYTES) })?;
        let mut gathered = BytesMut::new();
        loop {
            let frame = timeout_at(reading.deadline, std::future::poll_fn(|cx| Pin::new(&mut self.inner).poll_frame(cx)));
            let frame = frame.await.map_err(|_| too_slow(reading.limit()))?;
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|_| CallError::message_malformed("the request's body is cut off, or its framing is wrong"))?;
            let Ok(data) = frame.into_data() else { continue };
            if gathered.is_empty() && announced == Some(data.len()) {
                return Ok(data);
            }
            let length = gathered.len() + data.len();
            reading.make_room(self, length).await?;
            if gathered.is_empty() {
                gathered.reserve(announced.unwrap_or(0).max(length).min(MAX_FIRST_ALLOCATION));
            }
            gathered.extend_from_slice(&data);
        }
        Ok(gathered.freeze())
    }

    /// Takes the gzip off. How long the body becomes isn't known before, so room is made for the most that it may be.
    async fn unzip(&mut self, reading: &mut Reading, compressed: &[u8]) -> Result<Bytes, CallError> {
        let unconfirmed_most = self.most_bytes.min(MAX_UNCONFIRMED_BYTES);
        let mut most = if reading.confirmed { self.most_bytes } else { unconfirmed_most };
        reading.make_room(self, most).await?;
        let mut plain = work_through(most, || gunzipped(compressed, most))?;
        if plain.is_none() && most < self.most_bytes {
            // Longer than it may be before its caller is confirmed: once more after that.
            most = self.most_bytes;
            reading.make_room(self, most).await?;
            plain = work_through(most, || gunzipped(compressed, most))?;
        }
        let plain = plain.ok_or_else(|| too_large(self.most_bytes))?.slice(PREFIX_BYTES..);
        reading.taken_bytes = 0;
        reading.make_room(self, plain.len()).await?;
        Ok(plain)
    }
}

/// How far the reading has come.
struct Reading {
    deadline: Instant,
    confirmed: bool,
    taken: Option<BudgetPermit>,
    taken_bytes: usize,
}

impl Reading {
    fn limit(&self) -> std::time::Duration {
        if self.confirmed { RECEIVE_TIMEOUT } else { UNCONFIRMED_TIMEOUT }
    }

    /// Makes room for a body of so many bytes, or refuses it.
    async fn make_room(&mut self, body: &mut PlainBody, bytes: usize) -> Result<(), CallError> {
        self.judge(body, bytes).await?;
        self.take(body, bytes)
    }

    /// Refuses a body of so many bytes, if it is longer than its caller may send.
    async fn judge(&mut self, body: &mut PlainBody, bytes: usize) -> Result<(), CallError> {
        if bytes > body.most_bytes {
            return Err(too_large(body.most_bytes));
        }
        if bytes > MAX_UNCONFIRMED_BYTES && !self.confirmed {
            let caller = body.caller.take().ok_or_else(|| too_large(MAX_UNCONFIRMED_BYTES))?;
            timeout_at(self.deadline, caller.ask()).await.map_err(|_| too_slow(UNCONFIRMED_TIMEOUT))??;
            self.confirmed = true;
            self.deadline += RECEIVE_TIMEOUT - UNCONFIRMED_TIMEOUT;
        }
        Ok(())
    }

    /// Takes so many bytes from the budget in place of what was taken before.
    fn take(&mut self, body: &PlainBody, bytes: usize) -> Result<(), CallError> {
        if bytes <= self.taken_bytes {
            return Ok(());
        }
        // What comes in chunks says not how long it becomes: twice as much each time.
        let wanted = bytes.max((self.taken_bytes * 2).min(body.most_bytes));
        self.taken = None;
        let Budgets { unconfirmed, confirmed } = &*body.budgets;
        let budget = if self.confirmed { confirmed } else { unconfirmed };
        let wanted = if self.confirmed { wanted } else { wanted.min(MAX_UNCONFIRMED_BYTES) };
        self.taken = Some(budget.try_take(body.network, wanted).ok_or_else(server_busy)?);
        self.taken_bytes = wanted;
        Ok(())
    }
}

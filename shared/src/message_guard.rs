//! The body of a request, watched while it is read: how long its message is, how long it takes, and whether its caller may send that much.
//!
//! A message's length comes before it, in five bytes. So what is too long is refused before it is read, and what is long is read only once
//! the caller's credential is confirmed. Bytes that are waited for come out of a budget that all connections share. gzip is taken off here,
//! within the same bounds: a little of it can stand for very much.

use std::io::Read;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::read::GzDecoder;
use http_body::{Body as HttpBody, Frame};
use tokio::time::{Instant, Sleep};
use tonic::body::Body;
use tonic::{Code, Status};

use crate::ErrorReason;
use crate::admission::Unconfirmed;
use crate::error::CallError;
use crate::receive_budget::{BudgetPermit, ReceiveBudget};
use crate::runtime::work_through;

/// The most that is read of a message before its caller's credential is confirmed.
pub const MAX_UNCONFIRMED_BYTES: usize = 64 << 10;
/// How long a message may take to arrive whose caller isn't confirmed.
pub(crate) const UNCONFIRMED_TIMEOUT: Duration = Duration::from_secs(10);
/// How long any other may.
pub(crate) const RECEIVE_TIMEOUT: Duration = Duration::from_secs(60);
/// When there may be room in the budget again.
const RETRY_WHEN_BUSY: Duration = Duration::from_secs(1);
/// What stands before each message: a flag, and its length in four bytes.
pub(crate) const PREFIX_BYTES: usize = 5;

/// Asks whether a credential is in force, for a caller who wants to send much.
pub type Confirmation = Pin<Box<dyn Future<Output = Result<(), CallError>> + Send>>;

/// What is being received, of all connections: from callers who are not confirmed, and from those who are.
#[derive(Debug)]
pub(crate) struct Budgets {
    pub(crate) unconfirmed: ReceiveBudget,
    pub(crate) confirmed: ReceiveBudget,
}

impl Default for Budgets {
    fn default() -> Self {
        const MIB: usize = 1 << 20;
        Self { unconfirmed: ReceiveBudget::new(128 * MIB, 32 * MIB), confirmed: ReceiveBudget::new(256 * MIB, 128 * MIB) }
    }
}

/// What a request's body must keep to.
pub(crate) struct BodyRules {
    /// The longest message.
    pub(crate) most_bytes: usize,
    /// Whether the method takes many messages: then each has its bound, and the whole has none in time.
    pub(crate) many_messages: bool,
    /// Whether the message may be compressed by gzip.
    pub(crate) gzip: bool,
    /// Whose budget counts.
    pub(crate) network: IpAddr,
    pub(crate) budgets: Arc<Budgets>,
    /// The caller, who isn't confirmed; `None` where nothing long is taken from anybody.
    pub(crate) caller: Option<Unconfirmed>,
}

/// A request's body that keeps to its rules, or ends in the error that says which it broke.
pub(crate) struct GuardedBody {
    inner: Body,
    rules: BodyRules,
    began: Instant,
    progress: Progress,
    /// Messages that have begun.
    messages: usize,
    confirmed: bool,
    confirming: Option<Confirmation>,
    /// What is taken from the budget once the caller is confirmed.
    wanted_bytes: usize,
    /// What was read and waits for the confirmation.
    held: Option<Bytes>,
    /// The first bytes of a prefix that isn't whole: whether what follows is compressed isn't known yet.
    cut_prefix: Vec<u8>,
    /// A compressed message, as far as it is here.
    compressed: Option<BytesMut>,
    taken: Option<BudgetPermit>,
    timeout: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

/// How far the message has come.
#[derive(Debug, Clone, Copy)]
enum Progress {
    /// So many bytes of its prefix are here.
    Prefix([u8; PREFIX_BYTES], usize),
    /// So many bytes of it are still to come.
    Message(usize),
}

type Polled = Poll<Option<Result<Frame<Bytes>, Status>>>;

impl GuardedBody {
    pub(crate) fn new(inner: Body, rules: BodyRules) -> Self {
        Self {
            inner,
            rules,
            began: Instant::now(),
            progress: Progress::Prefix([0; PREFIX_BYTES], 0),
            messages: 0,
            confirmed: false,
            confirming: None,
            wanted_bytes: 0,
            held: None,
            cut_prefix: Vec::new(),
            compressed: None,
            taken: None,
            timeout: None,
            ended: false,
        }
    }

    fn fail(&mut self, error: CallError) -> Polled {
        self.ended = true;
        self.taken = None;
        Poll::Ready(Some(Err(error.into())))
    }

    /// Follows the framing through what was read. Nothing of it is handed on before this has said yes.
    fn follow(&mut self, mut bytes: &[u8]) -> Result<(), CallError> {
        while let Some(&byte) = bytes.first() {
            match &mut self.progress {
                Progress::Message(0) => self.progress = Progress::Prefix([0; PREFIX_BYTES], 0),
                Progress::Message(left) => {
                    let taken = bytes.len().min(*left);
                    *left -= taken;
                    bytes = &bytes[taken..];
                }
                Progress::Prefix(prefix, length) => {
                    if *length == 0 && self.messages > 0 && !self.rules.many_messages {
                        return Err(CallError::message_malformed("the method takes one message, and more was sent"));
                    }
                    prefix[*length] = byte;
                    *length += 1;
                    bytes = &bytes[1..];
                    if let (PREFIX_BYTES, [flag, a, b, c, d]) = (*length, *prefix) {
                        let message = u32::from_be_bytes([a, b, c, d]) as usize;
                        self.progress = Progress::Message(message);
                        self.begin_message(flag, message, bytes.len())?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A message of so many bytes begins, of which so many are here.
    fn begin_message(&mut self, flag: u8, bytes: usize, here: usize) -> Result<(), CallError> {
        self.messages += 1;
        match (flag, self.rules.gzip) {
            (0, _) => {}
            (1, true) if self.rules.many_messages => {}
            (1, true) => self.compressed = Some(BytesMut::new()),
            (1, false) => {
                let message = "the message is marked as compressed, and the header grpc-encoding says nothing of it";
                return Err(CallError::message_malformed(message));
            }
            _ => return Err(CallError::message_malformed("the message's first byte must be 0 or 1")),
        }
        if bytes > self.rules.most_bytes {
            return Err(too_large(self.rules.most_bytes));
        }
        if bytes > MAX_UNCONFIRMED_BYTES {
            // Nothing of what confirmed callers share is taken for one who isn't.
            self.wanted_bytes = bytes;
            return self.begin_confirmation();
        }
        if here < bytes { self.take(bytes) } else { Ok(()) }
    }

    fn begin_confirmation(&mut self) -> Result<(), CallError> {
        if self.confirmed || self.confirming.is_some() {
            return Ok(());
        }
        let caller = self.rules.caller.take().ok_or_else(|| too_large(MAX_UNCONFIRMED_BYTES))?;
        self.confirming = Some(caller.ask());
        Ok(())
    }

    /// Takes so many bytes from the budget in place of what was taken before.
    fn take(&mut self, bytes: usize) -> Result<(), CallError> {
        self.taken = None;
        let Budgets { unconfirmed, confirmed } = &*self.rules.budgets;
        let budget = if bytes > MAX_UNCONFIRMED_BYTES { confirmed } else { unconfirmed };
        self.taken = Some(budget.try_take(self.rules.network, bytes).ok_or_else(server_busy)?);
        Ok(())
    }

    /// What is waited for must come in time.
    fn wait(&mut self, cx: &mut Context<'_>) -> Polled {
        if self.rules.many_messages {
            return Poll::Pending;
        }
        let timeout = if self.confirmed { RECEIVE_TIMEOUT } else { UNCONFIRMED_TIMEOUT };
        let sleep = self.timeout.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(self.began + timeout)));
        if sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.fail(too_slow(timeout))
    }

    /// Hands on what was read, or keeps it while it is compressed and not whole.
    fn hand_on(&mut self, data: Bytes) -> Result<Option<Bytes>, CallError> {
        let Some(compressed) = &mut self.compressed else { return Ok(Some(data)) };
        compressed.extend_from_slice(&data);
        if !matches!(self.progress, Progress::Message(0)) {
            return Ok(None);
        }
        let most = if self.confirmed { self.rules.most_bytes } else { MAX_UNCONFIRMED_BYTES.min(self.rules.most_bytes) };
        if most > MAX_UNCONFIRMED_BYTES {
            // How long it becomes isn't known before: the most that it may.
            self.taken = None;
            self.taken = Some(self.rules.budgets.confirmed.try_take(self.rules.network, most).ok_or_else(server_busy)?);
        }
        let Some(compressed) = &self.compressed else { return Ok(None) };
        // As long as its result is, whatever its own length.
        let plain = work_through(most, || gunzipped(&compressed[PREFIX_BYTES..], most))?;
        match plain {
            Some(plain) => {
                self.compressed = None;
                self.take(plain.len())?;
                Ok(Some(plain))
            }
            None if self.confirmed || most == self.rules.most_bytes => Err(too_large(self.rules.most_bytes)),
            // Longer than it may be before the caller is confirmed: once more after that.
            None => self.begin_confirmation().map(|()| None),
        }
    }
}

impl HttpBody for GuardedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        loop {
            if this.ended {
                return Poll::Ready(None);
            }
            if let Some(confirming) = &mut this.confirming {
                match confirming.as_mut().poll(cx) {
                    Poll::Pending => return this.wait(cx),
                    Poll::Ready(Err(error)) => return this.fail(error),
                    Poll::Ready(Ok(())) => {
                        (this.confirming, this.confirmed, this.timeout) = (None, true, None);
                        if this.wanted_bytes > 0
                            && let Err(busy) = this.take(this.wanted_bytes)
                        {
                            return this.fail(busy);
                        }
                        let held = this.held.take().unwrap_or_default();
                        match this.hand_on(held) {
                            Err(error) => return this.fail(error),
                            Ok(Some(data)) if !data.is_empty() => return Poll::Ready(Some(Ok(Frame::data(data)))),
                            Ok(_) => continue,
                        }
                    }
                }
            }
            let data = match Pin::new(&mut this.inner).poll_frame(cx) {
                Poll::Pending => return this.wait(cx),
                Poll::Ready(Some(Err(status))) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(status)));
                }
                Poll::Ready(None) => {
                    let error = match this.progress {
                        Progress::Message(0) => None,
                        Progress::Prefix(_, 0) if this.rules.many_messages => None,
                        Progress::Prefix(_, 0) => Some("the request has no message"),
                        Progress::Prefix(..) | Progress::Message(_) => Some("the request's message is cut off"),
                    };
                    this.ended = true;
                    return error.map_or(Poll::Ready(None), |error| this.fail(CallError::message_malformed(error)));
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
            };
            if let Err(error) = this.follow(&data) {
                return this.fail(error);
            }
            if matches!(this.progress, Progress::Prefix(_, 1..)) && !this.rules.many_messages {
                this.cut_prefix.extend_from_slice(&data);
                continue;
            }
            let data = if this.cut_prefix.is_empty() { data } else { [&std::mem::take(&mut this.cut_prefix)[..], &data].concat().into() };
            if this.confirming.is_some() {
                this.held = Some(data);
                continue;
            }
            match this.hand_on(data) {
                Err(error) => return this.fail(error),
                Ok(Some(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(None) => {}
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || (self.inner.is_end_stream() && matches!(self.progress, Progress::Message(0)) && self.compressed.is_none())
    }
}

/// A message without its gzip, behind the prefix of one that has none; `None` when it is longer than `most` bytes.
///
/// It is taken off twice: the first time only to learn the length, so that what is too long takes no memory.
pub(crate) fn gunzipped(compressed: &[u8], most: usize) -> Result<Option<Bytes>, CallError> {
    let malformed = |_| CallError::message_malformed("the message is no gzip, though it says so");
    let bounded = || GzDecoder::new(compressed).take(most as u64 + 1);
    let length = std::io::copy(&mut bounded(), &mut std::io::sink()).map_err(malformed)?;
    let Some(length) = u32::try_from(length).ok().filter(|length| *length as usize <= most) else { return Ok(None) };
    let mut plain = BytesMut::with_capacity(PREFIX_BYTES + length as usize);
    plain.put_u8(0);
    plain.put_u32(length);
    let mut plain = plain.writer();
    std::io::copy(&mut bounded(), &mut plain).map_err(malformed)?;
    Ok(Some(plain.into_inner().freeze()))
}

/// A message that didn't come to its end in time.
pub(crate) fn too_slow(timeout: Duration) -> CallError {
    let message = format!("the request's message did not come to its end within {} s", timeout.as_secs());
    CallError::new(Code::DeadlineExceeded, ErrorReason::MessageTooSlow, message)
}

/// A message that is longer than its method takes.
pub(crate) fn too_large(most: usize) -> CallError {
    let message = format!("the message is longer than the {most} bytes that this method takes; send less");
    CallError::new(Code::ResourceExhausted, ErrorReason::MessageTooLarge, message).metadata("limit_bytes", most.to_string())
}

/// The server receives as much as it may.
pub(crate) fn server_busy() -> CallError {
    let message = "the server receives as much as it may at a time; try again";
    CallError::new(Code::ResourceExhausted, ErrorReason::ServerBusy, message).retry_after(RETRY_WHEN_BUSY)
}

#[cfg(fuzzing)]
pub mod fuzzing;
#[cfg(any(test, fuzzing))]
mod pieces;
#[cfg(test)]
mod tests;

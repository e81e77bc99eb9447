//! Log lines on their way to standard error: a call leaves its line in a buffer, and a thread writes what has gathered there.
//!
//! No call waits for the process that reads the log. While that doesn't read, [`MAX_BUFFERED_BYTES`] are kept. Lines beyond them are
//! dropped and counted, and a line says how many as soon as there is room for it. At a stop, [`LogWriter::flush`] waits until all lines are
//! written. A process that is killed (SIGKILL, out of memory) loses the routine lines of its last [`GATHERING`].
//!
//! `tracing-appender` has such a writer. It wakes its thread for each line, says nowhere in the log what it dropped, and reports a stop
//! that takes long by `eprintln!`: with a reader that doesn't read, the process would never end.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use crate::telemetry::LogFormat;

/// Lines that wait to be written, in bytes: those of some seconds under full load.
pub(crate) const MAX_BUFFERED_BYTES: usize = 4 << 20;
/// What the audit trail and panics may have beyond that: a flood of other lines doesn't displace them.
const RESERVE_BYTES: usize = 1 << 20;
/// How long routine lines are gathered before they are written.
pub(crate) const GATHERING: Duration = Duration::from_millis(10);
/// How long a stop waits for a reader that reads nothing.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);
/// The longest write that Linux doesn't mix with those of other processes on the same pipe (`PIPE_BUF`).
const MAX_ATOMIC_WRITE_BYTES: usize = 4096;
/// What a buffer keeps when it is empty.
const KEPT_BUFFER_BYTES: usize = 64 << 10;

/// Where log lines go. Clones are one.
#[derive(Debug, Clone)]
pub(crate) struct LogWriter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    format: LogFormat,
    buffer: Mutex<Buffer>,
    /// The thread waits for lines.
    filled: Condvar,
    /// [`LogWriter::flush`] waits for the thread.
    written: Condvar,
}

#[derive(Debug, Default)]
struct Buffer {
    lines: Vec<u8>,
    /// Lines that found no room, since the last line that told of some.
    dropped: u64,
    /// Whether the lines are written without gathering more.
    urgent: bool,
    /// Bytes that were ever put into the buffer.
    pushed_bytes: u64,
    /// Bytes of them that are written.
    written_bytes: u64,
}

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Priority {
    /// It is gathered with others.
    Routine,
    /// A warning or an error: it is written at once.
    Urgent,
    /// The audit trail, or a panic: it is written at once, and has a reserve.
    Reserved,
    /// What the process says at its end: never dropped.
    Fatal,
}

impl Priority {
    fn of(metadata: &Metadata<'_>) -> Self {
        match metadata.target() {
            "audit" => Self::Reserved,
            _ if *metadata.level() <= Level::WARN => Self::Urgent,
            _ => Self::Routine,
        }
    }

    fn most_bytes(self) -> usize {
        match self {
            Self::Routine | Self::Urgent => MAX_BUFFERED_BYTES,
            Self::Reserved => MAX_BUFFERED_BYTES + RESERVE_BYTES,
            Self::Fatal => usize::MAX,
        }
    }
}

impl Buffer {
    /// Bytes that are not written yet, whether they are in the buffer or in the thread's hands.
    fn unwritten(&self) -> usize {
        usize::try_from(self.pushed_bytes.saturating_sub(self.written_bytes)).unwrap_or(usize::MAX)
    }

    fn push(&mut self, line: &[u8]) {
        self.lines.extend_from_slice(line);
        self.pushed_bytes += line.len() as u64;
    }

    /// Tells how many lines were dropped, behind the lines that found room.
    fn tell_dropped(&mut self, format: LogFormat) {
        if self.dropped > 0 {
            self.push(dropped_line(format, self.dropped).as_bytes());
            self.dropped = 0;
        }
    }
}

impl LogWriter {
    /// Starts the thread, which lives as long as the process.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(format: LogFormat, output: impl Write + Send + 'static) -> io::Result<Self> {
        let buffer = Mutex::new(Buffer::default());
        let writer = Self(Arc::new(Inner { format, buffer, filled: Condvar::new(), written: Condvar::new() }));
        let its = writer.clone();
        std::thread::Builder::new().name("log-writer".to_owned()).spawn(move || its.write_batches(output))?;
        Ok(writer)
    }

    /// Writes what the process says at its end, and all before it.
    pub(crate) fn write_fatal(&self, text: &str) {
        self.push(text.as_bytes(), Priority::Fatal);
        self.flush();
    }

    /// Writes what a panic says, without waiting for it: as a rule the process lives on.
    pub(crate) fn write_panic(&self, text: &str) {
        self.push(text.as_bytes(), Priority::Reserved);
    }

    /// Waits until all lines that are there now are written. Gives up when the reader has read nothing for [`FLUSH_PATIENCE`].
    pub(crate) fn flush(&self) {
        let mut buffer = self.lock();
        buffer.tell_dropped(self.0.format);
        let end = buffer.pushed_bytes;
        while buffer.written_bytes < end {
            buffer.urgent = true;
            self.0.filled.notify_one();
            let before = buffer.written_bytes;
            let (again, waited) = self.0.written.wait_timeout(buffer, FLUSH_PATIENCE).unwrap_or_else(PoisonError::into_inner);
            if waited.timed_out() && again.written_bytes == before {
                return;
            }
            buffer = again;
        }
    }

    fn push(&self, line: &[u8], priority: Priority) {
        let mut buffer = self.lock();
        let thread_waits = buffer.lines.is_empty() && buffer.dropped == 0;
        if buffer.unwritten().saturating_add(line.len()) > priority.most_bytes() {
            buffer.dropped += 1;
        } else {
            buffer.push(line);
        }
        let hurry = priority != Priority::Routine && !std::mem::replace(&mut buffer.urgent, true);
        drop(buffer);
        if thread_waits || hurry {
            self.0.filled.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        // Nothing in it is half done at any moment.
        self.0.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_batches(&self, mut output: impl Write) {
        let mut batch = Vec::new();
        loop {
            self.next_batch(&mut batch);
            let mut rest = &batch[..];
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(whole_lines(rest));
                write(&mut output, piece);
                rest = behind;
                self.lock().written_bytes += piece.len() as u64;
                self.0.written.notify_all();
            }
            batch.clear();
            batch.shrink_to(KEPT_BUFFER_BYTES);
        }
    }

    /// Waits for lines, gathers more of them, and takes them.
    fn next_batch(&self, batch: &mut Vec<u8>) {
        let mut buffer = self.lock();
        while buffer.lines.is_empty() && buffer.dropped == 0 {
            buffer = self.0.filled.wait(buffer).unwrap_or_else(PoisonError::into_inner);
        }
        let until = Instant::now() + GATHERING;
        while !buffer.urgent {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            buffer = self.0.filled.wait_timeout(buffer, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        buffer.tell_dropped(self.0.format);
        buffer.urgent = false;
        std::mem::swap(&mut buffer.lines, batch);
    }
}

/// As many bytes as are whole lines and one atomic write; at least one line.
fn whole_lines(lines: &[u8]) -> usize {
    let is_end = |byte: &u8| *byte == b'\n';
    let atomic = &lines[..lines.len().min(MAX_ATOMIC_WRITE_BYTES)];
    let end = atomic.iter().rposition(is_end).or_else(|| lines.iter().position(is_end));
    end.map_or(lines.len(), |end| end + 1)
}

/// Writes all of it. What nobody will ever read (a pipe whose other end is closed) is left.
fn write(output: &mut impl Write, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(0) => return,
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Whoever shares the pipe has made it non-blocking.
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(GATHERING),
            Err(_) => return,
        }
    }
}

/// The line that tells of dropped ones. It is written whatever the filter.
fn dropped_line(format: LogFormat, dropped: u64) -> String {
    const MESSAGE: &str = "log lines were dropped here: whatever reads the log reads too slowly";
    let mut time = String::new();
    // It has a time whenever the system has one.
    let _untimed = SystemTime.format_time(&mut Writer::new(&mut time));
    match format {
        LogFormat::Human => format!("{time} ERROR {MESSAGE} dropped_lines={dropped}\n"),
        LogFormat::Json => {
            let target = module_path!();
            format!(
                "{{\"timestamp\":\"{time}\",\"level\":\"ERROR\",\"message\":\"{MESSAGE}\",\"dropped_lines\":{dropped},\
                 \"target\":\"{target}\"}}\n"
            )
        }
    }
}

/// One line on its way into the buffer. `tracing_subscriber` gives it whole.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    writer: &'a LogWriter,
    priority: Priority,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.writer.push(line, self.priority);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { writer: self, priority: Priority::Urgent }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        Line { writer: self, priority: Priority::of(metadata) }
    }
}

#[cfg(test)]
mod tests;

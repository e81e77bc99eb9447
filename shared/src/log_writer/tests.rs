use std::io::{Read, pipe};
use std::sync::mpsc;

use super::*;

/// Keeps each write, and takes it as a busy pipe does: a part of it, or nothing yet.
#[derive(Clone, Default)]
struct Writes {
    kept: Arc<Mutex<Vec<Vec<u8>>>>,
    busy: bool,
    calls: usize,
}

impl Write for Writes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.calls += 1;
        let taken = match self.calls % 3 {
            0 if self.busy => return Err(ErrorKind::WouldBlock.into()),
            1 if self.busy => return Err(ErrorKind::Interrupted.into()),
            _ if self.busy => bytes.len().div_ceil(2),
            _ => bytes.len(),
        };
        self.kept.lock().unwrap().push(bytes[..taken].to_vec());
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Has what `log` logs written by this writer, as JSON.
fn logged(writer: &LogWriter, log: impl FnOnce()) {
    let subscriber = tracing_subscriber::fmt().json().with_writer(writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, log);
}

fn numbers(text: &str) -> Vec<u64> {
    let number = |line: &str| line.split("\"number\":").nth(1)?.split(['}', ',']).next()?.parse().ok();
    text.lines().filter_map(number).collect()
}

#[test]
fn lines_leave_in_batches_of_whole_lines_that_a_pipe_does_not_mix_with_others() {
    let writes = Writes::default();
    let writer = LogWriter::start(LogFormat::Json, writes.clone()).unwrap();
    let long = "x".repeat(2 * MAX_ATOMIC_WRITE_BYTES);
    logged(&writer, || {
        (0..1_000_u64).for_each(|number| tracing::info!(number, "settled"));
        tracing::info!(long, number = 1_000_u64, "settled");
    });
    writer.flush();
    let writes = writes.kept.lock().unwrap();
    assert!(writes.len() < 200, "{} writes of 1001 lines", writes.len());
    for written in writes.iter() {
        assert!(written.starts_with(b"{") && written.ends_with(b"}\n"), "whole lines");
        assert!(written.len() <= MAX_ATOMIC_WRITE_BYTES || numbers(&String::from_utf8_lossy(written)) == [1_000]);
    }
    assert_eq!(numbers(&String::from_utf8(writes.concat()).unwrap()), (0..=1_000).collect::<Vec<_>>());
}

#[test]
fn a_pipe_that_takes_parts_of_a_write_or_nothing_yet_loses_nothing() {
    let writes = Writes { busy: true, ..Writes::default() };
    let writer = LogWriter::start(LogFormat::Json, writes.clone()).unwrap();
    logged(&writer, || (0..100_u64).for_each(|number| tracing::info!(number, "settled")));
    writer.flush();
    let text = String::from_utf8(writes.kept.lock().unwrap().concat()).unwrap();
    assert_eq!(numbers(&text), (0..100).collect::<Vec<_>>());
}

#[test]
fn nobody_waits_for_a_reader_that_does_not_read_and_a_line_says_how_many_were_dropped() {
    let (mut reader, output) = pipe().unwrap();
    let writer = LogWriter::start(LogFormat::Json, output).unwrap();
    let padding = "x".repeat(1_000);
    const LINES: u64 = 6_000;
    logged(&writer, || (0..LINES).for_each(|number| tracing::info!(number, padding, "settled")));
    assert!(writer.lock().unwritten() <= MAX_BUFFERED_BYTES);

    let (told, read) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut text, mut piece) = (String::new(), [0; 8192]);
        while !text.contains("dropped_lines") || !text.ends_with('\n') {
            let length = reader.read(&mut piece).unwrap();
            text.push_str(std::str::from_utf8(&piece[..length]).unwrap());
        }
        told.send(text).unwrap();
    });
    let text = read.recv_timeout(Duration::from_secs(20)).expect("a line says that some were dropped");
    let kept = numbers(&text);
    assert_eq!(kept, (0..kept.len() as u64).collect::<Vec<_>>(), "what was kept is the beginning, in order");
    let last = text.lines().last().unwrap();
    let dropped = LINES - kept.len() as u64;
    assert!(dropped > 0 && last.contains(&format!("\"dropped_lines\":{dropped},")), "{dropped} were dropped: {last}");
    assert!(last.starts_with("{\"timestamp\":\"2") && last.ends_with("\"target\":\"shared::log_writer\"}"), "{last}");
}

#[test]
fn the_audit_trail_has_room_where_other_lines_have_none() {
    let (_reader, output) = pipe().unwrap();
    let writer = LogWriter::start(LogFormat::Json, output).unwrap();
    let padding = "x".repeat(64 << 10);
    logged(&writer, || {
        (0..100).for_each(|_| tracing::info!(padding, "settled"));
        let dropped = writer.lock().dropped;
        assert!(dropped > 0);
        tracing::info!(target: "audit", "credits were granted");
        assert_eq!(writer.lock().dropped, dropped, "the audit trail's line was kept");
        (0..100).for_each(|_| tracing::info!(target: "audit", padding, "credits were granted"));
    });
    let buffer = writer.lock();
    assert!(buffer.unwritten() <= MAX_BUFFERED_BYTES + RESERVE_BYTES, "its room is bounded too");
}

#[test]
fn a_flush_waits_for_a_reader_that_reads_and_gives_up_on_one_that_does_not() {
    let (mut reader, output) = pipe().unwrap();
    let writer = LogWriter::start(LogFormat::Json, output).unwrap();
    let padding = "x".repeat(1_000);
    let log = || (0..1_000_u64).for_each(|number| tracing::info!(number, padding, "settled"));
    logged(&writer, log);
    writer.flush();
    let unwritten = writer.lock().unwritten();
    assert!(unwritten > 0, "a megabyte is more than a pipe takes: the flush has given up");

    let (told, read) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        told.send(text).unwrap();
    });
    writer.flush();
    assert_eq!(writer.lock().unwritten(), 0);
    drop(read);
}

/// Notes the priority of each line.
#[derive(Clone, Default)]
struct Priorities(Arc<Mutex<Vec<Priority>>>);

impl<'a> MakeWriter<'a> for Priorities {
    type Writer = io::Sink;

    fn make_writer(&'a self) -> io::Sink {
        io::sink()
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> io::Sink {
        self.0.lock().unwrap().push(Priority::of(metadata));
        io::sink()
    }
}

#[test]
fn warnings_errors_and_the_audit_trail_are_not_gathered() {
    let priorities = Priorities::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(Level::TRACE).with_writer(priorities.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        tracing::trace!("a frame");
        tracing::info!("settled");
        tracing::warn!("a settle did not land");
        tracing::error!("a defect");
        tracing::info!(target: "audit", "credits were granted");
    });
    let expected = [Priority::Routine, Priority::Routine, Priority::Urgent, Priority::Urgent, Priority::Reserved];
    assert_eq!(*priorities.0.lock().unwrap(), expected);
}

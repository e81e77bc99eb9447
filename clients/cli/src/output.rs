//! Standard output: written at once, and a reader that goes away ends the command quietly.

use std::io::{self, IsTerminal, Write};

use crate::failure::Failure;
use crate::table::Table;

/// Where a command's result goes.
pub(crate) struct Output {
    writer: Box<dyn Write>,
    /// A terminal obeys control characters, and nobody but its user should send it any.
    for_people: bool,
}

impl Output {
    pub(crate) fn stdout() -> Self {
        let stdout = io::stdout().lock();
        let for_people = stdout.is_terminal();
        Self { writer: Box::new(stdout), for_people }
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, line: &str) -> Result<(), Failure> {
        check(writeln!(self.writer, "{}", one_line(line)).and_then(|()| self.writer.flush()))
    }

    /// Writes a piece of text as it is, without waiting for the end of its line. Control characters other than newline and tab are
    /// replaced on a terminal.
    pub(crate) fn piece(&mut self, text: &str) -> Result<(), Failure> {
        let written = if self.for_people {
            write!(self.writer, "{}", text.replace(|c: char| c.is_control() && c != '\n' && c != '\t', "\u{fffd}"))
        } else {
            self.writer.write_all(text.as_bytes())
        };
        check(written.and_then(|()| self.writer.flush()))
    }

    /// Writes a table.
    pub(crate) fn table(&mut self, table: &Table) -> Result<(), Failure> {
        table.lines().iter().try_for_each(|line| check(writeln!(self.writer, "{line}")))?;
        check(self.writer.flush())
    }

    /// Writes names and values, one a line, the values below each other.
    pub(crate) fn fields(&mut self, fields: &[(&str, String)]) -> Result<(), Failure> {
        let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        fields.iter().try_for_each(|(name, value)| self.line(&format!("{name:width$}  {}", if value.is_empty() { "-" } else { value })))
    }
}

fn check(written: io::Result<()>) -> Result<(), Failure> {
    written.map_err(|source| match source.kind() {
        io::ErrorKind::BrokenPipe => Failure::ReaderGone,
        _ => Failure::Io { what: "standard output can't be written".to_owned(), source },
    })
}

/// Says something to people beside the result. That nobody listens is no failure.
pub(crate) fn hint(text: &str) {
    let _ = writeln!(io::stderr(), "{}", one_line(text));
}

/// A piece of text for people beside the result, as it is being generated.
pub(crate) fn aside(text: &str) {
    let _ = write!(io::stderr(), "{}", text.replace(|c: char| c.is_control() && c != '\n' && c != '\t', "\u{fffd}"));
}

/// The text on one line, and without what a terminal would obey.
pub(crate) fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// `1 credit`, `2 credits`.
pub(crate) fn credits(number: i64) -> String {
    if number == 1 { "1 credit".to_owned() } else { format!("{number} credits") }
}

/// A time of a service, in UTC and whole seconds; empty when it is unset.
pub(crate) fn time(time: Option<prost_types::Timestamp>) -> String {
    time.map(|time| prost_types::Timestamp { nanos: 0, ..time }.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_is_gone_is_told_from_a_full_disk() {
        let mut output = Output { writer: Box::new(Closed), for_people: false };
        assert!(matches!(output.piece("text"), Err(Failure::ReaderGone)));
        assert!(matches!(check(Err(io::ErrorKind::StorageFull.into())), Err(Failure::Io { .. })));
    }

    #[test]
    fn times_are_utc_in_whole_seconds() {
        assert_eq!(time(Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 123_000_000 })), "2026-09-21T14:13:20Z");
        assert_eq!(time(None), "");
    }

    #[test]
    fn no_text_of_a_server_commands_the_terminal() {
        assert_eq!(one_line("a\u{1b}[31m\nb"), "a [31m b");
    }
}

//! Standard output: written at once, and a reader that goes away ends the command quietly.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use crate::display::{one_line, without_control};
use crate::failure::Failure;
use crate::table::Table;

/// Where a command's result goes.
pub(crate) struct Output {
    writer: Box<dyn Write>,
    /// A terminal obeys control characters, and nobody but its user should send it any.
    for_people: bool,
    /// Whoever reads wants JSON.
    json: bool,
}

impl Output {
    pub(crate) fn stdout(json: bool) -> Self {
        // Not locked: the line editor writes to it from a thread of its own.
        let stdout = io::stdout();
        let for_people = stdout.is_terminal();
        Self { writer: Box::new(stdout), for_people, json }
    }

    /// Whether JSON is wanted.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Writes a JSON document on a line of its own. Control characters stand in it as escapes alone.
    pub(crate) fn document(&mut self, document: &Value) -> Result<(), Failure> {
        let mut text = String::new();
        for c in document.to_string().chars() {
            if c.is_control() { text.push_str(&format!("\\u{:04x}", u32::from(c))) } else { text.push(c) }
        }
        check(writeln!(self.writer, "{text}").and_then(|()| self.writer.flush()))
    }

    /// Writes what was done: a line for people, or a document.
    pub(crate) fn said(&mut self, line: &str, document: Value) -> Result<(), Failure> {
        if self.json { self.document(&document) } else { self.line(line) }
    }

    /// Writes a list: a table for people, or a document of all records.
    pub(crate) fn records(&mut self, records: &[Value], table: &Table) -> Result<(), Failure> {
        if self.json { self.document(&Value::from(records)) } else { self.table(table) }
    }

    /// Writes one thing: names and values for people, or a document.
    pub(crate) fn record(&mut self, fields: &[(&str, String)], document: Value) -> Result<(), Failure> {
        if self.json { self.document(&document) } else { self.fields(fields) }
    }

    /// Writes bytes that another program made for another one, such as a shell's completions.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        check(self.writer.write_all(bytes).and_then(|()| self.writer.flush()))
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, line: &str) -> Result<(), Failure> {
        check(writeln!(self.writer, "{}", one_line(line)).and_then(|()| self.writer.flush()))
    }

    /// Writes a piece of text as it is, without waiting for the end of its line. Control characters other than newline and tab are
    /// replaced on a terminal.
    pub(crate) fn piece(&mut self, text: &str) -> Result<(), Failure> {
        let written =
            if self.for_people { write!(self.writer, "{}", without_control(text)) } else { self.writer.write_all(text.as_bytes()) };
        check(written.and_then(|()| self.writer.flush()))
    }

    /// Writes text of this command's own, and what it commands a terminal to do; nothing that came from elsewhere and wasn't cleaned.
    pub(crate) fn styled(&mut self, text: &str) -> Result<(), Failure> {
        check(self.writer.write_all(text.as_bytes()).and_then(|()| self.writer.flush()))
    }

    /// Whether a person sees it.
    pub(crate) fn is_terminal(&self) -> bool {
        self.for_people
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
    let _ = write!(io::stderr(), "{}", without_control(text));
}

/// The same, of this command's own, and with what it commands a terminal to do.
pub(crate) fn aside_styled(text: &str) {
    let _ = write!(io::stderr(), "{text}");
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

    #[derive(Clone, Default)]
    struct Written(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_document_is_one_line_that_no_terminal_obeys_and_says_all_that_it_was_given() {
        let written = Written::default();
        let mut output = Output { writer: Box::new(written.clone()), for_people: true, json: true };
        let document = serde_json::json!({"note": "a\n\u{1b}[31m\u{9b}\u{7f} é\\"});
        output.said("a line", document.clone()).unwrap();
        let text = String::from_utf8(written.0.borrow().clone()).unwrap();
        assert_eq!(text.chars().filter(|c| c.is_control()).collect::<String>(), "\n", "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), document);
    }

    #[test]
    fn a_reader_that_is_gone_is_told_from_a_full_disk() {
        let mut output = Output { writer: Box::new(Closed), for_people: false, json: false };
        assert!(matches!(output.piece("text"), Err(Failure::ReaderGone)));
        assert!(matches!(check(Err(io::ErrorKind::StorageFull.into())), Err(Failure::Io { .. })));
    }
}

//! The lines and the values of a Modelfile.

use super::{ModelfileError, mistake, printable};

/// The text, line by line. A line ends with LF, CRLF or CR.
pub(super) struct Lines<'a> {
    pub(super) rest: &'a str,
    /// The number of the line that `next` gave last.
    pub(super) line: u32,
}

impl<'a> Lines<'a> {
    pub(super) fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        self.line = self.line.saturating_add(1);
        let end = self.rest.find(['\n', '\r']).unwrap_or(self.rest.len());
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix(['\n', '\r'])).unwrap_or(rest);
        Some(line)
    }

    /// The value that starts with `first`, what is left of the current line; takes further lines when its quotes are not closed.
    ///
    /// Each line is looked at once, so a value that is never closed costs no more than its length.
    pub(super) fn value(&mut self, first: &'a str, number: u32) -> Result<String, ModelfileError> {
        let quotes = if first.starts_with("\"\"\"") {
            "\"\"\""
        } else if first.starts_with('"') {
            "\""
        } else {
            return Ok(printable(first.trim()));
        };
        let inner = &first[quotes.len()..];
        if let Some(value) = inner.trim_end().strip_suffix(quotes) {
            return Ok(printable(value));
        }
        // CRLF inside a value becomes LF: a prompt means the same whatever the editor was.
        let mut value = printable(inner);
        loop {
            let Some(line) = self.next() else {
                return Err(mistake(number, format!("the quotes {quotes} are never closed: a value ends where a line ends with them")));
            };
            value.push('\n');
            if let Some(last) = line.trim_end().strip_suffix(quotes) {
                value.push_str(&printable(last));
                return Ok(value);
            }
            value.push_str(&printable(line));
        }
    }
}

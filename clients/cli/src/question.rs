//! Questions that a person answers with yes or no.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::display::one_line;
use crate::failure::Failure;

/// More than anybody types.
const MAX_BYTES: u64 = 1024;

/// Whether there is somebody to ask.
pub(crate) fn somebody_is_there() -> bool {
    io::stdin().is_terminal()
}

/// Asks, and whether the answer is yes. What else is typed, and nothing at all, is no.
pub(crate) fn is_answered_yes(question: &str) -> Result<bool, Failure> {
    let mut line = String::new();
    let asked = write!(io::stderr(), "{} [y/N] ", one_line(question));
    asked
        .and_then(|()| io::Read::take(io::stdin().lock(), MAX_BYTES).read_line(&mut line))
        .map_err(|source| Failure::Io { what: "the answer can't be read from the terminal".to_owned(), source })?;
    Ok(is_yes(&line))
}

fn is_yes(line: &str) -> bool {
    matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        assert!(["y", "Y\n", "yes\r\n", " YES "].into_iter().all(is_yes));
        assert!(!["", "\n", "n", "no", "yep", "y n", "да"].into_iter().any(is_yes));
    }
}

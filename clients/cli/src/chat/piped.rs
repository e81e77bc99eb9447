//! What to ask: words of the command line, and standard input when that is no terminal.

use std::io::{self, IsTerminal as _, Read as _};
use std::sync::mpsc;
use std::time::Duration;

use crate::failure::Failure;
use crate::output::hint;
use crate::text_file::decoded;

/// The longest that any request may be, and so any prompt.
const MOST_BYTES: usize = shared::codec::MAX_MESSAGE_BYTES;
/// When to say what is waited for.
const SAY_AFTER: Duration = Duration::from_secs(3);

/// What is asked; `None`: nothing, and a person sits there.
pub(super) fn prompt(words: &[String]) -> Result<Option<String>, Failure> {
    let is_given = !words.is_empty();
    let words = words.join(" ");
    if words == "-" {
        return joined("", &standard_input(false)?).map(Some);
    }
    if io::stdin().is_terminal() {
        // What a script meant to ask is empty: no conversation was meant.
        return if is_given { joined(&words, "").map(Some) } else { Ok(None) };
    }
    joined(&words, &standard_input(!words.is_empty())?).map(Some)
}

/// What comes by the pipe stands behind the words.
fn joined(words: &str, input: &str) -> Result<String, Failure> {
    let input = input.trim_end_matches(['\r', '\n']);
    match (words.trim().is_empty(), input.trim().is_empty()) {
        (true, true) => Err(Failure::Usage("nothing is asked: neither a PROMPT nor standard input has any words".to_owned())),
        (false, true) => Ok(words.to_owned()),
        (true, false) => Ok(input.to_owned()),
        (false, false) => Ok(format!("{words}\n\n{input}")),
    }
}

/// All of standard input, to its end.
fn standard_input(is_surprising: bool) -> Result<String, Failure> {
    let (done, is_done) = mpsc::channel();
    // Its end is not waited for: the read of a pipe that stays open ends with the process.
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = io::stdin().lock().take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes);
        // Whoever waited may be gone.
        let _ = done.send(read.map(|_| bytes));
    });
    let first = is_done.recv_timeout(SAY_AFTER);
    if first.is_err() && is_surprising {
        hint("tollgate: standard input goes behind the prompt, and its end is waited for; < /dev/null says that there is none");
    }
    let stopped = |_| io::Error::other("its reader stopped");
    let bytes = first.or_else(|_| is_done.recv()).map_err(stopped).and_then(|read| read);
    let bytes = bytes.map_err(|source| Failure::Io { what: "standard input can't be read".to_owned(), source })?;
    text(bytes)
}

fn text(bytes: Vec<u8>) -> Result<String, Failure> {
    if bytes.len() > MOST_BYTES {
        let most = MOST_BYTES >> 20;
        return Err(Failure::Usage(format!("standard input is longer than {most} MiB, and no request may be")));
    }
    decoded(bytes).map_err(|error| Failure::Usage(format!("standard input is no text: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_input_is_the_prompt_or_goes_behind_it() {
        let said = |words: &str, input: &str| joined(words, input).map_err(|failure| failure.to_string());
        assert_eq!(said("summarize", "one\ntwo\n").unwrap(), "summarize\n\none\ntwo");
        assert_eq!(said("", "hi\r\n").unwrap(), "hi");
        assert_eq!(said("hi", "").unwrap(), "hi");
        assert_eq!(said("hi", " \n").unwrap(), "hi");
        for (words, input) in [("", ""), ("", "\n"), (" ", " \n")] {
            assert!(said(words, input).unwrap_err().contains("nothing is asked"), "{words:?} {input:?}");
        }
    }

    #[test]
    fn what_is_no_text_or_more_than_a_request_holds_is_refused() {
        assert_eq!(text("naïve 🍄".into()).unwrap(), "naïve 🍄");
        assert!(text(b"\x7fELF\x02\xff".to_vec()).unwrap_err().to_string().contains("no text"));
        assert!(text(vec![b'a'; MOST_BYTES + 1]).unwrap_err().to_string().contains("longer than 32 MiB"));
    }
}

//! Passwords: asked for without echo, or one line of standard input.

use std::io::{self, BufRead, IsTerminal};

use crate::failure::Failure;

/// A little more than the longest password, so that a longer one is refused by the server and not cut.
const MAX_BYTES: u64 = 4096;

/// The password of somebody who has one.
pub(crate) fn read(prompt: &str) -> Result<String, Failure> {
    if io::stdin().is_terminal() { ask(prompt) } else { first_line(io::stdin().lock()) }
}

/// A password that is being made: on a terminal it is asked for twice.
pub(crate) fn read_new(prompt: &str) -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return first_line(io::stdin().lock());
    }
    let password = ask(prompt)?;
    if ask("Again: ")? != password {
        return Err(Failure::Usage("the two passwords differ".to_owned()));
    }
    Ok(password)
}

fn ask(prompt: &str) -> Result<String, Failure> {
    let password = rpassword::prompt_password(prompt)
        .map_err(|source| Failure::Io { what: "the password can't be read from the terminal".to_owned(), source })?;
    if password.is_empty() { Err(Failure::Usage("no password was given".to_owned())) } else { Ok(password) }
}

fn first_line(input: impl BufRead) -> Result<String, Failure> {
    let mut line = String::new();
    input
        .take(MAX_BYTES)
        .read_line(&mut line)
        .map_err(|source| Failure::Io { what: "the password can't be read from standard input".to_owned(), source })?;
    let password = line.strip_suffix('\n').map_or(line.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if password.is_empty() {
        return Err(Failure::Usage("no password was given: type it, or send it as the first line of standard input".to_owned()));
    }
    Ok(password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piped_password_is_the_first_line_without_its_newline() {
        assert_eq!(first_line(&b"correct horse \nmore"[..]).unwrap(), "correct horse ");
        assert_eq!(first_line(&b"correct horse\r\n"[..]).unwrap(), "correct horse");
        assert_eq!(first_line(&b"correct horse"[..]).unwrap(), "correct horse");
    }

    #[test]
    fn no_password_is_an_error() {
        assert!(matches!(first_line(&b""[..]), Err(Failure::Usage(_))));
        assert!(matches!(first_line(&b"\n"[..]), Err(Failure::Usage(_))));
    }
}

//! Passwords and other secrets: asked for without echo, or one line of standard input.

use std::io::{self, BufRead, IsTerminal};

use crate::failure::Failure;

/// A little more than the longest password, so that a longer one is refused by the server and not cut.
const MAX_BYTES: u64 = 4096;

/// The password of somebody who has one.
pub(crate) fn read(prompt: &str) -> Result<String, Failure> {
    read_secret("password", prompt)
}

/// Another secret that a person has.
pub(crate) fn read_secret(what: &str, prompt: &str) -> Result<String, Failure> {
    if io::stdin().is_terminal() { ask(what, prompt) } else { first_line(what, io::stdin().lock()) }
}

/// The password of somebody who may have none.
pub(crate) fn read_or_none(prompt: &str) -> Result<String, Failure> {
    match read(prompt) {
        Err(Failure::Usage(_)) => Ok(String::new()),
        read => read,
    }
}

/// A password that is being made: on a terminal it is asked for twice.
pub(crate) fn read_new(prompt: &str) -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return first_line("password", io::stdin().lock());
    }
    let password = ask("password", prompt)?;
    if ask("password", "Again: ")? != password {
        return Err(Failure::Usage("the two passwords differ".to_owned()));
    }
    Ok(password)
}

fn ask(what: &str, prompt: &str) -> Result<String, Failure> {
    let password = typed(prompt).map_err(|source| Failure::Io { what: format!("the {what} can't be read from the terminal"), source })?;
    if password.is_empty() { Err(Failure::Usage(format!("no {what} was given"))) } else { Ok(password) }
}

/// By Ctrl-C `rpassword` sends this thread a signal before it gives the terminal its modes back. The signal waits until it has.
#[cfg(unix)]
fn typed(prompt: &str) -> io::Result<String> {
    use nix::sys::signal::{SigSet, Signal};
    let mut interrupt = SigSet::empty();
    interrupt.add(Signal::SIGINT);
    interrupt.thread_block()?;
    let password = rpassword::prompt_password(prompt);
    interrupt.thread_unblock()?;
    password
}

#[cfg(not(unix))]
fn typed(prompt: &str) -> io::Result<String> {
    rpassword::prompt_password(prompt)
}

fn first_line(what: &str, input: impl BufRead) -> Result<String, Failure> {
    let mut line = String::new();
    input
        .take(MAX_BYTES)
        .read_line(&mut line)
        .map_err(|source| Failure::Io { what: format!("the {what} can't be read from standard input"), source })?;
    let password = line.strip_suffix('\n').map_or(line.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if password.is_empty() {
        return Err(Failure::Usage(format!("no {what} was given: type it, or send it as the first line of standard input")));
    }
    Ok(password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piped_password_is_the_first_line_without_its_newline() {
        assert_eq!(first_line("password", &b"correct horse \nmore"[..]).unwrap(), "correct horse ");
        assert_eq!(first_line("password", &b"correct horse\r\n"[..]).unwrap(), "correct horse");
        assert_eq!(first_line("password", &b"correct horse"[..]).unwrap(), "correct horse");
    }

    #[test]
    fn no_password_is_an_error() {
        assert!(matches!(first_line("password", &b""[..]), Err(Failure::Usage(_))));
        assert!(matches!(first_line("password", &b"\n"[..]), Err(Failure::Usage(_))));
    }
}

//! The terminal: how wide it is, and its modes. However a session ends, it gets those back that it had.

use std::io;
#[cfg(unix)]
use std::sync::Arc;

use terminal_size::{Width, terminal_size_of};

/// In place of a key's code: no key does it.
#[cfg(unix)]
const NO_KEY: u8 = if cfg!(target_os = "linux") { 0 } else { 0xff };

/// A terminal that takes no commands for its cursor.
pub(super) fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|name| name.is_empty() || name == "dumb")
}

/// Whether what this command itself writes may have colours (<https://no-color.org>).
pub(super) fn has_colours() -> bool {
    !is_dumb() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// How many columns standard output has; `None` when it doesn't say.
pub(super) fn columns() -> Option<usize> {
    terminal_size_of(io::stdout()).map(|(Width(columns), _)| usize::from(columns)).filter(|columns| *columns > 0)
}

/// The modes that the terminal had. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub(super) struct Modes {
    /// None: standard input is no terminal.
    #[cfg(unix)]
    at_first: Option<Arc<rustix::termios::Termios>>,
}

impl Modes {
    /// Those that it has now.
    pub(super) fn of_now() -> Self {
        #[cfg(unix)]
        return Self { at_first: rustix::termios::tcgetattr(io::stdin()).ok().map(Arc::new) };
        #[cfg(not(unix))]
        Self::default()
    }

    /// Until what is returned is dropped, what is typed isn't shown between the words of an answer: it waits for the next prompt. Ctrl-C
    /// interrupts meanwhile.
    pub(super) fn hold_back_typing(&self) -> TypingHeldBack<'_> {
        #[cfg(unix)]
        if let Some(at_first) = self.at_first.as_deref().filter(|_| !is_dumb()) {
            use rustix::termios::{InputModes, LocalModes, SpecialCodeIndex};
            let mut modes = at_first.clone();
            modes.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON);
            // Enter stays what the line editor takes for Enter.
            modes.input_modes.remove(InputModes::ICRNL);
            // Suspended in the middle, it would leave the terminal like this to a shell that doesn't look: Ctrl-Z waits for the prompt.
            modes.special_codes[SpecialCodeIndex::VSUSP] = NO_KEY;
            modes.special_codes[SpecialCodeIndex::VMIN] = 1;
            modes.special_codes[SpecialCodeIndex::VTIME] = 0;
            put(&modes);
        }
        TypingHeldBack(self)
    }

    /// Gives them back.
    pub(super) fn restore(&self) {
        #[cfg(unix)]
        if let Some(at_first) = &self.at_first {
            put(at_first);
        }
    }
}

/// See [`Modes::hold_back_typing`].
#[derive(Debug)]
pub(super) struct TypingHeldBack<'a>(&'a Modes);

impl Drop for TypingHeldBack<'_> {
    fn drop(&mut self) {
        self.0.restore();
    }
}

#[cfg(unix)]
fn put(modes: &rustix::termios::Termios) {
    use rustix::termios::{OptionalActions, tcgetpgrp, tcsetattr};
    // From the background it would stop this process; and the terminal is somebody else's then.
    if tcgetpgrp(io::stdin()).is_ok_and(|group| group == rustix::process::getpgrp()) {
        // A terminal that is gone has no modes.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, modes);
    }
}

//! Something that moves while nothing is there to show.

use std::convert::Infallible;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

const EACH: Duration = Duration::from_millis(100);
/// What comes at once needs none.
const FIRST_AFTER: Duration = Duration::from_millis(200);
const FRAMES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/// On standard error, when that is a terminal that can take a character back. It has no colour, so `NO_COLOR` is nothing to it.
#[derive(Debug)]
pub(super) struct Spinner {
    /// None: there is nothing to draw on.
    ticks: Option<Interval>,
    frame: usize,
}

impl Spinner {
    pub(super) fn start() -> Self {
        let can_draw = io::stderr().is_terminal() && !super::terminal::is_dumb();
        let ticks = can_draw.then(|| {
            let mut ticks = interval_at(Instant::now() + FIRST_AFTER, EACH);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        Self { ticks, frame: 0 }
    }

    /// Turns for ever: to be polled beside what is waited for. May be dropped at any time.
    pub(super) async fn turn(&mut self) -> Infallible {
        let Some(ticks) = &mut self.ticks else { return std::future::pending().await };
        loop {
            ticks.tick().await;
            let frame = FRAMES[self.frame % FRAMES.len()];
            // That nobody looks is no failure.
            let _ = write!(io::stderr(), "\r{frame} ");
            self.frame += 1;
        }
    }

    /// Takes it away, for good.
    pub(super) fn clear(&mut self) {
        if self.ticks.take().is_some() && self.frame > 0 {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.clear();
    }
}

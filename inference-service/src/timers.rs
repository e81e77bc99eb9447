//! One task that calls many things back at their times: every stream has limits and a hold to be extended, and a task with a timer for each
//! would cost each of them memory, and each new one the wake-up of another processor.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The longest that the task waits. The runtime interrupts its wait for sockets whenever a timer is set that comes before all others; so that the
/// time-outs of every call are not such timers, there is always one that comes before them.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is called back.
pub trait Timed: Send + Sync + 'static {
    /// The time has come. Answers when to call again, if ever; now or earlier counts as soon.
    fn on_time(&self, now: Instant) -> Option<Instant>;

    /// The process ends: what runs must end.
    fn on_cut_off(&self) {}
}

/// Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Timers(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Something is to be called earlier than the task waits for.
    earlier: Notify,
    cut_off: CancellationToken,
}

#[derive(Default)]
struct State {
    armed: HashMap<u64, Arc<dyn Timed>>,
    /// When, and whom. What was disarmed stays in it until its time comes.
    times: BinaryHeap<Reverse<(Instant, u64)>>,
    last_id: u64,
    /// What the task waits for; `None`: for nothing.
    waits_until: Option<Instant>,
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timers").field("armed", &self.0.lock().armed.len()).finish_non_exhaustive()
    }
}

/// Disarms when it is dropped. A call that has begun by then comes to its end.
#[must_use]
pub struct TimerGuard {
    inner: Arc<Inner>,
    id: u64,
}

impl fmt::Debug for TimerGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerGuard").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is called under the lock, and nothing in it can be left half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TimerGuard {
    fn drop(&mut self) {
        let disarmed = self.inner.lock().armed.remove(&self.id);
        // Its own end may disarm others.
        drop(disarmed);
    }
}

impl Timers {
    /// Timers that call nothing back until [`Self::run`] is. `cut_off`: when all that is armed is told that the process ends.
    #[must_use]
    pub fn new(cut_off: CancellationToken) -> Self {
        Self(Arc::new(Inner { state: Mutex::default(), earlier: Notify::new(), cut_off }))
    }

    /// Calls this back at a time.
    pub fn arm(&self, timed: Arc<dyn Timed>, at: Instant) -> TimerGuard {
        let (id, is_earlier) = {
            let mut state = self.0.lock();
            state.last_id += 1;
            let id = state.last_id;
            state.armed.insert(id, Arc::clone(&timed));
            state.times.push(Reverse((at, id)));
            (id, state.waits_until.is_none_or(|until| at < until))
        };
        if is_earlier {
            self.0.earlier.notify_one();
        }
        // What is armed after the cut would not be told.
        if self.0.cut_off.is_cancelled() {
            timed.on_cut_off();
        }
        TimerGuard { inner: Arc::clone(&self.0), id }
    }

    /// Calls back, for ever.
    pub async fn run(self) {
        let mut is_cut = false;
        loop {
            let until = self.call_due(Instant::now());
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = self.0.earlier.notified() => {}
                () = self.0.cut_off.cancelled(), if !is_cut => {
                    is_cut = true;
                    let all: Vec<_> = self.0.lock().armed.values().cloned().collect();
                    all.iter().for_each(|timed| timed.on_cut_off());
                }
            }
        }
    }

    /// Calls all whose time has come, and answers when to look again: when the next one's does, or soon.
    fn call_due(&self, now: Instant) -> Instant {
        loop {
            let (id, timed) = {
                let mut state = self.0.lock();
                let next = state.times.peek().map(|Reverse((at, _))| *at);
                if next.is_none_or(|at| at > now) {
                    let until = next.map_or(now + LOOK_EVERY, |at| at.min(now + LOOK_EVERY));
                    state.waits_until = Some(until);
                    return until;
                }
                let Some(Reverse((_, id))) = state.times.pop() else { continue };
                let Some(timed) = state.armed.get(&id).cloned() else { continue };
                (id, timed)
            };
            if let Some(again) = timed.on_time(now) {
                // A millisecond is as fine as the runtime's own clock: what wants to be called at once must not keep all others from it.
                let again = again.max(now + Duration::from_millis(1));
                self.0.lock().times.push(Reverse((again, id)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;

    /// Sends its name each time, and wants to be called again so many times.
    struct Caller {
        name: &'static str,
        calls: mpsc::UnboundedSender<(&'static str, Instant)>,
        again: Mutex<Vec<Duration>>,
    }

    impl Timed for Caller {
        fn on_time(&self, now: Instant) -> Option<Instant> {
            let _ = self.calls.send((self.name, now));
            self.again.lock().unwrap().pop().map(|wait| now + wait)
        }

        fn on_cut_off(&self) {
            let _ = self.calls.send(("cut off", Instant::now()));
        }
    }

    struct Bench {
        timers: Timers,
        cut_off: CancellationToken,
        calls: mpsc::UnboundedReceiver<(&'static str, Instant)>,
        sender: mpsc::UnboundedSender<(&'static str, Instant)>,
        started: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let cut_off = CancellationToken::new();
            let timers = Timers::new(cut_off.clone());
            tokio::spawn(timers.clone().run());
            let (sender, calls) = mpsc::unbounded_channel();
            Self { timers, cut_off, calls, sender, started: Instant::now() }
        }

        fn arm(&self, name: &'static str, at_ms: u64, again_ms: &[u64]) -> TimerGuard {
            let again = Mutex::new(again_ms.iter().rev().map(|wait| Duration::from_millis(*wait)).collect());
            let caller = Caller { name, calls: self.sender.clone(), again };
            self.timers.arm(Arc::new(caller), self.started + Duration::from_millis(at_ms))
        }

        /// Who is called next, and when.
        async fn next(&mut self) -> (&'static str, u128) {
            let (name, at) = self.calls.recv().await.unwrap();
            (name, (at - self.started).as_millis())
        }
    }

    #[tokio::test]
    async fn each_is_called_at_its_times_whoever_was_armed_first() {
        let mut bench = Bench::new();
        let _late = bench.arm("late", 300, &[]);
        let _early = bench.arm("early", 50, &[50, 1000]);
        assert!(bench.next().await >= ("early", 50));
        // Armed while the task waits for something later.
        let _sooner = bench.arm("sooner", 60, &[]);
        for expected in [("sooner", 60), ("early", 100), ("late", 300), ("early", 1100)] {
            let (name, at_ms) = bench.next().await;
            assert!(name == expected.0 && at_ms >= expected.1, "{name} at {at_ms}, not {expected:?}");
        }
    }

    #[tokio::test]
    async fn what_is_disarmed_is_not_called() {
        let mut bench = Bench::new();
        let gone = bench.arm("gone", 20, &[]);
        let _stays = bench.arm("stays", 40, &[]);
        drop(gone);
        assert_eq!(bench.next().await.0, "stays");
    }

    #[tokio::test]
    async fn what_wants_to_be_called_at_once_does_not_keep_others_from_it() {
        let mut bench = Bench::new();
        let _busy = bench.arm("busy", 0, &[0; 1000]);
        let _other = bench.arm("other", 5, &[]);
        let before = {
            let mut before = 0;
            while bench.next().await.0 != "other" {
                before += 1;
            }
            before
        };
        assert!(before < 1000, "{before}");
    }

    #[tokio::test]
    async fn all_are_told_of_the_cut_once_also_those_that_come_after_it() {
        let mut bench = Bench::new();
        let _before = bench.arm("before", 100_000, &[]);
        bench.cut_off.cancel();
        assert_eq!(bench.next().await.0, "cut off");
        let _after = bench.arm("after", 100_000, &[]);
        assert_eq!(bench.next().await.0, "cut off");
        let _timed = bench.arm("timed", 1, &[]);
        assert_eq!([bench.next().await.0, bench.next().await.0], ["cut off", "timed"]);
    }
}

//! Deadlines of streams and holds, in one queue of the whole process. A task with a timer for each would cost every stream memory, and
//! every new one the wake-up of another thread.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

/// Between two expiries of the queue's own entry. A timer that is set to expire before all others makes the runtime interrupt its wait for
/// sockets. With this entry the time-outs of calls are no such timers.
const TICK: Duration = Duration::from_secs(1);
/// The furthest deadline that is kept; what is further is called then. The queue takes none that is more than two years away.
const FURTHEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The id of the queue's own entry.
const TICK_ID: u64 = 0;

/// What is called back.
pub trait Timed: Send + Sync + 'static {
    /// The deadline has passed. Returns the next one, if there is any; one that has passed already counts as soon.
    fn on_time(&self, now: Instant) -> Option<Instant>;

    /// The process ends: what runs must end.
    fn on_cut_off(&self) {}
}

/// Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Timers(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    cut_off: CancellationToken,
}

#[derive(Default)]
struct State {
    armed: HashMap<u64, Armed>,
    /// The ids of what is armed.
    queue: DelayQueue<u64>,
    last_id: u64,
}

struct Armed {
    timed: Arc<dyn Timed>,
    /// Its place in the queue; `None` while it is called.
    key: Option<Key>,
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

impl Drop for TimerGuard {
    fn drop(&mut self) {
        let disarmed = self.inner.lock().remove(self.id);
        // It is dropped without the lock: its end may disarm others.
        drop(disarmed);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is called under the lock, and nothing in it can be left half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn insert(&mut self, timed: Arc<dyn Timed>, at: Instant) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        let key = Some(self.queue.insert_at(id, nearer(at)));
        self.armed.insert(id, Armed { timed, key });
        id
    }

    fn remove(&mut self, id: u64) -> Option<Armed> {
        let armed = self.armed.remove(&id)?;
        if let Some(key) = &armed.key {
            self.queue.try_remove(key);
        }
        Some(armed)
    }

    /// What was called wants to be called again.
    fn insert_again(&mut self, id: u64, at: Instant) {
        // It may have been disarmed meanwhile.
        if let Some(armed) = self.armed.get_mut(&id) {
            armed.key = Some(self.queue.insert_at(id, nearer(at)));
        }
    }

    /// The next whose deadline has passed.
    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<(u64, Arc<dyn Timed>)> {
        loop {
            // The queue is never empty while it is polled; it keeps the waker all the same.
            let Some(expired) = std::task::ready!(self.queue.poll_expired(cx)) else { return Poll::Pending };
            let id = expired.into_inner();
            if id == TICK_ID {
                self.queue.insert(TICK_ID, TICK);
            } else if let Some(armed) = self.armed.get_mut(&id) {
                armed.key = None;
                return Poll::Ready((id, Arc::clone(&armed.timed)));
            }
        }
    }
}

fn nearer(at: Instant) -> Instant {
    at.min(Instant::now() + FURTHEST)
}

impl Timers {
    /// Timers that call nothing back until [`Self::run`] is. `cut_off`: when all that is armed is told that the process ends.
    #[must_use]
    pub fn new(cut_off: CancellationToken) -> Self {
        Self(Arc::new(Inner { state: Mutex::default(), cut_off }))
    }

    /// Calls this back at a time. To be called within a runtime.
    pub fn arm(&self, timed: Arc<dyn Timed>, at: Instant) -> TimerGuard {
        let id = self.0.lock().insert(Arc::clone(&timed), at);
        // What is armed after the cut would not be told.
        if self.0.cut_off.is_cancelled() {
            timed.on_cut_off();
        }
        TimerGuard { inner: Arc::clone(&self.0), id }
    }

    /// Calls back, for ever.
    pub async fn run(self) {
        self.0.lock().queue.insert(TICK_ID, TICK);
        let mut is_cut = false;
        loop {
            tokio::select! {
                (id, timed) = poll_fn(|cx| self.0.lock().poll_expired(cx)) => {
                    let now = Instant::now();
                    if let Some(again) = timed.on_time(now) {
                        // A millisecond is the runtime's resolution: what wants to be called at once must not keep all others from it.
                        self.0.lock().insert_again(id, again.max(now + Duration::from_millis(1)));
                    }
                }
                () = self.0.cut_off.cancelled(), if !is_cut => {
                    is_cut = true;
                    let all: Vec<_> = self.0.lock().armed.values().map(|armed| Arc::clone(&armed.timed)).collect();
                    all.iter().for_each(|timed| timed.on_cut_off());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    /// Sends its name each time, and wants to be called again after each of these times.
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

    /// Running timers, on a clock that stands still until all wait.
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

    #[tokio::test(start_paused = true)]
    async fn each_is_called_at_its_times_whoever_was_armed_first() {
        let mut bench = Bench::new();
        let _late = bench.arm("late", 300, &[]);
        let _early = bench.arm("early", 50, &[50, 10_000]);
        assert_eq!(bench.next().await, ("early", 50));
        // Armed while the task waits for something later.
        let _sooner = bench.arm("sooner", 60, &[]);
        for expected in [("sooner", 60), ("early", 100), ("late", 300), ("early", 10_100)] {
            assert_eq!(bench.next().await, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_disarmed_is_not_called_and_leaves_nothing_behind() {
        let mut bench = Bench::new();
        let gone = bench.arm("gone", 20, &[]);
        let _stays = bench.arm("stays", 40, &[20]);
        drop(gone);
        assert_eq!([bench.next().await, bench.next().await], [("stays", 40), ("stays", 60)]);
        drop(_stays);
        let state = bench.timers.0.lock();
        // The queue's own entry alone.
        assert_eq!((state.armed.len(), state.queue.len()), (0, 1));
    }

    /// Disarms itself while it is called.
    struct DisarmsItself(Mutex<Option<TimerGuard>>);

    impl Timed for DisarmsItself {
        fn on_time(&self, now: Instant) -> Option<Instant> {
            drop(self.0.lock().unwrap().take());
            Some(now)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_disarmed_while_it_is_called_is_not_called_again() {
        let mut bench = Bench::new();
        let itself = Arc::new(DisarmsItself(Mutex::default()));
        *itself.0.lock().unwrap() = Some(bench.timers.arm(Arc::clone(&itself) as Arc<dyn Timed>, bench.started));
        let _after = bench.arm("after", 10, &[]);
        assert_eq!(bench.next().await, ("after", 10));
        assert_eq!(Arc::strong_count(&itself), 1);
        assert_eq!(bench.timers.0.lock().queue.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_wants_to_be_called_at_once_does_not_keep_others_from_it() {
        let mut bench = Bench::new();
        let _busy = bench.arm("busy", 0, &[0; 1000]);
        let _other = bench.arm("other", 5, &[]);
        let mut before = 0;
        while bench.next().await.0 != "other" {
            before += 1;
        }
        assert!(before <= 6, "{before}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_may_be_in_the_past_or_further_than_any_clock() {
        let mut bench = Bench::new();
        let never = bench.started + Duration::from_secs(1 << 40);
        let caller = Caller { name: "never", calls: bench.sender.clone(), again: Mutex::default() };
        let _never = bench.timers.arm(Arc::new(caller), never);
        tokio::time::advance(Duration::from_secs(5)).await;
        let _past = bench.arm("past", 1, &[]);
        assert_eq!(bench.next().await, ("past", 5000));
    }

    #[tokio::test(start_paused = true)]
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

//! Waiting for something to become true: by asking again until a deadline, never by a fixed sleep.

use std::future::Future;
use std::time::{Duration, Instant, SystemTime};

use prost_types::Timestamp;

/// How long what must happen is waited for: many times as long as it takes on a machine that does nothing else, and less than a hold
/// lives, so that no expiry stands for what a test waits for.
pub const SOON: Duration = Duration::from_secs(40);

/// Waits, when a month (UTC) ends within half a minute, for the next one: what is spent in a month is counted anew from there on, also in
/// the middle of a test.
pub async fn until_the_month_goes_on() {
    let month = |at: SystemTime| Timestamp::from(at).to_string()[..7].to_owned();
    let goes_on = || async {
        let now = SystemTime::now();
        (month(now) == month(now + Duration::from_secs(30))).then_some(())
    };
    until("the next month", SOON, goes_on).await;
}

/// Asks until the answer is `Some`, and panics with `what` when it isn't by the deadline.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, deadline: Duration, mut ask: impl FnMut() -> F) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(started.elapsed() < deadline, "waited {deadline:?} for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

//! Waiting for something to become true: by asking again until a deadline, never by a fixed sleep.

use std::future::Future;
use std::time::{Duration, Instant};

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

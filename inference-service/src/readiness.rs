//! Whether calls can be answered: auth-service and a model server can be asked. Health says so for the services, and the log for the
//! operator.
//!
//! Both are asked from the start on, whether or not there are calls. Neither question costs credits or loads a model.

use std::sync::Arc;
use std::time::Duration;

use shared::serving::Health;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::auth_client::AuthClient;
use crate::engine::Engine;

/// Between two questions that were answered.
const INTERVAL: Duration = Duration::from_secs(2);
/// After one that was not.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Questions in a row without an answer, from which on whoever was asked can't be reached. A single slow answer says nothing.
const MAX_FAILURES: u32 = 2;

/// What the answers of one dependency have shown.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Reachability {
    /// `None` before the first answer.
    is_reachable: Option<bool>,
    failures: u32,
}

impl Reachability {
    /// Counts an answer. Gives what has become of it, when that has changed.
    fn observe(&mut self, answered: bool) -> Option<bool> {
        self.failures = if answered { 0 } else { self.failures.saturating_add(1) };
        let is_reachable = match self.is_reachable {
            Some(true) => self.failures < MAX_FAILURES,
            None | Some(false) => answered,
        };
        (self.is_reachable.replace(is_reachable) != Some(is_reachable)).then_some(is_reachable)
    }
}

/// What calls can't do without.
enum Dependency {
    Auth(AuthClient),
    Engine(Arc<dyn Engine>),
}

impl Dependency {
    fn name(&self) -> &'static str {
        match self {
            Self::Auth(_) => "auth-service",
            Self::Engine(_) => "the model server",
        }
    }

    fn place(&self) -> String {
        match self {
            Self::Auth(auth) => auth.urls().to_string(),
            Self::Engine(engine) => engine.place(),
        }
    }

    /// Asks once. The error says why there was no good answer.
    async fn ask(&self) -> Result<(), String> {
        let answer = async {
            match self {
                Self::Auth(auth) => auth.probe(TIMEOUT).await,
                Self::Engine(engine) => engine.probe().await.map_err(|error| error.to_string()),
            }
        };
        let silence = || format!("no answer within {} s", TIMEOUT.as_secs());
        tokio::time::timeout(TIMEOUT, answer).await.unwrap_or_else(|_| Err(silence()))
    }
}

/// Which of the two can be reached, and who is told.
struct Readiness {
    health: Health,
    reachable: Mutex<[bool; 2]>,
}

/// Asks both again and again until the drain begins. `health` is told of each change.
pub(crate) async fn watch(auth: AuthClient, engine: Arc<dyn Engine>, health: Health, draining: CancellationToken) {
    let readiness = Readiness { health, reachable: Mutex::default() };
    let (auth, engine) = (Dependency::Auth(auth), Dependency::Engine(engine));
    let watches = async { tokio::join!(readiness.watch_one(0, &auth), readiness.watch_one(1, &engine)) };
    draining.run_until_cancelled(watches).await;
}

impl Readiness {
    async fn watch_one(&self, index: usize, dependency: &Dependency) {
        let (name, asked) = (dependency.name(), dependency.place());
        let mut reachability = Reachability::default();
        loop {
            let answer = dependency.ask().await;
            if let Some(is_reachable) = reachability.observe(answer.is_ok()) {
                match &answer {
                    Ok(()) => tracing::info!(asked, "{name} can be asked"),
                    Err(why) => tracing::warn!(asked, why, "{name} can't be asked: health is NOT_SERVING until it can"),
                }
                let mut reachable = self.reachable.lock().await;
                reachable[index] = is_reachable;
                let is_ready = *reachable == [true; 2];
                self.health.set_ready(is_ready).await;
            }
            tokio::time::sleep(if answer.is_ok() { INTERVAL } else { RETRY_INTERVAL }).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told after each of these answers.
    fn told(answers: &[bool]) -> Vec<Option<bool>> {
        let mut reachability = Reachability::default();
        answers.iter().map(|answered| reachability.observe(*answered)).collect()
    }

    #[test]
    fn the_first_answer_decides_at_once() {
        assert_eq!(told(&[true, true]), [Some(true), None]);
        assert_eq!(told(&[false, false]), [Some(false), None]);
    }

    #[test]
    fn a_single_failure_changes_nothing_and_a_second_in_a_row_does() {
        assert_eq!(told(&[true, false, true, false, true]), [Some(true), None, None, None, None]);
        assert_eq!(told(&[true, false, false, false]), [Some(true), None, Some(false), None]);
    }

    #[test]
    fn the_first_success_brings_it_back() {
        assert_eq!(told(&[false, true]), [Some(false), Some(true)]);
        assert_eq!(told(&[true, false, false, true]), [Some(true), None, Some(false), Some(true)]);
    }
}

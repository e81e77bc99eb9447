//! Has what fails in the audit log. What is changed, the store records with the change itself.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use shared::error::reason_of;
use tonic::{Request, Response, Status};

use crate::ids::UserId;
use crate::service::call::Call;
use crate::service::service_error::ServiceError;
use crate::store::{AuditAction, AuditEvent, Store};

/// Attempts by callers of whom nobody is known that one process records in a minute. They cost their caller nothing, and each is a write.
const MOST_UNKNOWN_IN_A_MINUTE: u32 = 60;
/// The same of one user, so that nobody displaces what others have tried, by a credential that is no longer in force or by one that is.
const MOST_OF_A_USER_IN_A_MINUTE: u32 = 20;
/// Users that are counted in a minute; of others, nothing is recorded then.
const MOST_COUNTED_USERS: usize = 10_000;

/// Methods whose failures are recorded: each with its action, and with what answers it.
macro_rules! recorded {
    ($($method:ident($request:ident) -> $response:ident, $action:ident, $answer:ident;)*) => {
        $(
            #[doc = concat!("Answers by `", stringify!($answer), "`, and records what fails.")]
            fn $method<'life, 'call>(
                &'life self,
                request: Request<pb::$request>,
            ) -> std::pin::Pin<Box<dyn Future<Output = Result<Response<pb::$response>, Status>> + Send + 'call>>
            where
                'life: 'call,
                Self: 'call,
            {
                Box::pin(self.trail.answer(AuditAction::$action, request, |request| self.$answer(request)))
            }
        )*
    };
}
pub(crate) use recorded;

/// What becomes known of a call while it is answered: who calls, and to whom or what it is done. It goes with the request.
#[derive(Debug, Clone, Default)]
pub struct Known(Arc<Mutex<Option<AuditEvent>>>);

impl Known {
    fn of(event: AuditEvent) -> Self {
        Self(Arc::new(Mutex::new(Some(event))))
    }

    /// Adds something.
    pub fn add(&self, add: impl FnOnce(AuditEvent) -> AuditEvent) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *known = known.take().map(add);
    }

    fn take(&self) -> Option<AuditEvent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Records what fails.
#[derive(Debug)]
pub struct AuditTrail {
    store: Arc<dyn Store>,
    /// The attempts of this minute.
    minute: Mutex<Option<Minute>>,
}

/// When a minute began, and how many attempts it has had by each user; `None`: by callers of whom nobody is known.
#[derive(Debug)]
struct Minute {
    began: Instant,
    attempts: HashMap<Option<UserId>, u32>,
}

impl AuditTrail {
    /// In this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, minute: Mutex::new(None) }
    }

    /// Answers a call, and records that it failed if it does.
    pub async fn answer<M, T, F>(
        &self,
        action: AuditAction,
        mut request: Request<M>,
        work: impl FnOnce(Request<M>) -> F + Send,
    ) -> Result<Response<T>, Status>
    where
        F: Future<Output = Result<T, ServiceError>> + Send,
    {
        let known = Known::of(Call::of(&request).event(action));
        request.extensions_mut().insert(known.clone());
        match work(request).await {
            Ok(answer) => Ok(Response::new(answer)),
            Err(error) => {
                let is_attempt = is_attempt(&error);
                let status = Status::from(error);
                if let Some(event) = known.take().filter(|_| is_attempt) {
                    self.record_failure(event, &status).await;
                }
                Err(status)
            }
        }
    }

    /// Records that something failed with this.
    pub async fn record_failure(&self, event: AuditEvent, status: &Status) {
        if let Some(reason) = reason_of(status) {
            self.record(event.failed(reason)).await;
        }
    }

    /// Records what changed nothing, or failed. That it can't be recorded changes no answer: nothing has happened.
    pub async fn record(&self, event: AuditEvent) {
        // Guesses of passwords are throttled before this.
        let is_throttled = matches!(event.action, AuditAction::SignIn | AuditAction::CompletePasswordReset);
        if event.failure.is_some() && !is_throttled && !self.has_room_for(event.actor.as_ref(), Instant::now()) {
            return;
        }
        if let Err(error) = self.store.record_event(event).await {
            tracing::warn!(%error, "an attempt was not recorded in the audit log");
        }
    }

    fn has_room_for(&self, actor: Option<&UserId>, now: Instant) -> bool {
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        let Minute { attempts, .. } = match &mut *minute {
            Some(minute) if now.saturating_duration_since(minute.began) < Duration::from_secs(60) => minute,
            minute => minute.insert(Minute { began: now, attempts: HashMap::new() }),
        };
        if attempts.len() >= MOST_COUNTED_USERS && !attempts.contains_key(&actor.cloned()) {
            return false;
        }
        let count = attempts.entry(actor.cloned()).or_default();
        *count = count.saturating_add(1);
        *count <= if actor.is_some() { MOST_OF_A_USER_IN_A_MINUTE } else { MOST_UNKNOWN_IN_A_MINUTE }
    }
}

/// Whether a failure is somebody's attempt: what is throttled has not been tried, and a server that can't work is nobody's.
pub fn is_attempt(error: &ServiceError) -> bool {
    !matches!(
        error,
        ServiceError::Throttled { .. }
            | ServiceError::Crowded { .. }
            | ServiceError::Hashing(_)
            | ServiceError::StoreFailed(_)
            | ServiceError::IssuerUnavailable { .. }
            | ServiceError::NotBuilt(_)
            | ServiceError::Defect(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::UserId;
    use crate::store::clock::Clock;
    use crate::store::sqlite::SqliteStore;
    use crate::store::{AuditQuery, AuditRange, StoreLimits};

    fn trail() -> AuditTrail {
        let clock = Clock::fixed(1_700_000_000_000).0;
        AuditTrail::new(Arc::new(SqliteStore::in_memory(StoreLimits::default(), clock).unwrap()))
    }

    async fn recorded(trail: &AuditTrail) -> Vec<AuditEvent> {
        let query = AuditQuery { user: None, action: None, range: AuditRange::Newest, limit: 500 };
        trail.store.audit_events(&query).await.unwrap().events.into_iter().map(|recorded| recorded.event).collect()
    }

    async fn fail(trail: &AuditTrail, actor: Option<&UserId>, error: ServiceError) {
        let work = |request: Request<()>| async move {
            if let Some(known) = Call::of(&request).known {
                known.add(|event| AuditEvent { actor: actor.cloned(), ..event });
            }
            Err::<(), _>(error)
        };
        trail.answer(AuditAction::DisableUser, Request::new(()), work).await.unwrap_err();
    }

    #[tokio::test]
    async fn what_fails_is_recorded_with_who_it_was_and_what_has_not_been_tried_is_not() {
        let (trail, ada) = (trail(), UserId::parse("0123456789abcdef").unwrap());
        fail(&trail, Some(&ada), ServiceError::UserNotFound).await;
        fail(&trail, Some(&ada), ServiceError::Throttled { retry_after: Duration::ZERO }).await;
        fail(&trail, Some(&ada), ServiceError::defect("broken")).await;
        trail.answer(AuditAction::ListUsers, Request::new(()), |_| async { Ok(()) }).await.unwrap();
        let [event] = <[AuditEvent; 1]>::try_from(recorded(&trail).await).unwrap();
        assert_eq!((event.action, event.actor.as_ref()), (AuditAction::DisableUser, Some(&ada)));
        assert_eq!(event.failure, Some(shared::ErrorReason::UserNotFound));
    }

    #[tokio::test]
    async fn so_many_attempts_a_minute_are_recorded_of_one_user_and_of_all_of_whom_nobody_is_known() {
        let (trail, ada) = (trail(), UserId::parse("0123456789abcdef").unwrap());
        for _ in 0..MOST_UNKNOWN_IN_A_MINUTE + 20 {
            fail(&trail, None, ServiceError::UserNotFound).await;
        }
        assert_eq!(recorded(&trail).await.len(), MOST_UNKNOWN_IN_A_MINUTE as usize);
        fail(&trail, Some(&ada), ServiceError::UserNotFound).await;
        assert_eq!(recorded(&trail).await.len(), MOST_UNKNOWN_IN_A_MINUTE as usize + 1);
        for _ in 0..MOST_OF_A_USER_IN_A_MINUTE + 20 {
            fail(&trail, Some(&ada), ServiceError::UserNotFound).await;
        }
        let most = (MOST_UNKNOWN_IN_A_MINUTE + MOST_OF_A_USER_IN_A_MINUTE) as usize;
        assert_eq!(recorded(&trail).await.len(), most);
        let eve = UserId::parse("fedcba9876543210").unwrap();
        fail(&trail, Some(&eve), ServiceError::UserNotFound).await;
        assert_eq!(recorded(&trail).await.len(), most + 1);
        let now = Instant::now();
        assert!(!trail.has_room_for(None, now) && trail.has_room_for(None, now + Duration::from_secs(61)));
    }
}

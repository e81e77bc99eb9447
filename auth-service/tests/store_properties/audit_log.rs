//! Random audit events and lists of them, compared with two plain lists.

use std::cell::Cell;
use std::sync::Arc;

use auth_service::ids::UserId;
use auth_service::store::clock::Clock;
use auth_service::store::redis::{RedisOptions, RedisStore};
use auth_service::store::sqlite::SqliteStore;
use auth_service::store::{AuditAction, AuditEvent, AuditPosition, AuditQuery, AuditRange, Store, StoreLimits};
use proptest::prelude::*;
use shared::ErrorReason;
use tokio::runtime::Runtime;

use crate::fixture::{RedisServer, START_MS};
use crate::{LIMITS, current_thread};

/// More events are kept than these operations record, so that none is displaced while a list is read.
const ALL_ARE_KEPT: StoreLimits = StoreLimits { max_audit_changes: 1000, max_audit_attempts: 1000, ..LIMITS };

#[derive(Debug, Clone)]
enum Operation {
    Record {
        failed: bool,
        action: AuditAction,
        actor: Option<u8>,
        subject: Option<u8>,
    },
    /// All of it, newest first; behind each page, something is recorded.
    List {
        action: Option<AuditAction>,
        user: Option<u8>,
        limit: u32,
        meanwhile: Vec<bool>,
    },
    /// What came since the last time, oldest first.
    Follow {
        limit: u32,
    },
}

fn action() -> impl Strategy<Value = AuditAction> {
    prop_oneof![Just(AuditAction::SignIn), Just(AuditAction::SignUp), Just(AuditAction::DisableUser)]
}

fn operation() -> impl Strategy<Value = Operation> {
    let user = || proptest::option::of(0..3_u8);
    let record = (any::<bool>(), action(), user(), user()).prop_map(|(failed, action, actor, subject)| Operation::Record {
        failed,
        action,
        actor,
        subject,
    });
    let list = (proptest::option::of(action()), user(), 1..6_u32, proptest::collection::vec(any::<bool>(), 0..4))
        .prop_map(|(action, user, limit, meanwhile)| Operation::List { action, user, limit, meanwhile });
    prop_oneof![6 => record, 2 => list, 2 => (1..6_u32).prop_map(|limit| Operation::Follow { limit })]
}

/// What was recorded of each kind, in order. Each event has a number of its own in its detail.
#[derive(Default)]
struct Model {
    changes: Vec<AuditEvent>,
    attempts: Vec<AuditEvent>,
    followed: (Vec<AuditEvent>, Vec<AuditEvent>),
    position: AuditPosition,
}

fn user(number: u8) -> UserId {
    UserId::parse(&format!("000000000000000{number}")).unwrap()
}

/// Which of these are of each kind.
fn split(events: Vec<AuditEvent>) -> (Vec<AuditEvent>, Vec<AuditEvent>) {
    events.into_iter().partition(|event| event.failure.is_none())
}

impl Model {
    async fn record(&mut self, store: &dyn Store, failed: bool, event: AuditEvent) {
        let event = AuditEvent { detail: format!("{}", self.changes.len() + self.attempts.len()), ..event };
        let event = if failed { event.failed(ErrorReason::LoginFailed) } else { event };
        store.record_event(event.clone()).await.unwrap();
        if failed { self.attempts.push(event) } else { self.changes.push(event) }
    }

    async fn apply(&mut self, store: &dyn Store, operation: &Operation) {
        match operation.clone() {
            Operation::Record { failed, action, actor, subject } => {
                let event = AuditEvent { actor: actor.map(user), subject: subject.map(user), ..AuditEvent::new(action) };
                self.record(store, failed, event).await;
            }
            Operation::List { action, user: of, limit, meanwhile } => {
                let is_asked_for = |event: &&AuditEvent| {
                    let is_of = |user: UserId| [&event.actor, &event.subject].contains(&&Some(user));
                    action.is_none_or(|action| event.action == action) && of.is_none_or(|number| is_of(user(number)))
                };
                let expected = |events: &[AuditEvent]| events.iter().rev().filter(is_asked_for).cloned().collect::<Vec<_>>();
                let expected = (expected(&self.changes), expected(&self.attempts));
                let mut query = AuditQuery { user: of.map(user), action, range: AuditRange::Newest, limit };
                let (mut listed, mut meanwhile) = (Vec::new(), meanwhile.into_iter());
                loop {
                    let page = store.audit_events(&query).await.unwrap();
                    assert!(page.events.len() <= limit as usize);
                    listed.extend(page.events.into_iter().map(|recorded| recorded.event));
                    if let Some(failed) = meanwhile.next() {
                        self.record(store, failed, AuditEvent::new(AuditAction::SignIn)).await;
                    }
                    let Some(next) = page.next else { break };
                    query.range = next;
                }
                assert_eq!(split(listed), expected);
            }
            Operation::Follow { limit } => {
                loop {
                    let query = AuditQuery { user: None, action: None, range: AuditRange::After(self.position), limit };
                    let page = store.audit_events(&query).await.unwrap();
                    let (changes, attempts) = split(page.events.into_iter().map(|recorded| recorded.event).collect());
                    self.followed.0.extend(changes);
                    self.followed.1.extend(attempts);
                    self.position = page.newest;
                    if page.next.is_none() {
                        break;
                    }
                }
                assert_eq!((&self.followed.0, &self.followed.1), (&self.changes, &self.attempts), "each once, in its order");
            }
        }
    }
}

fn agrees_with_the_model(runtime: &Runtime, open: impl AsyncFn(u32) -> Arc<dyn Store>) {
    let cases = Cell::new(0);
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(operations in proptest::collection::vec(operation(), 1..40))| {
        cases.set(cases.get() + 1);
        runtime.block_on(async {
            let (store, mut model) = (open(cases.get()).await, Model::default());
            for operation in &operations {
                model.apply(&*store, operation).await;
            }
        });
    });
}

#[test]
fn sqlite_lists_every_audit_event_once_in_both_directions_while_others_are_recorded() {
    let store = async |_| {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::in_memory(ALL_ARE_KEPT, Clock::fixed(START_MS).0).unwrap());
        store
    };
    agrees_with_the_model(&current_thread(), store);
}

#[test]
fn redis_lists_every_audit_event_once_in_both_directions_while_others_are_recorded() {
    let server = RedisServer::start(&["--appendfsync", "no"]);
    let store = async |number| {
        let options = RedisOptions { clock: Clock::fixed(START_MS).0, key_prefix: format!("case{number}"), ..RedisOptions::default() };
        let store: Arc<dyn Store> = Arc::new(RedisStore::connect(&server.url(), ALL_ARE_KEPT, options).await.unwrap());
        store
    };
    agrees_with_the_model(&current_thread(), store);
}

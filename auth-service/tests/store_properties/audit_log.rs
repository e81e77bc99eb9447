//! Random audit events and lists of them, compared with three plain lists.

use auth_service::ids::UserId;
use auth_service::store::{AuditAction, AuditEvent, AuditPosition, AuditQuery, AuditRange, Store};
use proptest::prelude::*;
use shared::ErrorReason;

use crate::new_stores::{on_redis, on_sqlite};

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
    kinds: [Vec<AuditEvent>; 3],
    followed: [Vec<AuditEvent>; 3],
    position: AuditPosition,
}

fn user(number: u8) -> UserId {
    UserId::parse(&format!("000000000000000{number}")).unwrap()
}

/// Which of the lists it belongs in: of what users changed, of what operators did, or of what failed.
fn kind(event: &AuditEvent) -> usize {
    match (&event.failure, event.action) {
        (Some(_), _) => 2,
        (None, AuditAction::DisableUser) => 1,
        (None, _) => 0,
    }
}

fn split(events: Vec<AuditEvent>) -> [Vec<AuditEvent>; 3] {
    let mut kinds = <[Vec<AuditEvent>; 3]>::default();
    for event in events {
        kinds[kind(&event)].push(event);
    }
    kinds
}

impl Model {
    async fn record(&mut self, store: &dyn Store, failed: bool, event: AuditEvent) {
        let event = AuditEvent { detail: self.kinds.concat().len().to_string(), ..event };
        let event = if failed { event.failed(ErrorReason::LoginFailed) } else { event };
        store.record_event(event.clone()).await.unwrap();
        self.kinds[kind(&event)].push(event);
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
                let expected = self.kinds.each_ref().map(|events| events.iter().rev().filter(is_asked_for).cloned().collect::<Vec<_>>());
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
                    let page_of = split(page.events.into_iter().map(|recorded| recorded.event).collect());
                    for (followed, events) in self.followed.iter_mut().zip(page_of) {
                        followed.extend(events);
                    }
                    self.position = page.newest;
                    if page.next.is_none() {
                        break;
                    }
                }
                assert_eq!(self.followed, self.kinds, "each once, in its order");
            }
        }
    }
}

async fn agree_with_the_model(store: &dyn Store, operations: &[Operation]) {
    let mut model = Model::default();
    for operation in operations {
        model.apply(store, operation).await;
    }
}

#[test]
fn sqlite_lists_every_audit_event_once_in_both_directions_while_others_are_recorded() {
    on_sqlite(operation(), agree_with_the_model);
}

#[test]
fn redis_lists_every_audit_event_once_in_both_directions_while_others_are_recorded() {
    on_redis(operation(), agree_with_the_model);
}

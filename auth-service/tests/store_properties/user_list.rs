//! Random users, changes of their states, and lists of them, compared with a plain map.

use std::collections::BTreeMap;

use auth_service::ids::UserId;
use auth_service::store::{StateFilter, Store, UserCreation, UserQuery};
use proptest::prelude::*;

use crate::fixture::{event, new_user};
use crate::new_stores::{on_redis, on_sqlite};

#[derive(Debug, Clone)]
enum Operation {
    Create {
        name: String,
    },
    Disable {
        nth: usize,
        disabled: bool,
    },
    Lock {
        nth: usize,
        locked: bool,
    },
    /// From the first page to the last, and meanwhile a user is made.
    List {
        prefix: String,
        state: Option<StateFilter>,
        limit: u32,
        added: Option<String>,
    },
}

/// Few characters, those of a name that sort first and last among them: many names begin with others.
fn name() -> impl Strategy<Value = String> {
    "[a0-][az_.0-]{2,4}"
}

fn operation() -> impl Strategy<Value = Operation> {
    let state = proptest::option::of(prop_oneof![Just(StateFilter::Enabled), Just(StateFilter::Disabled), Just(StateFilter::Locked)]);
    let list = ("[a0-]{0,1}[az_.0-]{0,2}", state, 1..6_u32, proptest::option::of(name()));
    prop_oneof![
        5 => name().prop_map(|name| Operation::Create { name }),
        2 => (0..20_usize, any::<bool>()).prop_map(|(nth, disabled)| Operation::Disable { nth, disabled }),
        2 => (0..20_usize, any::<bool>()).prop_map(|(nth, locked)| Operation::Lock { nth, locked }),
        3 => list.prop_map(|(prefix, state, limit, added)| Operation::List { prefix, state, limit, added }),
    ]
}

#[derive(Debug, Default)]
struct Model(BTreeMap<String, Person>);

#[derive(Debug)]
struct Person {
    id: UserId,
    disabled: bool,
    locked: bool,
}

impl Model {
    async fn create(&mut self, store: &dyn Store, name: &str) {
        let user = new_user(name, 0);
        let id = user.user_id.clone();
        match store.create_user(user, event()).await.unwrap() {
            UserCreation::Created(_) => {
                assert!(self.0.insert(name.to_owned(), Person { id, disabled: false, locked: false }).is_none(), "{name} is made twice")
            }
            UserCreation::NameTaken => assert!(self.0.contains_key(name), "{name} is taken by nobody"),
            UserCreation::NameInProgress { .. } => panic!("nobody else makes {name}"),
        }
    }

    fn nth(&mut self, nth: usize) -> Option<&mut Person> {
        let count = self.0.len().max(1);
        self.0.values_mut().nth(nth % count)
    }

    fn expected(&self, prefix: &str, state: Option<StateFilter>) -> Vec<String> {
        let is_in = |person: &Person| match state {
            None => true,
            Some(StateFilter::Enabled) => !person.disabled && !person.locked,
            Some(StateFilter::Disabled) => person.disabled,
            Some(StateFilter::Locked) => person.locked && !person.disabled,
        };
        let found = self.0.iter().filter(|(name, person)| name.starts_with(prefix) && is_in(person));
        found.map(|(name, _)| name.clone()).collect()
    }

    async fn apply(&mut self, store: &dyn Store, operation: &Operation) {
        match operation {
            Operation::Create { name } => self.create(store, name).await,
            Operation::Disable { nth, disabled } => {
                let Some(person) = self.nth(*nth) else { return };
                store.set_disabled(&person.id, *disabled, "", event()).await.unwrap();
                person.disabled = *disabled;
            }
            Operation::Lock { nth, locked } => {
                let Some(person) = self.nth(*nth) else { return };
                store.set_locked(&person.id, *locked, "", event()).await.unwrap();
                person.locked = *locked;
            }
            Operation::List { prefix, state, limit, added } => {
                let mut query = UserQuery { prefix: prefix.clone(), state: *state, after: None, limit: *limit };
                let before = self.expected(prefix, *state);
                let mut listed = Vec::new();
                let mut added = added.as_ref();
                loop {
                    let page = store.users(&query).await.unwrap();
                    assert!(page.users.len() <= *limit as usize);
                    listed.extend(page.users.iter().map(|user| user.user_name.to_string()));
                    if let Some(name) = added.take() {
                        self.create(store, name).await;
                    }
                    let Some(next) = page.next else { break };
                    query.after = Some(next);
                }
                let now = self.expected(prefix, *state);
                assert!(listed.is_sorted_by(|a, b| a < b), "in their order and each once: {listed:?}");
                assert!(before.iter().all(|name| listed.contains(name)), "{before:?} are in {listed:?}");
                assert!(listed.iter().all(|name| now.contains(name)), "{listed:?} are in {now:?}");
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
fn sqlite_lists_the_users_that_there_are_in_the_order_of_their_names() {
    on_sqlite(operation(), agree_with_the_model);
}

#[test]
fn redis_lists_the_users_that_there_are_in_the_order_of_their_names() {
    on_redis(operation(), agree_with_the_model);
}

//! Users, grants and the ledger.

use auth_service::ids::{AccountId, UserId};
use auth_service::store::{
    Balance, EntryKind, GrantAnswer, GrantRequest, LedgerPage, NewUser, STARTING_GRANT_NOTE, StoreError, UserCreation,
};
use auth_service::user::UserName;
use shared::ledger::MAX_CREDITS;

use crate::fixture::{Fixture, Person, event, new_user};

pub(crate) async fn a_user_is_found_by_name_and_by_id(f: Fixture) {
    let user = new_user("Ada.L", 10);
    let UserCreation::Created(made) = f.store.create_user(user.clone(), event()).await.unwrap() else { panic!("taken") };
    assert_eq!(made.user_id, user.user_id);
    assert_eq!(made.full_name, "Ada Lovelace");
    assert_eq!(made.created_at_ms, f.now_ms());
    assert!(!made.disabled);
    assert_eq!(f.store.user_by_name(&UserName::parse("ada.l").unwrap()).await.unwrap(), Some(made.clone()));
    assert_eq!(f.store.user_by_id(&user.user_id).await.unwrap(), Some(made));
}

pub(crate) async fn a_user_starts_with_their_credits_and_one_ledger_entry(f: Fixture) {
    let ada = f.person("ada", 10).await;
    let snapshot = f.snapshot(&ada).await;
    assert_eq!(snapshot.balance, Balance { available: 10, granted: 10, ..Balance::default() });
    assert_eq!(snapshot.ledger.len(), 1);
    assert_eq!(snapshot.ledger[0].kind, EntryKind::Grant);
    assert_eq!((snapshot.ledger[0].credits, snapshot.ledger[0].available), (10, 10));
    assert_eq!(snapshot.ledger[0].note, STARTING_GRANT_NOTE);
    assert_eq!(snapshot.ledger[0].user_id, ada.id);
    assert_eq!(f.store.balance(&ada.account).await.unwrap(), Some(snapshot.balance));
}

pub(crate) async fn a_user_without_starting_credits_has_an_empty_ledger(f: Fixture) {
    let ada = f.person("ada", 0).await;
    let snapshot = f.snapshot(&ada).await;
    assert_eq!(snapshot.balance, Balance::default());
    assert_eq!(snapshot.ledger, []);
}

pub(crate) async fn a_name_belongs_to_one_user(f: Fixture) {
    f.person("ada", 10).await;
    let second = new_user("ADA", 10);
    assert_eq!(f.store.create_user(second.clone(), event()).await.unwrap(), UserCreation::NameTaken);
    f.advance(std::time::Duration::from_secs(3600));
    assert_eq!(f.store.create_user(second.clone(), event()).await.unwrap(), UserCreation::NameTaken);
    assert_eq!(f.store.user_by_id(&second.user_id).await.unwrap(), None);
    assert_eq!(f.store.balance(&AccountId::from(&second.user_id)).await.unwrap(), None);
}

pub(crate) async fn of_many_users_of_one_name_at_once_one_is_made(f: Fixture) {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let store = f.store.clone();
        tasks.spawn(async move { store.create_user(new_user("ada", 10), event()).await.unwrap() });
    }
    let made = tasks.join_all().await.into_iter().filter(|creation| matches!(creation, UserCreation::Created(_))).count();
    assert_eq!(made, 1);
}

pub(crate) async fn a_password_hash_is_replaced_only_if_it_is_the_one_that_was_read(f: Fixture) {
    let user = NewUser { password_hash: "old".to_owned(), ..new_user("ada", 0) };
    f.store.create_user(user.clone(), event()).await.unwrap();
    f.store.replace_password_hash(&user.user_id, "other", "new").await.unwrap();
    assert_eq!(f.store.user_by_id(&user.user_id).await.unwrap().unwrap().password_hash, "old");
    f.store.replace_password_hash(&user.user_id, "old", "new").await.unwrap();
    f.store.replace_password_hash(&user.user_id, "old", "new").await.unwrap();
    assert_eq!(f.store.user_by_id(&user.user_id).await.unwrap().unwrap().password_hash, "new");
}

pub(crate) async fn nothing_is_known_of_an_unknown_user_or_account(f: Fixture) {
    let id = UserId::random().unwrap();
    let account = AccountId::from(&id);
    assert_eq!(f.store.user_by_id(&id).await.unwrap(), None);
    assert_eq!(f.store.user_by_name(&UserName::parse("nobody").unwrap()).await.unwrap(), None);
    f.store.replace_password_hash(&id, "old", "new").await.unwrap();
    assert_eq!(f.store.set_disabled(&id, true, "", event()).await.unwrap(), None);
    assert_eq!(f.store.balance(&account).await.unwrap(), None);
    assert_eq!(f.store.snapshot(&account).await.unwrap(), None);
    assert_eq!(f.store.api_keys(&account).await.unwrap(), []);
    assert_eq!(f.store.ledger_entries(&account, None, 10).await.unwrap(), LedgerPage::default());
    assert_eq!(f.store.receipt(&account, &id, "r").await.unwrap(), None);
    assert_eq!(f.store.grant(grant(&Person { id, account }, 1, "g"), event()).await.unwrap(), GrantAnswer::NotFound);
}

fn grant(person: &Person, credits: i64, request_id: &str) -> GrantRequest {
    GrantRequest {
        account: person.account.clone(),
        credits,
        request_id: request_id.to_owned(),
        note: "thank you, 100 % \"really\"".to_owned(),
        granted_by: person.id.clone(),
    }
}

pub(crate) async fn a_grant_is_made_once_per_request_id(f: Fixture) {
    let ada = f.person("ada", 10).await;
    let after = Balance { available: 15, granted: 15, ..Balance::default() };
    assert_eq!(f.store.grant(grant(&ada, 5, "g 1"), event()).await.unwrap(), GrantAnswer::Granted { entry: 2, balance: after });
    assert_eq!(f.store.grant(grant(&ada, 5, "g 1"), event()).await.unwrap(), GrantAnswer::Replayed { entry: 2, balance: after });
    assert_eq!(f.store.grant(grant(&ada, 6, "g 1"), event()).await.unwrap(), GrantAnswer::RequestIdReused);
    assert_eq!(
        f.store.grant(grant(&ada, 6, "g 2"), event()).await.unwrap(),
        GrantAnswer::Granted { entry: 3, balance: Balance { available: 21, granted: 21, ..Balance::default() } }
    );
    let snapshot = f.snapshot(&ada).await;
    assert_eq!(snapshot.ledger[1].note, "thank you, 100 % \"really\"");
    assert_eq!(snapshot.ledger[1].request_id, "g 1");
    assert_eq!(snapshot.ledger[1].usage, None);
}

pub(crate) async fn a_grant_above_the_largest_figure_is_refused(f: Fixture) {
    let ada = f.person("ada", 1).await;
    assert_eq!(f.store.grant(grant(&ada, MAX_CREDITS, "g"), event()).await.unwrap(), GrantAnswer::TooMuch);
    let GrantAnswer::Granted { balance, .. } = f.store.grant(grant(&ada, MAX_CREDITS - 1, "g"), event()).await.unwrap() else {
        panic!("refused")
    };
    assert_eq!(balance.available, MAX_CREDITS);
    assert_eq!(f.store.grant(grant(&ada, 1, "h"), event()).await.unwrap(), GrantAnswer::TooMuch);
    f.snapshot(&ada).await;
}

pub(crate) async fn grants_that_are_none_write_nothing(f: Fixture) {
    let ada = f.person("ada", 10).await;
    let before = f.snapshot(&ada).await;
    for credits in [0, -5, MAX_CREDITS + 1] {
        assert!(matches!(f.store.grant(grant(&ada, credits, "g"), event()).await, Err(StoreError::Corrupt(_))));
    }
    assert_eq!(f.snapshot(&ada).await, before);
}

pub(crate) async fn the_ledger_is_paged_from_the_newest(f: Fixture) {
    let ada = f.person("ada", 1).await;
    for i in 2..=7 {
        f.store.grant(grant(&ada, i, &format!("g{i}")), event()).await.unwrap();
    }
    let page = async |before, limit| -> Vec<u64> {
        f.store.ledger_entries(&ada.account, before, limit).await.unwrap().entries.into_iter().map(|entry| entry.entry).collect()
    };
    assert_eq!(page(None, 3).await, [7, 6, 5]);
    assert_eq!(page(Some(5), 3).await, [4, 3, 2]);
    assert_eq!(page(Some(2), 3).await, [1]);
    assert_eq!(page(Some(1), 3).await, [0; 0]);
    assert_eq!(page(Some(0), 3).await, [0; 0]);
    assert_eq!(page(Some(u64::MAX), 1).await, [7]);
    assert_eq!(page(None, 0).await, [0; 0]);
    let mut all = f.store.ledger_entries(&ada.account, None, 100).await.unwrap().entries;
    all.reverse();
    assert_eq!(all, f.snapshot(&ada).await.ledger);
}

pub(crate) async fn the_store_answers_a_ping(f: Fixture) {
    f.store.ping().await.unwrap();
}

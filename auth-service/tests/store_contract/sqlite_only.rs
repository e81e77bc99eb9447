//! What only a file can show.

use std::task::{Context, Waker};

use auth_service::hold::Outcome;
use auth_service::store::clock::Clock;
use auth_service::store::sqlite::SqliteStore;
use auth_service::store::{CheckAnswer, Store, StoreError, StoreOpenError};

use crate::fixture::{Fixture, Home, by_token, event, new_user, one_credit, sqlite_file, used};
use crate::limits;

pub(crate) fn file(f: &Fixture) -> std::path::PathBuf {
    match &f.home {
        Home::Sqlite(folder) => sqlite_file(folder.path()),
        Home::Redis(_) => panic!("not SQLite"),
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_files_are_readable_by_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let f = Fixture::sqlite(limits()).await;
    f.person("ada", 10).await;
    let folder = file(&f).parent().unwrap().to_owned();
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
        files += 1;
    }
    assert!(files >= 2, "the file and its log");
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let f = Fixture::sqlite(limits()).await;
    let ada = f.person("ada", 20).await;
    let held = f.hold(&ada, by_token("r", "a")).await;
    let before = f.snapshot(&ada).await;
    let path = file(&f);
    let Fixture { store, home, hand, .. } = f;
    drop(store);
    let again = SqliteStore::open(&path, limits(), Clock::Fixed(hand)).unwrap();
    assert_eq!(again.snapshot(&ada.account).await.unwrap(), Some(before));
    again.settle(&held.terms, Outcome::Completed, used(1)).await.unwrap();
    drop(again);
    drop(home);
}

#[tokio::test]
async fn a_second_process_may_write_the_same_file() {
    let f = Fixture::sqlite(limits()).await;
    let ada = f.person("ada", 20).await;
    let second = SqliteStore::open(&file(&f), limits(), Clock::Store).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..20 {
        let (store, request) = (f.store.clone(), f.request(&ada, Some(by_token(&format!("r{i}"), "a"))));
        tasks.spawn(async move { store.check(request).await.map(|_| ()) });
    }
    for i in 0..10 {
        second.create_user(new_user(&format!("user{i}"), 1), event()).await.unwrap();
    }
    for result in tasks.join_all().await {
        result.unwrap();
    }
    f.snapshot(&ada).await;
}

#[tokio::test]
async fn callers_that_go_away_leave_the_others_of_their_transaction_their_answers() {
    let f = Fixture::sqlite(limits()).await;
    let ada = f.person("ada", 40).await;
    let check = |i: u32| {
        let (store, request) = (f.store.clone(), f.request(&ada, Some(one_credit(&format!("r{i}"), "a"))));
        async move { store.check(request).await }
    };
    let mut stay = tokio::task::JoinSet::new();
    for i in 0..30 {
        if i % 3 == 0 {
            // Asks, and doesn't wait. (It may be answered at once.)
            let _ = Box::pin(check(i)).as_mut().poll(&mut Context::from_waker(Waker::noop()));
        } else {
            stay.spawn(check(i));
        }
    }
    for answer in stay.join_all().await {
        assert!(matches!(answer, Ok(CheckAnswer::Held(..))), "{answer:?}");
    }
    // What was asked happened, whether or not anybody waited.
    assert_eq!(f.snapshot(&ada).await.open.len(), 30);
}

#[tokio::test]
async fn a_file_that_is_none_of_ours_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "these are notes, and no database at all; they go on and on".repeat(100)).unwrap();
    let refused = SqliteStore::open(&path, limits(), Clock::Store);
    assert!(matches!(refused, Err(StoreOpenError::Unusable(_))), "{refused:?}");
    let refused = SqliteStore::open(&folder.path().join("missing").join("file"), limits(), Clock::Store);
    assert!(matches!(refused, Err(StoreOpenError::Unusable(_))), "{refused:?}");
}

#[test]
fn without_a_runtime_that_answers_callers_a_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = SqliteStore::open(&sqlite_file(folder.path()), limits(), Clock::Store);
    assert!(matches!(refused, Err(StoreOpenError::Unusable(_))), "{refused:?}");
}

#[tokio::test]
async fn a_contradiction_in_what_is_stored_writes_nothing_and_spoils_nobody_elses_operation() {
    let f = Fixture::sqlite(limits()).await;
    let ada = f.person("ada", 20).await;
    let bob = f.person("bob", 20).await;
    let held = f.hold(&ada, by_token("r", "a")).await;
    let outside = rusqlite::Connection::open(file(&f)).unwrap();
    outside.execute_batch("PRAGMA ignore_check_constraints = ON").unwrap();
    outside.execute("UPDATE accounts SET held = 3 WHERE account_id = ?1", [ada.account.as_str()]).unwrap();
    let (ours, theirs) =
        tokio::join!(f.store.settle(&held.terms, Outcome::Completed, used(1)), f.store.check(f.request(&bob, Some(by_token("r", "a")))),);
    assert!(matches!(ours, Err(StoreError::Corrupt(_))), "{ours:?}");
    theirs.unwrap();
    let open: i64 = outside.query_row("SELECT count(*) FROM holds WHERE state = 0", [], |row| row.get(0)).unwrap();
    assert_eq!(open, 2);
    // The walk passes it by, and reaches the others.
    f.pass_ttl();
    assert_eq!(f.walk().await, 1);
}

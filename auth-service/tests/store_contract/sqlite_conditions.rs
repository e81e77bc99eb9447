//! A file that can't be written: each cause is told apart, and the file is used again without a restart.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use auth_service::store::clock::Clock;
use auth_service::store::sqlite::SqliteStore;
use auth_service::store::{CheckAnswer, StoreError, StoreOpenError};

use tokio::runtime::Handle;

use crate::fixture::{Fixture, by_token, sqlite_file};
use crate::limits;
use crate::sqlite_only::file;

#[tokio::test]
async fn a_file_that_somebody_else_keeps_to_himself_is_unavailable_until_he_lets_go() {
    let f = Fixture::sqlite(limits()).await;
    let ada = f.person("ada", 50).await;
    let outside = rusqlite::Connection::open(file(&f)).unwrap();
    outside.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = f.store.check(f.request(&ada, Some(by_token("r", "a")))).await;
    assert!(matches!(&refused, Err(StoreError::Unavailable(text)) if text.contains("another process")), "{refused:?}");
    assert!(!f.store.condition().works());
    outside.execute_batch("ROLLBACK").unwrap();
    assert!(matches!(f.check(&ada, by_token("r", "a")).await, CheckAnswer::Held(..)));
    f.store.ping().await.unwrap();
}

/// Opens a store as somebody who has no rights beyond those that the files give.
fn open_without_special_rights(path: &Path) -> Result<SqliteStore, StoreOpenError> {
    let (path, runtime) = (path.to_owned(), Handle::current());
    // Of a thread of its own: root's rights are given up for this one alone.
    let opening = std::thread::spawn(move || {
        if rustix::process::geteuid().is_root() {
            rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65_534)).unwrap();
        }
        let _within = runtime.enter();
        SqliteStore::open(&path, limits(), Clock::Store)
    });
    opening.join().unwrap()
}

#[tokio::test]
async fn a_file_or_folder_that_is_read_only_is_refused_at_the_start_in_words_that_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = sqlite_file(folder.path());
    drop(SqliteStore::open(&path, limits(), Clock::Store).unwrap());
    let set_mode = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    for (of_folder, of_file) in [(0o555, 0o444), (0o777, 0o444), (0o555, 0o666)] {
        set_mode(&path, of_file);
        set_mode(folder.path(), of_folder);
        let refused = open_without_special_rights(&path).unwrap_err();
        let says_what_to_do = matches!(&refused, StoreOpenError::Unusable(text) if text.contains("must be writable"));
        assert!(says_what_to_do, "{of_folder:o} {of_file:o}: {refused}");
    }
    // Where it may not even be made.
    set_mode(&path, 0o666);
    let refused = open_without_special_rights(&folder.path().join("another")).unwrap_err();
    assert!(matches!(&refused, StoreOpenError::Unusable(text) if text.contains("must be writable")), "{refused}");
    set_mode(folder.path(), 0o777);
    open_without_special_rights(&path).unwrap();
}

#[tokio::test]
async fn the_probe_writes_and_takes_no_more_room_the_second_time() {
    let f = Fixture::sqlite(limits()).await;
    f.store.ping().await.unwrap();
    let outside = rusqlite::Connection::open(file(&f)).unwrap();
    let ask = |what: &str| outside.pragma_query_value(None, what, |row| row.get::<_, i64>(0)).unwrap();
    let (pages, version) = (ask("page_count"), ask("data_version"));
    for _ in 0..20 {
        f.store.ping().await.unwrap();
    }
    assert_eq!((ask("page_count"), ask("schema_version") > 0), (pages, true));
    assert_ne!(ask("data_version"), version, "nothing was written");
    // Somebody who keeps the file from being written keeps the probe from it.
    outside.execute_batch("BEGIN IMMEDIATE").unwrap();
    let probed = tokio::time::timeout(Duration::from_secs(40), f.store.ping()).await.unwrap();
    assert!(matches!(probed, Err(StoreError::Unavailable(_))), "{probed:?}");
}

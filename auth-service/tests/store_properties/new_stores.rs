//! Random operations, each list of them on a new store: an SQLite one in memory, or a Redis under a prefix of its own.

use std::cell::Cell;
use std::fmt::Debug;
use std::sync::Arc;

use auth_service::store::Store;
use auth_service::store::clock::Clock;
use auth_service::store::redis::{RedisOptions, RedisStore};
use auth_service::store::sqlite::SqliteStore;
use proptest::prelude::*;

use crate::fixture::{RedisServer, START_MS};
use crate::{LIMITS, current_thread};

/// What 64 lists of random operations must come to, each on a new SQLite store.
pub(crate) fn on_sqlite<O: Clone + Debug>(operation: impl Strategy<Value = O>, run: impl AsyncFn(&dyn Store, &[O])) {
    let open = async |_| {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::in_memory(LIMITS, Clock::fixed(START_MS).0).unwrap());
        store
    };
    on_new_stores(operation, run, open);
}

/// The same on Redis.
pub(crate) fn on_redis<O: Clone + Debug>(operation: impl Strategy<Value = O>, run: impl AsyncFn(&dyn Store, &[O])) {
    let server = RedisServer::start(&["--appendfsync", "no"]);
    let open = async |number| {
        let options = RedisOptions { clock: Clock::fixed(START_MS).0, key_prefix: format!("case{number}"), ..RedisOptions::default() };
        let store: Arc<dyn Store> = Arc::new(RedisStore::connect(&server.url(), LIMITS, options).await.unwrap());
        store
    };
    on_new_stores(operation, run, open);
}

fn on_new_stores<O: Clone + Debug>(
    operation: impl Strategy<Value = O>,
    run: impl AsyncFn(&dyn Store, &[O]),
    open: impl AsyncFn(u32) -> Arc<dyn Store>,
) {
    let (runtime, cases) = (current_thread(), Cell::new(0));
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(operations in proptest::collection::vec(operation, 1..40))| {
        cases.set(cases.get() + 1);
        runtime.block_on(async { run(&*open(cases.get()).await, &operations).await });
    });
}

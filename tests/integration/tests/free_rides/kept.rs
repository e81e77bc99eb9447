//! How much a store keeps: read from the store itself, beside the services.

use std::path::PathBuf;

use integration::redis_server::RedisServer;

/// A store that can be looked into.
pub(crate) enum Kept {
    /// A Redis that nobody else uses.
    Redis(RedisServer),
    /// A SQLite file.
    Sqlite(PathBuf),
}

impl Kept {
    /// All that is kept, in bytes. Redis: the memory of every key. SQLite: the file, with the pages that are free in it.
    pub(crate) async fn bytes(&self) -> usize {
        match self {
            Self::Redis(server) => memory_of_all_keys(&server.url()).await,
            Self::Sqlite(file) => {
                let connection = rusqlite::Connection::open(file).unwrap();
                // What is only in the log is in the file then.
                connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
                let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, usize>(0)).unwrap();
                pragma("page_count") * pragma("page_size")
            }
        }
    }
}

async fn memory_of_all_keys(url: &str) -> usize {
    let mut redis = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut redis).await.unwrap();
    let mut memory = redis::pipe();
    for key in keys {
        // Every element is counted, and not a few of them.
        memory.cmd("MEMORY").arg("USAGE").arg(key).arg("SAMPLES").arg(0);
    }
    let sizes: Vec<Option<usize>> = memory.query_async(&mut redis).await.unwrap();
    sizes.into_iter().flatten().sum()
}

//! The thread that owns the connection. It takes operations from a bounded channel and executes those of many callers in one transaction,
//! each in a savepoint of its own, so that one commit (and its sync) pays for all of them. Callers are answered after the commit, by a task
//! of their runtime: it is woken up once for all of them, and wakes them up from within, which takes the next transaction no time.
//!
//! A transaction takes operations for as long as commits take on this disk. With all that wait in one transaction, a quick disk would have
//! callers and this thread wait for each other in turn; with a few, a slow one would sync more often than it must.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use shared::essential::{EssentialGuard, Essentials, Lost};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::disk::Disk;
use super::failure::StoreResult;
use super::schema;
use crate::store::{StoreError, StoreOpenError};

/// Operations that may wait for the thread; more callers wait to be let in.
const QUEUE: usize = 1024;
/// Operations that one transaction takes, at most.
const BATCH: usize = 256;
/// How long another process (`create-admin`) may keep the file to itself.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements that are kept; all of ours.
const STATEMENTS: usize = 128;
/// Memory for pages of the file.
const PAGE_CACHE_KIB: i64 = 64 * 1024;
/// Pages in the write-ahead log at which they are copied into the file, 4 KiB each. The more there are, the more of them are the same page,
/// which is copied once.
const CHECKPOINT_PAGES: i64 = 8192;

/// SQLite's name for a database in no file.
pub(super) const IN_MEMORY: &str = ":memory:";

/// Answers a caller, once it is known whether what was done is kept.
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// An operation: does its work on the connection, or is told that there will be none.
type Job = Box<dyn FnOnce(Result<&Connection, StoreError>) -> Worked + Send>;

/// What an operation leaves.
struct Worked {
    answer: Answer,
    /// Why it failed, if it did.
    failed: Option<StoreError>,
}

/// A transaction that has ended.
struct Ended {
    /// Why nothing of it is kept, if so.
    broken: Option<StoreError>,
    answers: Vec<Answer>,
}

/// The thread's handle. Dropping it ends the thread after what is queued.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    disk: Arc<Disk>,
    essentials: Essentials,
}

impl Writer {
    /// Opens the file, brings its schema up, and starts the thread. `runtime`: where callers are answered.
    pub(super) fn start(path: &Path, runtime: &Handle) -> Result<Self, StoreOpenError> {
        let (disk, essentials) = (Arc::new(Disk::of(path)), Essentials::default());
        if path != Path::new(IN_MEMORY) {
            create_private(path).map_err(|error| disk.unmakeable(&error))?;
        }
        let connection = open(path).map_err(|error| disk.unusable(error))?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        // Unbounded: there is an answer for each operation, and these are bounded.
        let (ended, transactions) = mpsc::unbounded_channel();
        let (guard, at) = (essentials.guard("the thread that writes SQLite's file"), Arc::clone(&disk));
        let writing = move || {
            work(connection, queue, &ended, &at);
            // Nobody will ask any more.
            guard.release();
        };
        let thread = std::thread::Builder::new()
            .name("sqlite".to_owned())
            .spawn(writing)
            .map_err(|error| StoreOpenError::Unusable(error.to_string()))?;
        // Ends with the thread.
        runtime.spawn(answer_callers(transactions, essentials.guard("the task that answers for SQLite")));
        Ok(Self { jobs: Some(jobs), thread: Some(thread), disk, essentials })
    }

    /// Ready when the thread or the task has panicked: nobody will be answered any more.
    pub(super) async fn lost(&self) -> Lost {
        self.essentials.lost().await
    }

    /// Has an operation executed, and answers after its commit. `stored` is told the second part of what it gives before that, once it is
    /// stored, whether or not the caller waits for the answer.
    pub(super) async fn run<T, S, F>(&self, operation: F, stored: impl FnOnce(S) + Send + 'static) -> Result<T, StoreError>
    where
        T: Send + 'static,
        S: Send + 'static,
        F: FnOnce(&Connection) -> StoreResult<(T, S)> + Send + 'static,
    {
        let gone = || StoreError::Unavailable("the store is closed".to_owned());
        let (answer, answered) = oneshot::channel();
        let disk = Arc::clone(&self.disk);
        let job: Job = Box::new(move |connection| {
            let result = connection.and_then(|connection| in_savepoint(connection, operation).map_err(|failure| disk.explain(failure)));
            let failed = result.as_ref().err().cloned();
            let answer = move |committed: Result<(), StoreError>| {
                let result = committed.and(result).map(|(answer, also)| {
                    stored(also);
                    answer
                });
                // Nobody may be waiting any more: the operation happened all the same.
                let _ = answer.send(result);
            };
            Worked { answer: Box::new(answer), failed }
        });
        self.jobs.as_ref().ok_or_else(gone)?.send(job).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Closing the channel ends the thread's loop; the file is closed when this returns.
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn open(path: &Path) -> StoreResult<Connection> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // What savepoints set aside: as a file it is written for every page of every operation.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -PAGE_CACHE_KIB)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // A plan that depends on bound values is made anew each time they change: for every call, of each statement that asks what is due.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    schema::bring_up(&mut connection)?;
    Ok(connection)
}

/// Creates the file so that its owner alone may read it. SQLite gives the files beside it the same mode.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(|_| ())
}

/// Answers the callers of transactions that have ended.
async fn answer_callers(mut transactions: mpsc::UnboundedReceiver<Ended>, guard: EssentialGuard) {
    while let Some(Ended { broken, answers }) = transactions.recv().await {
        for answer in answers {
            answer(broken.clone().map_or(Ok(()), Err));
        }
    }
    // The thread has ended.
    guard.release();
}

fn work(connection: Connection, mut queue: mpsc::Receiver<Job>, ended: &mpsc::UnboundedSender<Ended>, disk: &Disk) {
    let failure = |error: rusqlite::Error| disk.explain(error.into());
    let mut commits = CommitTime::default();
    while let Some(first) = queue.blocking_recv() {
        let (began, changes) = (Instant::now(), connection.total_changes());
        let mut answers = Vec::new();
        let mut broken = connection.execute_batch("BEGIN IMMEDIATE").map_err(failure).err();
        let mut next = Some(first);
        while let Some(job) = next {
            let worked = job(broken.clone().map_or(Ok(&connection), Err));
            answers.push(worked.answer);
            // A full disk or a failing one ends the whole transaction, whichever operation met it.
            if broken.is_none() && connection.is_autocommit() {
                broken = worked.failed.or_else(|| Some(StoreError::Unavailable("the transaction was rolled back".to_owned())));
            }
            next = if answers.len() < BATCH && began.elapsed() < commits.average { queue.try_recv().ok() } else { None };
        }
        if broken.is_none() {
            let began = Instant::now();
            broken = connection.execute_batch("COMMIT").map_err(failure).err();
            // Without a change there is nothing to sync.
            if connection.total_changes() != changes {
                commits.add(began.elapsed());
            }
        }
        if !connection.is_autocommit() {
            let _ = connection.execute_batch("ROLLBACK");
        }
        // Without the runtime there are no callers either.
        let _ = ended.send(Ended { broken, answers });
    }
}

/// How long the last commits took.
#[derive(Debug, Default)]
struct CommitTime {
    average: Duration,
}

impl CommitTime {
    /// One more; it counts an eighth.
    fn add(&mut self, took: Duration) {
        self.average = (self.average * 7 + took) / 8;
    }
}

/// Executes an operation so that an error takes back what it wrote, and nothing else. May be nested.
pub(super) fn in_savepoint<T>(connection: &Connection, operation: impl FnOnce(&Connection) -> StoreResult<T>) -> StoreResult<T> {
    connection.prepare_cached("SAVEPOINT operation")?.execute([])?;
    let result = operation(connection);
    if result.is_err() && !connection.is_autocommit() {
        connection.prepare_cached("ROLLBACK TO operation")?.execute([])?;
    }
    if !connection.is_autocommit() {
        connection.prepare_cached("RELEASE operation")?.execute([])?;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    struct File {
        writer: Writer,
        _folder: tempfile::TempDir,
    }

    impl File {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let writer = Writer::start(&folder.path().join("store"), &Handle::current()).unwrap();
            Self { writer, _folder: folder }
        }

        async fn execute(&self, sql: &'static str) -> Result<(), StoreError> {
            self.writer.run(move |connection| Ok((connection.execute_batch(sql)?, ())), |()| {}).await
        }
    }

    const FILL: &str = "CREATE TABLE IF NOT EXISTS filler (text); INSERT INTO filler VALUES (zeroblob(1000000))";

    #[tokio::test]
    async fn a_file_that_may_not_grow_is_full_for_all_of_its_transaction_until_it_may() {
        let file = File::new();
        file.execute("PRAGMA max_page_count = 1").await.unwrap();
        let (first, second) = tokio::join!(file.execute(FILL), file.execute(FILL));
        for refused in [first, second] {
            assert!(matches!(&refused, Err(StoreError::Full(text)) if text.contains("make room")), "{refused:?}");
        }
        file.execute("PRAGMA max_page_count = 1000000").await.unwrap();
        file.execute(FILL).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_became_read_only_is_told_apart_from_one_that_fails() {
        let file = File::new();
        file.execute("PRAGMA query_only = ON").await.unwrap();
        let refused = file.execute(FILL).await;
        assert!(matches!(refused, Err(StoreError::ReadOnly(_))), "{refused:?}");
    }

    #[tokio::test]
    async fn an_operation_that_panics_is_the_loss_of_the_thread_and_nobody_waits_for_ever() {
        let file = File::new();
        let answer = file.writer.run(|_| -> StoreResult<((), ())> { panic!("on purpose") }, |()| {}).await;
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
        let lost = file.writer.lost().await.to_string();
        assert!(lost.starts_with("the thread that writes SQLite's file panicked"), "{lost}");
        assert!(file.execute(FILL).await.is_err());
    }

    #[tokio::test]
    async fn a_panic_while_a_caller_is_answered_is_the_loss_of_the_task() {
        let essentials = Essentials::default();
        let (ended, transactions) = mpsc::unbounded_channel();
        let task = tokio::spawn(answer_callers(transactions, essentials.guard("the task that answers for SQLite")));
        let answer: Answer = Box::new(|_| panic!("on purpose"));
        assert!(ended.send(Ended { broken: None, answers: vec![answer] }).is_ok());
        let lost = essentials.lost().await.to_string();
        assert!(lost.starts_with("the task that answers for SQLite panicked"), "{lost}");
        assert!(task.await.is_err());
    }
}

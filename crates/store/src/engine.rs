//! The one place that knows the database engine's connections: one writer, several readers.
//!
//! A write transaction begins with `BEGIN IMMEDIATE` on the only writing connection, so writers queue in the process and never
//! dead-lock on upgrading a lock. Readers see the last commit and never wait for the writer (write-ahead log).

use crate::error::{StoreError, at};
use crate::schema;
use crate::shelf::{Shelf, Touched};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Sqlite, SqliteConnection, Transaction};
use std::io::ErrorKind;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Name of the database file in its directory.
const DATABASE_FILE: &str = "state.sqlite";
/// Connections that read at the same time.
const READERS_MAX: u32 = 4;
/// How long the engine waits for a lock that another process holds.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// How long a call waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(30);

pub(crate) struct Engine {
    file: PathBuf,
    writer: SqlitePool,
    readers: SqlitePool,
    shelf: Arc<Shelf>,
    /// Write transactions so far.
    begun: AtomicU64,
}

/// Most pages that one reading connection keeps in memory, in KiB: about 8,000 services. A small database takes what it needs.
const READER_CACHE_KIB: u32 = 16 << 10;

/// Takes the write lock at once; a transaction that took it on its first write could dead-lock with another.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// A write transaction; dropped without a commit it leaves no trace.
pub(crate) struct WriteTx {
    inner: Transaction<'static, Sqlite>,
    shelf: Arc<Shelf>,
    /// Grows with every write transaction; the order of their commits.
    number: u64,
    /// What it does to services.
    pub(crate) touched: Touched,
}

impl WriteTx {
    /// The place of this transaction in the order of commits.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Makes it last. Once begun it is carried to its end, and what it did to services to the shelf, also when nobody waits for
    /// it any more.
    pub(crate) async fn commit(self) -> Result<(), sqlx::Error> {
        if self.touched.is_empty() {
            return self.inner.commit().await;
        }
        let commit = tokio::spawn(async move {
            self.shelf.committing();
            let ended = self.inner.commit().await;
            let touched = ended.is_ok().then_some(self.touched);
            self.shelf.committed(self.number, touched);
            ended
        });
        match commit.await {
            Ok(ended) => ended,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime goes away, and this task with it: nobody is told an end that is not known.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Deref for WriteTx {
    type Target = SqliteConnection;

    fn deref(&self) -> &Self::Target {
        &self.inner
    }
}

impl DerefMut for WriteTx {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.inner
    }
}

impl Engine {
    pub(crate) async fn open(dir: &Path) -> Result<Engine, StoreError> {
        let doing = "open the state database";
        let file = dir.join(DATABASE_FILE);
        database_file_prepare(&file)?;
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .busy_timeout(LOCK_WAIT)
            .foreign_keys(true)
            // What is deleted or overwritten is not left to be read in free pages.
            .pragma("secure_delete", "ON")
            .synchronous(SqliteSynchronous::Full);
        let writer = pool(1)
            .connect_with(options.clone().journal_mode(SqliteJournalMode::Wal))
            .await
            .map_err(at(doing))?;
        schema::check(&writer).await?;
        schema::migrate(&writer).await?;
        let reading = options
            .pragma("query_only", "ON")
            .pragma("cache_size", format!("-{READER_CACHE_KIB}"));
        let readers = pool(READERS_MAX).connect_lazy_with(reading);
        Ok(Engine {
            file,
            writer,
            readers,
            shelf: Arc::default(),
            begun: AtomicU64::new(0),
        })
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Services in memory.
    pub(crate) fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    pub(crate) fn reader(&self) -> &SqlitePool {
        &self.readers
    }

    /// Begins a write transaction when the ones before are done.
    ///
    /// When a disk is full SQLite itself rolls back, the client's own rollback then fails, and the client goes on counting an open
    /// transaction on that connection for ever. Such a connection is thrown away.
    pub(crate) async fn write(&self, doing: &'static str) -> Result<WriteTx, StoreError> {
        let begun = match self.writer.begin_with(BEGIN).await {
            Err(sqlx::Error::InvalidSavePointStatement) => {
                let stuck = self.writer.acquire().await.map_err(at(doing))?;
                tracing::warn!("replacing the writing connection after a failed rollback");
                stuck.close().await.map_err(at(doing))?;
                self.writer.begin_with(BEGIN).await
            }
            begun => begun,
        };
        Ok(WriteTx {
            inner: begun.map_err(at(doing))?,
            shelf: Arc::clone(&self.shelf),
            // It holds the write lock from here on: nobody else counts.
            number: self.begun.fetch_add(1, Ordering::Relaxed) + 1,
            touched: Touched::default(),
        })
    }

    /// Rewrites the file without what earlier versions left in free pages, and empties the log beside it.
    pub(crate) async fn forget_free_pages(&self) -> Result<(), StoreError> {
        for command in ["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"] {
            sqlx::query(command)
                .execute(&self.writer)
                .await
                .map_err(at("clean the state database"))?;
        }
        Ok(())
    }

    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(TURN_WAIT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

/// Makes the directory, readable by its owner alone.
pub(crate) fn prepare_dir(dir: &Path) -> Result<(), StoreError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| file_error("make the state directory", dir, &error))
}

/// Makes the file before the engine does, so that it and the files beside it are never readable by others; tries to open it for
/// writing, because the engine's own words for a read-only disk do not say so.
fn database_file_prepare(file: &Path) -> Result<(), StoreError> {
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(file)
        .map(|_| ())
        .map_err(|error| file_error("open the state database", file, &error))
}

fn file_error(doing: &'static str, path: &Path, error: &std::io::Error) -> StoreError {
    let reason = format!("{}: {error}", path.display());
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full { doing, reason },
        ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly { doing, reason },
        _ => StoreError::Other { doing, reason },
    }
}

//! The index: which groups, streams and segments there are. The events themselves are in the segments.
//!
//! A stream's numbers are kept twice: `sealed_*` counts what is in finished segments and changes only together with their rows;
//! the plain columns add what is in the tail and are brought up to date when somebody asks.

mod groups;
mod segments;
mod streams;

pub(crate) use streams::StreamQuery;

use crate::error::TelemetryError;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Sqlite, Transaction};
use std::path::Path;
use std::time::Duration;

const INDEX_FILE: &str = "index.sqlite";
/// Connections that read at the same time.
const READERS_MAX: u32 = 3;
/// How long a call waits for its turn or for another process's lock.
const WAIT: Duration = Duration::from_secs(30);
/// Version of the schema below.
const SCHEMA_VERSION: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE groups (
    id             INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    name           TEXT    NOT NULL UNIQUE,
    created_ms     INTEGER NOT NULL,
    retention_days INTEGER
) STRICT;
CREATE TABLE streams (
    id               INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    group_id         INTEGER NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    name             TEXT    NOT NULL,
    created_ms       INTEGER NOT NULL,
    sealed_bytes     INTEGER NOT NULL DEFAULT 0,
    sealed_first     INTEGER,
    sealed_last      INTEGER,
    sealed_ingestion INTEGER,
    bytes            INTEGER NOT NULL DEFAULT 0,
    first_ms         INTEGER,
    last_ms          INTEGER,
    ingestion_ms     INTEGER,
    UNIQUE (group_id, name)
) STRICT;
CREATE INDEX streams_last ON streams (group_id, coalesce(last_ms, -1), name);
CREATE TABLE segments (
    group_id   INTEGER NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    first_seq  INTEGER NOT NULL,
    last_seq   INTEGER NOT NULL,
    min_ms     INTEGER NOT NULL,
    max_ms     INTEGER NOT NULL,
    raw_bytes  INTEGER NOT NULL,
    file_bytes INTEGER NOT NULL,
    file       TEXT    NOT NULL,
    PRIMARY KEY (group_id, first_seq)
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 1;
";

/// The index database: one writing connection, several reading ones.
#[derive(Debug)]
pub(crate) struct Index {
    writer: SqlitePool,
    readers: SqlitePool,
}

type WriteTx = Transaction<'static, Sqlite>;

impl Index {
    pub async fn open(dir: &Path) -> Result<Index, TelemetryError> {
        let doing = "open it";
        let options = SqliteConnectOptions::new()
            .filename(dir.join(INDEX_FILE))
            .create_if_missing(true)
            .busy_timeout(WAIT)
            .foreign_keys(true)
            .synchronous(SqliteSynchronous::Full);
        let writing = options.clone().journal_mode(SqliteJournalMode::Wal);
        let writer = pool(1).connect_with(writing).await.map_err(at(doing))?;
        let (answer,): (String,) = sqlx::query_as("PRAGMA quick_check(1)")
            .fetch_one(&writer)
            .await
            .map_err(at(doing))?;
        if answer != "ok" {
            return Err(TelemetryError::Index {
                doing,
                reason: format!("it is damaged: {answer}"),
            });
        }
        let (version,): (i64,) = sqlx::query_as("PRAGMA user_version")
            .fetch_one(&writer)
            .await
            .map_err(at(doing))?;
        let index = Index {
            writer,
            readers: pool(READERS_MAX).connect_lazy_with(options.pragma("query_only", "ON")),
        };
        match version {
            0 => index.create_tables().await?,
            SCHEMA_VERSION => {}
            found => {
                let reason =
                    format!("it has version {found}, this program knows version {SCHEMA_VERSION}");
                return Err(TelemetryError::Index { doing, reason });
            }
        }
        Ok(index)
    }

    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    async fn create_tables(&self) -> Result<(), TelemetryError> {
        let doing = "make the tables";
        let mut tx = self.write(doing).await?;
        sqlx::raw_sql(SCHEMA)
            .execute(&mut *tx)
            .await
            .map_err(at(doing))?;
        tx.commit().await.map_err(at(doing))
    }

    /// Begins a write transaction. A connection that the client believes to be inside one after a failed rollback (the engine rolls back
    /// by itself when a disk is full) is replaced.
    async fn write(&self, doing: &'static str) -> Result<WriteTx, TelemetryError> {
        match self.writer.begin_with("BEGIN IMMEDIATE").await {
            Err(sqlx::Error::InvalidSavePointStatement) => {
                self.writer
                    .acquire()
                    .await
                    .map_err(at(doing))?
                    .close()
                    .await
                    .map_err(at(doing))?;
                self.writer
                    .begin_with("BEGIN IMMEDIATE")
                    .await
                    .map_err(at(doing))
            }
            begun => begun.map_err(at(doing)),
        }
    }
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(WAIT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

/// Turns a database error into ours, naming what was tried.
fn at(doing: &'static str) -> impl Fn(sqlx::Error) -> TelemetryError {
    move |error| TelemetryError::Index {
        doing,
        reason: error.to_string(),
    }
}

/// Times and numbers beyond the column's range are its end.
fn column(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn from_column(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// The smallest text behind all texts with this prefix, for a range over an index; none when there is none.
fn prefix_end(prefix: &str) -> Option<String> {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::prefix_end;

    #[test]
    fn the_end_of_a_prefix_is_behind_all_that_begin_so() {
        for (prefix, end) in [
            ("a", "b"),
            ("a/z", "a/{"),
            ("é", "ê"),
            ("\u{d7ff}", "\u{e000}"),
            ("a\u{10ffff}", "b"),
        ] {
            assert_eq!(prefix_end(prefix).as_deref(), Some(end));
        }
        assert_eq!(prefix_end(""), None);
        assert_eq!(prefix_end("\u{10ffff}"), None);
    }
}

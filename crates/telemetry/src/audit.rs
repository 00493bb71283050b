//! The audit file: records in the order they happened, each bound to the one before it by a hash.
//!
//! Records are lines of segments, `<hash> <JSON>`, where the hash is SHA-256 of the hash before and the JSON. The first line of a
//! segment, `apron audit 1 <hash>`, repeats the last hash of the segment before it, so that old segments can be removed and the
//! rest still be checked. A record cannot be changed, removed, added or moved without all hashes after it changing.
//!
//! One thread writes: what came while it was writing goes to the disk together, so that many who wait for their record share
//! the cost of making it durable.

mod lookup;
mod segment;
mod verify;
mod writer;

pub use lookup::{Filter, Found, Lookup, LookupPage};
pub use verify::{Verified, VerifyError, verify};

use segment::{Hash, Tail};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use writer::Progress;

/// Bytes of records that wait to be written. More are not taken: whoever wants to add one is refused.
const PENDING_BYTES_MAX: usize = 32 << 20;
/// Bytes of waiting records at which they are written without waiting for the second to pass: thousands of calls a second
/// must not come near the bound.
const WRITE_AT_BYTES: usize = 512 << 10;
/// Bytes of one record.
pub const RECORD_BYTES_MAX: usize = 256 << 10;

/// Why a record was not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be written.
    #[error("the audit file cannot be written: {0}")]
    Failed(String),
    /// The record is too large.
    #[error("an audit record of {0} bytes is larger than {RECORD_BYTES_MAX} bytes")]
    TooLarge(usize),
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// Something that happened, in full.
    Event,
    /// Something that is about to be done.
    Begin,
    /// How what an earlier record began has ended.
    End,
}

impl RecordKind {
    fn word(self) -> &'static str {
        match self {
            RecordKind::Event => "event",
            RecordKind::Begin => "begin",
            RecordKind::End => "end",
        }
    }
}

/// A record to be added.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// What it is.
    pub kind: RecordKind,
    /// The id of the event; `Begin` and `End` of one event have the same.
    pub id: &'a str,
    /// When, milliseconds since the epoch.
    pub at_ms: u64,
    /// The rest, a JSON object without line breaks.
    pub body: &'a str,
}

/// The audit file of one platform. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    state: Mutex<State>,
    wake: Condvar,
    progress: watch::Sender<Progress>,
}

/// What is appended and not written yet.
struct State {
    /// The number of the next record.
    next: u64,
    /// The hash of the last record.
    last: Hash,
    /// Lines to be written, each with the day it belongs to.
    pending: Vec<u8>,
    /// The time of the first pending record.
    pending_from_ms: u64,
    /// Whether somebody waits for them.
    hurry: bool,
    /// The last failure, until writing succeeds again.
    failed: Option<String>,
    closed: bool,
}

impl Audit {
    /// Opens the directory, makes it when it is missing, and starts the writer. A record that was cut by a crash is dropped: it
    /// was never acknowledged.
    ///
    /// # Errors
    /// The files cannot be read or written.
    pub fn open(dir: &Path) -> io::Result<Audit> {
        segment::prepare(dir)?;
        let Tail { next, last, file } = segment::tail(dir)?;
        let (progress, _) = watch::channel(Progress {
            written: next,
            failure: None,
        });
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            state: Mutex::new(State {
                next,
                last,
                pending: Vec::new(),
                pending_from_ms: 0,
                hurry: false,
                failed: None,
                closed: false,
            }),
            wake: Condvar::new(),
            progress,
        });
        let own = shared.clone();
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer::run(&own, file, next, last))?;
        Ok(Audit { shared })
    }

    /// Adds a record. It is on disk within a second.
    ///
    /// # Errors
    /// The file could not be written the last time, or too much waits to be: nothing is kept then.
    pub fn append(&self, record: Record<'_>) -> Result<u64, AuditError> {
        let mut state = self.shared.lock();
        if let Some(cause) = &state.failed {
            return Err(AuditError::Failed(cause.clone()));
        }
        let number = state.add(record)?;
        let full = state.pending.len() >= WRITE_AT_BYTES && !state.hurry;
        if full {
            state.hurry = true;
            drop(state);
            self.shared.wake.notify_one();
        }
        Ok(number)
    }

    /// Adds a record and returns when it is on disk.
    ///
    /// # Errors
    /// It is not on disk.
    pub async fn append_durably(&self, record: Record<'_>) -> Result<(), AuditError> {
        let mut progress = self.shared.progress.subscribe();
        let number = {
            let mut state = self.shared.lock();
            if let Some(cause) = &state.failed {
                return Err(AuditError::Failed(cause.clone()));
            }
            let number = state.add(record)?;
            state.hurry = true;
            number
        };
        self.shared.wake.notify_one();
        self.reach(&mut progress, number + 1).await
    }

    /// Returns when everything added before is on disk.
    ///
    /// # Errors
    /// It is not.
    pub async fn flush(&self) -> Result<(), AuditError> {
        let mut progress = self.shared.progress.subscribe();
        let next = {
            let mut state = self.shared.lock();
            state.hurry = true;
            state.next
        };
        self.shared.wake.notify_one();
        self.reach(&mut progress, next).await
    }

    async fn reach(
        &self,
        progress: &mut watch::Receiver<Progress>,
        next: u64,
    ) -> Result<(), AuditError> {
        let seen = progress
            .wait_for(|it| it.written >= next || it.failure.is_some())
            .await;
        match seen {
            Ok(it) if it.written >= next => Ok(()),
            Ok(it) => Err(AuditError::Failed(it.failure.clone().unwrap_or_default())),
            Err(_) => Err(AuditError::Failed("the writer has ended".to_owned())),
        }
    }

    /// Looks records up, newest first.
    ///
    /// # Errors
    /// The files cannot be read.
    pub async fn lookup(&self, lookup: Lookup) -> Result<LookupPage, AuditError> {
        self.flush().await?;
        let dir = self.shared.dir.clone();
        let found = tokio::task::spawn_blocking(move || lookup::run(&dir, &lookup)).await;
        let found = found.map_err(|cause| AuditError::Failed(cause.to_string()))?;
        found.map_err(|cause| AuditError::Failed(cause.to_string()))
    }

    /// Removes segments whose last record is older than this. Returns how many.
    ///
    /// # Errors
    /// The files cannot be read or removed.
    pub fn retain(&self, since_ms: u64) -> io::Result<usize> {
        segment::remove_before(&self.shared.dir, since_ms)
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        // The writer has the other reference.
        if Arc::strong_count(&self.shared) <= 2 {
            self.shared.lock().closed = true;
            self.shared.wake.notify_one();
        }
    }
}

impl std::fmt::Debug for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Audit")
            .field("dir", &self.shared.dir)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, record: Record<'_>) -> Result<u64, AuditError> {
        let number = self.next;
        let line = segment::line(number, record);
        if line.len() > RECORD_BYTES_MAX {
            return Err(AuditError::TooLarge(line.len()));
        }
        if self.pending.len() + line.len() > PENDING_BYTES_MAX {
            let cause = format!("{} bytes of records wait to be written", self.pending.len());
            return Err(AuditError::Failed(cause));
        }
        if self.pending.is_empty() {
            self.pending_from_ms = record.at_ms;
        }
        self.last = segment::chained(&self.last, &line);
        segment::push_line(&mut self.pending, &self.last, &line);
        self.next += 1;
        Ok(number)
    }
}

#[cfg(test)]
mod tests;

//! The thread that writes.

use super::segment::{self, Hash, Open};
use super::{Shared, State};
use std::io::{self, Write};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

/// Time after which records are written although nobody waits for them.
const WRITE_WITHIN: Duration = Duration::from_secs(1);
/// Bytes of a segment.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;

/// How far the writer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// The number of the first record that is not on disk.
    pub written: u64,
    /// Why the last attempt failed, if it did.
    pub failure: Option<String>,
}

/// What one attempt has to write.
struct Batch {
    bytes: Vec<u8>,
    /// The number of its first record, and the one after its last.
    first: u64,
    next: u64,
    at_ms: u64,
    /// The hash before its first record.
    before: Hash,
}

/// Writes until the end; `first` and `before` are the number of the next record and the hash of the last one on disk.
pub(super) fn run(shared: &Shared, open: Option<Open>, first: u64, before: Hash) {
    let (mut open, mut first, mut before) = (open, first, before);
    loop {
        let Some((batch, last)) = next_batch(shared, first, before) else {
            return;
        };
        match write(shared, &mut open, &batch) {
            Ok(()) => {
                (first, before) = (batch.next, last);
                shared.lock().failed = None;
                shared.progress.send_modify(|progress| {
                    progress.written = batch.next;
                    progress.failure = None;
                });
            }
            Err(cause) => {
                let cause = cause.to_string();
                put_back(shared, batch, &cause);
                shared
                    .progress
                    .send_modify(|progress| progress.failure = Some(cause));
                std::thread::park_timeout(WRITE_WITHIN);
                shared
                    .progress
                    .send_modify(|progress| progress.failure = None);
            }
        }
    }
}

/// Waits until there is something to write, and takes it; none: the end.
fn next_batch(shared: &Shared, first: u64, before: Hash) -> Option<(Batch, Hash)> {
    let mut state = shared.lock();
    loop {
        if !state.pending.is_empty() && (state.hurry || state.closed) {
            break;
        }
        if state.closed {
            return None;
        }
        // With nothing pending everything is on disk, and nobody waits.
        state.hurry = false;
        let (waited, timeout) = wait(shared, state);
        state = waited;
        if timeout && !state.pending.is_empty() {
            break;
        }
    }
    state.hurry = false;
    let batch = Batch {
        bytes: std::mem::take(&mut state.pending),
        first,
        next: state.next,
        at_ms: state.pending_from_ms,
        before,
    };
    Some((batch, state.last))
}

fn wait<'a>(shared: &'a Shared, state: MutexGuard<'a, State>) -> (MutexGuard<'a, State>, bool) {
    let waited = shared.wake.wait_timeout(state, WRITE_WITHIN);
    let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
    (state, timeout.timed_out())
}

/// What could not be written is written the next time, before what came since.
fn put_back(shared: &Shared, batch: Batch, cause: &str) {
    let mut state = shared.lock();
    state.failed = Some(cause.to_owned());
    let mut bytes = batch.bytes;
    bytes.append(&mut state.pending);
    state.pending = bytes;
    state.pending_from_ms = batch.at_ms;
}

fn write(shared: &Shared, open: &mut Option<Open>, batch: &Batch) -> io::Result<()> {
    let day = segment::day(batch.at_ms);
    let full = |it: &Open| it.bytes >= SEGMENT_BYTES_MAX || it.day.is_some_and(|of| of != day);
    if open.as_ref().is_none_or(full) {
        *open = Some(segment::begin(
            &shared.dir,
            batch.first,
            &batch.before,
            day,
        )?);
    }
    let Some(end) = open.as_mut() else {
        return Ok(());
    };
    if end.file.metadata()?.len() != end.bytes {
        // An earlier attempt left half a line and could not take it back.
        end.file.set_len(end.bytes)?;
    }
    let written = end
        .file
        .write_all(&batch.bytes)
        .and_then(|()| end.file.sync_data());
    if let Err(cause) = written {
        // Half a line would not be a record.
        end.file.set_len(end.bytes)?;
        return Err(cause);
    }
    end.bytes += batch.bytes.len() as u64;
    end.day = Some(day);
    Ok(())
}

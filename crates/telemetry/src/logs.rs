//! Log groups, streams and events on disk.
//!
//! Every group has a directory of segments and appends to one file, its tail. See `block`, `frame`, `segment` and `tail` for the
//! forms on disk, `group` for what is in memory, `write` for the way of an event to the disk.

mod block;
mod catalog;
mod frame;
mod group;
mod index;
pub(crate) mod model;
mod names;
mod read;
mod retention;
mod scan;
mod segment;
mod shared;
mod tail;
mod varint;
mod write;

#[cfg(test)]
mod tests;

use crate::error::TelemetryError;
use model::{
    GroupInfo, LogEvent, NameFilter, Page, Position, ReadLimits, ReadRange, ScanPage, ScanRequest,
    StreamCursor, StreamInfo, StreamOrder,
};
use shared::Shared;
use std::path::Path;
use std::sync::Arc;

pub use names::NAME_CHARS_MAX;

/// Longest message that a user may put, in bytes (CloudWatch Logs: 256 KiB an event).
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// Longest message that is kept, in bytes. A line of that many bytes that an application prints grows when bytes that are no UTF-8 are
/// replaced, three for one, and must not be lost for that.
pub const MESSAGE_BYTES_KEPT_MAX: usize = 4 * MESSAGE_BYTES_MAX;

/// All logs of one platform: a directory of segments and their index. Cheap to share, safe from many tasks. One process at a time
/// may have a directory open.
pub struct Logs {
    shared: Arc<Shared>,
    flusher: tokio::task::JoinHandle<()>,
}

impl Logs {
    /// Opens the directory, makes it when it is missing, and starts the flusher (events are durable within a second).
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`TelemetryError::Io`] when another process has the directory open.
    pub async fn open(dir: &Path) -> Result<Arc<Logs>, TelemetryError> {
        let shared = Shared::open(dir).await?;
        let flusher = tokio::spawn(write::flush_for_ever(Arc::downgrade(&shared)));
        Ok(Arc::new(Logs { shared, flusher }))
    }

    /// Adds events to a stream, in the given order. Makes the group and the stream when they do not exist. The events can be
    /// read when this returns, and survive a crash after the next flush. On an error none of them was kept.
    pub async fn append(
        &self,
        group: &str,
        stream: &str,
        events: Vec<LogEvent>,
    ) -> Result<(), TelemetryError> {
        write::append(&self.shared, group, stream, events).await
    }

    /// Returns when everything appended before is on disk.
    pub async fn flush(&self) -> Result<(), TelemetryError> {
        write::flush(&self.shared).await
    }

    /// The same for one group: cheaper for a caller who acknowledges what was appended there.
    pub async fn flush_group(&self, group: &str) -> Result<(), TelemetryError> {
        write::flush_group(&self.shared, group).await
    }

    /// Brings everything to disk and closes the files. Calls that come later fail or are lost.
    pub async fn close(&self) -> Result<(), TelemetryError> {
        let flushed = self.flush().await;
        self.flusher.abort();
        self.shared.close().await;
        flushed
    }

    /// Makes a group; an existing one is an error.
    pub async fn group_create(&self, group: &str, now_ms: u64) -> Result<(), TelemetryError> {
        catalog::group_create(&self.shared, group, now_ms).await
    }

    /// Deletes a group with all its streams and events.
    pub async fn group_delete(&self, group: &str) -> Result<(), TelemetryError> {
        catalog::group_delete(&self.shared, group).await
    }

    /// One group; none when it does not exist.
    pub async fn group_get(&self, group: &str) -> Result<Option<GroupInfo>, TelemetryError> {
        catalog::group_get(&self.shared, group).await
    }

    /// Groups by name, behind the name `after`, at most `limit`.
    pub async fn groups(
        &self,
        filter: &NameFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<GroupInfo>, TelemetryError> {
        catalog::groups(&self.shared, filter, after, limit).await
    }

    /// Sets how many days events are kept; none for ever.
    pub async fn retention_set(
        &self,
        group: &str,
        days: Option<u32>,
    ) -> Result<(), TelemetryError> {
        catalog::retention_set(&self.shared, group, days).await
    }

    /// Makes a stream in an existing group; an existing stream is an error.
    pub async fn stream_create(
        &self,
        group: &str,
        stream: &str,
        now_ms: u64,
    ) -> Result<(), TelemetryError> {
        catalog::stream_create(&self.shared, group, stream, now_ms).await
    }

    /// Deletes a stream; its events are gone at once for readers and from disk with their segment.
    pub async fn stream_delete(&self, group: &str, stream: &str) -> Result<(), TelemetryError> {
        catalog::stream_delete(&self.shared, group, stream).await
    }

    /// One stream; none when it (or its group) does not exist.
    pub async fn stream_get(
        &self,
        group: &str,
        stream: &str,
    ) -> Result<Option<StreamInfo>, TelemetryError> {
        catalog::stream_get(&self.shared, group, stream).await
    }

    /// Whether a stream exists, as an error when it or its group does not; answers its group's retention in days. Much cheaper than
    /// [`Logs::stream_get`], which has numbers to bring up to date.
    pub async fn stream_check(
        &self,
        group: &str,
        stream: &str,
    ) -> Result<Option<u32>, TelemetryError> {
        catalog::stream_check(&self.shared, group, stream).await
    }

    /// Streams of a group behind `after` in the wanted order, at most `limit`.
    pub async fn streams(
        &self,
        group: &str,
        prefix: Option<&str>,
        order: StreamOrder,
        descending: bool,
        after: Option<&StreamCursor>,
        limit: usize,
    ) -> Result<Vec<StreamInfo>, TelemetryError> {
        let query = index::StreamQuery {
            prefix,
            order,
            descending,
            after,
            limit,
        };
        catalog::streams(&self.shared, group, query).await
    }

    /// A page of one stream's events in the order they were appended.
    pub async fn read(
        &self,
        group: &str,
        stream: &str,
        range: ReadRange,
        from: Position,
        limits: ReadLimits,
    ) -> Result<Page, TelemetryError> {
        read::read(&self.shared, group, stream, range, from, limits).await
    }

    /// A page of the events of many streams, interleaved by time.
    pub async fn scan(
        &self,
        group: &str,
        request: ScanRequest,
    ) -> Result<ScanPage, TelemetryError> {
        scan::scan(&self.shared, group, request).await
    }

    /// Hides events older than their group's retention and removes segments that hold no others. Returns the bytes of disk freed.
    pub async fn enforce_retention(&self, now_ms: u64) -> Result<u64, TelemetryError> {
        retention::enforce(&self.shared, now_ms).await
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.flusher.abort();
    }
}

impl std::fmt::Debug for Logs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logs")
            .field("dir", &self.shared.dir)
            .finish_non_exhaustive()
    }
}

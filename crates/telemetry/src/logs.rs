//! Log groups, streams and events on disk.
#![allow(clippy::todo, reason = "skeleton: bodies follow")]

pub(crate) mod model;

use crate::error::TelemetryError;
use model::{GroupInfo, LogEvent, NameFilter, Page, Position, ReadLimits, ReadRange, ScanPage, ScanRequest, StreamCursor, StreamInfo, StreamOrder};
use std::path::Path;
use std::sync::Arc;

/// Longest message, in bytes (CloudWatch Logs: 256 KiB an event).
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Longest group or stream name, in characters.
pub const NAME_CHARS_MAX: usize = 512;

/// All logs of one platform: a directory of segments and their index. Cheap to share, safe from many tasks.
pub struct Logs {}

impl Logs {
    /// Opens the directory, makes it when it is missing, and starts the flusher (events are durable within a second).
    /// Must be called inside a tokio runtime.
    pub async fn open(dir: &Path) -> Result<Arc<Logs>, TelemetryError> {
        let _ = dir;
        todo!()
    }

    /// Adds events to a stream, in the given order. Makes the group and the stream when they do not exist. The events can be
    /// read when this returns, and survive a crash after the next flush. On an error none of them was kept.
    pub async fn append(&self, group: &str, stream: &str, events: Vec<LogEvent>) -> Result<(), TelemetryError> {
        let _ = (group, stream, events);
        todo!()
    }

    /// Returns when everything appended before is on disk.
    pub async fn flush(&self) -> Result<(), TelemetryError> {
        todo!()
    }

    /// Makes a group; an existing one is an error.
    pub async fn group_create(&self, group: &str, now_ms: u64) -> Result<(), TelemetryError> {
        let _ = (group, now_ms);
        todo!()
    }

    /// Deletes a group with all its streams and events.
    pub async fn group_delete(&self, group: &str) -> Result<(), TelemetryError> {
        let _ = group;
        todo!()
    }

    /// One group; none when it does not exist.
    pub async fn group_get(&self, group: &str) -> Result<Option<GroupInfo>, TelemetryError> {
        let _ = group;
        todo!()
    }

    /// Groups by name, behind the name `after`, at most `limit`.
    pub async fn groups(&self, filter: &NameFilter, after: Option<&str>, limit: usize) -> Result<Vec<GroupInfo>, TelemetryError> {
        let _ = (filter, after, limit);
        todo!()
    }

    /// Sets how many days events are kept; none for ever.
    pub async fn retention_set(&self, group: &str, days: Option<u32>) -> Result<(), TelemetryError> {
        let _ = (group, days);
        todo!()
    }

    /// Makes a stream in an existing group; an existing stream is an error.
    pub async fn stream_create(&self, group: &str, stream: &str, now_ms: u64) -> Result<(), TelemetryError> {
        let _ = (group, stream, now_ms);
        todo!()
    }

    /// Deletes a stream; its events are gone at once for readers and from disk with their segment.
    pub async fn stream_delete(&self, group: &str, stream: &str) -> Result<(), TelemetryError> {
        let _ = (group, stream);
        todo!()
    }

    /// One stream; none when it (or its group) does not exist.
    pub async fn stream_get(&self, group: &str, stream: &str) -> Result<Option<StreamInfo>, TelemetryError> {
        let _ = (group, stream);
        todo!()
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
        let _ = (group, prefix, order, descending, after, limit);
        todo!()
    }

    /// A page of one stream's events in the order they were appended.
    pub async fn read(&self, group: &str, stream: &str, range: ReadRange, from: Position, limits: ReadLimits) -> Result<Page, TelemetryError> {
        let _ = (group, stream, range, from, limits);
        todo!()
    }

    /// A page of the events of many streams, interleaved by time.
    pub async fn scan(&self, group: &str, request: ScanRequest) -> Result<ScanPage, TelemetryError> {
        let _ = (group, request);
        todo!()
    }

    /// Removes segments whose events are all older than their group's retention. Returns the bytes of disk freed.
    pub async fn enforce_retention(&self, now_ms: u64) -> Result<u64, TelemetryError> {
        let _ = now_ms;
        todo!()
    }
}

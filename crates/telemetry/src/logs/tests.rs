//! The log store from within: tests that steer when a tail becomes a segment or damage its files.

mod bounds;
mod damage;
mod model;
mod segments;

use super::model::{
    Event, EventCursor, LogEvent, Position, ReadLimits, ReadRange, ScanRequest, ScannedEvent,
    StreamFilter,
};
use super::write::{Reach, write_out};
use super::*;

const GROUP: &str = "/aws/apprunner/web/1/application";

const ALL: ReadRange = ReadRange {
    start_ms: None,
    end_ms: None,
};
const LARGE: ReadLimits = ReadLimits {
    events: 10_000,
    bytes: 1 << 20,
};

async fn open() -> (tempfile::TempDir, Arc<Logs>) {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::open(dir.path()).await.unwrap();
    (dir, logs)
}

/// Closes the logs without a flush and opens them again.
async fn reopen(dir: &Path, logs: Arc<Logs>) -> Arc<Logs> {
    close_hard(dir, logs).await;
    Logs::open(dir).await.unwrap()
}

/// Closes the logs without a flush; returns when the directory is free.
async fn close_hard(dir: &Path, logs: Arc<Logs>) {
    drop(logs);
    let lock = std::fs::File::open(dir.join("lock")).unwrap();
    let free = tokio::time::timeout(std::time::Duration::from_secs(30), async {
        while lock.try_lock().is_err() {
            tokio::task::yield_now().await;
        }
    });
    free.await.unwrap();
}

fn event(timestamp_ms: u64, message: &str) -> LogEvent {
    LogEvent {
        timestamp_ms,
        ingestion_ms: timestamp_ms + 3,
        message: message.to_owned(),
    }
}

/// Writes everything and makes the tail a segment.
async fn seal(logs: &Logs, group: &str) {
    let group = logs.shared.group_existing(group).await.unwrap();
    write_out(&logs.shared, &group, Reach::Segment)
        .await
        .unwrap();
}

/// Every event of a stream, page by page from the oldest.
async fn read_forward(
    logs: &Logs,
    stream: &str,
    range: ReadRange,
    limits: ReadLimits,
) -> Vec<Event> {
    let mut all = Vec::new();
    let mut from = Position::Head;
    loop {
        let page = logs.read(GROUP, stream, range, from, limits).await.unwrap();
        assert!(page.events.len() <= limits.events);
        let ended = page.events.is_empty() && from == Position::After(page.next_forward);
        from = Position::After(page.next_forward);
        all.extend(page.events);
        if ended {
            return all;
        }
    }
}

/// Every event of a stream, page by page from the newest; oldest first.
async fn read_backward(
    logs: &Logs,
    stream: &str,
    range: ReadRange,
    limits: ReadLimits,
) -> Vec<Event> {
    let mut pages = Vec::new();
    let mut from = Position::Tail;
    loop {
        let page = logs.read(GROUP, stream, range, from, limits).await.unwrap();
        let ended = page.events.is_empty() && from == Position::Before(page.next_backward);
        from = Position::Before(page.next_backward);
        pages.push(page.events);
        if ended {
            return pages.into_iter().rev().flatten().collect();
        }
    }
}

/// Every match of a scan, page by page.
async fn scan_all(logs: &Logs, mut request: ScanRequest) -> Vec<ScannedEvent> {
    let mut all = Vec::new();
    loop {
        let page = logs.scan(GROUP, request.clone()).await.unwrap();
        all.extend(page.events);
        match page.next {
            Some(next) => {
                assert!(
                    request.after.is_none_or(|after| after < next),
                    "a scan always gets further"
                );
                request.after = Some(next);
            }
            None => return all,
        }
    }
}

fn request(streams: StreamFilter) -> ScanRequest {
    ScanRequest {
        streams,
        range: ALL,
        after: None,
        limits: LARGE,
        predicate: None,
    }
}

fn messages(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.message.as_str()).collect()
}

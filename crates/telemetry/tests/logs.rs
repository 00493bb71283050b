//! The log store as its users see it.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod logs {
    mod crash;
    mod listings;
    mod privileged;
    mod refusals;
    mod tasks;

    use apron_telemetry::{Event, LogEvent, Logs, Page, Position, ReadLimits, ReadRange};
    use std::sync::Arc;

    pub const ALL: ReadRange = ReadRange {
        start_ms: None,
        end_ms: None,
    };
    pub const LARGE: ReadLimits = ReadLimits {
        events: 10_000,
        bytes: 8 << 20,
    };

    pub async fn open() -> (tempfile::TempDir, Arc<Logs>) {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::open(dir.path()).await.unwrap();
        (dir, logs)
    }

    pub fn event(timestamp_ms: u64, message: impl Into<String>) -> LogEvent {
        LogEvent {
            timestamp_ms,
            ingestion_ms: timestamp_ms + 3,
            message: message.into(),
        }
    }

    pub async fn page(logs: &Logs, group: &str, stream: &str, from: Position) -> Page {
        logs.read(group, stream, ALL, from, LARGE).await.unwrap()
    }

    /// Every event of a stream.
    pub async fn read_all(logs: &Logs, group: &str, stream: &str) -> Vec<Event> {
        let mut all = Vec::new();
        let mut from = Position::Head;
        loop {
            let page = page(logs, group, stream, from).await;
            if page.events.is_empty() && from == Position::After(page.next_forward) {
                return all;
            }
            from = Position::After(page.next_forward);
            all.extend(page.events);
        }
    }
}

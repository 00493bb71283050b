//! The values that go in and come out.

use std::collections::BTreeSet;
use std::sync::Arc;

/// One line to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEvent {
    /// When it happened, milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    /// When the platform received it, milliseconds since the Unix epoch.
    pub ingestion_ms: u64,
    /// The text, without a line end.
    pub message: String,
}

/// One kept line of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Number of the event in its group: unique there, growing in the order of appending, never given twice.
    pub sequence: u64,
    /// When it happened, milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    /// When the platform received it, milliseconds since the Unix epoch.
    pub ingestion_ms: u64,
    /// The text.
    pub message: String,
}

/// A place between two events of a group: behind the event with this sequence number. Zero is the place before all events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EventCursor(pub u64);

/// Where a page of a stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// At the oldest event, forward.
    Head,
    /// With the newest events, backward.
    Tail,
    /// With the first event behind this place, forward.
    After(EventCursor),
    /// With the last event before this place, backward.
    Before(EventCursor),
}

/// Which event times are wanted; `start_ms <= timestamp < end_ms`, as CloudWatch Logs defines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadRange {
    /// Earliest time, inclusive; none for no bound.
    pub start_ms: Option<u64>,
    /// Latest time, exclusive; none for no bound.
    pub end_ms: Option<u64>,
}

impl ReadRange {
    /// Whether an event of that time is wanted.
    pub fn contains(&self, timestamp_ms: u64) -> bool {
        self.start_ms.is_none_or(|start| timestamp_ms >= start)
            && self.end_ms.is_none_or(|end| timestamp_ms < end)
    }

    /// Whether some event with a time in `min..=max` can be wanted.
    pub(crate) fn overlaps(&self, min: u64, max: u64) -> bool {
        self.start_ms.is_none_or(|start| max >= start) && self.end_ms.is_none_or(|end| min < end)
    }
}

/// How much one page may hold. At least one event is returned when one is found, whatever its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Most events.
    pub events: usize,
    /// Most bytes, counting each message and 26 bytes, as CloudWatch Logs counts.
    pub bytes: usize,
}

/// Events of one stream in the order they were appended, and where to go on.
///
/// A page can be empty before the end is reached (the work of one call is bounded); the end is reached when the cursor given
/// back equals the one passed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The events, oldest first also when read backward.
    pub events: Vec<Event>,
    /// For [`Position::After`]: what follows.
    pub next_forward: EventCursor,
    /// For [`Position::Before`]: what precedes.
    pub next_backward: EventCursor,
}

/// Which streams of a group a scan looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamFilter {
    /// All of them.
    All,
    /// Those with these names; names that do not exist match nothing.
    Names(BTreeSet<String>),
    /// Those whose name begins so.
    Prefix(String),
}

/// A place in a scan: behind the event with this time and sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ScanCursor {
    /// Time of the event, milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    /// Its sequence number.
    pub sequence: u64,
}

/// Whether a message is wanted.
pub type Predicate = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// What a scan looks for.
#[derive(Clone)]
pub struct ScanRequest {
    /// In which streams.
    pub streams: StreamFilter,
    /// Of which time.
    pub range: ReadRange,
    /// Only behind this place.
    pub after: Option<ScanCursor>,
    /// How much a page may hold.
    pub limits: ReadLimits,
    /// Whether a message matches; none takes every message.
    pub predicate: Option<Predicate>,
}

/// One match of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedEvent {
    /// The stream it is in.
    pub stream: Arc<str>,
    /// The event.
    pub event: Event,
}

/// Matches of a scan, ordered by time and then by sequence number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanPage {
    /// The matches; may be empty although more follow, because the work of one call is bounded.
    pub events: Vec<ScannedEvent>,
    /// Where to go on; none when everything was looked at.
    pub next: Option<ScanCursor>,
}

/// What is known of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupInfo {
    /// Its name.
    pub name: String,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Days its events are kept; none for ever.
    pub retention_days: Option<u32>,
    /// Bytes of its events as CloudWatch Logs counts them: each message and 26 bytes.
    pub stored_bytes: u64,
}

/// What is known of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its name.
    pub name: String,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Time of its oldest event.
    pub first_event_ms: Option<u64>,
    /// Time of its newest event.
    pub last_event_ms: Option<u64>,
    /// When its last event was received.
    pub last_ingestion_ms: Option<u64>,
    /// Bytes of its events as CloudWatch Logs counts them.
    pub stored_bytes: u64,
}

/// Which names a listing returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameFilter {
    /// All.
    All,
    /// Those that begin so, in exact case.
    Prefix(String),
    /// Those that contain this, in any ASCII case.
    Contains(String),
}

/// The order of a listing of streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamOrder {
    /// By name, byte by byte.
    Name,
    /// By the time of the newest event; streams without events count as oldest.
    LastEvent,
}

/// The last entry of the previous page of a listing of streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamCursor {
    /// Its newest event's time (used when ordered by it).
    pub last_event_ms: Option<u64>,
    /// Its name.
    pub name: String,
}

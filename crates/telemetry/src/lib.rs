//! What the platform and its applications say, kept and found again.
//!
//! Log events live in groups and streams named as Amazon CloudWatch Logs names them. They are kept in compressed, append-only
//! segments with a small index beside them, because a row per line in a database costs seven times the disk and a sixth of the speed.

mod audit;
mod error;
mod logs;

pub use audit::{
    Audit, AuditError, Filter, Found, Lookup, LookupPage, RECORD_BYTES_MAX, Record, RecordKind,
    Verified, VerifyError, verify as verify_audit,
};
pub use error::TelemetryError;
pub use logs::model::{
    Event, EventCursor, GroupInfo, LogEvent, NameFilter, Page, Position, Predicate, ReadLimits,
    ReadRange, ScanCursor, ScanPage, ScanRequest, ScannedEvent, StreamCursor, StreamFilter,
    StreamInfo, StreamOrder,
};
pub use logs::{Logs, MESSAGE_BYTES_KEPT_MAX, MESSAGE_BYTES_MAX, NAME_CHARS_MAX};

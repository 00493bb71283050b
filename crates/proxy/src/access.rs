//! The access log: one line of JSON per request, written by the worker into a buffer of its own, handed over to the link
//! several times a second, kept within a bound while the control plane is away.

pub mod line;
pub mod queue;

use crate::service::Service;
use std::sync::Arc;

/// Bytes of lines at which a worker hands its buffer over early.
pub const BUFFER_BYTES: usize = 64 << 10;

/// Lines of one worker, in the order in which their requests ended.
#[derive(Debug, Default)]
pub struct Lines {
    /// The lines, one after the other, as they stand within a JSON string.
    pub bytes: Vec<u8>,
    /// Where each of them ends.
    pub entries: Vec<Entry>,
}

/// One line.
#[derive(Debug)]
pub struct Entry {
    /// Whose request it was.
    pub service: Arc<Service>,
    /// When the request ended, in milliseconds since 1970.
    pub ended_ms: u64,
    /// Where the line ends in the buffer.
    pub end: usize,
}

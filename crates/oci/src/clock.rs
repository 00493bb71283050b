//! The one place of this crate that reads the clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, in milliseconds since the Unix epoch: when something was pushed. Zero should the clock be before the epoch.
#[allow(clippy::disallowed_methods)] // the edge: the moment of a push is a fact of the file, not of a decision
pub(crate) fn now_ms() -> u64 {
    to_ms(SystemTime::now())
}

/// A file's time in milliseconds since the Unix epoch.
pub(crate) fn to_ms(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

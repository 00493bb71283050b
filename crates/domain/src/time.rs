//! Points in time as the platform stores them.

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, UTC. Always an argument of a decision, never read inside one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// The point `ms` milliseconds later; saturates at the end of time.
    pub fn plus(self, ms: u64) -> Millis {
        Millis(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to `self`, zero when `earlier` is later.
    pub fn since(self, earlier: Millis) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Seconds with a fraction, the form AWS JSON protocols use for timestamps.
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1000.0
    }
}

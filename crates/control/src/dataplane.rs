//! What the control plane asks of the data plane, whoever carries it out.

pub mod link;
pub mod process;

use apron_link::proxy::RouteTable;
use async_trait::async_trait;
use std::collections::BTreeMap;

/// The data plane could not be told, or did not answer in time. What was published stays published: it is told as soon
/// as it is there again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataPlaneError {
    /// No proxy has acknowledged the table in time.
    #[error("the proxy has not acknowledged route table {generation} within {waited_ms} ms")]
    NotAcknowledged {
        /// The table's number.
        generation: u64,
        /// How long it was waited for.
        waited_ms: u64,
    },
}

/// The data plane as the control plane sees it.
#[async_trait]
pub trait DataPlane: Send + Sync {
    /// The highest table number ever published or seen.
    fn generation(&self) -> u64;

    /// Publishes a table, whose number must be higher than [`DataPlane::generation`], and waits until it is in force.
    async fn publish(&self, table: RouteTable) -> Result<(), DataPlaneError>;

    /// Outstanding requests of instances that are not in the table; instances without any are absent. `None` while no
    /// proxy has acknowledged the newest table, because then nothing is known.
    fn draining(&self) -> Option<BTreeMap<String, u32>>;
}

//! What the control plane asks of the data plane, whoever carries it out.

pub mod board;
pub mod link;
pub mod process;

use apron_link::proxy::{Certificate, Route};
use async_trait::async_trait;

/// The data plane could not be told, or did not answer in time. What was put into the table stays there: it is told as
/// soon as a proxy is there again.
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

/// What is to stand in the route table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// This and nothing else.
    Whole {
        /// Every route.
        routes: Vec<Route>,
        /// Every certificate.
        certificates: Vec<Certificate>,
    },
    /// This route of one service, or none.
    Service {
        /// The service's id.
        service: String,
        /// Its route.
        route: Option<Route>,
    },
    /// These certificates and no others.
    Certificates(Vec<Certificate>),
}

/// The data plane as the control plane sees it. It keeps the table and its numbers.
#[async_trait]
pub trait DataPlane: Send + Sync {
    /// Puts an update into the table and has the differences sent. The first update is a whole one: until then there is
    /// no table. Answers the number of the newest table.
    fn put(&self, update: Update) -> u64;

    /// Waits until requests are routed by this table or a later one.
    async fn in_force(&self, generation: u64) -> Result<(), DataPlaneError>;

    /// Whether an instance may have requests: it is in the table, or has some that are not answered, or nothing is
    /// known about it, for example while no proxy is connected.
    fn busy(&self, instance: &str) -> bool;
}

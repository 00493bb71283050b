//! The distribution server, `/v2/…` (OCI distribution specification 1.1 and what Docker's clients expect).

mod gate;

pub use gate::{Action, Gate, Refusal};

use crate::ContentStore;
use std::sync::Arc;
use std::time::Duration;

/// Bounds of the distribution server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryBounds {
    /// Largest blob in bytes.
    pub blob_bytes_max: u64,
    /// How long a client may send nothing in the middle of a body.
    pub body_idle: Duration,
    /// Most entries in one page of a list.
    pub page_entries_max: usize,
}

impl Default for RegistryBounds {
    fn default() -> RegistryBounds {
        RegistryBounds {
            blob_bytes_max: 10 * 1024 * 1024 * 1024,
            body_idle: Duration::from_secs(60),
            page_entries_max: 1000,
        }
    }
}

/// The router that serves `/v2/…` from a content store; `gate` decides who may do what.
pub fn registry(
    store: Arc<ContentStore>,
    gate: Arc<dyn Gate>,
    bounds: RegistryBounds,
) -> axum::Router {
    let _ = (store, gate, bounds);
    axum::Router::new()
}

//! What all threads share.

use crate::access::queue::Queue;
use crate::instance::Instance;
use crate::route::Table;
use crate::service::Service;
use crate::tls::Tls;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::{Notify, mpsc, watch};

/// Least time between two reports of the same trouble, in milliseconds.
pub const REPORT_INTERVAL_MS: u64 = 1_000;

/// Most reports of trouble that wait to be sent.
pub const EVENTS_MAX: usize = 1_024;

/// Something the control plane wants to know.
#[derive(Debug)]
pub enum Event {
    /// The service has begun to have more requests than its instances may be given.
    Wanted(Arc<Service>),
    /// A connection to the instance failed.
    Unreachable(Arc<Instance>, String),
}

/// What workers are told. The latest is what counts.
#[derive(Clone, Debug, Default)]
pub struct Orders {
    /// Grows with every order.
    pub sequence: u64,
    /// The table to route by.
    pub table: Arc<Table>,
    /// Accept nothing more and leave by then.
    pub retire_by: Option<Instant>,
}

/// What all workers and the link share.
#[derive(Debug)]
pub struct Shared {
    /// From when milliseconds are counted.
    pub epoch: Instant,
    /// Reports of trouble.
    pub events: mpsc::Sender<Event>,
    /// Lines of the access log on their way.
    pub access_log: Queue,
    /// Services with traffic that the link does not know of yet.
    pub traffic: Mutex<Vec<Arc<Service>>>,
    /// An instance that left the table may have answered its last request.
    pub drained: Notify,
    /// A worker follows a later order.
    pub followed: Notify,
    /// The order each worker follows.
    pub following: Vec<AtomicU64>,
    /// Orders to the workers.
    pub orders: watch::Receiver<Orders>,
    /// Certificates and the TLS configuration.
    pub tls: Tls,
    /// The port in `https` URLs.
    pub https_port: u16,
    /// Connections one worker may have.
    pub connections_max: usize,
}

impl Shared {
    /// Tells the link that a service has traffic.
    pub fn note_traffic(&self, service: &Arc<Service>) {
        let mut traffic = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        traffic.push(Arc::clone(service));
    }

    /// Waits until every worker follows the order with this number or a later one.
    pub async fn all_follow(&self, sequence: u64) {
        loop {
            let followed = self.followed.notified();
            if self
                .following
                .iter()
                .all(|worker| worker.load(SeqCst) >= sequence)
            {
                return;
            }
            followed.await;
        }
    }
}

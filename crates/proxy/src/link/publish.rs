//! Putting a table in force at every worker.

use crate::route::Table;
use crate::route::registry::Registry;
use crate::service::Service;
use crate::shared::{Orders, Shared};
use apron_link::proxy::{Draining, RouteTable};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Orders the workers about.
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
    registry: Registry,
    orders: watch::Sender<Orders>,
}

impl Publisher {
    /// A publisher before its first table.
    pub fn new(shared: Arc<Shared>, orders: watch::Sender<Orders>) -> Publisher {
        Publisher {
            shared,
            registry: Registry::default(),
            orders,
        }
    }

    /// The number of the table in force; zero is none.
    pub fn generation(&self) -> u64 {
        self.orders.borrow().table.generation
    }

    /// All services of the table in force.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.registry.services()
    }

    /// Puts a table in force. Afterwards no worker picks an instance by an older one, and requests that waited have
    /// been woken to look at it.
    pub async fn apply(&mut self, table: &RouteTable) {
        for error in self.shared.tls.replace(&table.certificates) {
            tracing::error!(%error, generation = table.generation, "a certificate of the route table is left out");
        }
        // Services that leave the table may have requests that wait; they are to be answered.
        let waiting: Vec<_> = self
            .services()
            .filter(|service| service.waiting() > 0)
            .cloned()
            .collect();
        let compiled: Arc<Table> = Arc::new(self.registry.compile(table));
        let sequence = self.order(|orders| orders.table = compiled);
        self.shared.all_follow(sequence).await;
        for service in waiting
            .iter()
            .chain(self.services().filter(|service| service.waiting() > 0))
        {
            service.wake_all();
        }
    }

    /// Tells the workers to finish what is under way within `within`.
    pub fn retire(&mut self, within: Duration) {
        tracing::info!(
            within_ms = within.as_millis(),
            "retiring: nothing is accepted any more"
        );
        let by = Instant::now() + within;
        self.order(|orders| {
            orders.retire_by = Some(orders.retire_by.map_or(by, |before| before.min(by)))
        });
    }

    fn order(&mut self, change: impl FnOnce(&mut Orders)) -> u64 {
        let mut sequence = 0;
        self.orders.send_modify(|orders| {
            change(orders);
            orders.sequence += 1;
            sequence = orders.sequence;
        });
        sequence
    }

    /// The instances that left the table and still have requests.
    pub fn draining(&mut self) -> Vec<Draining> {
        self.registry.draining()
    }

    /// Waits until an instance that left the table may have answered its last request.
    pub async fn drained(&self) {
        self.shared.drained.notified().await;
    }

    /// The instances that have, since the last time.
    pub fn take_drained(&mut self) -> Vec<String> {
        self.registry.drained()
    }
}

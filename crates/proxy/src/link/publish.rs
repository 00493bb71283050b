//! Putting tables and changes in force at every worker.

use crate::route::registry::Registry;
use crate::service::Service;
use crate::shared::{Orders, Shared};
use apron_link::proxy::{Draining, RouteChange, RouteTable};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Orders the workers about.
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
    registry: Registry,
    orders: watch::Sender<Orders>,
    /// Services whose requests are to look at the new table when it is in force.
    touched: Vec<Arc<Service>>,
}

impl Publisher {
    /// A publisher before its first table.
    pub fn new(shared: Arc<Shared>, orders: watch::Sender<Orders>) -> Publisher {
        Publisher {
            shared,
            registry: Registry::default(),
            orders,
            touched: Vec::new(),
        }
    }

    /// The number of the latest table; zero is none.
    pub fn generation(&self) -> u64 {
        self.orders.borrow().table.generation
    }

    /// What is in the latest table.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Orders a whole table.
    pub fn replace(&mut self, table: &RouteTable) {
        let tls = &self.shared.tls;
        let errors = tls
            .certificates()
            .replace(tls.provider(), &table.certificates);
        for error in errors {
            tracing::error!(%error, generation = table.generation, "a certificate of the route table is left out");
        }
        let touched = self.registry.replace(table);
        self.order_table(touched);
    }

    /// Orders the table that a change makes of the latest one.
    pub fn change(&mut self, change: &RouteChange) {
        let tls = &self.shared.tls;
        let (certificates, removed) = (&change.certificates, &change.removed_certificates);
        let errors = tls
            .certificates()
            .change(tls.provider(), certificates, removed);
        for error in errors {
            tracing::error!(%error, generation = change.generation, "a certificate of the route table is left out");
        }
        let touched = self
            .registry
            .change(change.generation, &change.routes, &change.removed);
        self.order_table(touched);
    }

    fn order_table(&mut self, touched: Vec<Arc<Service>>) {
        self.touched.extend(touched);
        let table = Arc::new(self.registry.table());
        self.order(|orders| orders.table = table);
    }

    /// Waits until the latest table is in force: no worker picks an instance by an older one, and requests that waited
    /// have been woken to look at it.
    pub async fn in_force(&mut self) {
        let sequence = self.orders.borrow().sequence;
        self.shared.all_follow(sequence).await;
        for service in self.touched.drain(..) {
            if service.waiting() > 0 {
                let route = self.registry.route(&service.id);
                service.wake(route.map_or(u32::MAX, |route| route.to_be_woken()));
            }
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

    fn order(&mut self, change: impl FnOnce(&mut Orders)) {
        self.orders.send_modify(|orders| {
            change(orders);
            orders.sequence += 1;
        });
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

//! The route table in the form workers use, and the choice of an instance.

pub mod pick;
pub mod registry;

use crate::instance::Instance;
use crate::service::Service;
use apron_link::proxy::RouteState;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// A whole route table. Immutable; a later one replaces it.
#[derive(Debug, Default)]
pub struct Table {
    /// The control plane's number for it.
    pub generation: u64,
    /// Routes by host name in lower case.
    hosts: HashMap<Box<str>, Arc<Route>>,
    /// Routes by the id of their service.
    services: HashMap<Box<str>, Arc<Route>>,
}

/// Where requests of one service go.
#[derive(Debug)]
pub struct Route {
    /// The service.
    pub service: Arc<Service>,
    /// Whether it takes requests.
    pub state: RouteState,
    /// Its ready instances.
    pub instances: Vec<Arc<Instance>>,
    /// Requests one instance is given at the same time.
    pub max_concurrency: u32,
    /// Longest time of a request.
    pub timeout: Option<Duration>,
}

impl Table {
    /// The route for a host name in lower case.
    pub fn by_host(&self, host: &str) -> Option<&Arc<Route>> {
        self.hosts.get(host)
    }

    /// The route of a service.
    pub fn by_service(&self, service: &str) -> Option<&Arc<Route>> {
        self.services.get(service)
    }
}

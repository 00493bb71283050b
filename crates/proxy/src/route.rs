//! The route table in the form workers use, and the choice of an instance.

pub mod claims;
pub mod map;
pub mod pick;
pub mod registry;

use crate::instance::Instance;
use crate::service::Service;
use apron_link::proxy::{RouteState, UpstreamProtocol};
use map::Map;
use std::sync::Arc;
use std::time::Duration;

/// A whole route table. Workers see it immutable; a later one replaces it and shares with it what is the same.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// The control plane's number for it.
    pub generation: u64,
    /// Routes by host name in lower case.
    hosts: Map<Arc<Route>>,
    /// Routes by the id of their service.
    services: Map<Arc<Route>>,
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
    /// More instances can be started.
    pub can_grow: bool,
    /// Why there is no instance, for people.
    pub trouble: Option<Arc<str>>,
    /// How instances are spoken to.
    pub protocol: UpstreamProtocol,
    /// Longest time of a request.
    pub timeout: Option<Duration>,
    /// Longest time without a byte in either direction.
    pub idle_timeout: Option<Duration>,
    /// Requests of one client go to one instance.
    pub sticky: bool,
    /// Requests are written to the access log.
    pub access_log: bool,
}

impl Route {
    /// How many of the requests that wait have a reason to look again.
    pub fn to_be_woken(&self) -> u32 {
        if self.state == RouteState::Paused || (self.instances.is_empty() && self.trouble.is_some())
        {
            return u32::MAX;
        }
        let free = |it: &Arc<Instance>| self.max_concurrency.saturating_sub(it.outstanding());
        let free = self.instances.iter().map(free);
        free.fold(0, u32::saturating_add)
    }
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

//! What one service's route is.

use apron_domain::extension::{Extensions, Protocol};
use apron_domain::{Instance, InstanceRole, OperationKind, Service, ServiceStatus};
use apron_link::proxy::{Route, RouteState, Upstream, UpstreamProtocol};
use std::net::SocketAddr;

/// What a route is computed from.
pub struct Facts<'a> {
    /// The service's host name.
    pub host: String,
    /// The service.
    pub service: &'a Service,
    /// It is being paused or deleted and has no traffic any more.
    pub closing: Option<OperationKind>,
    /// Its instances that can be reached, and where.
    pub instances: Vec<(&'a Instance, SocketAddr)>,
    /// Its extensions.
    pub extensions: &'a Extensions,
    /// Why the last attempt to start an instance failed, unless one was ready since.
    pub trouble: Option<String>,
}

/// The route. A service that never ran has none; a paused one says so.
pub fn route(facts: &Facts) -> Option<Route> {
    let Facts {
        service,
        extensions,
        ..
    } = facts;
    let deployed = service.deployed.as_ref()?;
    let state = match (service.status, facts.closing) {
        (_, Some(OperationKind::DeleteService)) | (ServiceStatus::Deleted, _) => return None,
        (ServiceStatus::Paused, _) | (_, Some(_)) => RouteState::Paused,
        _ => RouteState::Serving,
    };
    let takes_traffic = |instance: &Instance| {
        state == RouteState::Serving && instance.role == InstanceRole::Active && instance.ready
    };
    let upstreams = facts
        .instances
        .iter()
        .filter(|(instance, _)| takes_traffic(instance))
        .map(|(instance, address)| Upstream {
            instance: instance.id.to_string(),
            address: *address,
        });
    let upstreams: Vec<Upstream> = upstreams.collect();
    let scaling = &deployed.config.scaling;
    let below_max = upstreams.len() < usize::try_from(scaling.max_size).unwrap_or(usize::MAX);
    Some(Route {
        service: service.id.to_string(),
        hosts: vec![facts.host.clone()],
        state,
        upstreams,
        max_concurrency: scaling.max_concurrency,
        can_grow: below_max && facts.trouble.is_none(),
        trouble: facts.trouble.clone(),
        protocol: match extensions.protocol {
            Protocol::Http1 => UpstreamProtocol::Http1,
            Protocol::H2c => UpstreamProtocol::H2c,
        },
        request_timeout_ms: extensions.request_timeout_ms,
        idle_timeout_ms: extensions.idle_timeout_ms,
        sticky: extensions.sticky,
        access_log: extensions.access_log,
        throttle_idle: !extensions.cpu_always,
    })
}

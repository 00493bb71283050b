//! Messages about traffic.

use crate::access::queue::Batch;
use crate::route::Route;
use crate::route::registry::Registry;
use crate::service::Service;
use crate::shared::Shared;
use apron_link::proxy::{FromProxy, ServiceStatistics};
use std::sync::{Arc, PoisonError};

/// The message that a service has more requests than its instances may be given.
pub fn wanted(service: &Service) -> FromProxy {
    FromProxy::Wanted {
        service: service.id.clone(),
        outstanding: service.outstanding(),
        waiting: service.take_wanting(),
    }
}

/// The services that have traffic, so that a report costs nothing for the others.
#[derive(Debug, Default)]
pub struct Traffic(Vec<Arc<Service>>);

impl Traffic {
    /// What happened since the last call.
    pub fn statistics(&mut self, shared: &Shared, registry: &Registry) -> Vec<ServiceStatistics> {
        let mut new = shared
            .traffic
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.0.append(&mut new);
        drop(new);
        let mut statistics = Vec::new();
        self.0.retain(|service| {
            let route = registry.route(&service.id).map(|route| &**route);
            let Some(quiet) = report(service, route, &mut statistics) else {
                return true;
            };
            service.forget_traffic();
            // A request that came before this was forgotten believes that it is known. If another came after it, the
            // service is in the list of new ones already.
            report(quiet, route, &mut statistics).is_none() && service.is_new_traffic()
        });
        statistics
    }
}

/// Adds what happened at a service; answers it back if nothing did.
fn report<'a>(
    service: &'a Arc<Service>,
    route: Option<&Route>,
    statistics: &mut Vec<ServiceStatistics>,
) -> Option<&'a Arc<Service>> {
    let (now, last) = service.report();
    let (outstanding, waiting) = (service.outstanding(), service.waiting());
    if now == last && outstanding == 0 && waiting == 0 {
        return Some(service);
    }
    let instances = route.map_or(&[][..], |route| &route.instances);
    let active = instances.iter().filter(|it| it.take_active()).count();
    statistics.push(ServiceStatistics {
        service: service.id.clone(),
        answered: std::array::from_fn(|class| now.answered[class] - last.answered[class]),
        latency: std::array::from_fn(|class| now.latency[class] - last.latency[class]),
        outstanding,
        waiting,
        peak: service.take_peak(),
        active_instances: u32::try_from(active).unwrap_or(u32::MAX),
        latency_ms_sum: now.latency_ms - last.latency_ms,
        refused: now.refused - last.refused,
        bytes_in: now.bytes_in - last.bytes_in,
        bytes_out: now.bytes_out - last.bytes_out,
    });
    None
}

/// The frame of the oldest lines of the access log, and the lines.
pub fn access_log(shared: &Shared) -> Option<(Vec<u8>, Batch)> {
    let batch = shared.access_log.take()?;
    Some((batch.frame(), batch))
}

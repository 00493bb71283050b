//! Messages about troubles and traffic.

use crate::service::{Reading, Service};
use crate::shared::Event;
use apron_link::proxy::{FromProxy, ServiceStatistics};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The message for a trouble.
pub fn message(event: Event) -> FromProxy {
    match event {
        Event::Wanted(service) => FromProxy::Wanted {
            service: service.id.clone(),
            outstanding: service.outstanding.load(Relaxed),
            waiting: service.waiting(),
        },
        Event::Unreachable(instance, error) => FromProxy::Unreachable {
            instance: instance.id.clone(),
            error,
        },
    }
}

/// What happened since the last call, of services of which there is something to say.
pub fn statistics<'a>(services: impl Iterator<Item = &'a Arc<Service>>) -> Vec<ServiceStatistics> {
    let mut statistics = Vec::new();
    for service in services {
        let now = read(service);
        let last = service.reported(now);
        let (outstanding, waiting) = (service.outstanding.load(Relaxed), service.waiting());
        if now != last || outstanding > 0 || waiting > 0 {
            statistics.push(ServiceStatistics {
                service: service.id.clone(),
                answered: std::array::from_fn(|class| {
                    now.answered[class].saturating_sub(last.answered[class])
                }),
                outstanding,
                waiting,
                latency_ms_sum: now.latency_ms.saturating_sub(last.latency_ms),
                bytes_in: now.bytes_in.saturating_sub(last.bytes_in),
                bytes_out: now.bytes_out.saturating_sub(last.bytes_out),
                ..ServiceStatistics::default()
            });
        }
    }
    statistics
}

fn read(service: &Service) -> Reading {
    let counters = &service.counters;
    Reading {
        answered: std::array::from_fn(|class| counters.answered[class].load(Relaxed)),
        latency_ms: counters.latency_ms.load(Relaxed),
        bytes_in: counters.bytes_in.load(Relaxed),
        bytes_out: counters.bytes_out.load(Relaxed),
    }
}

//! Messages about troubles and traffic.

use crate::service::Service;
use crate::shared::Event;
use apron_link::proxy::{FromProxy, ServiceStatistics};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The message for a trouble.
pub fn message(event: Event) -> FromProxy {
    match event {
        Event::Wanted(service) => FromProxy::Wanted {
            service: service.id.clone(),
            waiting: service.waiting(),
        },
        Event::Unreachable(instance, error) => FromProxy::Unreachable {
            instance: instance.id.clone(),
            error,
        },
    }
}

/// Remembers what was reported of each service.
#[derive(Debug, Default)]
pub struct Reporter {
    reported: HashMap<String, Reading>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reading {
    answered: [u64; 6],
    latency_ms: u64,
    bytes_in: u64,
    bytes_out: u64,
}

impl Reporter {
    /// What happened since the last call, of services of which there is something to say.
    pub fn statistics<'a>(
        &mut self,
        services: impl Iterator<Item = &'a Arc<Service>>,
    ) -> Vec<ServiceStatistics> {
        let mut before = std::mem::take(&mut self.reported);
        let mut statistics = Vec::new();
        for service in services {
            let last = before.remove(&service.id).unwrap_or_default();
            let now = read(service);
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
                });
            }
            self.reported.insert(service.id.clone(), now);
        }
        statistics
    }
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

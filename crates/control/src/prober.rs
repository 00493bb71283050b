//! Health probes of instances.

use crate::engine::Engine;
use apron_compute::{Probe, ProbeAnswer};
use apron_domain::InstanceId;
use apron_domain::service::{HealthCheck, HealthProtocol};
use std::time::Duration;

/// Probes an instance once, as its service's health check says.
pub async fn probe(engine: &Engine, id: &InstanceId, check: &HealthCheck) -> ProbeAnswer {
    let probe = match check.protocol {
        HealthProtocol::Tcp => Probe::Tcp,
        HealthProtocol::Http => Probe::Http {
            path: check.path.clone(),
        },
    };
    engine
        .compute
        .probe(id, &probe, Duration::from_secs(u64::from(check.timeout)))
        .await
}

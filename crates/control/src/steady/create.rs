//! Asking the backend for the instances that were written down.

use super::Steady;
use apron_compute::ComputeError;
use apron_domain::service::Deployed;
use apron_domain::steady::Observation;
use apron_domain::{InstanceId, Service};
use std::sync::Arc;

impl Steady {
    /// Starts an instance; nothing if that is being done.
    pub(super) fn create_later(
        self: &Arc<Self>,
        service: &Service,
        deployed: &Deployed,
        id: InstanceId,
    ) {
        if !self.take_in_hand(&id) {
            return;
        }
        let (steady, service, deployed) = (self.clone(), service.clone(), deployed.clone());
        tokio::spawn(async move {
            let engine = &steady.engine;
            match steady.create(&service, &deployed, &id).await {
                // Its probes begin at once, not when the reconciler comes to look at it.
                Ok(()) if matches!(engine.fleet.observe(&id), Observation::Running(_)) => {
                    steady.watch(&id, &service.id, &deployed.config.health, false);
                }
                Ok(()) => {}
                Err(error) => {
                    tracing::error!(service = %service.name, instance = %id, %error, "instance could not be started");
                    let why = format!("it could not be started: {error}");
                    engine.fleet.refused(&id, &service.id, why);
                }
            }
            steady.let_go(&id);
            engine.agenda.poke(&service.id);
        });
    }

    async fn create(
        &self,
        service: &Service,
        deployed: &Deployed,
        id: &InstanceId,
    ) -> Result<(), ComputeError> {
        let engine = &self.engine;
        engine.fleet.expect(id, &service.id);
        let (revision, config) = (deployed.revision, &deployed.config);
        let spec = engine
            .instance_spec(service, id, revision, config, &deployed.image)
            .await
            .map_err(|e| ComputeError::Failed(format!("its secrets cannot be had: {e}")))?;
        engine.compute.prepare(&spec.image).await?;
        engine.compute.create(&spec).await?;
        engine.fleet.refresh_one(id).await
    }
}

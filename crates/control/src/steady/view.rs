//! What one look sees of a service.

use crate::engine::Engine;
use crate::executor::StepError;
use apron_domain::service::Deployed;
use apron_domain::{
    Instance, InstanceId, InstanceRole, Millis, Operation, OperationKind, Service, ServiceId,
    ServiceStatus, Stage,
};

/// A service with its operation and its instances, as stored, and the instances the backend has a trace of.
pub struct View {
    /// The service's id.
    pub id: ServiceId,
    service: Option<Service>,
    operation: Option<Operation>,
    /// Its instances as stored.
    pub instances: Vec<Instance>,
    observed: Vec<InstanceId>,
}

impl View {
    /// Reads it.
    pub async fn read(engine: &Engine, id: &ServiceId) -> Result<View, StepError> {
        // What is stored after it was observed cannot be taken for something nobody knows.
        let observed = engine.fleet.of_service(id);
        let store = &engine.store;
        let operation = store.operation_unfinished(id).await?;
        let service = store.service_get(id).await?;
        Ok(View {
            id: id.clone(),
            service: service.filter(|s| s.status != ServiceStatus::Deleted),
            operation,
            instances: store.instances_of(id).await?,
            observed,
        })
    }

    /// The service and what it runs, if it is to be kept running.
    pub fn kept(&self) -> Option<(&Service, &Deployed)> {
        let service = self.service.as_ref()?;
        let deployed = service.deployed.as_ref()?;
        is_kept_running(service, self.operation.as_ref()).then_some((service, deployed))
    }

    /// The instances that count.
    pub fn active(&self) -> impl Iterator<Item = &Instance> {
        let all = self.instances.iter();
        all.filter(|i| i.role == InstanceRole::Active)
    }

    /// Instances that nothing needs, each with the time since which it gets no new requests.
    pub fn leftovers(&self, now: Millis) -> Vec<(InstanceId, Millis)> {
        let stored = |id: &InstanceId| self.instances.iter().any(|i| i.id == *id);
        let unknown = self.observed.iter().filter(|id| !stored(id)).cloned();
        let unknown = unknown.map(|id| (id, now));
        let abandoned = self.instances.iter().filter(|i| self.is_abandoned(i));
        let abandoned = abandoned.map(|i| (i.id.clone(), i.retiring_since.unwrap_or(now)));
        unknown.chain(abandoned).collect()
    }

    /// An instance that no unfinished operation will take care of.
    fn is_abandoned(&self, instance: &Instance) -> bool {
        match (instance.role, &self.operation, &self.service) {
            (_, None, None) => true,
            (InstanceRole::Active, _, _) => false,
            (InstanceRole::Candidate, Some(o), _) => !o.candidates.contains(&instance.id),
            // An operation retires only after its switch; before that these are the reconciler's own.
            (InstanceRole::Retiring, Some(o), _) => {
                !matches!(o.stage, Stage::Drain | Stage::Retire | Stage::Route)
            }
            (_, None, Some(_)) => true,
        }
    }
}

/// Whether the reconciler keeps this service's deployed revision running. While a service is being paused or deleted
/// it does not; while one is being created or resumed only once the traffic has been switched.
pub fn is_kept_running(service: &Service, operation: Option<&Operation>) -> bool {
    let switched =
        |o: &Operation| matches!(o.stage, Stage::Drain | Stage::Retire) && o.failure.is_none();
    match (service.status, operation.map(|o| (o.kind, o))) {
        (ServiceStatus::Running, None) => true,
        (_, None) => false,
        (_, Some((OperationKind::UpdateService | OperationKind::StartDeployment, _))) => true,
        (_, Some((OperationKind::CreateService | OperationKind::ResumeService, o))) => switched(o),
        (_, Some((OperationKind::PauseService | OperationKind::DeleteService, _))) => false,
    }
}

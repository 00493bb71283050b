//! The effects of steps. Each may run again after it was killed anywhere.

use super::{StepError, build, evidence, settle};
use crate::access_role;
use crate::engine::Engine;
use apron_compute::ComputeError;
use apron_domain::operation::{Outcome, Step};
use apron_domain::{
    Digest, Failure, FailureKind, Instance, InstanceId, InstanceRole, Operation, Service,
};
use std::time::Duration;

/// Time between two looks at instances that still have requests.
const DRAIN_LOOK_EVERY: Duration = Duration::from_millis(20);

/// Such looks before the time for draining is held against the clock, and the routes against the store.
const DRAIN_LOOKS: u32 = 10;

/// Performs a step. An error means that nothing is known about its effect; a failed step is an outcome.
pub async fn perform(
    engine: &Engine,
    operation: &Operation,
    step: Step,
) -> Result<Outcome, StepError> {
    match step {
        Step::ResolveImage => Ok(resolve(engine, operation).await),
        Step::ResolveSource => Ok(build::resolve(engine, operation).await),
        Step::Build(commit) => build::build(engine, operation, &commit).await,
        Step::PrepareImage(image) => prepare(engine, &image).await,
        Step::Launch(candidates) => launch(engine, operation, &candidates).await,
        Step::Settle(candidates) => settle::settle(engine, operation, &candidates).await,
        Step::Route(candidates) => route(engine, operation, &candidates).await,
        Step::Drain => drain(engine, operation).await,
        Step::Retire => retire(engine, operation).await,
        Step::Discard(candidates) => {
            engine.put_away(&candidates).await?;
            Ok(Outcome::Done)
        }
        // Finishing is one transaction and belongs to the executor itself.
        Step::Finish => Ok(Outcome::Done),
    }
}

async fn resolve(engine: &Engine, operation: &Operation) -> Outcome {
    let image = &operation.config.image;
    if let Err(failure) = access_role::may_pull(engine, image).await {
        return Outcome::Failed(failure);
    }
    match engine
        .images
        .resolve(&operation.id, &image.identifier)
        .await
    {
        Ok(digest) => Outcome::Image(digest),
        Err(failure) => Outcome::Failed(failure),
    }
}

async fn prepare(engine: &Engine, image: &Digest) -> Result<Outcome, StepError> {
    let _order = engine.preparations.read().await;
    match engine.compute.prepare(image).await {
        Ok(()) => Ok(Outcome::Done),
        Err(error) => refused(error),
    }
}

/// What the backend's refusal means for a deployment: the image's and the machine's faults fail it.
fn refused(error: ComputeError) -> Result<Outcome, StepError> {
    let kind = match &error {
        ComputeError::Image { .. } => FailureKind::ImageContent,
        ComputeError::Capacity(_) => FailureKind::Capacity,
        ComputeError::Failed(_) => FailureKind::Platform,
        ComputeError::Unknown(_) => return Err(error.into()),
    };
    Ok(Outcome::Failed(Failure::new(kind, error.to_string())))
}

pub(super) async fn service_of(
    engine: &Engine,
    operation: &Operation,
) -> Result<Service, StepError> {
    let found = engine.store.service_get(&operation.service).await?;
    found.ok_or_else(|| StepError::ServiceMissing(operation.service.clone()))
}

async fn launch(
    engine: &Engine,
    operation: &Operation,
    candidates: &[InstanceId],
) -> Result<Outcome, StepError> {
    let service = service_of(engine, operation).await?;
    let Some(image) = &operation.image else {
        let text = "the operation came to its launch without an image";
        return Ok(Outcome::Failed(Failure::new(FailureKind::Platform, text)));
    };
    let injected = engine
        .injection
        .prepare(&service, operation.revision, &operation.config);
    if let Err(failure) = injected.await? {
        return Ok(Outcome::Failed(failure));
    }
    let now = engine.clock.now();
    let rows: Vec<Instance> = candidates
        .iter()
        .map(|id| Instance {
            id: id.clone(),
            service: service.id.clone(),
            revision: operation.revision,
            role: InstanceRole::Candidate,
            ready: false,
            created_at: now,
            retiring_since: None,
        })
        .collect();
    engine.store.instance_insert(&rows).await?;
    let mut starts = Vec::with_capacity(candidates.len());
    for id in candidates {
        engine.fleet.expect(id, &service.id);
        let (revision, config) = (operation.revision, &operation.config);
        let spec = engine
            .instance_spec(&service, id, revision, config, image)
            .await?;
        starts.push(async move { engine.compute.create(&spec).await });
    }
    if let Err(error) = futures_util::future::try_join_all(starts).await {
        return refused(error);
    }
    Ok(Outcome::Done)
}

/// The switch: stored in one transaction, then told to the proxy. Until the proxy has acknowledged, the old instances
/// stay, so a request finds an instance whichever table it is routed by.
async fn route(
    engine: &Engine,
    operation: &Operation,
    candidates: &[InstanceId],
) -> Result<Outcome, StepError> {
    let _order = engine.locks.hold(&operation.service).await;
    let now = engine.clock.now();
    let plan = operation.clone();
    let change = move |service: &mut Service| *service = plan.take_over(service, now);
    engine
        .store
        .traffic_switch(operation, change, candidates, now)
        .await?;
    engine.troubles.clear(&operation.service);
    match u32::try_from(candidates.len()).unwrap_or(u32::MAX) {
        0 => engine.scaler.forget(&operation.service),
        count => engine.scaler.deployed(&operation.service, count),
    }
    engine.routes.refresh_service(&operation.service).await?;
    Ok(Outcome::Done)
}

async fn retiring(engine: &Engine, operation: &Operation) -> Result<Vec<InstanceId>, StepError> {
    let instances = engine.store.instances_of(&operation.service).await?;
    Ok(instances
        .into_iter()
        .filter(|i| i.role == InstanceRole::Retiring)
        .map(|i| i.id)
        .collect())
}

async fn drain(engine: &Engine, operation: &Operation) -> Result<Outcome, StepError> {
    // After a restart nothing may have been published yet.
    engine.routes.refresh_service(&operation.service).await?;
    let retiring = retiring(engine, operation).await?;
    for _ in 0..DRAIN_LOOKS {
        let busy = engine.routes.busy(&retiring);
        if !busy.iter().any(|id| evidence::is_alive(engine, id)) {
            return Ok(Outcome::Done);
        }
        tokio::time::sleep(DRAIN_LOOK_EVERY).await;
    }
    Ok(Outcome::Waiting)
}

async fn retire(engine: &Engine, operation: &Operation) -> Result<Outcome, StepError> {
    engine.put_away(&retiring(engine, operation).await?).await?;
    Ok(Outcome::Done)
}

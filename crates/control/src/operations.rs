//! Beginning operations: the one door through which a service comes to be changed.

use crate::clock::random;
use crate::engine::Engine;
use crate::executor::Executor;
use apron_domain::operation::NewOperation;
use apron_domain::{
    Digest, InstanceId, Operation, OperationId, OperationKind, Service, ServiceConfig, ServiceId,
    Trigger,
};
use apron_store::StoreError;
use std::sync::Arc;

/// What an operation is to do, decided while the service's row is held.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The kind.
    pub kind: OperationKind,
    /// What set it off.
    pub trigger: Trigger,
    /// The configuration to deploy, or the present one.
    pub config: ServiceConfig,
    /// The image to deploy; `None` looks the identifier up.
    pub image: Option<Digest>,
}

/// Begins operations and hands them to the executor.
pub struct Operations {
    engine: Arc<Engine>,
    executor: Arc<Executor>,
}

impl Operations {
    /// Operations on this engine.
    pub fn new(engine: Arc<Engine>, executor: Arc<Executor>) -> Operations {
        Operations { engine, executor }
    }

    /// How many instances a deployment begins with: as many as the service should have now, so that nothing of its
    /// capacity is lost under load. A service that sleeps proves its health by one.
    fn candidates(&self, plan: &Plan, service: &ServiceId) -> u32 {
        let scaling = &plan.config.scaling;
        let (min, max) = (scaling.min_size, scaling.max_size.max(scaling.min_size));
        let target = match plan.kind {
            OperationKind::PauseService | OperationKind::DeleteService => return 0,
            OperationKind::CreateService | OperationKind::ResumeService => None,
            OperationKind::UpdateService | OperationKind::StartDeployment => {
                self.engine.scaler.target(service)
            }
        };
        match target {
            Some(0) => 1,
            Some(count) => count.clamp(min, max).max(1),
            None => min.max(1),
        }
    }

    fn new_operation(&self, plan: Plan, service: &ServiceId) -> NewOperation {
        let count = self.candidates(&plan, service);
        let config = match plan.image.is_none() && plan.kind.deploys() {
            true => rebuilt(plan.config),
            false => plan.config,
        };
        NewOperation {
            id: OperationId::from_random(random(self.engine.chance.as_ref())),
            kind: plan.kind,
            trigger: plan.trigger,
            config,
            image: plan.image,
            candidates: (0..count)
                .map(|_| InstanceId::from_random(random(self.engine.chance.as_ref())))
                .collect(),
        }
    }

    /// Has what follows operations done now, as if one had ended.
    pub fn poke(&self) {
        self.executor.poke();
    }

    /// Stores a new service with its first operation and starts it. [`StoreError::Conflict`] when the name is taken,
    /// [`StoreError::Limit`] when there are as many services as the settings allow.
    pub async fn create(
        &self,
        service: Service,
        config: ServiceConfig,
    ) -> Result<(Operation, Service), StoreError> {
        let plan = Plan {
            kind: OperationKind::CreateService,
            trigger: Trigger::User,
            config,
            image: None,
        };
        let new = self.new_operation(plan, &service.id);
        let (operation, service) = Operation::begin(new, &service, self.engine.clock.now());
        self.engine
            .store
            .service_create(&service, &operation, self.engine.settings.services_max)
            .await?;
        self.executor.accept(operation.clone(), &service).await;
        Ok((operation, service))
    }

    /// Begins an operation on a stored service: `plan` checks its state and says what to do, or refuses.
    pub async fn begin<R: Send>(
        &self,
        id: &ServiceId,
        plan: impl FnOnce(&Service) -> Result<Plan, R> + Send,
    ) -> Result<Result<(Operation, Service), R>, StoreError> {
        let now = self.engine.clock.now();
        let make = |service: &Service| {
            let plan = plan(service)?;
            let new = self.new_operation(plan, &service.id);
            Ok(Operation::begin(new, service, now))
        };
        let begun = self.engine.store.operation_begin(id, make).await?;
        if let Ok((operation, service)) = &begun {
            self.executor.accept(operation.clone(), service).await;
        }
        Ok(begun)
    }
}

/// The configuration without what was built for it before: an operation without an image builds one.
fn rebuilt(config: ServiceConfig) -> ServiceConfig {
    match &config.code {
        Some(code) => {
            let code = code.unbuilt();
            ServiceConfig {
                image: code.running(),
                code: Some(code),
                ..config
            }
        }
        None => config,
    }
}

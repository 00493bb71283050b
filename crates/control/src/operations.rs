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

    fn new_operation(&self, plan: Plan) -> NewOperation {
        let count = if plan.kind.deploys() {
            plan.config.scaling.min_size.max(1)
        } else {
            0
        };
        NewOperation {
            id: OperationId::from_random(random(self.engine.chance.as_ref())),
            kind: plan.kind,
            trigger: plan.trigger,
            config: plan.config,
            image: plan.image,
            candidates: (0..count)
                .map(|_| InstanceId::from_random(random(self.engine.chance.as_ref())))
                .collect(),
        }
    }

    /// Stores a new service with its first operation and starts it. [`StoreError::Conflict`] when the name is taken.
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
        let new = self.new_operation(plan);
        let (operation, service) = Operation::begin(new, &service, self.engine.clock.now());
        self.engine
            .store
            .service_create(&service, &operation)
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
            Ok(Operation::begin(self.new_operation(plan), service, now))
        };
        let begun = self.engine.store.operation_begin(id, make).await?;
        if let Ok((operation, service)) = &begun {
            self.executor.accept(operation.clone(), service).await;
        }
        Ok(begun)
    }
}

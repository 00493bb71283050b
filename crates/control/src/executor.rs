//! Carries operations out: asks the stored operation for its next step, performs it, writes the result down, repeats.
//!
//! A restart of the control plane is the same code path: every unfinished operation goes on from its row.

mod build;
mod evidence;
mod settle;
mod steps;

use crate::engine::{Engine, Point};
use apron_domain::operation::{Outcome, Step};
use apron_domain::{Operation, OperationId, OperationKind, Service, ServiceId, Stage, event};
use apron_store::StoreError;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// First pause after a step that could not be performed for a reason of the platform.
const RETRY_FIRST: Duration = Duration::from_millis(100);

/// Longest such pause.
const RETRY_MAX: Duration = Duration::from_secs(10);

/// Why a step could not be performed at all; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The store does not answer.
    #[error("stored state: {0}")]
    Store(#[from] StoreError),
    /// The backend does not do what it is asked.
    #[error("compute: {0}")]
    Compute(#[from] apron_compute::ComputeError),
    /// The routes are not in force.
    #[error("routes: {0}")]
    Routes(#[from] crate::routes::RoutesError),
    /// Files of source code cannot be kept or removed.
    #[error("source code: {0}")]
    Source(#[from] std::io::Error),
    /// The service of an operation is not there.
    #[error("service {0} of the operation is not stored")]
    ServiceMissing(ServiceId),
}

/// Runs one task per unfinished operation.
pub struct Executor {
    engine: Arc<Engine>,
    running: Mutex<BTreeSet<OperationId>>,
    finished: tokio::sync::Notify,
}

impl Executor {
    /// An executor that runs nothing yet.
    pub fn new(engine: Arc<Engine>) -> Arc<Executor> {
        Arc::new(Executor {
            engine,
            running: Mutex::default(),
            finished: tokio::sync::Notify::new(),
        })
    }

    /// Goes on with every unfinished operation.
    pub async fn resume(self: &Arc<Self>) -> Result<usize, StoreError> {
        let unfinished = self.engine.store.operations_unfinished().await?;
        let count = unfinished.len();
        for operation in unfinished {
            tracing::info!(operation = %operation.id, stage = ?operation.stage, "operation goes on");
            self.start(operation);
        }
        Ok(count)
    }

    /// Says that an operation was accepted, and runs it.
    pub async fn accept(self: &Arc<Self>, operation: Operation, service: &Service) {
        self.engine.chronicle.introduce(service);
        let now = self.engine.clock.now();
        self.engine
            .chronicle
            .tell(service, &operation, event::began(&operation), now)
            .await;
        self.start(operation);
    }

    /// Runs an operation; one that runs already is left alone.
    pub fn start(self: &Arc<Self>, operation: Operation) {
        let id = operation.id.clone();
        if !self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.clone())
        {
            return;
        }
        let executor = self.clone();
        tokio::spawn(async move {
            executor.run(operation).await;
            executor
                .running
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&id);
            executor.finished.notify_one();
        });
    }

    /// Wakes who waits for the end of an operation.
    pub fn poke(&self) {
        self.finished.notify_one();
    }

    /// Waits until some operation has ended since the last call.
    pub async fn finished(&self) {
        self.finished.notified().await;
    }

    async fn run(&self, mut operation: Operation) {
        let mut pause = RETRY_FIRST;
        while let Some(step) = operation.step() {
            match self.turn(&operation, step).await {
                Ok(next) => {
                    if next.stage != operation.stage {
                        pause = RETRY_FIRST;
                    }
                    operation = next;
                }
                Err(error) => {
                    tracing::error!(operation = %operation.id, stage = ?operation.stage, %error, "step will be tried again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
        }
        self.engine.fleet.poke();
        self.engine.agenda.poke(&operation.service);
    }

    /// One step and what is written of it.
    async fn turn(&self, operation: &Operation, step: Step) -> Result<Operation, StepError> {
        let engine = &self.engine;
        engine
            .checkpoints
            .reached(operation, Point::BeforeStep)
            .await;
        if operation.can_be_cancelled()
            && engine.store.operation_is_cancelled(&operation.id).await?
        {
            let next = operation.cancelled(engine.clock.now());
            return self
                .written(operation, next, "cancelled by the operator")
                .await;
        }
        let note = format!("{step:?}");
        if step == Step::Finish {
            let (next, service) = self.finish(operation).await?;
            engine
                .checkpoints
                .reached(operation, Point::AfterStep)
                .await;
            self.tell(operation, &next, &service).await;
            return Ok(next);
        }
        let outcome = steps::perform(engine, operation, step).await?;
        engine
            .checkpoints
            .reached(operation, Point::AfterStep)
            .await;
        let waiting = outcome == Outcome::Waiting;
        let patience = match operation.stage {
            Stage::Drain => engine.patience(&operation.service).await,
            _ => engine.settings.patience,
        };
        let next = operation.advance(outcome, patience, engine.clock.now());
        if waiting && next.stage == operation.stage {
            return Ok(next);
        }
        self.written(operation, next, &note).await
    }

    /// Writes down where an operation has come to, and says so.
    async fn written(
        &self,
        before: &Operation,
        next: Operation,
        note: &str,
    ) -> Result<Operation, StepError> {
        match self.engine.store.operation_save(&next, note).await {
            // Cancelled while the step ran: the next turn, from the stage before, ends it.
            Err(StoreError::Cancelled { .. }) => return Ok(before.clone()),
            saved => saved?,
        }
        self.engine.agenda.poke(&next.service);
        let service = self.service(&before.service).await?;
        self.tell(before, &next, &service).await;
        Ok(next)
    }

    async fn tell(&self, before: &Operation, next: &Operation, service: &Service) {
        let lines = event::moved(before, next, service);
        let now = self.engine.clock.now();
        self.engine.chronicle.tell(service, next, lines, now).await;
    }

    async fn service(&self, id: &ServiceId) -> Result<Service, StepError> {
        self.engine
            .store
            .service_get(id)
            .await?
            .ok_or_else(|| StepError::ServiceMissing(id.clone()))
    }

    /// Stores the end of an operation and of what it did to its service in one transaction.
    async fn finish(&self, operation: &Operation) -> Result<(Operation, Service), StepError> {
        let engine = &self.engine;
        let now = engine.clock.now();
        let service = self.service(&operation.service).await?;
        let (done, _) = operation.conclude(&service, now);
        let operation = operation.clone();
        let service = engine
            .store
            .operation_conclude(&done, move |service| {
                *service = operation.conclude(service, now).1
            })
            .await?;
        if done.kind == OperationKind::DeleteService {
            engine.chronicle.forget(&service.id);
        }
        Ok((done, service))
    }
}

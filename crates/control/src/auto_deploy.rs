//! Deploying by itself when the tracked tag is pushed, or the tracked branch.
//!
//! A push while an operation is under way is remembered and deployed when the operation ends; a push while the service is
//! paused is not deployed on resume (developer guide, pausing a service).

mod code;

pub use code::Asker;

use crate::access_role;
use crate::engine::Engine;
use crate::executor::StepError;
use crate::images::Place;
use crate::operations::{Operations, Plan};
use apron_domain::service::RepositoryType;
use apron_domain::{Digest, OperationKind, Service, ServiceId, ServiceStatus, Trigger};
use apron_oci::Reference;
use std::sync::Arc;

/// Watches pushes on behalf of services.
pub struct AutoDeploy {
    engine: Arc<Engine>,
    operations: Arc<Operations>,
}

impl AutoDeploy {
    /// A watcher that begins operations here.
    pub fn new(engine: Arc<Engine>, operations: Arc<Operations>) -> AutoDeploy {
        AutoDeploy { engine, operations }
    }

    /// A tag was pushed: every service that tracks it deploys, now or after its operation.
    pub async fn pushed(&self, repository: &str, tag: &str) -> Result<(), StepError> {
        for service in self.engine.store.services_live().await? {
            if !self.tracks(&service, repository, tag) {
                continue;
            }
            match service.status {
                ServiceStatus::Running => self.deploy(&service).await?,
                ServiceStatus::OperationInProgress => self.remember(&service.id).await?,
                _ => {}
            }
        }
        Ok(())
    }

    /// An operation has ended somewhere: deploy what was pushed meanwhile.
    pub async fn catch_up(&self) -> Result<(), StepError> {
        for service in self.engine.store.services_live().await? {
            if !service.push_pending || service.status == ServiceStatus::OperationInProgress {
                continue;
            }
            self.engine
                .store
                .service_update(&service.id, |s| s.push_pending = false)
                .await?;
            if service.status == ServiceStatus::Running {
                self.deploy(&service).await?;
            }
        }
        Ok(())
    }

    fn tracks(&self, service: &Service, repository: &str, tag: &str) -> bool {
        let image = &service.config.image;
        if service.config.code.is_some()
            || !service.config.auto_deployments
            || image.repository_type != RepositoryType::Ecr
        {
            return false;
        }
        match self.engine.images.place(&image.identifier) {
            Ok(Place::Own {
                repository: own,
                reference: Reference::Tag(tracked),
            }) => own == repository && tracked == *tag,
            _ => false,
        }
    }

    async fn deploy(&self, service: &Service) -> Result<(), StepError> {
        if service.config.code.is_some() {
            return self.look(service).await;
        }
        let deployed = service.deployed.as_ref().map(|d| &d.image);
        if deployed.is_some() && self.present(service).await.as_ref() == deployed {
            return Ok(());
        }
        if let Err(reason) = access_role::may_watch(&self.engine, &service.config.image).await {
            let text = format!("The pushed image is not deployed: {reason}");
            let now = self.engine.clock.now();
            self.engine.chronicle.note(service, &text, now).await;
            return Ok(());
        }
        let begun = self
            .operations
            .begin(&service.id, |service| match service.status {
                ServiceStatus::Running => Ok(Plan {
                    kind: OperationKind::StartDeployment,
                    trigger: Trigger::Push,
                    config: service.config.clone(),
                    image: None,
                }),
                status => Err(status),
            })
            .await?;
        if let Err(ServiceStatus::OperationInProgress) = begun {
            self.remember(&service.id).await?;
        }
        Ok(())
    }

    /// Has a push deployed when the service's operation ends, also when it has just ended.
    async fn remember(&self, service: &ServiceId) -> Result<(), StepError> {
        let store = &self.engine.store;
        let stored = store.service_update(service, |s| s.push_pending = true);
        if stored.await?.status != ServiceStatus::OperationInProgress {
            self.operations.poke();
        }
        Ok(())
    }

    /// The manifest that the tracked tag means at this moment.
    async fn present(&self, service: &Service) -> Option<Digest> {
        let Ok(Place::Own {
            repository,
            reference,
        }) = self.engine.images.place(&service.config.image.identifier)
        else {
            return None;
        };
        let content = self.engine.images.content();
        let found = content.resolve(&repository, &reference).await.ok()??;
        let image = content.image(found.as_str()).await.ok()?;
        Digest::parse(image.manifest_digest.as_str()).ok()
    }
}

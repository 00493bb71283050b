//! `apron:secret-refresh = redeploy`: a service is deployed anew when a secret or parameter that it uses has another value.
//!
//! One look compares the versions that the deployed revision was given with those its references mean now, so a change that
//! nobody was told of is found as well.

use crate::engine::Engine;
use crate::executor::StepError;
use crate::operations::{Operations, Plan};
use apron_domain::{OperationKind, Service, ServiceId, ServiceStatus, Trigger};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Time between two looks without a reason.
const LOOK_EVERY: Duration = Duration::from_secs(300);
/// Changes that come within this time of each other are one.
const GATHER_FOR: Duration = Duration::from_millis(500);

/// Which version each reference of a service means.
type Versions = BTreeMap<String, String>;

/// Rolls services on behalf of their secrets.
pub struct SecretRefresh {
    engine: Arc<Engine>,
    operations: Arc<Operations>,
    /// What was tried last for a service, so that a value it cannot run with is not deployed again and again.
    tried: Mutex<BTreeMap<ServiceId, Versions>>,
}

impl SecretRefresh {
    /// Begins operations here.
    pub fn new(engine: Arc<Engine>, operations: Arc<Operations>) -> Arc<SecretRefresh> {
        Arc::new(SecretRefresh {
            engine,
            operations,
            tried: Mutex::default(),
        })
    }

    /// Looks for ever: when something changed, and now and then.
    pub async fn run(self: Arc<Self>) {
        let mut secrets = self.engine.vault.secrets.changes();
        let mut parameters = self.engine.vault.parameters.changes();
        loop {
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "changed secrets will be looked for again");
            }
            // A channel that told more than was heard is a reason to look as well.
            tokio::select! {
                _ = secrets.recv() => {}
                _ = parameters.recv() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            tokio::time::sleep(GATHER_FOR).await;
            secrets = secrets.resubscribe();
            parameters = parameters.resubscribe();
        }
    }

    /// One look at every service.
    pub async fn look(&self) -> Result<(), StepError> {
        for service in self.engine.store.services_live().await? {
            if service.status == ServiceStatus::Running && !service.config.image.secrets.is_empty()
            {
                self.look_at(&service).await?;
            }
        }
        Ok(())
    }

    async fn look_at(&self, service: &Service) -> Result<(), StepError> {
        let engine = &self.engine;
        let Some(deployed) = &service.deployed else {
            return Ok(());
        };
        if !engine.routes.extensions(service).await?.secret_refresh {
            return Ok(());
        }
        let injected = engine
            .injection
            .record(&service.id, deployed.revision)
            .await?;
        let Some(injected) = injected else {
            return Ok(());
        };
        let now = engine.injection.versions_now(&deployed.config).await?;
        let differs = |(reference, version): (&String, &String)| {
            injected
                .versions
                .get(reference)
                .is_some_and(|had| had != version)
        };
        if !now.iter().any(differs) || !self.is_news(&service.id, &now) {
            return Ok(());
        }
        tracing::info!(service = %service.name, "a secret has changed, the service is deployed anew");
        let image = deployed.image.clone();
        let begun = self
            .operations
            .begin(&service.id, |service| match service.status {
                ServiceStatus::Running => Ok(Plan {
                    kind: OperationKind::StartDeployment,
                    trigger: Trigger::Secret,
                    config: service.config.clone(),
                    image: Some(image),
                }),
                status => Err(status),
            })
            .await?;
        if begun.is_err() {
            // An operation that began meanwhile reads the new value, or the next look finds it.
            self.tried().remove(&service.id);
        }
        Ok(())
    }

    fn is_news(&self, service: &ServiceId, versions: &Versions) -> bool {
        let before = self.tried().insert(service.clone(), versions.clone());
        before.as_ref() != Some(versions)
    }

    fn tried(&self) -> std::sync::MutexGuard<'_, BTreeMap<ServiceId, Versions>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

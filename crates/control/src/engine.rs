//! The parts that operations and reconcilers work with, introduced to each other once.

use crate::agenda::Agenda;
use crate::audit::Trail;
use crate::authorizer::Authorizer;
use crate::chronicle::Chronicle;
use crate::clock::{Chance, Clock};
use crate::fleet::Fleet;
use crate::images::Images;
use crate::injection::{self, Injection, Means};
use crate::instance_credentials::Paths;
use crate::routes::{Routes, RoutesError};
use crate::scaler::Scaler;
use crate::settings::Settings;
use crate::source::Sources;
use crate::traffic::meters::Meters;
use crate::troubles::Troubles;
use crate::vault::Vault;
use crate::web_identity::{Bearer, WebIdentity};
use apron_builder::Build;
use apron_compute::{Compute, ComputeError, InstanceSpec};
use apron_domain::operation::Patience;
use apron_domain::{Digest, InstanceId, Millis, Operation, Service, ServiceConfig, ServiceId};
use apron_store::{Store, StoreError};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A place between two effects of an operation, where a test may end the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The step is known and nothing of it has been done.
    BeforeStep,
    /// The step has its effect and nothing of that is written down.
    AfterStep,
}

/// Told of every [`Point`]. In production it does nothing; the harness of the operations' tests stops there for ever.
#[async_trait]
pub trait Checkpoints: Send + Sync {
    /// The operation has come to this point.
    async fn reached(&self, operation: &Operation, point: Point);
}

/// No checkpoints.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

#[async_trait]
impl Checkpoints for Unwatched {
    async fn reached(&self, _operation: &Operation, _point: Point) {}
}

/// The parts.
pub struct Engine {
    /// The operator's settings.
    pub settings: Arc<Settings>,
    /// Who callers and roles are, and what they may.
    pub authorizer: Arc<Authorizer>,
    /// What was done by whom.
    pub trail: Arc<Trail>,
    /// Who vouches for whom.
    pub web_identity: Arc<WebIdentity>,
    /// Durable state.
    pub store: Store,
    /// Keys, secrets and parameters.
    pub vault: Vault,
    /// What instances are given of them.
    pub injection: Injection,
    /// Where instances find their credentials.
    pub credential_paths: Paths,
    /// Image content.
    pub images: Images,
    /// Source code.
    pub sources: Sources,
    /// What builds images from it.
    pub builder: Arc<dyn Build>,
    /// The backend.
    pub compute: Arc<dyn Compute>,
    /// The backend's present view.
    pub fleet: Arc<Fleet>,
    /// What the reconciler has to do.
    pub agenda: Arc<Agenda>,
    /// The numbers of instances.
    pub scaler: Arc<Scaler>,
    /// The counters of the traffic.
    pub meters: Arc<Meters>,
    /// Services that cannot start instances.
    pub troubles: Arc<Troubles>,
    /// The route table.
    pub routes: Routes,
    /// The services' log streams.
    pub chronicle: Arc<Chronicle>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub chance: Arc<dyn Chance>,
    /// Order between the operation and the reconciler of one service.
    pub locks: Locks,
    /// Written by calls that change auto scaling configurations, read by calls that bind a service to one or look at both:
    /// what they see belongs together.
    pub configurations: tokio::sync::RwLock<()>,
    /// Read while an image is prepared, written while prepared images that nothing needs are dropped: an image that is
    /// prepared for an operation the dropping did not see would be gone at its launch.
    pub preparations: tokio::sync::RwLock<()>,
    /// Where tests stop operations.
    pub checkpoints: Arc<dyn Checkpoints>,
}

/// One lock per service, held while its set of active instances is changed.
#[derive(Default)]
pub struct Locks {
    locks: Mutex<BTreeMap<ServiceId, Weak<tokio::sync::Mutex<()>>>>,
}

impl Locks {
    /// Waits for the service's lock; it is held as long as the guard lives.
    pub async fn hold(&self, service: &ServiceId) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| lock.strong_count() > 0);
            match locks.get(service).and_then(Weak::upgrade) {
                Some(lock) => lock,
                None => {
                    let lock = Arc::new(tokio::sync::Mutex::new(()));
                    locks.insert(service.clone(), Arc::downgrade(&lock));
                    lock
                }
            }
        };
        lock.lock_owned().await
    }
}

impl Engine {
    /// What the backend needs to start an instance of a service, with the values of its secrets: the injection of the
    /// revision has been prepared.
    pub async fn instance_spec(
        &self,
        service: &Service,
        id: &InstanceId,
        revision: u32,
        config: &ServiceConfig,
        image: &Digest,
    ) -> Result<InstanceSpec, StoreError> {
        let role = config.instance_role_arn.as_deref();
        let injected = match role {
            Some(_) => self.injection.record(&service.id, revision).await?,
            None => None,
        };
        let web_identity = injected.and_then(|injected| injected.web_identity);
        let identity_token = match (role, &web_identity) {
            (Some(role), Some(_)) => {
                let now = self.clock.now();
                Some(self.token(service, id, role, now).await?)
            }
            _ => None,
        };
        let credentials_path = role.map(|_| self.credential_paths.of(id));
        let means = Means {
            credentials_path: credentials_path.as_deref(),
            web_identity: web_identity.as_deref(),
            session: id.as_str(),
        };
        let platform = injection::platform_variables(&self.settings, config, &means);
        let mut env = platform.own;
        env.extend(config.image.environment.clone());
        if !config.image.secrets.is_empty() {
            env.extend(self.injection.values(&service.id, revision).await?);
        }
        Ok(InstanceSpec {
            id: id.clone(),
            service: service.id.clone(),
            service_name: service.name.clone(),
            revision,
            image: image.clone(),
            start_command: config.image.start_command.clone(),
            env,
            defaults: platform.defaults,
            trusts_platform: platform.trust,
            identity_token,
            port: config.image.port,
            cpu_millis: config.size.cpu_units * 1000 / 1024,
            memory_bytes: u64::from(config.size.memory_mb) << 20,
            pids_max: self.settings.instance_pids_max,
            disk_bytes: self.settings.instance_disk_bytes,
            class: apron_compute::InstanceClass::Service,
        })
    }

    /// A token that says which service and role an instance has.
    pub async fn token(
        &self,
        service: &Service,
        id: &InstanceId,
        role: &str,
        now: Millis,
    ) -> Result<String, StoreError> {
        let bearer = Bearer {
            account: &self.settings.account,
            service: &service.name,
            service_arn: &self
                .settings
                .service_arn(&service.name, service.id.as_str()),
            instance: id.as_str(),
            role,
        };
        self.web_identity.issuer.token(&bearer, now).await
    }

    /// What was deleted before this is not described any more.
    pub fn forget_before(&self) -> Millis {
        let kept_ms = u64::try_from(self.settings.deleted_kept.as_millis()).unwrap_or(u64::MAX);
        Millis(self.clock.now().0.saturating_sub(kept_ms))
    }

    /// How long instances of a service may answer what they have once they left the routes: the operator's setting
    /// unless the service has its own.
    pub async fn patience(&self, service: &ServiceId) -> Patience {
        let own = async {
            match self.store.service_get(service).await? {
                Some(service) => Ok(self.routes.extensions(&service).await?.drain_timeout_ms),
                None => Ok(None),
            }
        };
        let own: Result<Option<u64>, RoutesError> = own.await;
        let drain_ms = own.unwrap_or_else(|error| {
            tracing::warn!(%service, %error, "the service's drain timeout cannot be read");
            None
        });
        let patience = self.settings.patience;
        Patience {
            drain_ms: drain_ms.unwrap_or(patience.drain_ms),
            ..patience
        }
    }

    /// Ends instances with the grace that applications are given and removes every trace, also from the store.
    pub async fn put_away(&self, ids: &[InstanceId]) -> Result<(), ComputeError> {
        let mut each = Vec::with_capacity(ids.len());
        for id in ids {
            each.push(self.put_one_away(id));
        }
        futures_util::future::try_join_all(each).await.map(|_| ())
    }

    async fn put_one_away(&self, id: &InstanceId) -> Result<(), ComputeError> {
        self.compute.stop(id, self.settings.stop_grace).await?;
        self.compute.remove(id).await?;
        self.fleet.forget(id);
        let forgotten = self.store.instance_delete(id).await;
        forgotten
            .map_err(|e| ComputeError::Failed(format!("instance {id} cannot be forgotten: {e}")))
    }
}

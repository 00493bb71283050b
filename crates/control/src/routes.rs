//! The routes: computed from what is stored and observed, put into the data plane's table.
//!
//! Work is in proportion to the change: whoever changed a service has its route computed. The whole table is computed at
//! the start.

mod compute;

use crate::configurations::{AUTO_SCALING, arn_of};
use crate::dataplane::{DataPlane, DataPlaneError, Update};
use crate::engine::Locks;
use crate::fleet::Fleet;
use crate::settings::Settings;
use crate::troubles::Troubles;
use apron_domain::configuration::{AutoScaling, Revision};
use apron_domain::extension::Extensions;
use apron_domain::{Instance, InstanceId, OperationKind, Service, ServiceId};
use apron_link::proxy::{Certificate, Route};
use apron_store::Store;
use compute::Facts;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::{RwLock, watch};

/// Why the routes are not in force.
#[derive(Debug, thiserror::Error)]
pub enum RoutesError {
    /// The stored state could not be read.
    #[error("stored state cannot be read")]
    Store(#[from] apron_store::StoreError),
    /// The data plane did not answer.
    #[error(transparent)]
    DataPlane(#[from] DataPlaneError),
}

/// Tags of the auto scaling configurations, by ARN.
type ScalingTags = BTreeMap<String, BTreeMap<String, String>>;

/// Keeps the data plane's table equal to the stored and observed state.
pub struct Routes {
    settings: Arc<Settings>,
    store: Store,
    fleet: Arc<Fleet>,
    troubles: Arc<Troubles>,
    dataplane: Arc<dyn DataPlane>,
    certificates: watch::Receiver<Vec<Certificate>>,
    /// Order between reading the state and putting it into the table: written while all services are read, read while
    /// one is. `true` when the table has been whole.
    whole: RwLock<bool>,
    /// The same order for each service alone.
    services: Locks,
}

impl Routes {
    /// A publisher for this data plane.
    pub fn new(
        settings: Arc<Settings>,
        store: Store,
        fleet: Arc<Fleet>,
        troubles: Arc<Troubles>,
        dataplane: Arc<dyn DataPlane>,
        certificates: watch::Receiver<Vec<Certificate>>,
    ) -> Routes {
        Routes {
            settings,
            store,
            fleet,
            troubles,
            dataplane,
            certificates,
            whole: RwLock::new(false),
            services: Locks::default(),
        }
    }

    /// The services' certificates as they are replaced.
    pub fn certificates(&self) -> watch::Receiver<Vec<Certificate>> {
        self.certificates.clone()
    }

    /// Computes every route and returns when what was different is in force.
    pub async fn refresh(&self) -> Result<(), RoutesError> {
        let mut whole = self.whole.write().await;
        let generation = self.put_whole().await?;
        *whole = true;
        drop(whole);
        Ok(self.dataplane.in_force(generation).await?)
    }

    /// Computes the route of one service and returns when it is in force. Of a service that is not there any more the
    /// route goes.
    pub async fn refresh_service(&self, id: &ServiceId) -> Result<(), RoutesError> {
        let generation = self.put_service(id).await?;
        Ok(self.dataplane.in_force(generation).await?)
    }

    /// Puts the certificates as they are now into the table and returns when they are in force.
    pub async fn refresh_certificates(&self) -> Result<(), RoutesError> {
        let certificates = self.certificates.borrow().clone();
        let generation = self.dataplane.put(Update::Certificates(certificates));
        Ok(self.dataplane.in_force(generation).await?)
    }

    async fn put_whole(&self) -> Result<u64, RoutesError> {
        let scaling_tags = self.scaling_tags().await?;
        let closing = self.store.operations_unfinished().await?;
        let closing: BTreeMap<ServiceId, OperationKind> = closing
            .into_iter()
            .filter(|o| !o.kind.deploys())
            .map(|o| (o.service, o.kind))
            .collect();
        let mut instances: BTreeMap<ServiceId, Vec<Instance>> = BTreeMap::new();
        for instance in self.store.instances().await? {
            let of_service = instances.entry(instance.service.clone()).or_default();
            of_service.push(instance);
        }
        let services = self.store.services_live().await?;
        let route = |service: &Service| {
            let own = instances.get(&service.id).map_or(&[][..], Vec::as_slice);
            self.route(service, closing.get(&service.id), own, &scaling_tags)
        };
        Ok(self.dataplane.put(Update::Whole {
            routes: services.iter().filter_map(route).collect(),
            certificates: self.certificates.borrow().clone(),
        }))
    }

    async fn put_service(&self, id: &ServiceId) -> Result<u64, RoutesError> {
        let whole = self.whole.read().await;
        if !*whole {
            drop(whole);
            let mut whole = self.whole.write().await;
            if !*whole {
                let generation = self.put_whole().await?;
                *whole = true;
                return Ok(generation);
            }
        }
        let _whole = self.whole.read().await;
        let _own = self.services.hold(id).await;
        let route = match self.store.service_get(id).await? {
            Some(service) => {
                let closing = self.store.operation_unfinished(id).await?;
                let closing = closing.filter(|o| !o.kind.deploys()).map(|o| o.kind);
                let instances = self.store.instances_of(id).await?;
                let scaling_tags = self.scaling_tags().await?;
                self.route(&service, closing.as_ref(), &instances, &scaling_tags)
            }
            None => None,
        };
        let service = id.to_string();
        Ok(self.dataplane.put(Update::Service { service, route }))
    }

    fn route(
        &self,
        service: &Service,
        closing: Option<&OperationKind>,
        instances: &[Instance],
        scaling_tags: &ScalingTags,
    ) -> Option<Route> {
        let addresses = instances.iter().filter_map(|instance| {
            let address = self.fleet.status(&instance.id)?.address?;
            Some((instance, address))
        });
        compute::route(&Facts {
            host: self.settings.service_host(&service.label),
            service,
            closing: closing.copied(),
            instances: addresses.collect(),
            extensions: &extensions(service, scaling_tags),
            trouble: self.troubles.of(&service.id),
        })
    }

    async fn scaling_tags(&self) -> Result<ScalingTags, RoutesError> {
        let all: Vec<Revision<AutoScaling>> = self.store.configurations(AUTO_SCALING).await?;
        let with_arn = |revision: Revision<AutoScaling>| {
            let arn = arn_of(&self.settings, AUTO_SCALING, &revision);
            (arn, revision.tags)
        };
        Ok(all.into_iter().map(with_arn).collect())
    }

    /// The extensions a service has by its own tags and those of its auto scaling configuration.
    pub async fn extensions(&self, service: &Service) -> Result<Extensions, RoutesError> {
        Ok(extensions(service, &self.scaling_tags().await?))
    }

    /// The same for many services, in their order.
    pub async fn extensions_of(
        &self,
        services: &[Service],
    ) -> Result<Vec<Extensions>, RoutesError> {
        let scaling_tags = self.scaling_tags().await?;
        Ok(services
            .iter()
            .map(|service| extensions(service, &scaling_tags))
            .collect())
    }

    /// Of these instances, those that may still have requests.
    pub fn busy(&self, instances: &[InstanceId]) -> BTreeSet<InstanceId> {
        let is_busy = |id: &&InstanceId| self.dataplane.busy(id.as_str());
        instances.iter().filter(is_busy).cloned().collect()
    }
}

fn extensions(service: &Service, scaling_tags: &ScalingTags) -> Extensions {
    let config = service.deployed.as_ref().map(|d| &d.config);
    let arn = &config.unwrap_or(&service.config).scaling.arn;
    let none = BTreeMap::new();
    Extensions::of(&service.tags, scaling_tags.get(arn).unwrap_or(&none))
}

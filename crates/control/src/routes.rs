//! The route table: computed from what is stored and observed, published when it changed.

use crate::dataplane::{DataPlane, DataPlaneError};
use crate::fleet::Fleet;
use crate::settings::Settings;
use apron_domain::extension::Extensions;
use apron_domain::{
    Instance, InstanceId, InstanceRole, OperationKind, Service, ServiceId, ServiceStatus,
};
use apron_link::proxy::{Certificate, Route, RouteState, RouteTable, Upstream};
use apron_store::Store;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{Mutex, watch};

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

/// Keeps the data plane's table equal to the stored and observed state.
pub struct Routes {
    settings: Arc<Settings>,
    store: Store,
    fleet: Arc<Fleet>,
    dataplane: Arc<dyn DataPlane>,
    certificates: watch::Receiver<Vec<Certificate>>,
    /// The table published last; the lock orders publications.
    published: Mutex<Option<RouteTable>>,
}

impl Routes {
    /// A publisher for this data plane.
    pub fn new(
        settings: Arc<Settings>,
        store: Store,
        fleet: Arc<Fleet>,
        dataplane: Arc<dyn DataPlane>,
        certificates: watch::Receiver<Vec<Certificate>>,
    ) -> Routes {
        Routes {
            settings,
            store,
            fleet,
            dataplane,
            certificates,
            published: Mutex::new(None),
        }
    }

    /// The services' certificates as they are replaced.
    pub fn certificates(&self) -> watch::Receiver<Vec<Certificate>> {
        self.certificates.clone()
    }

    /// Publishes the table that the present state gives and returns when it is in force. A table equal to the one in
    /// force is not published again.
    pub async fn refresh(&self) -> Result<(), RoutesError> {
        let mut published = self.published.lock().await;
        let services = self.store.services_live().await?;
        let instances = self.store.instances().await?;
        let closing = self.closing().await?;
        let mut table = table(
            &self.settings,
            &services,
            &closing,
            &instances,
            &self.fleet.addresses(),
        );
        table.certificates.clone_from(&self.certificates.borrow());
        if let Some(last) = published.as_ref() {
            table.generation = last.generation;
            if *last == table {
                return Ok(());
            }
        }
        table.generation = self.dataplane.generation() + 1;
        // Remembered only when acknowledged: an unacknowledged table is tried again by the next refresh.
        *published = None;
        self.dataplane.publish(table.clone()).await?;
        *published = Some(table);
        Ok(())
    }

    /// Services that are being paused or deleted and have no traffic any more.
    async fn closing(&self) -> Result<BTreeMap<ServiceId, OperationKind>, RoutesError> {
        let unfinished = self.store.operations_unfinished().await?;
        Ok(unfinished
            .into_iter()
            .filter(|o| !o.kind.deploys())
            .map(|o| (o.service, o.kind))
            .collect())
    }

    /// Of these instances, those that still have requests; all of them while nothing is known.
    pub fn busy(&self, instances: &[InstanceId]) -> BTreeSet<InstanceId> {
        let draining = self.dataplane.draining();
        let is_busy = |id: &&InstanceId| {
            draining
                .as_ref()
                .is_none_or(|d| d.contains_key(id.as_str()))
        };
        instances.iter().filter(is_busy).cloned().collect()
    }
}

/// The table for this state. Services that never ran have no route; a paused service says so.
fn table(
    settings: &Settings,
    services: &[Service],
    closing: &BTreeMap<ServiceId, OperationKind>,
    instances: &[Instance],
    addresses: &BTreeMap<InstanceId, SocketAddr>,
) -> RouteTable {
    let routes = services.iter().filter_map(|service| {
        let deployed = service.deployed.as_ref()?;
        let state = match (service.status, closing.get(&service.id)) {
            (_, Some(OperationKind::DeleteService)) | (ServiceStatus::Deleted, _) => return None,
            (ServiceStatus::Paused, _) | (_, Some(_)) => RouteState::Paused,
            _ => RouteState::Serving,
        };
        let upstreams = instances.iter().filter_map(|instance| {
            let takes_traffic = instance.service == service.id
                && instance.role == InstanceRole::Active
                && instance.ready;
            let address = *addresses.get(&instance.id)?;
            takes_traffic.then(|| Upstream {
                instance: instance.id.to_string(),
                address,
            })
        });
        let extensions = Extensions::of(&service.tags, &BTreeMap::new());
        Some(Route {
            service: service.id.to_string(),
            hosts: vec![settings.service_host(&service.label)],
            state,
            upstreams: if state == RouteState::Serving {
                upstreams.collect()
            } else {
                Vec::new()
            },
            max_concurrency: deployed.config.scaling.max_concurrency,
            request_timeout_ms: extensions.request_timeout_ms,
            idle_timeout_ms: extensions.idle_timeout_ms,
            sticky: extensions.sticky,
            access_log: extensions.access_log,
            ..Route::default()
        })
    });
    RouteTable {
        generation: 0,
        certificates: Vec::new(),
        routes: routes.collect(),
    }
}

//! One backend for two users who do not see each other's instances: the control plane, which knows the instances of services
//! and puts away every other, and what builds images.

use crate::{
    Brake, Compute, ComputeError, ComputeEvent, Exhausted, Export, Exported, InstanceClass,
    InstanceSpec, InstanceStatus, Probe, ProbeAnswer,
};
use apron_domain::{Digest, InstanceId};
use async_trait::async_trait;
use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// Events that wait for either user.
const EVENTS_MAX: usize = 256;

/// Events handed on at once.
const BATCH_MAX: usize = 256;

/// Removed builds whose late events still find the right user.
const REMEMBERED_MAX: usize = 4096;

/// Makes two views of a backend whose events nobody has subscribed to yet: one of the instances of services, one of builds.
/// Fails when the backend cannot list what former runs left. Called inside a runtime.
pub async fn part(
    backend: Arc<dyn Compute>,
) -> Result<(Arc<dyn Compute>, Arc<dyn Compute>), ComputeError> {
    let builds: VecDeque<InstanceId> = backend
        .list()
        .await?
        .into_iter()
        .filter(|status| status.class == InstanceClass::Build)
        .map(|status| status.id)
        .collect();
    let (to_services, of_services) = mpsc::channel(EVENTS_MAX);
    let (to_builds, of_builds) = mpsc::channel(EVENTS_MAX);
    let shared = Arc::new(Shared {
        known: Mutex::new(builds.iter().cloned().collect()),
        order: Mutex::new(builds),
        images: Mutex::default(),
        backend,
    });
    let events = shared.backend.subscribe();
    tokio::spawn(hand_out(shared.clone(), events, to_services, to_builds));
    let view = |class, events| -> Arc<dyn Compute> {
        Arc::new(View {
            shared: shared.clone(),
            class,
            events: Mutex::new(Some(events)),
        })
    };
    Ok((
        view(InstanceClass::Service, of_services),
        view(InstanceClass::Build, of_builds),
    ))
}

struct Shared {
    backend: Arc<dyn Compute>,
    /// Instances that build, and some that did.
    known: Mutex<BTreeSet<InstanceId>>,
    /// The same, the oldest first.
    order: Mutex<VecDeque<InstanceId>>,
    /// Prepared images that builds want kept.
    images: Mutex<BTreeSet<Digest>>,
}

impl Shared {
    fn remember(&self, id: &InstanceId) {
        let (mut known, mut order) = (lock(&self.known), lock(&self.order));
        if !known.insert(id.clone()) {
            return;
        }
        order.push_back(id.clone());
        if order.len() > REMEMBERED_MAX
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
    }
}

/// Gives every event to whom its instance belongs. Nobody's absence holds the other up.
async fn hand_out(
    shared: Arc<Shared>,
    mut events: mpsc::Receiver<ComputeEvent>,
    to_services: mpsc::Sender<ComputeEvent>,
    to_builds: mpsc::Sender<ComputeEvent>,
) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while events.recv_many(&mut batch, BATCH_MAX).await > 0 {
        for event in batch.drain(..) {
            let of_build = lock(&shared.known).contains(event.instance());
            let sent = match of_build {
                true => to_builds.send(event).await,
                false => to_services.send(event).await,
            };
            if sent.is_err() {
                tracing::debug!("an event of an instance has nobody to take it");
            }
        }
    }
}

struct View {
    shared: Arc<Shared>,
    class: InstanceClass,
    events: Mutex<Option<mpsc::Receiver<ComputeEvent>>>,
}

#[async_trait]
impl Compute for View {
    async fn prepare(&self, image: &Digest) -> Result<(), ComputeError> {
        self.shared.backend.prepare(image).await
    }

    async fn create(&self, spec: &InstanceSpec) -> Result<(), ComputeError> {
        if spec.class != self.class {
            return Err(ComputeError::Failed(format!(
                "instance {} is for a {:?}, this is where those for a {:?} are made",
                spec.id, spec.class, self.class
            )));
        }
        if self.class == InstanceClass::Build {
            self.shared.remember(&spec.id);
        }
        self.shared.backend.create(spec).await
    }

    async fn stop(&self, id: &InstanceId, grace: Duration) -> Result<(), ComputeError> {
        self.shared.backend.stop(id, grace).await
    }

    async fn remove(&self, id: &InstanceId) -> Result<(), ComputeError> {
        self.shared.backend.remove(id).await
    }

    async fn list(&self) -> Result<Vec<InstanceStatus>, ComputeError> {
        let mut all = self.shared.backend.list().await?;
        all.retain(|status| status.class == self.class);
        Ok(all)
    }

    async fn status(&self, id: &InstanceId) -> Result<Option<InstanceStatus>, ComputeError> {
        let found = self.shared.backend.status(id).await?;
        Ok(found.filter(|status| status.class == self.class))
    }

    async fn probe(&self, id: &InstanceId, probe: &Probe, timeout: Duration) -> ProbeAnswer {
        self.shared.backend.probe(id, probe, timeout).await
    }

    async fn brake(&self, id: &InstanceId) -> Result<Option<Brake>, ComputeError> {
        self.shared.backend.brake(id).await
    }

    fn subscribe(&self) -> mpsc::Receiver<ComputeEvent> {
        lock(&self.events)
            .take()
            .unwrap_or_else(|| mpsc::channel(1).1)
    }

    /// Of services: drops what neither they nor builds need. Of builds: what they need from now on.
    async fn retain_images(&self, keep: &BTreeSet<Digest>) -> Result<(), ComputeError> {
        if self.class == InstanceClass::Build {
            *lock(&self.shared.images) = keep.clone();
            return Ok(());
        }
        let kept = keep | &*lock(&self.shared.images);
        self.shared.backend.retain_images(&kept).await
    }

    async fn exhausted(&self, id: &InstanceId) -> Result<Exhausted, ComputeError> {
        self.shared.backend.exhausted(id).await
    }

    async fn export(
        &self,
        id: &InstanceId,
        what: &Export,
        into: File,
    ) -> Result<Exported, ComputeError> {
        self.shared.backend.export(id, what, into).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::{Behaviour, Simulator};
    use apron_domain::ServiceId;

    fn spec(number: u8, class: InstanceClass, image: &Digest) -> InstanceSpec {
        InstanceSpec {
            id: InstanceId::from_random([number; 16]),
            service: ServiceId::from_random([1; 16]),
            service_name: "shop".to_owned(),
            revision: 1,
            image: image.clone(),
            start_command: None,
            env: Default::default(),
            defaults: Default::default(),
            trusts_platform: false,
            identity_token: None,
            port: 8080,
            cpu_millis: 250,
            memory_bytes: 1 << 29,
            pids_max: 100,
            disk_bytes: 3 << 30,
            class,
        }
    }

    #[tokio::test]
    async fn neither_user_sees_or_hears_of_the_instances_of_the_other() {
        let simulator = Arc::new(Simulator::new());
        let image = Digest::parse(&format!("sha256:{}", "a".repeat(64))).unwrap();
        let ends = Behaviour::Crash {
            code: 0,
            line: "done".to_owned(),
        };
        simulator.script(&image, ends);
        let (services, builds) = part(simulator).await.unwrap();
        let (mut heard_by_services, mut heard_by_builds) =
            (services.subscribe(), builds.subscribe());
        services.prepare(&image).await.unwrap();
        let service = spec(1, InstanceClass::Service, &image);
        let build = spec(2, InstanceClass::Build, &image);
        assert!(services.create(&build).await.is_err());
        services.create(&service).await.unwrap();
        builds.create(&build).await.unwrap();
        for (view, events, own, other) in [
            (&services, &mut heard_by_services, &service, &build),
            (&builds, &mut heard_by_builds, &build, &service),
        ] {
            let listed = view.list().await.unwrap();
            assert_eq!(listed.len(), 1);
            assert_eq!(listed[0].id, own.id);
            assert_eq!(view.status(&other.id).await.unwrap(), None);
            for _ in 0..3 {
                assert_eq!(events.recv().await.unwrap().instance(), &own.id);
            }
            assert!(events.try_recv().is_err());
        }
    }
}

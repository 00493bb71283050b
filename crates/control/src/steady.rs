//! The reconciler of running services: every wanted instance there, healthy, and in the routes; nothing left over.
//!
//! It takes no input. The agenda says which service something happened to, or which time has come; the reconciler reads
//! that service's desired state from the store and its observed state from the fleet, asks `apron_domain::steady` for
//! corrections and makes them. Services that nothing happens to are not read. Now and then a sweep reads all of them in
//! a few queries, so that an event that was lost is made good.

mod create;
mod probes;
mod put_away;
mod repair;
mod view;

use crate::agenda::Task;
use crate::engine::Engine;
use crate::executor::StepError;
use apron_domain::scaling::Limits;
use apron_domain::steady::{Observation, Setback, next_change, repairs};
use apron_domain::{Instance, InstanceId, InstanceRole, ServiceId};
use probes::Watch;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;
use view::View;

/// Milliseconds between two sweeps.
const SWEEP_EVERY_MS: u64 = 300_000;

/// Milliseconds before a look that failed, for a reason of the platform, is taken again.
const LOOK_AGAIN_MS: u64 = 1_000;

/// Looks at the same time.
const LOOKS_MAX: usize = 32;

/// Probes at the same time.
const PROBES_MAX: usize = 256;

#[derive(Default)]
struct Memory {
    setbacks: BTreeMap<ServiceId, Setback>,
    /// Services that a task looks at, and whether they are to be looked at again after that.
    looking: BTreeMap<ServiceId, bool>,
    /// Instances that a task is starting or putting away.
    in_hand: BTreeSet<InstanceId>,
    /// Instances that are probed.
    watched: BTreeMap<InstanceId, Watch>,
}

/// The reconciler.
pub struct Steady {
    engine: Arc<Engine>,
    memory: Mutex<Memory>,
    looks: Semaphore,
    probes: Semaphore,
}

impl Steady {
    /// A reconciler of what this engine runs.
    pub fn new(engine: Arc<Engine>) -> Arc<Steady> {
        Arc::new(Steady {
            engine,
            memory: Mutex::default(),
            looks: Semaphore::new(LOOKS_MAX),
            probes: Semaphore::new(PROBES_MAX),
        })
    }

    /// Works off the agenda for ever.
    pub async fn run(self: Arc<Self>) {
        let engine = self.engine.clone();
        loop {
            for task in engine.agenda.take(engine.clock.now()) {
                self.begin(task);
            }
            engine.agenda.wait(engine.clock.as_ref()).await;
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(self: &Arc<Self>, task: Task) {
        match task {
            Task::Sweep => {
                let steady = self.clone();
                tokio::spawn(async move {
                    if let Err(error) = steady.sweep().await {
                        tracing::error!(%error, "services could not be swept over");
                    }
                });
            }
            Task::Look(service) => self.begin_look(service),
            Task::Scale(service) => self.engine.scaler.due(&service),
            Task::Probe(instance) => self.begin_probe(instance),
        }
    }

    /// Reads everything once and has those services looked at that have instances or should have; plans the next time.
    pub async fn sweep(&self) -> Result<(), StepError> {
        let engine = &self.engine;
        let next = engine.clock.now().plus(SWEEP_EVERY_MS);
        engine.agenda.plan(Task::Sweep, next);
        let mut concerned = engine.fleet.services();
        let mut present: BTreeMap<ServiceId, u32> = BTreeMap::new();
        for instance in engine.store.instances().await? {
            if instance.role == InstanceRole::Active {
                *present.entry(instance.service.clone()).or_default() += 1;
            }
            concerned.insert(instance.service);
        }
        let operations = engine.store.operations_unfinished().await?;
        let operations: BTreeMap<_, _> = operations.iter().map(|o| (&o.service, o)).collect();
        let services = engine.store.services_live().await?;
        let extensions = engine.routes.extensions_of(&services).await?;
        for (service, extensions) in services.iter().zip(extensions) {
            let operation = operations.get(&service.id).copied();
            let deployed = service.deployed.as_ref();
            let Some(deployed) = deployed.filter(|_| view::is_kept_running(service, operation))
            else {
                continue;
            };
            let to_zero = extensions.scale_to_zero_after_ms;
            let limits = Limits::of(&deployed.config.scaling, to_zero);
            let present = present.get(&service.id).copied().unwrap_or_default();
            if engine.scaler.wanted(&service.id, limits, present) != present {
                concerned.insert(service.id.clone());
            }
        }
        let live = services.into_iter().map(|service| service.id).collect();
        engine.scaler.retain(&live);
        engine.meters.retain(&live);
        self.memory().setbacks.retain(|id, _| live.contains(id));
        for service in &concerned {
            engine.agenda.poke(service);
        }
        Ok(())
    }

    fn begin_look(self: &Arc<Self>, service: ServiceId) {
        {
            let mut memory = self.memory();
            if let Some(again) = memory.looking.get_mut(&service) {
                *again = true;
                return;
            }
            memory.looking.insert(service.clone(), false);
        }
        let steady = self.clone();
        tokio::spawn(async move {
            if let Err(error) = steady.look(&service).await {
                // One service that cannot be looked after does not keep the others from it.
                tracing::error!(%service, %error, "service could not be looked after");
                let later = steady.engine.clock.now().plus(LOOK_AGAIN_MS);
                let look = Task::Look(service.clone());
                steady.engine.agenda.plan(look, later);
            }
            if steady.memory().looking.remove(&service) == Some(true) {
                steady.engine.agenda.poke(&service);
            }
        });
    }

    /// One look at a service, and the corrections it calls for. The service's lock is held, so that no operation
    /// switches its traffic meanwhile.
    pub async fn look(self: &Arc<Self>, id: &ServiceId) -> Result<(), StepError> {
        let engine = &self.engine;
        let _order = engine.locks.hold(id).await;
        let _turn = self.looks.acquire().await;
        let view = View::read(engine, id).await?;
        self.clear_leftovers(&view);
        let Some((service, deployed)) = view.kept() else {
            return Ok(());
        };
        let own: Vec<(Instance, Observation)> = view
            .active()
            .map(|i| (i.clone(), engine.fleet.observe(&i.id)))
            .collect();
        for (instance, observation) in &own {
            match observation {
                Observation::Running(_) => {
                    self.watch(&instance.id, id, &deployed.config.health, instance.ready)
                }
                _ => self.unwatch(&instance.id),
            }
        }
        let extensions = engine.routes.extensions(service).await?;
        let limits = Limits::of(&deployed.config.scaling, extensions.scale_to_zero_after_ms);
        let present = u32::try_from(own.len()).unwrap_or(u32::MAX);
        let wanted = engine.scaler.wanted(id, limits, present);
        let now = engine.clock.now();
        let setback = self.memory().setbacks.get(id).copied();
        let setback = setback.unwrap_or_default();
        if let Some(at) = next_change(wanted, &own, setback, now) {
            engine.agenda.plan(Task::Look(id.clone()), at);
        }
        let repairs = repairs(wanted, &deployed.config.health, &own, setback, now);
        if repairs.is_empty() {
            // What could not be started is not wanted any more: the next one that is may well start.
            let complete = present == wanted && own.iter().all(|(i, _)| i.ready);
            if complete && engine.troubles.clear(id) {
                engine.routes.refresh_service(id).await?;
            }
            return Ok(());
        }
        self.make(service, deployed, &own, repairs).await
    }

    /// Puts away what the service does not need, and watches none of it any more.
    fn clear_leftovers(self: &Arc<Self>, view: &View) {
        for instance in view.instances.iter() {
            if instance.role != InstanceRole::Active {
                self.unwatch(&instance.id);
            }
        }
        for (id, since) in view.leftovers(self.engine.clock.now()) {
            self.put_away_later(&view.id, id, since);
        }
    }

    fn take_in_hand(&self, id: &InstanceId) -> bool {
        self.memory().in_hand.insert(id.clone())
    }

    fn let_go(&self, id: &InstanceId) {
        self.memory().in_hand.remove(id);
    }
}

//! The reconciler of running services: every wanted instance there, healthy, and in the routes; nothing left over.
//!
//! It takes no input. Poked by an event or by time, it reads the desired state from the store and the observed state
//! from the fleet, asks `apron_domain::steady` for corrections and makes them.

use crate::engine::Engine;
use crate::executor::StepError;
use crate::prober;
use apron_domain::steady::{Observation, Repair, Setback, repairs};
use apron_domain::{
    Instance, InstanceId, InstanceRole, Operation, OperationKind, Service, ServiceId,
    ServiceStatus, Stage,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Longest time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Time between two looks while a new instance is being waited for.
const LOOK_OFTEN: Duration = Duration::from_millis(25);

/// How long a new instance is looked at often, in milliseconds from its creation.
const OFTEN_FOR_MS: u64 = 3_000;

#[derive(Default)]
struct Memory {
    setbacks: BTreeMap<ServiceId, Setback>,
    /// Instances that a task is starting, probing or putting away.
    in_hand: BTreeSet<InstanceId>,
}

/// The reconciler.
pub struct Steady {
    engine: Arc<Engine>,
    memory: Mutex<Memory>,
}

/// The stored state of one look.
struct View {
    services: Vec<Service>,
    instances: Vec<Instance>,
    operations: BTreeMap<ServiceId, Operation>,
}

impl Steady {
    /// A reconciler of what this engine runs.
    pub fn new(engine: Arc<Engine>) -> Arc<Steady> {
        Arc::new(Steady {
            engine,
            memory: Mutex::default(),
        })
    }

    /// Looks for ever.
    pub async fn run(self: Arc<Self>) {
        let mut pause = LOOK_OFTEN;
        loop {
            self.engine.fleet.changed(pause).await;
            pause = match self.look().await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::error!(%error, "running services could not be looked after");
                    LOOK_EVERY
                }
            };
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One look, and the corrections it calls for; answers when the next look is due.
    pub async fn look(self: &Arc<Self>) -> Result<Duration, StepError> {
        let observed: BTreeSet<InstanceId> = self.engine.fleet.ids().into_iter().collect();
        let view = self.view().await?;
        self.clear_leftovers(&view, &observed);
        let mut waiting = false;
        for service in &view.services {
            if !is_kept_running(service, view.operations.get(&service.id)) {
                continue;
            }
            // One service that cannot be looked after must not keep the others from it.
            match self.look_at(service, &view.instances).await {
                Ok(waits) => waiting |= waits,
                Err(error) => {
                    tracing::error!(service = %service.name, %error, "service could not be looked after");
                }
            }
        }
        Ok(if waiting { LOOK_OFTEN } else { LOOK_EVERY })
    }

    async fn view(&self) -> Result<View, StepError> {
        let store = &self.engine.store;
        let operations = store.operations_unfinished().await?;
        Ok(View {
            services: store.services_live().await?,
            instances: store.instances().await?,
            operations: operations
                .into_iter()
                .map(|o| (o.service.clone(), o))
                .collect(),
        })
    }

    /// Puts away what no service and no operation needs.
    fn clear_leftovers(self: &Arc<Self>, view: &View, observed: &BTreeSet<InstanceId>) {
        let stored: BTreeSet<&InstanceId> = view.instances.iter().map(|i| &i.id).collect();
        let unknown = observed.iter().filter(|id| !stored.contains(id)).cloned();
        let abandoned = view
            .instances
            .iter()
            .filter(|i| is_abandoned(i, view))
            .map(|i| i.id.clone());
        for id in unknown.chain(abandoned).collect::<Vec<_>>() {
            self.put_away_later(id);
        }
    }

    fn take_in_hand(&self, id: &InstanceId) -> bool {
        self.memory().in_hand.insert(id.clone())
    }

    fn let_go(&self, id: &InstanceId) {
        self.memory().in_hand.remove(id);
        self.engine.fleet.poke();
    }

    fn put_away_later(self: &Arc<Self>, id: InstanceId) {
        if !self.take_in_hand(&id) {
            return;
        }
        let steady = self.clone();
        tokio::spawn(async move {
            steady.drained(&id).await;
            if let Err(error) = steady.engine.put_away(std::slice::from_ref(&id)).await {
                tracing::error!(instance = %id, %error, "instance could not be put away, will be tried again");
            }
            steady.let_go(&id);
        });
    }

    /// Waits until an instance that runs has answered the requests it has, within the time for that.
    async fn drained(&self, id: &InstanceId) {
        let engine = &self.engine;
        let began = engine.clock.now();
        let drain_ms = match engine.fleet.status(id) {
            Some(status) => engine.patience(&status.service).await.drain_ms,
            None => return,
        };
        let runs = || matches!(engine.fleet.observe(id), Observation::Running(_));
        let is_busy = || !engine.routes.busy(std::slice::from_ref(id)).is_empty();
        while runs() && is_busy() && engine.clock.now().since(began) < drain_ms {
            engine.fleet.changed(LOOK_OFTEN).await;
        }
    }

    /// Looks at one service; `true` when a new instance is being waited for.
    async fn look_at(
        self: &Arc<Self>,
        service: &Service,
        instances: &[Instance],
    ) -> Result<bool, StepError> {
        let Some(deployed) = &service.deployed else {
            return Ok(false);
        };
        let own: Vec<(Instance, Observation)> = instances
            .iter()
            .filter(|i| i.service == service.id && i.role == InstanceRole::Active)
            .map(|i| (i.clone(), self.engine.fleet.observe(&i.id)))
            .collect();
        for (instance, observation) in &own {
            self.probe_if_due(instance, observation, service);
        }
        let now = self.engine.clock.now();
        let setback = self
            .memory()
            .setbacks
            .get(&service.id)
            .copied()
            .unwrap_or_default();
        let wanted = deployed.config.scaling.min_size;
        let repairs = repairs(wanted, &deployed.config.health, &own, setback, now);
        let waiting = own
            .iter()
            .any(|(i, _)| !i.ready && now.since(i.created_at) < OFTEN_FOR_MS);
        let waiting = waiting || !repairs.is_empty();
        if !repairs.is_empty() {
            self.make(service, repairs).await?;
        }
        Ok(waiting)
    }

    fn probe_if_due(
        self: &Arc<Self>,
        instance: &Instance,
        observation: &Observation,
        service: &Service,
    ) {
        let (Observation::Running(_), Some(deployed)) = (observation, &service.deployed) else {
            return;
        };
        let check = deployed.config.health.clone();
        let now = self.engine.clock.now();
        let young = !instance.ready && now.since(instance.created_at) < OFTEN_FOR_MS;
        let interval_ms = match (instance.ready, young) {
            (true, _) => u64::from(check.interval) * 1000,
            (false, true) => 0,
            (false, false) => 500,
        };
        let due = self
            .engine
            .fleet
            .last_beat(&instance.id)
            .is_none_or(|at| now.since(at) >= interval_ms);
        if !due || !self.take_in_hand(&instance.id) {
            return;
        }
        let (steady, id) = (self.clone(), instance.id.clone());
        tokio::spawn(async move {
            let answer = prober::probe(&steady.engine, &id, &check).await;
            steady.engine.fleet.beat(&id, answer.healthy, answer.detail);
            steady.memory().in_hand.remove(&id);
            if !answer.healthy || young {
                steady.engine.fleet.poke();
            }
        });
    }

    /// Makes the corrections, under the service's lock and only if the service is still to be kept running.
    async fn make(
        self: &Arc<Self>,
        service: &Service,
        repairs: Vec<Repair>,
    ) -> Result<(), StepError> {
        let engine = &self.engine;
        let _order = engine.locks.hold(&service.id).await;
        let Some(current) = engine.store.service_get(&service.id).await? else {
            return Ok(());
        };
        let unfinished = engine.store.operations_unfinished().await?;
        let operation = unfinished.iter().find(|o| o.service == service.id);
        if !is_kept_running(&current, operation) || current.deployed != service.deployed {
            return Ok(());
        }
        let mut routes_change = false;
        for repair in repairs {
            routes_change |= matches!(repair, Repair::Admit(_) | Repair::Replace(..));
            self.make_one(&current, repair).await?;
        }
        if routes_change {
            engine.routes.refresh_service(&service.id).await?;
        }
        Ok(())
    }

    async fn make_one(
        self: &Arc<Self>,
        service: &Service,
        repair: Repair,
    ) -> Result<(), StepError> {
        let engine = &self.engine;
        match repair {
            Repair::Admit(id) => {
                let stored = engine
                    .store
                    .instances_of(&service.id)
                    .await?
                    .into_iter()
                    .find(|i| i.id == id);
                if let Some(mut instance) = stored {
                    instance.ready = true;
                    engine.store.instance_save(&instance).await?;
                }
            }
            Repair::Replace(id, why) => self.replace(service, &id, &why).await?,
            Repair::Start(count) => self.start_new(service, count).await?,
            Repair::Create(id) => self.create_later(service, id),
        }
        Ok(())
    }

    async fn replace(
        self: &Arc<Self>,
        service: &Service,
        id: &InstanceId,
        why: &str,
    ) -> Result<(), StepError> {
        let engine = &self.engine;
        let now = engine.clock.now();
        {
            let mut memory = self.memory();
            let setback = memory.setbacks.entry(service.id.clone()).or_default();
            *setback = setback.struck(now);
        }
        let stored = engine
            .store
            .instances_of(&service.id)
            .await?
            .into_iter()
            .find(|i| i.id == *id);
        if let Some(mut instance) = stored {
            instance.role = InstanceRole::Retiring;
            instance.ready = false;
            instance.retiring_since = Some(now);
            engine.store.instance_save(&instance).await?;
        }
        let mut text = format!("Instance {id} is replaced. Reason: {why}");
        if let Some(line) = engine.fleet.tail(id).last() {
            text.push_str(&format!(". Its last output: {line}"));
        }
        tracing::warn!(service = %service.name, instance = %id, why, "instance is replaced");
        engine.chronicle.note(service, &text, now).await;
        Ok(())
    }

    async fn start_new(self: &Arc<Self>, service: &Service, count: u32) -> Result<(), StepError> {
        let Some(deployed) = &service.deployed else {
            return Ok(());
        };
        let now = self.engine.clock.now();
        let rows: Vec<Instance> = (0..count)
            .map(|_| Instance {
                id: InstanceId::from_random(crate::clock::random(self.engine.chance.as_ref())),
                service: service.id.clone(),
                revision: deployed.revision,
                role: InstanceRole::Active,
                ready: false,
                created_at: now,
                retiring_since: None,
            })
            .collect();
        self.engine.store.instance_insert(&rows).await?;
        for row in rows {
            self.create_later(service, row.id);
        }
        Ok(())
    }

    fn create_later(self: &Arc<Self>, service: &Service, id: InstanceId) {
        let Some(deployed) = service.deployed.clone() else {
            return;
        };
        if !self.take_in_hand(&id) {
            return;
        }
        let (steady, service) = (self.clone(), service.clone());
        tokio::spawn(async move {
            let engine = &steady.engine;
            engine.fleet.expect(&id, &service.id);
            let spec = engine.instance_spec(
                &service,
                &id,
                deployed.revision,
                &deployed.config,
                &deployed.image,
            );
            let mut made = engine.compute.prepare(&spec.image).await;
            if made.is_ok() {
                made = engine.compute.create(&spec).await;
            }
            if let Err(error) = made {
                tracing::error!(service = %service.name, instance = %id, %error, "instance could not be started");
                let now = engine.clock.now();
                engine
                    .chronicle
                    .note(
                        &service,
                        &format!("Instance {id} could not be started: {error}"),
                        now,
                    )
                    .await;
                tokio::time::sleep(LOOK_EVERY).await;
            }
            if let Err(error) = engine.fleet.refresh().await {
                tracing::error!(%error, "the compute backend cannot list its instances");
            }
            steady.let_go(&id);
        });
    }
}

/// Whether the reconciler keeps this service's deployed revision running. While a service is being paused or deleted
/// it does not; while one is being created or resumed only once the traffic has been switched.
fn is_kept_running(service: &Service, operation: Option<&Operation>) -> bool {
    let switched =
        |o: &Operation| matches!(o.stage, Stage::Drain | Stage::Retire) && o.failure.is_none();
    match (service.status, operation.map(|o| (o.kind, o))) {
        (ServiceStatus::Running, None) => true,
        (_, None) => false,
        (_, Some((OperationKind::UpdateService | OperationKind::StartDeployment, _))) => true,
        (_, Some((OperationKind::CreateService | OperationKind::ResumeService, o))) => switched(o),
        (_, Some((OperationKind::PauseService | OperationKind::DeleteService, _))) => false,
    }
}

/// A row that no unfinished operation will take care of.
fn is_abandoned(instance: &Instance, view: &View) -> bool {
    let operation = view.operations.get(&instance.service);
    let service = view.services.iter().find(|s| s.id == instance.service);
    match (instance.role, operation, service) {
        (_, None, None) => true,
        (InstanceRole::Active, _, _) => false,
        (InstanceRole::Candidate, Some(o), _) => !o.candidates.contains(&instance.id),
        // An operation retires only after its switch; before that these are the reconciler's own replacements.
        (InstanceRole::Retiring, Some(o), _) => {
            !matches!(o.stage, Stage::Drain | Stage::Retire | Stage::Route)
        }
        (_, None, Some(_)) => true,
    }
}

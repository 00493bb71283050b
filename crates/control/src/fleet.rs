//! What is known of the instances right now: the backend's view, their last words, their pulse.
//!
//! Nothing here is stored: after a restart the backend is asked again.

use crate::agenda::Agenda;
use crate::chronicle::Chronicle;
use crate::clock::Clock;
use apron_compute::{Compute, ComputeError, ComputeEvent, Exit, InstanceState, InstanceStatus};
use apron_domain::steady::{Observation, Pulse};
use apron_domain::{InstanceId, Millis, ServiceId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

/// Lines of output kept per instance as evidence.
const TAIL_LINES_MAX: usize = 20;

/// Longest line kept as evidence, in characters.
const TAIL_LINE_CHARS_MAX: usize = 500;

/// Events taken from the backend at once.
const BATCH_MAX: usize = 512;

/// Instances whose lives changed at once beyond which the whole view is read.
const SINGLY_MAX: usize = 64;

/// How often the backend's view is read without a reason.
const REFRESH_EVERY: Duration = Duration::from_secs(5);

#[derive(Default)]
struct State {
    statuses: BTreeMap<InstanceId, InstanceStatus>,
    /// The same by service.
    of_service: BTreeMap<ServiceId, BTreeSet<InstanceId>>,
    /// Why the backend would not start an instance.
    refusals: BTreeMap<InstanceId, String>,
    pulses: BTreeMap<InstanceId, (Pulse, Millis)>,
    tails: BTreeMap<InstanceId, VecDeque<String>>,
    /// Instances whose end was told, and with it everything they printed.
    ended: BTreeSet<InstanceId>,
    /// Services of instances that were asked for, before the backend lists them.
    expected: BTreeMap<InstanceId, ServiceId>,
}

impl State {
    /// Takes in what the backend shows of an instance; answers its service when that is something new.
    fn see(&mut self, id: &InstanceId, seen: Option<InstanceStatus>) -> Option<ServiceId> {
        let known = self.statuses.get(id);
        if known == seen.as_ref() {
            return None;
        }
        let service = known.or(seen.as_ref()).map(|s| s.service.clone())?;
        match seen {
            Some(status) => {
                let of_service = self.of_service.entry(service.clone()).or_default();
                of_service.insert(id.clone());
                self.statuses.insert(id.clone(), status);
            }
            None => {
                self.statuses.remove(id);
                if let Some(of_service) = self.of_service.get_mut(&service) {
                    of_service.remove(id);
                    if of_service.is_empty() {
                        self.of_service.remove(&service);
                    }
                }
            }
        }
        Some(service)
    }
}

/// The live view of all instances.
pub struct Fleet {
    compute: Arc<dyn Compute>,
    chronicle: Arc<Chronicle>,
    clock: Arc<dyn Clock>,
    agenda: Arc<Agenda>,
    state: Mutex<State>,
    changed: Notify,
}

impl Fleet {
    /// A view of this backend; `chronicle` gets what instances print, and services to which something happens are
    /// written into the agenda.
    pub fn new(
        compute: Arc<dyn Compute>,
        chronicle: Arc<Chronicle>,
        clock: Arc<dyn Clock>,
        agenda: Arc<Agenda>,
    ) -> Arc<Fleet> {
        Arc::new(Fleet {
            compute,
            chronicle,
            clock,
            agenda,
            state: Mutex::default(),
            changed: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the backend's events for ever.
    pub async fn follow(self: Arc<Fleet>) {
        let mut events = self.compute.subscribe();
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut ticks = tokio::time::interval(REFRESH_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                count = events.recv_many(&mut batch, BATCH_MAX) => {
                    if count == 0 {
                        tracing::error!("the compute backend ended its events");
                        return;
                    }
                    self.take_lives(std::mem::take(&mut batch)).await;
                }
                _ = ticks.tick() => self.or_log(self.refresh().await),
            }
        }
    }

    /// Takes in events, and the backend's view of the instances whose lives they tell of.
    async fn take_lives(&self, batch: Vec<ComputeEvent>) {
        let lives: BTreeSet<InstanceId> = batch.iter().filter_map(life).cloned().collect();
        self.take_in(batch).await;
        if lives.len() > SINGLY_MAX {
            return self.or_log(self.refresh().await);
        }
        for id in &lives {
            self.or_log(self.refresh_one(id).await);
        }
    }

    fn or_log(&self, refreshed: Result<(), ComputeError>) {
        if let Err(error) = refreshed {
            tracing::error!(%error, "the compute backend cannot list its instances");
        }
    }

    /// Reads the backend's view anew.
    pub async fn refresh(&self) -> Result<(), ComputeError> {
        let list = self.compute.list().await?;
        let mut seen: BTreeMap<InstanceId, InstanceStatus> = list
            .into_iter()
            .map(|status| (status.id.clone(), status))
            .collect();
        let mut touched = BTreeSet::new();
        {
            let mut state = self.state();
            let known: Vec<InstanceId> = state.statuses.keys().cloned().collect();
            for id in known {
                touched.extend(state.see(&id, seen.remove(&id)));
            }
            for (id, status) in seen {
                touched.extend(state.see(&id, Some(status)));
            }
            let State {
                statuses,
                pulses,
                tails,
                ended,
                expected,
                ..
            } = &mut *state;
            let is_known = |id: &InstanceId| statuses.contains_key(id) || expected.contains_key(id);
            pulses.retain(|id, _| is_known(id));
            tails.retain(|id, _| is_known(id));
            ended.retain(|id| is_known(id));
        }
        for service in &touched {
            self.agenda.poke(service);
        }
        self.changed.notify_waiters();
        Ok(())
    }

    /// Reads the backend's view of one instance anew.
    pub async fn refresh_one(&self, id: &InstanceId) -> Result<(), ComputeError> {
        let seen = self.compute.status(id).await?;
        let touched = self.state().see(id, seen);
        if let Some(service) = &touched {
            self.agenda.poke(service);
        }
        self.changed.notify_waiters();
        Ok(())
    }

    async fn take_in(&self, events: Vec<ComputeEvent>) {
        let mut lines: BTreeMap<InstanceId, Vec<(Millis, String)>> = BTreeMap::new();
        for event in events {
            match event {
                ComputeEvent::Output { id, at, line, .. } => {
                    self.keep_tail(&id, &line);
                    lines.entry(id).or_default().push((at, line));
                }
                ComputeEvent::Started { id } => tracing::info!(instance = %id, "instance started"),
                ComputeEvent::Exited { id, exit } => {
                    self.state().ended.insert(id.clone());
                    tracing::info!(instance = %id, how = %describe(&exit), "instance ended");
                }
            }
        }
        for (id, lines) in lines {
            let service = self.owner(&id);
            self.chronicle.output(service.as_ref(), &id, lines).await;
        }
    }

    fn owner(&self, id: &InstanceId) -> Option<ServiceId> {
        let state = self.state();
        state
            .statuses
            .get(id)
            .map(|s| &s.service)
            .or_else(|| state.expected.get(id))
            .cloned()
    }

    /// Says that an instance is about to be asked for, so that what it prints first finds its service.
    pub fn expect(&self, id: &InstanceId, service: &ServiceId) {
        let mut state = self.state();
        state.refusals.remove(id);
        state.expected.insert(id.clone(), service.clone());
    }

    /// Notes that the backend would not start an instance, and why: it counts as ended until it is forgotten.
    pub fn refused(&self, id: &InstanceId, service: &ServiceId, why: String) {
        self.state().refusals.insert(id.clone(), why);
        self.agenda.poke(service);
    }

    /// Forgets an instance that was removed.
    pub fn forget(&self, id: &InstanceId) {
        let mut state = self.state();
        state.see(id, None);
        state.expected.remove(id);
        state.refusals.remove(id);
        state.pulses.remove(id);
        state.tails.remove(id);
        state.ended.remove(id);
    }

    fn keep_tail(&self, id: &InstanceId, line: &str) {
        let mut state = self.state();
        let tail = state.tails.entry(id.clone()).or_default();
        if tail.len() == TAIL_LINES_MAX {
            tail.pop_front();
        }
        tail.push_back(line.chars().take(TAIL_LINE_CHARS_MAX).collect());
    }

    /// Waits until something changed, at most this long.
    pub async fn changed(&self, at_most: Duration) {
        let _ = tokio::time::timeout(at_most, self.changed.notified()).await;
    }

    /// Waits until an instance's end was told, after which its tail is complete; at most this long.
    pub async fn heard_end(&self, id: &InstanceId, at_most: Duration) {
        let told = async {
            loop {
                let changed = self.changed.notified();
                if self.state().ended.contains(id) {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(at_most, told).await.is_err() {
            tracing::debug!(instance = %id, "the end of the instance was seen but not told");
        }
    }

    /// Wakes everyone who waits for a change.
    pub fn poke(&self) {
        self.changed.notify_waiters();
    }

    /// The backend's view of an instance.
    pub fn status(&self, id: &InstanceId) -> Option<InstanceStatus> {
        self.state().statuses.get(id).cloned()
    }

    /// The instance that has this address and has not ended.
    pub fn at(&self, address: IpAddr) -> Option<InstanceStatus> {
        let state = self.state();
        let has = |status: &&InstanceStatus| {
            status.address.is_some_and(|own| own.ip() == address)
                && !matches!(status.state, InstanceState::Exited(_))
        };
        state.statuses.values().find(has).cloned()
    }

    /// Every instance of a service the backend has a trace of.
    pub fn of_service(&self, service: &ServiceId) -> Vec<InstanceId> {
        let state = self.state();
        let ids = state.of_service.get(service);
        ids.map(|ids| ids.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// The service and revision of every instance the backend has a trace of.
    pub fn revisions(&self) -> BTreeSet<(ServiceId, u32)> {
        let state = self.state();
        let each = state.statuses.values();
        each.map(|status| (status.service.clone(), status.revision))
            .collect()
    }

    /// Every service of which the backend has a trace of an instance.
    pub fn services(&self) -> BTreeSet<ServiceId> {
        self.state().of_service.keys().cloned().collect()
    }

    /// The last lines an instance printed.
    pub fn tail(&self, id: &InstanceId) -> Vec<String> {
        self.state()
            .tails
            .get(id)
            .map(|tail| tail.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// What is known of an instance, for decisions.
    pub fn observe(&self, id: &InstanceId) -> Observation {
        let state = self.state();
        match state.statuses.get(id).map(|s| &s.state) {
            None => match state.refusals.get(id) {
                Some(why) => Observation::Ended(why.clone()),
                None => Observation::Absent,
            },
            Some(InstanceState::Starting) => Observation::Starting,
            Some(InstanceState::Exited(exit)) => Observation::Ended(describe(exit)),
            Some(InstanceState::Running { .. }) => Observation::Running(
                state
                    .pulses
                    .get(id)
                    .map(|(pulse, _)| pulse.clone())
                    .unwrap_or_default(),
            ),
        }
    }

    /// When an instance was last probed by [`Fleet::beat`].
    pub fn last_beat(&self, id: &InstanceId) -> Option<Millis> {
        self.state().pulses.get(id).map(|(_, at)| *at)
    }

    /// Records a health probe of an instance; answers its pulse now.
    pub fn beat(&self, id: &InstanceId, healthy: bool, detail: String) -> Pulse {
        let now = self.clock.now();
        let mut state = self.state();
        let (pulse, at) = state.pulses.entry(id.clone()).or_default();
        *pulse = pulse.beat(healthy, detail);
        *at = now;
        pulse.clone()
    }
}

/// The instance of whose life an event tells.
fn life(event: &ComputeEvent) -> Option<&InstanceId> {
    match event {
        ComputeEvent::Started { id } | ComputeEvent::Exited { id, .. } => Some(id),
        ComputeEvent::Output { .. } => None,
    }
}

/// How an instance ended, for people.
pub fn describe(exit: &Exit) -> String {
    match exit {
        Exit {
            error: Some(error), ..
        } => error.clone(),
        Exit {
            out_of_memory: true,
            ..
        } => {
            "the application was ended by the kernel because it reached its memory limit".to_owned()
        }
        Exit {
            code: Some(code), ..
        } => format!("the application ended with exit code {code}"),
        Exit {
            signal: Some(signal),
            ..
        } => format!("the application was ended by signal {signal}"),
        _ => "the application ended".to_owned(),
    }
}

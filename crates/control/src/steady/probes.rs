//! Probing the instances of running services, each at its own times and without the store.

use super::Steady;
use crate::agenda::Task;
use crate::prober;
use apron_domain::service::HealthCheck;
use apron_domain::steady::{Observation, Pulse};
use apron_domain::{InstanceId, Millis, ServiceId};
use std::sync::Arc;

/// First pause between probes of a new instance, in milliseconds.
const PAUSE_MS_MIN: u64 = 1;

/// Longest pause between probes of a new instance, in milliseconds.
const PAUSE_MS_MAX: u64 = 250;

/// A new instance is probed again after this part of the time it has taken so far: so it is found ready late by that
/// part at most, whether it takes milliseconds or minutes, and a slow one costs few probes.
const PAUSE_PART: u64 = 8;

/// What is known of an instance that is probed.
pub struct Watch {
    service: ServiceId,
    check: HealthCheck,
    ready: bool,
    /// When it was first seen running.
    since: Millis,
    /// A probe is under way.
    probing: bool,
}

impl Watch {
    /// Milliseconds until the next probe.
    fn pause_ms(&self, now: Millis) -> u64 {
        match self.ready {
            true => u64::from(self.check.interval) * 1000,
            false => (now.since(self.since) / PAUSE_PART).clamp(PAUSE_MS_MIN, PAUSE_MS_MAX),
        }
    }

    /// Whether the reconciler has something to decide.
    fn calls_for_a_look(&self, pulse: &Pulse) -> bool {
        match self.ready {
            true => pulse.is_unhealthy(&self.check),
            false => pulse.is_healthy(&self.check),
        }
    }
}

impl Steady {
    /// Has an instance that runs probed from now on.
    pub(super) fn watch(
        &self,
        id: &InstanceId,
        service: &ServiceId,
        check: &HealthCheck,
        ready: bool,
    ) {
        let now = self.engine.clock.now();
        let mut memory = self.memory();
        let watch = memory.watched.entry(id.clone()).or_insert_with(|| Watch {
            service: service.clone(),
            check: check.clone(),
            ready,
            since: now,
            probing: false,
        });
        watch.ready = ready;
        watch.check.clone_from(check);
        if watch.probing {
            return;
        }
        let last = self.engine.fleet.last_beat(id);
        let next = last.map_or(now, |last| last.plus(watch.pause_ms(now)));
        // What was planned before it became ready is too soon now.
        self.engine.agenda.cancel(&Task::Probe(id.clone()));
        self.engine.agenda.plan(Task::Probe(id.clone()), next);
    }

    /// Has it probed no more.
    pub(super) fn unwatch(&self, id: &InstanceId) {
        if self.memory().watched.remove(id).is_some() {
            self.engine.agenda.cancel(&Task::Probe(id.clone()));
        }
    }

    pub(super) fn begin_probe(self: &Arc<Self>, id: InstanceId) {
        if !matches!(self.engine.fleet.observe(&id), Observation::Running(_)) {
            self.unwatch(&id);
            return;
        }
        let check = match self.memory().watched.get_mut(&id) {
            Some(watch) if !watch.probing => {
                watch.probing = true;
                watch.check.clone()
            }
            _ => return,
        };
        let steady = self.clone();
        tokio::spawn(async move {
            let _turn = steady.probes.acquire().await;
            let answer = prober::probe(&steady.engine, &id, &check).await;
            steady.probed(&id, answer.healthy, answer.detail);
        });
    }

    fn probed(&self, id: &InstanceId, healthy: bool, detail: String) {
        let engine = &self.engine;
        let mut memory = self.memory();
        let Some(watch) = memory.watched.get_mut(id) else {
            return;
        };
        watch.probing = false;
        let pulse = engine.fleet.beat(id, healthy, detail);
        let now = engine.clock.now();
        let next = now.plus(watch.pause_ms(now));
        engine.agenda.plan(Task::Probe(id.clone()), next);
        if watch.calls_for_a_look(&pulse) {
            engine.agenda.poke(&watch.service);
        }
    }
}

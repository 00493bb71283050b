//! Decides on the number of instances of every service: carries what the proxy tells to `apron_domain::scaling` and what
//! that decides to the reconciler. Everything is in memory: after a restart the present number counts.

use crate::agenda::{Agenda, Task};
use crate::clock::Clock;
use apron_domain::scaling::{Demand, Hearing, Limits, Load};
use apron_domain::{Millis, ServiceId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

struct Entry {
    demand: Demand,
    /// Known once the reconciler has looked at the service.
    limits: Option<Limits>,
}

struct State {
    services: BTreeMap<ServiceId, Entry>,
    hearing: Hearing,
}

/// The scaler.
pub struct Scaler {
    clock: Arc<dyn Clock>,
    agenda: Arc<Agenda>,
    state: Mutex<State>,
}

impl Scaler {
    /// A scaler that knows no service and hears no proxy.
    pub fn new(clock: Arc<dyn Clock>, agenda: Arc<Agenda>) -> Scaler {
        Scaler {
            clock,
            agenda,
            state: Mutex::new(State {
                services: BTreeMap::new(),
                hearing: Hearing::Silent,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A proxy has connected, or the last one has gone.
    pub fn heard(&self, connected: bool) {
        let now = self.clock.now();
        let mut state = self.state();
        state.hearing = match connected {
            true => Hearing::Since(now),
            false => Hearing::Silent,
        };
        let State { services, hearing } = &mut *state;
        for (service, entry) in services {
            self.settle(service, entry, *hearing, now);
        }
    }

    /// The proxy told of a service's requests. A service that runs nothing by its owner's wish is not known here.
    pub fn told(&self, service: &ServiceId, load: Load) {
        let now = self.clock.now();
        let mut state = self.state();
        let State { services, hearing } = &mut *state;
        let Some(entry) = services.get_mut(service) else {
            return;
        };
        entry.demand.told(load, now);
        self.settle(service, entry, *hearing, now);
    }

    /// The time has come at which the number may change by itself.
    pub fn due(&self, service: &ServiceId) {
        let now = self.clock.now();
        let mut state = self.state();
        let State { services, hearing } = &mut *state;
        if let Some(entry) = services.get_mut(service) {
            self.settle(service, entry, *hearing, now);
        }
    }

    /// Decides anew, has the service looked at if that changed something, and plans the next decision.
    fn settle(&self, service: &ServiceId, entry: &mut Entry, hearing: Hearing, now: Millis) {
        let Some(limits) = &entry.limits else {
            return;
        };
        let before = entry.demand.target();
        if entry.demand.decide(limits, hearing, now) != before {
            self.agenda.poke(service);
        }
        self.plan(service, entry, hearing, now);
    }

    fn plan(&self, service: &ServiceId, entry: &Entry, hearing: Hearing, now: Millis) {
        let limits = entry.limits.as_ref();
        if let Some(at) = limits.and_then(|l| entry.demand.next_change(l, hearing, now)) {
            self.agenda.plan(Task::Scale(service.clone()), at);
        }
    }

    /// How many instances a service with these limits should have; `present` counts when nothing is known of it yet.
    pub fn wanted(&self, service: &ServiceId, limits: Limits, present: u32) -> u32 {
        let now = self.clock.now();
        let mut state = self.state();
        let State { services, hearing } = &mut *state;
        let entry = services.entry(service.clone()).or_insert_with(|| Entry {
            demand: Demand::resumed(present),
            limits: None,
        });
        entry.limits = Some(limits);
        let wanted = entry.demand.decide(&limits, *hearing, now);
        self.plan(service, entry, *hearing, now);
        wanted
    }

    /// How many instances a service should have by the last decision.
    pub fn target(&self, service: &ServiceId) -> Option<u32> {
        let state = self.state();
        state.services.get(service).map(|e| e.demand.target())
    }

    /// A deployment took over with this many instances.
    pub fn deployed(&self, service: &ServiceId, instances: u32) {
        let now = self.clock.now();
        let mut state = self.state();
        match state.services.get_mut(service) {
            Some(entry) => entry.demand.redeployed(instances, now),
            None => {
                let entry = Entry {
                    demand: Demand::deployed(instances, now),
                    limits: None,
                };
                state.services.insert(service.clone(), entry);
            }
        }
    }

    /// The service runs nothing any more, by its owner's wish.
    pub fn forget(&self, service: &ServiceId) {
        self.state().services.remove(service);
        self.agenda.cancel(&Task::Scale(service.clone()));
    }

    /// Forgets all services but these.
    pub fn retain(&self, services: &BTreeSet<ServiceId>) {
        self.state().services.retain(|id, _| services.contains(id));
    }
}

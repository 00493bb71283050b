//! What the reconciler has to do, and when. Whoever sees something happen to a service writes the service in; nothing
//! else is carried along, so a service that nothing happens to costs nothing.

use crate::clock::Clock;
use apron_domain::{InstanceId, Millis, ServiceId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Longest time to sleep on the clock at once: a clock that is set back delays nothing by more.
const SLEEP_MAX_MS: u64 = 60_000;

/// A thing to do. Each stands in the agenda once at most.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// Look at the services that anything can be wrong with.
    Sweep,
    /// Look at a service.
    Look(ServiceId),
    /// Decide on the number of a service's instances.
    Scale(ServiceId),
    /// Probe an instance.
    Probe(InstanceId),
}

#[derive(Default)]
struct State {
    due: BTreeMap<Task, Millis>,
    order: BTreeSet<(Millis, Task)>,
}

/// The reconciler's agenda.
#[derive(Default)]
pub struct Agenda {
    state: Mutex<State>,
    earlier: Notify,
}

impl Agenda {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a service looked at now.
    pub fn poke(&self, service: &ServiceId) {
        self.plan(Task::Look(service.clone()), Millis(0));
    }

    /// Has a task done at a time, or earlier if that is planned.
    pub fn plan(&self, task: Task, at: Millis) {
        let mut state = self.state();
        match state.due.get(&task).copied() {
            Some(planned) if planned <= at => return,
            Some(planned) => {
                state.order.remove(&(planned, task.clone()));
            }
            None => {}
        }
        state.due.insert(task.clone(), at);
        state.order.insert((at, task));
        if state.order.first().is_some_and(|(first, _)| *first == at) {
            self.earlier.notify_one();
        }
    }

    /// Takes a task out.
    pub fn cancel(&self, task: &Task) {
        let mut state = self.state();
        if let Some(planned) = state.due.remove(task) {
            state.order.remove(&(planned, task.clone()));
        }
    }

    /// Takes out everything that is due.
    pub fn take(&self, now: Millis) -> Vec<Task> {
        let mut state = self.state();
        let mut taken = Vec::new();
        while state.order.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, task)) = state.order.pop_first() {
                state.due.remove(&task);
                taken.push(task);
            }
        }
        taken
    }

    /// Waits until something may be due.
    pub async fn wait(&self, clock: &dyn Clock) {
        let now = clock.now();
        let limit = now.plus(SLEEP_MAX_MS);
        let first = self.state().order.first().map(|(at, _)| *at);
        let until = first.map_or(limit, |at| at.min(limit));
        let at_most = Duration::from_millis(SLEEP_MAX_MS);
        tokio::select! {
            () = self.earlier.notified() => {}
            () = clock.reach(until) => {}
            // A clock moved by hand may stand still.
            () = tokio::time::sleep(at_most) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Manual;

    fn service(n: u8) -> ServiceId {
        ServiceId::from_random([n; 16])
    }

    #[test]
    fn a_task_stands_in_it_once_at_its_earliest_time() {
        let agenda = Agenda::default();
        agenda.plan(Task::Scale(service(1)), Millis(50));
        agenda.plan(Task::Scale(service(1)), Millis(90));
        agenda.plan(Task::Scale(service(1)), Millis(20));
        agenda.plan(Task::Look(service(2)), Millis(30));
        assert_eq!(agenda.take(Millis(19)), []);
        let all = [Task::Scale(service(1)), Task::Look(service(2))];
        assert_eq!(agenda.take(Millis(40)), all);
        assert_eq!(agenda.take(Millis(u64::MAX)), []);
        agenda.plan(Task::Sweep, Millis(5));
        agenda.cancel(&Task::Sweep);
        assert_eq!(agenda.take(Millis(u64::MAX)), []);
    }

    #[tokio::test]
    async fn a_poke_and_the_clock_end_the_wait() {
        let (agenda, clock) = (Agenda::default(), Manual::at(Millis(10)));
        agenda.poke(&service(1));
        agenda.wait(&clock).await;
        assert_eq!(agenda.take(clock.now()), [Task::Look(service(1))]);
        agenda.plan(Task::Sweep, Millis(100));
        agenda.wait(&clock).await;
        tokio::join!(agenda.wait(&clock), async { clock.pass(90) });
        assert_eq!(agenda.take(clock.now()), [Task::Sweep]);
    }
}

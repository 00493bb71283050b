//! Ending instances that nothing needs any more, when they have answered what they had.

use super::{LOOK_AGAIN_MS, Steady};
use crate::agenda::Task;
use crate::executor::StepError;
use apron_domain::steady::Observation;
use apron_domain::{InstanceId, Millis, ServiceId};
use std::sync::Arc;
use std::time::Duration;

/// First time between two looks at an instance that still has requests; each is twice as long as the one before.
const DRAIN_LOOK_MIN: Duration = Duration::from_millis(2);

/// Longest such time.
const DRAIN_LOOK_MAX: Duration = Duration::from_millis(100);

impl Steady {
    /// Ends and removes an instance that gets no new requests since then; nothing if that is being done.
    pub(super) fn put_away_later(
        self: &Arc<Self>,
        service: &ServiceId,
        id: InstanceId,
        since: Millis,
    ) {
        if !self.take_in_hand(&id) {
            return;
        }
        let (steady, service) = (self.clone(), service.clone());
        tokio::spawn(async move {
            let agenda = &steady.engine.agenda;
            let done = steady.put_away(&service, &id, since).await;
            steady.let_go(&id);
            match done {
                Ok(()) => agenda.poke(&service),
                Err(error) => {
                    tracing::error!(instance = %id, %error, "instance could not be put away, will be tried again");
                    let later = steady.engine.clock.now().plus(LOOK_AGAIN_MS);
                    agenda.plan(Task::Look(service), later);
                }
            }
        });
    }

    async fn put_away(
        &self,
        service: &ServiceId,
        id: &InstanceId,
        since: Millis,
    ) -> Result<(), StepError> {
        let within_ms = self.engine.patience(service).await.drain_ms;
        self.drained(id, since.plus(within_ms)).await;
        Ok(self.engine.put_away(std::slice::from_ref(id)).await?)
    }

    /// Waits until an instance that runs has answered the requests it has, until then at most.
    async fn drained(&self, id: &InstanceId, until: Millis) {
        let engine = &self.engine;
        let mut pause = DRAIN_LOOK_MIN;
        let runs = || matches!(engine.fleet.observe(id), Observation::Running(_));
        let is_busy = || !engine.routes.busy(std::slice::from_ref(id)).is_empty();
        while runs() && is_busy() && engine.clock.now() < until {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(DRAIN_LOOK_MAX);
        }
    }
}

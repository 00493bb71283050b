//! Making the corrections.

use super::Steady;
use crate::executor::StepError;
use apron_compute::InstanceState;
use apron_domain::service::Deployed;
use apron_domain::steady::{Observation, Repair};
use apron_domain::{Instance, InstanceId, InstanceRole, Millis, Service};
use std::sync::Arc;
use std::time::Duration;

/// Longest time to wait for what an application printed before its end.
const LAST_WORDS_WITHIN: Duration = Duration::from_millis(500);

/// What a look writes down and has done.
#[derive(Default)]
struct Changes {
    new: Vec<Instance>,
    changed: Vec<Instance>,
    create: Vec<InstanceId>,
}

impl Steady {
    /// Makes the corrections, with the service's lock held: writes all of them down in one transaction, then has them
    /// done.
    pub(super) async fn make(
        self: &Arc<Self>,
        service: &Service,
        deployed: &Deployed,
        own: &[(Instance, Observation)],
        repairs: Vec<Repair>,
    ) -> Result<(), StepError> {
        let engine = &self.engine;
        let mut changes = Changes::default();
        for repair in repairs {
            self.prepare(service, deployed, own, repair, &mut changes)
                .await;
        }
        let Changes {
            new,
            changed,
            mut create,
        } = changes;
        engine.store.instances_change(&new, &changed).await?;
        create.extend(new.into_iter().map(|i| i.id));
        for id in create {
            self.create_later(service, deployed, id);
        }
        if !changed.is_empty() {
            // What comes next depends on what was changed: instances to put away, others to start.
            engine.agenda.poke(&service.id);
            engine.routes.refresh_service(&service.id).await?;
        }
        Ok(())
    }

    async fn prepare(
        &self,
        service: &Service,
        deployed: &Deployed,
        own: &[(Instance, Observation)],
        repair: Repair,
        changes: &mut Changes,
    ) {
        let now = self.engine.clock.now();
        let of = |id: &InstanceId| own.iter().map(|(i, _)| i).find(|i| i.id == *id);
        match repair {
            Repair::Start(count) => {
                let new = (0..count).map(|_| self.new_instance(service, deployed, now));
                changes.new.extend(new);
            }
            Repair::Create(id) => changes.create.push(id),
            Repair::Admit(id) => {
                let ready = of(&id).map(|i| Instance {
                    ready: true,
                    ..i.clone()
                });
                changes.changed.extend(ready);
                self.engine.troubles.clear(&service.id);
            }
            Repair::Retire(id) => changes.changed.extend(of(&id).map(|i| retiring(i, now))),
            Repair::Replace(id, why) => {
                if let Some(instance) = of(&id) {
                    self.tell_of_replacement(service, instance, &why, now).await;
                    changes.changed.push(retiring(instance, now));
                }
            }
        }
    }

    fn new_instance(&self, service: &Service, deployed: &Deployed, now: Millis) -> Instance {
        Instance {
            id: InstanceId::from_random(crate::clock::random(self.engine.chance.as_ref())),
            service: service.id.clone(),
            revision: deployed.revision,
            role: InstanceRole::Active,
            ready: false,
            created_at: now,
            retiring_since: None,
        }
    }

    /// Notes a failed instance, which slows the service's next starts, and says so to its owner; to its visitors, too,
    /// when it means that no instance can be started.
    async fn tell_of_replacement(
        &self,
        service: &Service,
        instance: &Instance,
        why: &str,
        now: Millis,
    ) {
        let (engine, id) = (&self.engine, &instance.id);
        let setback = {
            let mut memory = self.memory();
            let setback = memory.setbacks.entry(service.id.clone()).or_default();
            *setback = setback.struck(now);
            *setback
        };
        let has_ended = |s: &InstanceState| matches!(s, InstanceState::Exited(_));
        if engine.fleet.status(id).is_some_and(|s| has_ended(&s.state)) {
            engine.fleet.heard_end(id, LAST_WORDS_WITHIN).await;
        }
        let mut reason = why.to_owned();
        if let Some(line) = engine.fleet.tail(id).last() {
            reason.push_str(&format!(". Its last output: {line}"));
        }
        if !instance.ready || setback.pause_ms() > 0 {
            engine.troubles.note(&service.id, &said_in_public(why));
        }
        tracing::warn!(service = %service.name, instance = %id, why, "instance is replaced");
        let text = format!("Instance {id} is replaced. Reason: {reason}");
        engine.chronicle.note(service, &text, now).await;
    }
}

/// What anybody who asks for the service is told. Evidence, which stands after a colon in the reason, and what the
/// application printed are for its owner and stay in the events.
fn said_in_public(why: &str) -> String {
    let what = why.split(": ").next().unwrap_or_default();
    format!("the last attempt to start an instance failed: {what}; the service's events say more")
}

fn retiring(instance: &Instance, now: Millis) -> Instance {
    Instance {
        role: InstanceRole::Retiring,
        ready: false,
        retiring_since: Some(now),
        ..instance.clone()
    }
}

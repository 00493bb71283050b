//! Which instances' brakes a proxy gets, and who releases them when it cannot.
//!
//! A proxy that has an instance's brake takes its processor away while it has no requests there. It does so only while it is
//! the only proxy: of another one's requests it knows nothing. Whatever ends with a proxy that may have left instances
//! braked, or begins after one, has the control plane release them.

use super::sessions::{Session, SessionId};
use super::{ProxyLink, State};
use apron_compute::{Brake, Compute};
use apron_domain::InstanceId;
use apron_link::proxy::ToProxy;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is different for one service.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Instances whose brakes the proxy is to get.
    pub new: Vec<String>,
    /// Instances whose brakes it has given up, because they left the table or are not to be braked any more.
    pub gone: Vec<String>,
}

/// What is to be done next about a proxy's brakes, if anything; it counts as done.
pub fn next(state: &mut State, id: SessionId) -> Option<Difference> {
    if !state.sessions.is_alone(id) {
        return None;
    }
    let State { board, sessions } = state;
    let session = sessions.get(id)?;
    while let Some(service) = session.unbraked.pop_first() {
        let route = board.route(&service).filter(|route| route.throttle_idle);
        let upstreams = route.map_or(&[][..], |route| &route.upstreams);
        let wanted: BTreeSet<String> = upstreams.iter().map(|u| u.instance.clone()).collect();
        let had = session.braked.remove(&service).unwrap_or_default();
        let difference = Difference {
            new: wanted.difference(&had).cloned().collect(),
            gone: had.difference(&wanted).cloned().collect(),
        };
        if !wanted.is_empty() {
            session.braked.insert(service, wanted);
        }
        if difference != Difference::default() {
            return Some(difference);
        }
    }
    None
}

/// Notes that a table or change was sent, of which these services are part.
pub fn told<'a>(session: &mut Session, services: impl Iterator<Item = &'a String>) {
    session.unbraked.extend(services.cloned());
}

impl ProxyLink {
    /// Where brakes come from. Until this is called no proxy gets any, and what a former proxy left braked is released first.
    pub async fn brake_by(&self, compute: Arc<dyn Compute>) {
        match compute.list().await {
            Ok(instances) => {
                for instance in instances {
                    release(compute.as_ref(), &instance.id).await;
                }
            }
            Err(error) => tracing::error!(%error, "instances may be left without their processor"),
        }
        // Called once, by the composition root.
        let _ = self.compute.set(compute);
        self.state().sessions.wake_all();
    }

    /// The message and the file that give a proxy an instance's brake; none where there is none.
    pub(super) async fn brake_of(&self, instance: &str) -> Option<(ToProxy, Brake)> {
        let compute = self.compute.get()?;
        let id = InstanceId::parse(instance).ok()?;
        match compute.brake(&id).await {
            Ok(brake) => brake.map(|brake| {
                let message = ToProxy::Brake {
                    instance: instance.to_owned(),
                    idle: brake.idle.clone(),
                    busy: brake.busy.clone(),
                };
                (message, brake)
            }),
            Err(error) => {
                tracing::warn!(instance, %error, "the instance has no brake");
                None
            }
        }
    }

    /// Gives instances their processor back.
    pub(super) async fn release_all(&self, instances: impl Iterator<Item = &String>) {
        let Some(compute) = self.compute.get() else {
            return;
        };
        for id in instances.filter_map(|instance| InstanceId::parse(instance).ok()) {
            release(compute.as_ref(), &id).await;
        }
    }
}

async fn release(compute: &dyn Compute, id: &InstanceId) {
    let released = match compute.brake(id).await {
        Ok(Some(brake)) => brake.release().map_err(|error| error.to_string()),
        Ok(None) => Ok(()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = released {
        tracing::warn!(instance = %id, error, "the instance may be left without its processor");
    }
}

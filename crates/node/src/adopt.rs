//! Taking over what a former run started, and removing what it left behind.

use crate::disk::Disks;
use crate::error::NodeError;
use crate::groups::Groups;
use crate::instance::files::InstanceFiles;
use crate::instance::{Instance, link, shim};
use crate::network::Network;
use crate::node::Inner;
use apron_compute::{Exit, InstanceState};
use apron_domain::{InstanceId, ServiceId};
use apron_link::instance::Plan;
use std::sync::Arc;

/// An instance of a former run.
#[derive(Debug)]
pub struct Found {
    id: InstanceId,
    service: ServiceId,
    plan: Plan,
    /// Present when its end is known already.
    exit: Option<Exit>,
}

/// Finds instances and removes everything of this platform that belongs to none. Blocks.
pub fn look(
    files: &InstanceFiles,
    groups: &Groups,
    network: &Network,
    disks: &Disks,
) -> Result<Vec<Found>, NodeError> {
    let mut found = Vec::new();
    for name in files.list()? {
        match identify(files, &name) {
            Some(instance) => {
                network.claim(instance.plan.slot);
                found.push(instance);
            }
            None => {
                tracing::info!(
                    instance = name,
                    "removing an instance that was never started"
                );
                shim::end(&files.directory(&name))?;
                groups.remove(&name)?;
                files.remove(&name)?;
            }
        }
    }
    let names: Vec<String> = found
        .iter()
        .map(|instance| instance.plan.id.clone())
        .collect();
    groups.remove_all_but(&names)?;
    disks.remove_all_but(&names)?;
    network.remove_unclaimed()?;
    Ok(found)
}

/// What a directory tells. Without a whole plan, or when no shim holds its socket and none ever began, there is no
/// instance.
fn identify(files: &InstanceFiles, name: &str) -> Option<Found> {
    let plan = files.plan(name)?;
    let (id, service) = (
        InstanceId::parse(&plan.id).ok()?,
        ServiceId::parse(&plan.service).ok()?,
    );
    if plan.id != name {
        return None;
    }
    let exit = files.exit(name);
    let found = Found {
        id,
        service,
        plan,
        exit,
    };
    let begun = found.exit.is_some() || files.has_begun(name) || is_listened_to(files, name);
    begun.then_some(found)
}

/// A shim has its socket before its first instruction, so this also finds one that is only just being started.
fn is_listened_to(files: &InstanceFiles, name: &str) -> bool {
    crate::instance::files::reachable(&files.directory(name))
        .is_ok_and(|socket| std::os::unix::net::UnixStream::connect(socket.path()).is_ok())
}

/// Makes a found instance known: a living one is talked to again, the end of another is reported once more. Called in
/// a runtime.
pub fn take_over(inner: &Arc<Inner>, found: Found) {
    let Found {
        id,
        service,
        plan,
        exit,
    } = found;
    let (instance, commands) = Instance::new(id, service, &plan, InstanceState::Starting);
    let instance = Arc::new(instance);
    inner.insert(instance.clone());
    let surroundings = inner.surroundings();
    let task = match exit {
        // Its shim may still wait to be told that the end was taken.
        Some(exit) => {
            instance.ended(exit.clone());
            let directory = inner.files.directory(&plan.id);
            let instance = instance.clone();
            if shim::is_alive(&directory) {
                tokio::spawn(link::attend(instance, surroundings, commands))
            } else {
                tokio::spawn(
                    async move { link::report(&instance, &surroundings.events, exit).await },
                )
            }
        }
        None => tokio::spawn(link::attend(instance.clone(), surroundings, commands)),
    };
    instance.linked(task.abort_handle());
}

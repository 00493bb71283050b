//! Making an instance.

use crate::cgroup::Limits;
use crate::config::DOORS_ADDRESS;
use crate::error::{NodeError, Step};
use crate::instance::shim::{self, Handover};
use crate::instance::{Instance, link};
use crate::network;
use crate::node::{Inner, failed};
use crate::plan::{Surroundings, environment, plan};
use crate::pool::Slot;
use crate::users;
use apron_compute::{ComputeError, Exit, InstanceClass, InstanceSpec, InstanceState};
use apron_domain::Millis;
use apron_link::instance::Plan;
use rustix::fd::OwnedFd;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for an application's first instruction once its shim was asked.
const START_WITHIN: Duration = Duration::from_secs(60);

/// Makes an instance and waits until its application runs or could not be started.
pub async fn create(inner: Arc<Inner>, spec: InstanceSpec) -> Result<(), ComputeError> {
    let _turn = inner.turn(&spec.id).await;
    if inner.instance(&spec.id).is_some() {
        return Ok(());
    }
    let instance = make(&inner, &spec).await?;
    let decided = instance.wait_for(|state| !matches!(state, InstanceState::Starting));
    if tokio::time::timeout(START_WITHIN, decided).await.is_err() {
        let directory = inner.files.directory(spec.id.as_str());
        // Its end is noticed by the conversation, which records it.
        let _ = tokio::task::spawn_blocking(move || shim::end(&directory)).await;
        return Err(ComputeError::Failed(format!(
            "instance {} did not start within {START_WITHIN:?}",
            spec.id
        )));
    }
    Ok(())
}

async fn make(inner: &Arc<Inner>, spec: &InstanceSpec) -> Result<Arc<Instance>, ComputeError> {
    // Held until the instance is known, so that its layers are not removed meanwhile.
    let _in_use = inner.layers.in_use.read().await;
    let prepared = inner.layers.prepare(&spec.image).await?;
    let slot = inner.pool.take(spec.disk_bytes).await.map_err(failed)?;
    let plan = plan(
        spec,
        Surroundings {
            config: &prepared.config,
            layers: &prepared.layers,
            layers_directory: inner.layers.directory().to_owned(),
            slot: slot.namespace.slot,
            users: inner
                .users
                .then(|| users::first(&inner.config.name, slot.namespace.slot)),
            address: slot.namespace.address,
            resolvers: inner.network.resolvers(),
            group: inner.groups.of(spec.class).group(spec.id.as_str()),
        },
    );
    let plan = match plan {
        Ok(plan) => plan,
        Err(text) => {
            inner.pool.discard(&slot);
            return Err(ComputeError::Failed(text));
        }
    };
    let given = Given {
        environment: environment(spec, &prepared.config),
        trust: inner
            .config
            .trust_bundle
            .clone()
            .filter(|_| spec.trusts_platform),
        token: spec.identity_token.clone(),
    };
    let limits = Limits {
        cpu_millis: spec.cpu_millis,
        memory_bytes: spec.memory_bytes,
        // The container's init is not the application's.
        pids_max: spec.pids_max.saturating_add(1),
    };
    let (instance, commands) = Instance::new(
        spec.id.clone(),
        spec.service.clone(),
        &plan,
        InstanceState::Starting,
    );
    let instance = Arc::new(instance);
    set_apart(&instance, &slot).map_err(failed)?;
    let worker = inner.clone();
    let work = move || start(&worker, &plan, &given, &limits, slot);
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| {
            ComputeError::Failed(format!("the start of an instance was interrupted: {error}"))
        })?
        .map_err(failed)?;
    inner.insert(instance.clone());
    if instance.class == InstanceClass::Build {
        inner.builds_begun.notify_one();
    }
    let conversation = tokio::spawn(link::attend(
        instance.clone(),
        inner.surroundings(),
        commands,
    ));
    instance.linked(conversation.abort_handle());
    Ok(instance)
}

/// What a build has otherwise than a service: its disk is kept open, for its changes, and the platform has no doors for it.
/// Blocks for a moment.
fn set_apart(instance: &Instance, slot: &Slot) -> Result<(), NodeError> {
    if instance.class == InstanceClass::Build {
        let disk = slot.disk.mount.try_clone();
        instance.keep_disk(disk.step("keep the disk of a build")?);
        network::close(&slot.namespace.descriptor, DOORS_ADDRESS)?;
    }
    Ok(())
}

/// What an application is given besides its plan.
struct Given {
    environment: Vec<String>,
    trust: Option<PathBuf>,
    token: Option<String>,
}

/// Makes what the shim needs and starts it; removes everything again when that fails. Blocks.
fn start(
    inner: &Inner,
    plan: &Plan,
    given: &Given,
    limits: &Limits,
    mut slot: Slot,
) -> Result<(), NodeError> {
    let made = (|| {
        let environment = shim::environment_file(&given.environment)?;
        let open = |path: &Path| File::open(path).step(format!("open {}", path.display()));
        let trust = given
            .trust
            .as_deref()
            .map(open)
            .transpose()?
            .map(OwnedFd::from);
        // What a killed attempt may have left.
        if inner.files.directory(&plan.id).exists() {
            inner.remove_traces(&plan.id, None)?;
        }
        let listener = inner.files.create(plan)?;
        if let Some(token) = &given.token {
            inner.files.create_identity(&plan.id, token)?;
        }
        inner.disks.assign(&mut slot.disk, &plan.id)?;
        let class = crate::instance::class(plan);
        inner.groups.of(class).create(&plan.id, limits)?;
        Ok((listener, environment, trust))
    })();
    let slot_number = slot.namespace.slot;
    let started = match made {
        Ok((listener, environment, trust)) => {
            let directory = inner.files.directory(&plan.id);
            let handover = Handover {
                listener,
                network: slot.namespace.descriptor,
                disk: slot.disk.mount,
                environment,
                trust,
            };
            shim::spawn(&inner.config.shim, &directory, &handover)
        }
        Err(error) => {
            inner.pool.discard(&slot);
            Err(error)
        }
    };
    if started.is_err()
        && let Err(error) = inner.remove_traces(&plan.id, Some(slot_number))
    {
        tracing::warn!(instance = plan.id, %error, "what was made of an instance could not be removed");
    }
    started
}

/// The end of an instance that never ran or was lost.
pub fn exit_with(error: String, at: Millis) -> Exit {
    Exit {
        code: None,
        signal: None,
        out_of_memory: false,
        error: Some(error),
        at,
    }
}

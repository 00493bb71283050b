//! The backend as the control plane sees it.

use crate::config::NodeConfig;
use crate::disk::Disks;
use crate::error::{NodeError, Step};
use crate::groups::Groups;
use crate::instance::Instance;
use crate::instance::files::InstanceFiles;
use crate::instance::link;
use crate::instance::shim;
use crate::layers::Layers;
use crate::network::Network;
use crate::pool::Pool;
use crate::{
    Clock, adopt, build_pace, create, export, listening, probe, purge, requirements, users,
};
use apron_compute::{
    Brake, Compute, ComputeError, ComputeEvent, Exhausted, Export, Exported, InstanceSpec,
    InstanceState, InstanceStatus, Probe, ProbeAnswer, TokenFiles,
};
use apron_domain::{Digest, InstanceId};
use apron_link::instance::ToShim;
use apron_oci::ContentStore;
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Permissions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedMutexGuard, mpsc};
use tokio::task::AbortHandle;

/// Events that wait for the control plane; a full queue slows the applications' output.
const EVENTS_MAX: usize = 256;

/// How long after the end of its grace an instance may take to be gone before its shim is ended.
const KILL_WITHIN: Duration = Duration::from_secs(5);

/// How long another's lock is waited for.
const LOCK_WITHIN: Duration = Duration::from_secs(2);

/// Time between two attempts to get the lock.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// The local backend. Instances go on when it is dropped.
pub struct Node {
    inner: Arc<Inner>,
    pace: AbortHandle,
}

/// What everything here works with.
pub(crate) struct Inner {
    pub config: NodeConfig,
    pub clock: Clock,
    pub files: InstanceFiles,
    pub groups: Groups,
    pub network: Arc<Network>,
    pub disks: Arc<Disks>,
    pub layers: Layers,
    pub pool: Arc<Pool>,
    /// Instances have users of their own.
    pub users: bool,
    /// Told when a build begins.
    pub builds_begun: Arc<Notify>,
    pub events: mpsc::Sender<ComputeEvent>,
    reader: Mutex<Option<mpsc::Receiver<ComputeEvent>>>,
    instances: Mutex<BTreeMap<InstanceId, Arc<Instance>>>,
    turns: Mutex<BTreeMap<InstanceId, Arc<tokio::sync::Mutex<()>>>>,
    _lock: File,
}

impl Node {
    /// Checks that this machine can run instances, takes over those that run, and removes what former runs left behind.
    /// Fails naming what the machine lacks, or when another process manages the same instances.
    pub async fn start(
        config: NodeConfig,
        images: Arc<ContentStore>,
        clock: Clock,
    ) -> Result<Arc<Node>, NodeError> {
        config.check()?;
        requirements::check(&config)?;
        let lock = take_lock(&config.run_dir).await?;
        let (events, reader) = mpsc::channel(EVENTS_MAX);
        let opened = {
            let config = config.clone();
            tokio::task::spawn_blocking(move || open(&config, images))
                .await
                .step("start the local backend")??
        };
        let Opened {
            files,
            groups,
            network,
            disks,
            layers,
            users,
            found,
        } = opened;
        let pool = Pool::start(network.clone(), disks.clone(), config.pool_slots).await?;
        let inner = Arc::new(Inner {
            config,
            clock,
            files,
            groups,
            network,
            disks,
            layers,
            pool,
            users,
            builds_begun: Arc::default(),
            events,
            reader: Mutex::new(Some(reader)),
            instances: Mutex::default(),
            turns: Mutex::default(),
            _lock: lock,
        });
        for found in found {
            adopt::take_over(&inner, found);
        }
        let pace = tokio::spawn(build_pace::keep(Arc::downgrade(&inner))).abort_handle();
        Ok(Arc::new(Node { inner, pace }))
    }

    /// Removes every trace of a platform's instances: processes, control groups, networks, firewall rules, disks and
    /// layers. Fails when a [`Node`] is at work on them.
    pub async fn purge(config: NodeConfig) -> Result<(), NodeError> {
        config.check()?;
        // Without directories there is no one to keep out, and nothing should be made.
        let lock = match config.run_dir.exists() {
            true => Some(take_lock(&config.run_dir).await?),
            false => None,
        };
        tokio::task::spawn_blocking(move || purge::purge(&config, lock))
            .await
            .step("purge the local backend")?
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.pace.abort();
        // Whoever comes next talks to the shims.
        for instance in self.inner.instances().values() {
            instance.unlink();
        }
    }
}

struct Opened {
    files: InstanceFiles,
    groups: Groups,
    network: Arc<Network>,
    disks: Arc<Disks>,
    layers: Layers,
    users: bool,
    found: Vec<adopt::Found>,
}

fn open(config: &NodeConfig, images: Arc<ContentStore>) -> Result<Opened, NodeError> {
    close_to_others(&config.data_dir)?;
    let files = InstanceFiles::open(&config.run_dir)?;
    let groups = Groups::open(config)?;
    let network = Arc::new(Network::open(config)?);
    let disks = Arc::new(Disks::open(config.data_dir.join("disks"))?);
    let layers = Layers::open(config.data_dir.join("layers"), images)?;
    let users = config.user_namespaces && users::are_possible(config, layers.directory());
    let found = adopt::look(&files, &groups, &network, &disks)?;
    Ok(Opened {
        files,
        groups,
        network,
        disks,
        layers,
        users,
        found,
    })
}

/// Nobody else on the machine may read what instances wrote, or run what an image brought: it may have programs that act as root.
fn close_to_others(data: &Path) -> Result<(), NodeError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .step(format!("make {}", data.display()))?;
    std::fs::set_permissions(data, Permissions::from_mode(0o700))
        .step(format!("close {} to others", data.display()))
}

/// Makes sure that nobody else works on the same instances, as long as the file is open.
pub(crate) async fn take_lock(run_dir: &Path) -> Result<File, NodeError> {
    std::fs::create_dir_all(run_dir).step(format!("make {}", run_dir.display()))?;
    let path = run_dir.join("node.lock");
    let file = File::create(&path).step(format!("open {}", path.display()))?;
    let deadline = Instant::now() + LOCK_WITHIN;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            // A process that a killed platform was just starting has the file until its first instruction.
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                tokio::time::sleep(LOCK_POLL).await
            }
            Err(TryLockError::WouldBlock) => return Err(NodeError::Busy(run_dir.to_owned())),
            Err(error) => return Err(NodeError::step(format!("lock {}", path.display()), error)),
        }
    }
}

impl Inner {
    pub fn instance(&self, id: &InstanceId) -> Option<Arc<Instance>> {
        self.instances().get(id).cloned()
    }

    pub fn insert(&self, instance: Arc<Instance>) {
        self.instances().insert(instance.id.clone(), instance);
    }

    /// Waits until nobody else creates or removes the instance.
    pub async fn turn(&self, id: &InstanceId) -> OwnedMutexGuard<()> {
        let turn = lock(&self.turns).entry(id.clone()).or_default().clone();
        turn.lock_owned().await
    }

    /// What the conversation with a shim needs.
    pub fn surroundings(&self) -> link::Surroundings {
        link::Surroundings {
            files: self.files.clone(),
            events: self.events.clone(),
            clock: self.clock.clone(),
        }
    }

    /// Removes every trace of an instance; each may be gone already. Blocks.
    pub fn remove_traces(&self, id: &str, slot: Option<u32>) -> Result<(), NodeError> {
        shim::end(&self.files.directory(id))?;
        self.groups.remove(id)?;
        if let Some(slot) = slot {
            self.network.remove(slot)?;
        }
        self.disks.remove(id)?;
        // Last, because it is what tells that there is something to remove.
        self.files.remove(id)
    }

    async fn remove(self: Arc<Inner>, id: InstanceId) -> Result<(), ComputeError> {
        let _turn = self.turn(&id).await;
        let instance = self.instance(&id);
        let slot = match &instance {
            Some(instance) => {
                instance.unlink();
                Some(instance.slot)
            }
            None => self.files.plan(id.as_str()).map(|plan| plan.slot),
        };
        let inner = self.clone();
        let name = id.to_string();
        tokio::task::spawn_blocking(move || inner.remove_traces(&name, slot))
            .await
            .step("remove an instance")
            .and_then(|result| result)
            .map_err(failed)?;
        self.instances().remove(&id);
        lock(&self.turns).remove(&id);
        if let Some(instance) = instance {
            // Whoever waits for its end need not wait any longer.
            instance.ended(create::exit_with("removed".to_owned(), (self.clock)()));
        }
        Ok(())
    }

    /// The brake of an instance that runs, if its share is known.
    fn brake(&self, id: &InstanceId) -> Result<Option<Brake>, ComputeError> {
        let running = self
            .instance(id)
            .filter(|instance| instance.exit().is_none() && instance.cpu_millis > 0);
        let Some(instance) = running else {
            return Ok(None);
        };
        self.groups
            .of(instance.class)
            .brake(id.as_str(), instance.cpu_millis)
            .map_err(failed)
    }

    /// Gives an instance its processor for what it has to do at its end.
    fn release(&self, id: &InstanceId) {
        match self.brake(id) {
            Ok(Some(brake)) => {
                if let Err(error) = brake.release() {
                    tracing::warn!(instance = %id, %error, "the instance's processor cannot be given back");
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(instance = %id, %error, "the instance has no brake"),
        }
    }

    async fn stop(&self, id: &InstanceId, grace: Duration) -> Result<(), ComputeError> {
        let Some(instance) = self.instance(id) else {
            return Ok(());
        };
        self.release(id);
        let ended = |state: &InstanceState| matches!(state, InstanceState::Exited(_));
        if instance.exit().is_some() {
            return Ok(());
        }
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let end = async {
            instance.command(ToShim::Stop { grace_ms }).await;
            instance.wait_for(ended).await;
        };
        if tokio::time::timeout(grace.saturating_add(KILL_WITHIN), end)
            .await
            .is_ok()
        {
            return Ok(());
        }
        // It has ended, but events before its end wait for the control plane.
        if self.files.exit(id.as_str()).is_some() {
            return Ok(());
        }
        // The shim does not do its work. Its end is noticed by the conversation, which records it.
        let directory = self.files.directory(id.as_str());
        tokio::task::spawn_blocking(move || shim::end(&directory))
            .await
            .step("end a shim")
            .and_then(|result| result)
            .map_err(failed)?;
        tokio::time::timeout(KILL_WITHIN, instance.wait_for(ended))
            .await
            .map_err(|_| ComputeError::Failed(format!("instance {id} did not end")))
    }

    pub fn instances(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Arc<Instance>>> {
        lock(&self.instances)
    }
}

#[async_trait]
impl Compute for Node {
    async fn prepare(&self, image: &Digest) -> Result<(), ComputeError> {
        let _in_use = self.inner.layers.in_use.read().await;
        self.inner.layers.prepare(image).await.map(|_| ())
    }

    async fn create(&self, spec: &InstanceSpec) -> Result<(), ComputeError> {
        // In a task of its own: a caller that goes away leaves no half-made instance.
        let work = create::create(self.inner.clone(), spec.clone());
        tokio::spawn(work).await.map_err(interrupted)?
    }

    async fn stop(&self, id: &InstanceId, grace: Duration) -> Result<(), ComputeError> {
        self.inner.stop(id, grace).await
    }

    async fn remove(&self, id: &InstanceId) -> Result<(), ComputeError> {
        tokio::spawn(self.inner.clone().remove(id.clone()))
            .await
            .map_err(interrupted)?
    }

    async fn list(&self) -> Result<Vec<InstanceStatus>, ComputeError> {
        Ok(self
            .inner
            .instances()
            .values()
            .map(|instance| instance.status())
            .collect())
    }

    async fn status(&self, id: &InstanceId) -> Result<Option<InstanceStatus>, ComputeError> {
        Ok(self.inner.instance(id).map(|instance| instance.status()))
    }

    async fn probe(&self, id: &InstanceId, probe: &Probe, timeout: Duration) -> ProbeAnswer {
        let no = |detail: String| ProbeAnswer {
            healthy: false,
            answered: false,
            detail,
        };
        let Some(instance) = self.inner.instance(id) else {
            return no("the instance does not exist".to_owned());
        };
        if instance.exit().is_some() {
            return no("the application has ended".to_owned());
        }
        let mut answer = probe::probe(instance.address, probe, timeout).await;
        if !answer.answered
            && answer.detail == "connection refused"
            && let Some(pid) = instance.init_pid()
        {
            let port = instance.address.port();
            answer.detail = format!(
                "connection refused on port {port}{}",
                listening::explain(port, &listening::ports(pid))
            );
        }
        answer
    }

    async fn brake(&self, id: &InstanceId) -> Result<Option<Brake>, ComputeError> {
        self.inner.brake(id)
    }

    fn subscribe(&self) -> mpsc::Receiver<ComputeEvent> {
        // Everything since the start waits in the queue, ends of adopted instances included.
        lock(&self.inner.reader)
            .take()
            .unwrap_or_else(|| mpsc::channel(1).1)
    }

    async fn retain_images(&self, keep: &BTreeSet<Digest>) -> Result<(), ComputeError> {
        let instances = self
            .inner
            .instances()
            .values()
            .flat_map(|instance| instance.layers.clone())
            .collect();
        self.inner.layers.retain(keep, &instances).await
    }

    async fn exhausted(&self, id: &InstanceId) -> Result<Exhausted, ComputeError> {
        let instance = self.inner.instance(id);
        let instance = instance.ok_or_else(|| ComputeError::Unknown(id.clone()))?;
        let groups = self.inner.groups.of(instance.class);
        Ok(Exhausted {
            memory: groups.was_out_of_memory(id.as_str()),
            pids: groups.was_refused_processes(id.as_str()),
            disk: export::is_full(&instance),
        })
    }

    async fn export(
        &self,
        id: &InstanceId,
        what: &Export,
        into: File,
    ) -> Result<Exported, ComputeError> {
        let instance = self.inner.instance(id);
        let instance = instance.ok_or_else(|| ComputeError::Unknown(id.clone()))?;
        let what = what.clone();
        tokio::task::spawn_blocking(move || export::export(&instance, &what, into))
            .await
            .map_err(interrupted)?
    }
}

#[async_trait]
impl TokenFiles for Node {
    async fn put_token(&self, id: &InstanceId, token: &str) -> Result<(), ComputeError> {
        // An instance that is being removed would find a file where its directory was.
        let _turn = self.inner.turn(id).await;
        let unknown = || ComputeError::Unknown(id.clone());
        self.inner.instance(id).ok_or_else(unknown)?;
        let replaced = self.inner.files.replace_token(id.as_str(), token);
        match replaced.map_err(failed)? {
            true => Ok(()),
            false => Err(unknown()),
        }
    }
}

/// A failed step in the contract's words.
pub(crate) fn failed(error: NodeError) -> ComputeError {
    let text = error.to_string();
    match text.contains("o space left") || text.contains("is used up") {
        true => ComputeError::Capacity(text),
        false => ComputeError::Failed(text),
    }
}

fn interrupted(error: tokio::task::JoinError) -> ComputeError {
    ComputeError::Failed(format!("the work on an instance was interrupted: {error}"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! One instance as the node holds it.

pub mod files;
pub mod link;
pub mod shim;

use apron_compute::{Exit, InstanceClass, InstanceState, InstanceStatus};
use apron_domain::{InstanceId, Millis, ServiceId};
use apron_link::instance::{Plan, ToShim};
use rustix::fd::OwnedFd;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

/// Commands that wait for the shim's connection.
const COMMANDS_MAX: usize = 16;

/// An instance that has any trace.
#[derive(Debug)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Its service label.
    pub service: ServiceId,
    /// Its revision label.
    pub revision: u32,
    /// Where its application listens.
    pub address: SocketAddr,
    /// Its network slot.
    pub slot: u32,
    /// Its processor share in thousandths of a vCPU; zero when that is not known.
    pub cpu_millis: u32,
    /// Layers it uses.
    pub layers: Vec<String>,
    /// What it is for.
    pub class: InstanceClass,
    /// The machine's id for its user 0, unless its users are the machine's.
    pub users: Option<u32>,
    /// The disk of a build: what it wrote is read after its end, when nothing else holds the mount any more.
    disk: OnceLock<OwnedFd>,
    init_pid: AtomicI32,
    state: watch::Sender<InstanceState>,
    commands: mpsc::Sender<ToShim>,
    link: Mutex<Option<AbortHandle>>,
}

impl Instance {
    /// An instance in a state, and the receiving end of its commands.
    pub fn new(
        id: InstanceId,
        service: ServiceId,
        plan: &Plan,
        state: InstanceState,
    ) -> (Instance, mpsc::Receiver<ToShim>) {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let instance = Instance {
            id,
            service,
            revision: plan.revision,
            address: plan.address,
            slot: plan.slot,
            cpu_millis: plan.cpu_millis,
            layers: plan.layers.clone(),
            class: class(plan),
            users: plan.users,
            disk: OnceLock::new(),
            init_pid: AtomicI32::new(0),
            state: watch::Sender::new(state),
            commands,
            link: Mutex::default(),
        };
        (instance, receiver)
    }

    /// As the contract shows it.
    pub fn status(&self) -> InstanceStatus {
        InstanceStatus {
            id: self.id.clone(),
            service: self.service.clone(),
            revision: self.revision,
            state: self.state.borrow().clone(),
            address: Some(self.address),
            class: self.class,
        }
    }

    /// Keeps the disk of a build.
    pub fn keep_disk(&self, disk: OwnedFd) {
        // Set once, by whoever made the instance.
        let _ = self.disk.set(disk);
    }

    /// The disk of a build that this process made.
    pub fn disk(&self) -> Option<&OwnedFd> {
        self.disk.get()
    }

    /// How it ended, if it has.
    pub fn exit(&self) -> Option<Exit> {
        match &*self.state.borrow() {
            InstanceState::Exited(exit) => Some(exit.clone()),
            _ => None,
        }
    }

    /// The container's process 1, as this machine numbers it; while it runs.
    pub fn init_pid(&self) -> Option<i32> {
        let running = matches!(*self.state.borrow(), InstanceState::Running { .. });
        Some(self.init_pid.load(Ordering::Relaxed)).filter(|pid| running && *pid > 0)
    }

    /// Notes that the application was started.
    pub fn started(&self, since: Millis, init_pid: i32) {
        self.init_pid.store(init_pid, Ordering::Relaxed);
        self.state.send_modify(|state| {
            if matches!(state, InstanceState::Starting) {
                *state = InstanceState::Running { since };
            }
        });
    }

    /// Notes the end; the first one counts.
    pub fn ended(&self, exit: Exit) {
        self.state.send_modify(|state| {
            if !matches!(state, InstanceState::Exited(_)) {
                *state = InstanceState::Exited(exit);
            }
        });
    }

    /// Waits until the state is one that `wanted` accepts.
    pub async fn wait_for(&self, wanted: impl FnMut(&InstanceState) -> bool) {
        // The sender lives in `self`, so the channel cannot close.
        let _ = self.state.subscribe().wait_for(wanted).await;
    }

    /// Asks the shim for something; lost when the shim is gone, which is noticed otherwise.
    pub async fn command(&self, command: ToShim) {
        let _ = self.commands.send(command).await;
    }

    /// Remembers the task that talks to the shim.
    pub fn linked(&self, task: AbortHandle) {
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }

    /// Ends the task that talks to the shim.
    pub fn unlink(&self) {
        if let Some(task) = self
            .link
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            task.abort();
        }
    }
}

/// What the instance of a plan is for.
pub fn class(plan: &Plan) -> InstanceClass {
    match plan.build {
        true => InstanceClass::Build,
        false => InstanceClass::Service,
    }
}

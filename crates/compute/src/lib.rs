//! The compute backend contract: how the control plane asks for instances, whoever runs them.
//!
//! A backend starts, observes, probes and removes instances of images that are in the content store. Every method
//! may be called again after it succeeded, failed half way or was killed half way; the result is the same.

pub mod conformance;
mod export;
mod parted;
pub mod simulator;

pub use export::{Exhausted, Export, Exported, InstanceClass};
pub use parted::part;

use apron_domain::{Digest, InstanceId, Millis, ServiceId};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::sync::mpsc;

/// Everything a backend needs to start one instance. Its variables may be secrets: a backend hands them to the application
/// and keeps them nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct InstanceSpec {
    /// The instance's id, chosen by the control plane and unique for ever.
    pub id: InstanceId,
    /// The service it belongs to; kept as a label.
    pub service: ServiceId,
    /// The service's name, for host names and messages.
    pub service_name: String,
    /// The revision of the service's configuration; kept as a label.
    pub revision: u32,
    /// The digest of the image manifest (not of an index) in the content store.
    pub image: Digest,
    /// Replaces the image's entry point and command when set; split like a POSIX shell would, without expansion.
    pub start_command: Option<String>,
    /// Environment on top of the image's; `PORT` is added by the backend from `port`.
    pub env: BTreeMap<String, String>,
    /// Environment for what neither the image nor `env` sets.
    pub defaults: BTreeMap<String, String>,
    /// Whether the application gets a file with the certificates that make it trust the platform's API, at
    /// [`TRUST_PATH`]. A backend without the API has no such file.
    pub trusts_platform: bool,
    /// A token that tells others who the instance is: the application finds it at [`TOKEN_PATH`], and [`TokenFiles`] puts others
    /// in its place. None: there is no such file.
    pub identity_token: Option<String>,
    /// The TCP port the application listens on.
    pub port: u16,
    /// Processor share in thousandths of a vCPU.
    pub cpu_millis: u32,
    /// Memory limit in bytes; swap is not available on top of it.
    pub memory_bytes: u64,
    /// Bound of processes and threads.
    pub pids_max: u32,
    /// Bound of what the instance may write to its file system, in bytes.
    pub disk_bytes: u64,
    /// What it is for.
    pub class: InstanceClass,
}

/// Where an application finds the certificates of [`InstanceSpec::trusts_platform`].
pub const TRUST_PATH: &str = "/etc/apron/ca-bundle.pem";

/// Where an application finds the token of [`InstanceSpec::identity_token`].
pub const TOKEN_PATH: &str = "/etc/apron/identity/token";

/// Replaces the tokens of instances while they run. Beside [`Compute`], because a backend has it or has not.
#[async_trait]
pub trait TokenFiles: Send + Sync {
    /// Puts another token in the place of the one an instance was made with, so that whoever reads it gets one of the two whole.
    ///
    /// # Errors
    /// [`ComputeError::Unknown`] for an instance that is gone or was made without a token.
    async fn put_token(&self, id: &InstanceId, token: &str) -> Result<(), ComputeError>;
}

impl std::fmt::Debug for InstanceSpec {
    /// Without the values of variables.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InstanceSpec")
            .field("id", &self.id)
            .field("service", &self.service)
            .field("revision", &self.revision)
            .field("image", &self.image)
            .field("variables", &self.env.keys())
            .finish_non_exhaustive()
    }
}

/// How an instance ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code, when the process ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The kernel ended it because it reached its memory limit.
    pub out_of_memory: bool,
    /// Why it never ran or was lost, for people: the failing stage and the system's answer.
    pub error: Option<String>,
    /// When it ended.
    pub at: Millis,
}

/// Where an instance is in its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InstanceState {
    /// Being made; its application has not started.
    Starting,
    /// Its application's process exists.
    Running {
        /// When the application was started.
        since: Millis,
    },
    /// Its application ended or never started; its traces remain until it is removed.
    Exited(Exit),
}

/// One instance as the backend sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// The instance.
    pub id: InstanceId,
    /// Its service label.
    pub service: ServiceId,
    /// Its revision label.
    pub revision: u32,
    /// Where it is in its life.
    pub state: InstanceState,
    /// Where the proxy reaches its application, once known.
    pub address: Option<SocketAddr>,
    /// What it is for.
    #[serde(default)]
    pub class: InstanceClass,
}

/// Which of the application's outputs a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Something that happened to an instance, in order per instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ComputeEvent {
    /// Its application started.
    Started {
        /// The instance.
        id: InstanceId,
    },
    /// Its application ended, or the instance was lost.
    Exited {
        /// The instance.
        id: InstanceId,
        /// How it ended.
        exit: Exit,
    },
    /// It printed a line.
    Output {
        /// The instance.
        id: InstanceId,
        /// Which output.
        stream: OutputStream,
        /// When the line was read.
        at: Millis,
        /// The line without its end; invalid UTF-8 is replaced, over-long lines are cut by the backend.
        line: String,
    },
}

impl ComputeEvent {
    /// The instance it tells of.
    pub fn instance(&self) -> &InstanceId {
        match self {
            ComputeEvent::Started { id }
            | ComputeEvent::Exited { id, .. }
            | ComputeEvent::Output { id, .. } => id,
        }
    }
}

/// One health probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Open a TCP connection to the instance's port.
    Tcp,
    /// `GET path`; a status of 200 to 399 is healthy.
    Http {
        /// The request target, with its leading slash.
        path: String,
    },
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeAnswer {
    /// Whether the instance is healthy.
    pub healthy: bool,
    /// The application took the connection, whatever it answered. A refused connection is an application that may
    /// still be starting; a bad answer is one that says it is not well.
    pub answered: bool,
    /// The evidence, for people: `connection refused`, `HTTP 500: <start of the body>`, `200`.
    pub detail: String,
}

/// Why a backend could not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComputeError {
    /// The image cannot run here: missing content, other architecture, damaged or over-sized layers.
    #[error("image {image}: {reason}")]
    Image {
        /// The manifest's digest.
        image: Digest,
        /// What is wrong with it, for people.
        reason: String,
    },
    /// The machine has no room: disk full, no free address, no memory.
    #[error("no capacity: {0}")]
    Capacity(String),
    /// The instance is not known to the backend.
    #[error("instance {0} does not exist")]
    Unknown(InstanceId),
    /// Anything else; `0` says what was done and what the system answered.
    #[error("{0}")]
    Failed(String),
}

/// How an instance's processor is taken away and given back by whoever holds this, without the backend.
#[derive(Debug)]
pub struct Brake {
    /// Where to write; every write counts from the file's beginning.
    pub file: OwnedFd,
    /// What takes the processor away, but for as much as a health probe needs.
    pub idle: String,
    /// What gives it back, at once.
    pub busy: String,
}

impl Brake {
    /// Takes the processor away.
    pub fn apply(&self) -> io::Result<()> {
        self.write(&self.idle)
    }

    /// Gives the processor back.
    pub fn release(&self) -> io::Result<()> {
        self.write(&self.busy)
    }

    fn write(&self, text: &str) -> io::Result<()> {
        File::from(self.file.try_clone()?).write_all(text.as_bytes())
    }
}

/// A place that runs instances.
#[async_trait]
pub trait Compute: Send + Sync {
    /// Makes an image ready so that `create` is quick: unpacks layers that are not there yet.
    async fn prepare(&self, image: &Digest) -> Result<(), ComputeError>;

    /// Starts an instance; returns when its application's process exists or could not be made (then the instance
    /// exists in state `Exited` with `error`). An instance of the same id that exists already is left as it is.
    async fn create(&self, spec: &InstanceSpec) -> Result<(), ComputeError>;

    /// Ends an instance: SIGTERM, after `grace` SIGKILL for all its processes; returns when it has ended. One that
    /// has ended already or does not exist is fine.
    async fn stop(&self, id: &InstanceId, grace: Duration) -> Result<(), ComputeError>;

    /// Removes every trace of an instance, ending it at once if it runs. One that does not exist is fine.
    async fn remove(&self, id: &InstanceId) -> Result<(), ComputeError>;

    /// Every instance that has any trace, including those a former run of the platform started.
    async fn list(&self) -> Result<Vec<InstanceStatus>, ComputeError>;

    /// One instance as [`Compute::list`] would show it; `None` when it has no trace.
    async fn status(&self, id: &InstanceId) -> Result<Option<InstanceStatus>, ComputeError> {
        let all = self.list().await?;
        Ok(all.into_iter().find(|status| status.id == *id))
    }

    /// One probe of an instance, bounded by `timeout`. Never fails: what goes wrong is the evidence.
    async fn probe(&self, id: &InstanceId, probe: &Probe, timeout: Duration) -> ProbeAnswer;

    /// The brake of an instance that runs, opened anew at each call. `None` where the backend has none, and for an
    /// instance that has ended or does not exist. [`Compute::stop`] releases it.
    async fn brake(&self, id: &InstanceId) -> Result<Option<Brake>, ComputeError>;

    /// The stream of events from now on; called once, by the control plane at its start, after which instances that
    /// ended while nobody listened are reported as `Exited` again. A slow reader slows output, it loses none.
    fn subscribe(&self) -> mpsc::Receiver<ComputeEvent>;

    /// Drops prepared images that are not in `keep` and that no instance uses.
    async fn retain_images(&self, keep: &BTreeSet<Digest>) -> Result<(), ComputeError>;

    /// The bounds an instance that exists has run into so far.
    async fn exhausted(&self, id: &InstanceId) -> Result<Exhausted, ComputeError>;

    /// Writes what an ended instance of class [`InstanceClass::Build`] has changed as a layer: an archive in the order of
    /// its paths, with removals as whiteouts (OCI image specification, layers), the same bytes for the same changes. More
    /// than the bounds, and names that no layer can have, are an error, and what was written then is of no use. An instance
    /// that a former run of the platform started may be unknown to it.
    async fn export(
        &self,
        id: &InstanceId,
        what: &Export,
        into: File,
    ) -> Result<Exported, ComputeError>;
}

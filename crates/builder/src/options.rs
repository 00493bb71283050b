//! How an operator wants builds to go.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What one build may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildLimits {
    /// Processor share in thousandths of a vCPU; what it gets of that is what the rest of the machine leaves.
    pub cpu_millis: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// What it may write, in bytes.
    pub disk_bytes: u64,
    /// Processes and threads.
    pub pids_max: u32,
    /// How long all its commands may take together.
    pub time: Duration,
    /// Largest source, in bytes of its files.
    pub source_bytes: u64,
    /// Most files and directories of a source.
    pub source_entries: u64,
    /// Largest result of a stage of commands, in bytes of its files.
    pub result_bytes: u64,
}

impl Default for BuildLimits {
    fn default() -> BuildLimits {
        BuildLimits {
            cpu_millis: 2000,
            memory_bytes: 4 << 30,
            disk_bytes: 10 << 30,
            pids_max: 2048,
            time: Duration::from_secs(30 * 60),
            source_bytes: 2 << 30,
            source_entries: 200_000,
            result_bytes: 8 << 30,
        }
    }
}

/// The operator's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuilderOptions {
    /// Base images in place of recipes: a runtime's name in the API, and a reference of an image.
    pub images: BTreeMap<String, String>,
    /// Variables for the commands of every build, and never of what is built: where the package registries are, and how
    /// they are entered. Passwords in their values are kept out of logs.
    pub environment: BTreeMap<String, String>,
    /// Where Debian's packages come from, in place of Debian's own mirrors: the beginning of the mirrors' addresses, with
    /// `/debian` and `/debian-security` below it.
    pub mirror: Option<String>,
    /// An archive (tar) of a Debian root file system that base images are made on, in place of one made from packages.
    pub debian_archive: Option<PathBuf>,
    /// Certificates (PEM) that builds trust besides what their image trusts: the machine's own.
    pub trust: Option<PathBuf>,
    /// What one build may use.
    pub limits: BuildLimits,
    /// Builds that run at the same time.
    pub parallel: usize,
    /// Builds that wait; more are refused.
    pub queue_max: usize,
    /// Days after which a base image is made anew, for the newest packages.
    pub base_days: u64,
}

impl Default for BuilderOptions {
    fn default() -> BuilderOptions {
        BuilderOptions {
            images: BTreeMap::new(),
            environment: BTreeMap::new(),
            mirror: None,
            debian_archive: None,
            trust: Some("/etc/ssl/certs/ca-certificates.crt".into()),
            limits: BuildLimits::default(),
            parallel: 2,
            queue_max: 64,
            base_days: 30,
        }
    }
}

//! What survives the control plane.

use crate::builder::FakeBuilder;
use crate::image;
use crate::proxy::RememberingProxy;
use apron_compute::simulator::Simulator;
use apron_control::Settings;
use apron_control::clock::{Clock, Machine, Manual};
use apron_control::source::SourceSettings;
use apron_domain::operation::Patience;
use apron_domain::{Digest, Millis};
use apron_oci::ContentStore;
use apron_telemetry::{Logs, Position, ReadLimits, ReadRange};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Disks, instances and proxy of an installation without its control plane.
pub struct World {
    /// The instances.
    pub instances: Arc<Simulator>,
    /// The data plane.
    pub proxy: Arc<RememberingProxy>,
    /// Image content.
    pub content: Arc<ContentStore>,
    /// What builds from source code.
    pub builder: Arc<FakeBuilder>,
    /// Log events.
    pub logs: Arc<Logs>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The settings every life begins with.
    pub settings: Settings,
    /// Certificates (PEM) that the platform trusts when it asks others.
    pub authorities: Vec<String>,
    /// How often repositories elsewhere are asked for their heads.
    pub ask_every: Duration,
    /// Whether issuers of identities may have addresses that are not public.
    pub private_issuers: bool,
    /// Keeps the log store's own tasks, which are not part of what is killed.
    runtime: Runtime,
    /// Last: what still writes into it goes before it.
    dir: Directory,
}

/// Times a directory is removed again because a dying control plane wrote into it meanwhile.
const REMOVALS_MAX: u32 = 100;

/// A temporary directory that goes although the threads of a killed control plane, or of a store, end a moment later.
#[derive(Debug)]
pub struct Directory(TempDir);

impl Directory {
    /// An empty one.
    #[allow(clippy::new_without_default, reason = "it makes something on the disk")]
    pub fn new() -> Directory {
        Directory(tempfile::tempdir().unwrap())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        for _ in 0..REMOVALS_MAX {
            if std::fs::remove_dir_all(self.0.path()).is_ok() || !self.0.path().exists() {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}

impl World {
    /// An empty installation.
    pub fn new() -> World {
        let dir = Directory::new();
        let runtime = Runtime::new().unwrap();
        let logs = runtime
            .block_on(Logs::open(&dir.path().join("logs")))
            .unwrap();
        let content = ContentStore::open(&dir.path().join("images")).unwrap();
        World {
            instances: Arc::new(Simulator::new()),
            proxy: Arc::default(),
            builder: Arc::new(FakeBuilder::new(content.clone())),
            content,
            logs,
            clock: Arc::new(Machine),
            settings: Settings {
                account: "111122223333".to_owned(),
                region: "us-east-1".to_owned(),
                domain: "apron.localhost".to_owned(),
                https_port: 7443,
                registry_host: "localhost:7400".to_owned(),
                instance_endpoint: None,
                issuer: "https://localhost:7400".to_owned(),
                patience: Patience {
                    settle_ms: 2_000,
                    drain_ms: 2_000,
                },
                stop_grace: Duration::from_millis(10),
                services_max: 30,
                instance_disk_bytes: 1 << 20,
                instance_pids_max: 64,
                deleted_kept: Duration::from_secs(3600),
            },
            authorities: Vec::new(),
            ask_every: Duration::from_millis(100),
            private_issuers: false,
            runtime,
            dir,
        }
    }

    /// An empty installation whose clock is moved by hand.
    pub fn by_hand() -> (World, Arc<Manual>) {
        let clock = Arc::new(Manual::at(Millis(1_800_000_000_000)));
        let mut world = World::new();
        world.clock = clock.clone();
        (world, clock)
    }

    /// Where the database is.
    pub fn store_dir(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// Where source code is.
    pub fn source_settings(&self) -> SourceSettings {
        let source = self.dir.path().join("source");
        SourceSettings {
            work: source.join("work"),
            repositories: source.join("repositories"),
            keys: source.join("keys"),
            retired_runtimes: false,
            ask_every: self.ask_every,
        }
    }

    /// Makes one of the platform's own repositories, or a commit more in it, with this file on the branch `main`; answers
    /// the commit.
    pub fn commit(&self, repository: &str, path: &str, text: &str) -> String {
        crate::builder::commit(&self.source_settings().repositories, repository, path, text)
    }

    /// Pushes an image for this platform's machines.
    pub fn push(&self, repository: &str, tag: &str, content: &str) -> Digest {
        self.runtime.block_on(image::push(
            &self.content,
            repository,
            tag,
            content,
            "amd64",
        ))
    }

    /// Pushes an image for other machines.
    pub fn push_foreign(&self, repository: &str, tag: &str) -> Digest {
        self.runtime.block_on(image::push(
            &self.content,
            repository,
            tag,
            "foreign",
            "arm64",
        ))
    }

    /// The messages of a log stream, oldest first.
    pub fn messages(&self, group: &str, stream: &str) -> Vec<String> {
        let limits = ReadLimits {
            events: 10_000,
            bytes: 10 << 20,
        };
        let read = self
            .logs
            .read(group, stream, ReadRange::default(), Position::Head, limits);
        let page = self.runtime.block_on(read).unwrap();
        page.events.into_iter().map(|event| event.message).collect()
    }
}

impl Default for World {
    fn default() -> Self {
        World::new()
    }
}

//! Where the platform keeps what.

use crate::config::Config;
use apron_control::source::SourceSettings;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The two directories of an installation and what is in them.
#[derive(Clone, Debug)]
pub struct Paths {
    data: PathBuf,
    run: PathBuf,
}

impl Paths {
    /// The paths below these directories.
    pub fn new(data: PathBuf, run: PathBuf) -> Paths {
        Paths { data, run }
    }

    /// What must survive a reboot.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Sockets and notes about running processes.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// The operator's settings.
    pub fn config(&self) -> PathBuf {
        self.data.join("apron.toml")
    }

    /// The account.
    pub fn identity(&self) -> PathBuf {
        self.data.join("identity.json")
    }

    /// The command line's copy of the root user's access key; an operator may have removed it.
    pub fn root_key(&self) -> PathBuf {
        self.data.join("root-key.json")
    }

    /// A key of the root user that the control plane is to take over in the place of all others.
    pub fn new_root_key(&self) -> PathBuf {
        self.data.join("root-key.new")
    }

    /// The local authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.data.join("ca.pem")
    }

    /// The database.
    pub fn store(&self) -> PathBuf {
        self.data.join("store")
    }

    /// Log events of services.
    pub fn logs(&self) -> PathBuf {
        self.data.join("logs")
    }

    /// Audit records.
    pub fn audit(&self) -> PathBuf {
        self.data.join("audit")
    }

    /// Image content.
    pub fn images(&self) -> PathBuf {
        self.data.join("images")
    }

    /// Unpacked layers and instances' disks.
    pub fn node_data(&self) -> PathBuf {
        self.data.join("node")
    }

    /// Files of commits that are built.
    pub fn source(&self) -> PathBuf {
        self.data.join("source")
    }

    /// The platform's own repositories.
    pub fn repositories(&self) -> PathBuf {
        self.data.join("repositories")
    }

    /// Source code: commits that are built, the platform's own repositories, key files while they are needed.
    pub fn sources(&self, config: &Config) -> SourceSettings {
        SourceSettings {
            work: self.source(),
            repositories: self.repositories(),
            keys: self.run.join("keys"),
            retired_runtimes: config.build.retired_runtimes,
            ask_every: Duration::from_secs(config.source.ask_every_seconds),
        }
    }

    /// The proxy's own directory.
    pub fn proxy_data(&self) -> PathBuf {
        self.data.join("proxy")
    }

    /// What `apron serve` says when it runs in the background without systemd.
    pub fn own_log(&self) -> PathBuf {
        self.data.join("apron.log")
    }

    /// Sockets and notes of the instances.
    pub fn node_run(&self) -> PathBuf {
        self.run.join("node")
    }

    /// The certificates that instances are given to trust.
    pub fn instance_trust(&self) -> PathBuf {
        self.run.join("instance-trust.pem")
    }

    /// The socket between control plane and proxy.
    pub fn link(&self) -> PathBuf {
        self.run.join("link.sock")
    }

    /// The note about the running proxy.
    pub fn proxy_state(&self) -> PathBuf {
        self.run.join("proxy.json")
    }

    /// Held by the one control plane that may run here; contains its process id.
    pub fn lock(&self) -> PathBuf {
        self.run.join("serve.pid")
    }
}

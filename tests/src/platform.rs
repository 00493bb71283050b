//! One platform under test: its directory, its configuration, starting and ending it.

use crate::http::{self, Target};
use crate::registry::Registry;
use crate::run;
use crate::slot::Slot;
use crate::traces::Traces;
use crate::{assets, disk, processes};
use anyhow::{Context, Result};
use rustls::ClientConfig;
use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

/// Network namespaces and disks that a platform keeps prepared.
const PREPARED: usize = 2;

/// Which port of the slot the registry with the base image for Python has.
const PYTHON_REGISTRY: u16 = 8;

/// Lines of the platform's own log that a failed test shows.
const LOG_LINES_MAX: usize = 80;

/// What differs between platforms under test.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Seconds in which new instances must become healthy.
    pub healthy_within: u32,
    /// Seconds between SIGTERM and SIGKILL.
    pub stop_grace: u32,
    /// Seconds that requests of a retiring instance may take.
    pub drain: u32,
    /// Megabytes of a disk of its own for the data directory; none uses the machine's.
    pub disk_mb: Option<u32>,
    /// Seconds between two questions for the head of a tracked branch.
    pub ask_every: u32,
    /// Programs of its own, so that a test can replace them.
    pub own_programs: bool,
    /// Source code is built on base images that recipes make, not on that of [`Platform::serve_python_base`].
    pub recipes: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            healthy_within: 20,
            stop_grace: 5,
            drain: 30,
            disk_mb: None,
            ask_every: 60,
            own_programs: false,
            recipes: false,
        }
    }
}

/// A platform that runs, and disappears with everything it made when this is dropped.
pub struct Platform {
    /// Its name, ports and network.
    pub slot: Slot,
    dir: TempDir,
    programs: PathBuf,
    environment: BTreeMap<String, String>,
    tls: Option<Arc<ClientConfig>>,
    disk: Option<disk::Disk>,
}

impl Platform {
    /// Writes the configuration of a new platform and starts it.
    pub fn start() -> Result<Platform> {
        Self::start_with(&Settings::default())
    }

    /// Like [`Platform::start`], with settings.
    pub fn start_with(settings: &Settings) -> Result<Platform> {
        let mut platform = Self::prepare(settings)?;
        platform.up()?;
        Ok(platform)
    }

    /// Writes the configuration of a new platform without starting it.
    pub fn prepare(settings: &Settings) -> Result<Platform> {
        let mut programs = assets::programs()?;
        let slot = Slot::take()?;
        // The name is short: a path of a Unix socket holds 107 bytes.
        let dir = tempfile::Builder::new()
            .prefix(&format!("{}-", slot.name()))
            .tempdir()?;
        if settings.own_programs {
            programs = own_programs(&programs, dir.path())?;
        }
        let data = dir.path().join("data");
        fs::create_dir_all(&data).with_context(|| format!("could not make {}", data.display()))?;
        let disk = settings
            .disk_mb
            .map(|size| disk::Disk::mount(dir.path(), &data, size))
            .transpose()?;
        let platform = Platform {
            slot,
            dir,
            programs,
            environment: BTreeMap::new(),
            tls: None,
            disk,
        };
        fs::write(data.join("apron.toml"), platform.configuration(settings))
            .context("could not write apron.toml")?;
        Ok(platform)
    }

    fn configuration(&self, settings: &Settings) -> String {
        format!(
            "name = \"{name}\"\ninstance_network = \"{network}\"\n\n[listen]\napi = [\"127.0.0.1:{api}\"]\n\
             https = [\"127.0.0.1:{https}\"]\nhttp = [\"127.0.0.1:{http}\"]\n\n[deployment]\n\
             healthy_within_seconds = {healthy}\nstop_grace_seconds = {grace}\ndrain_seconds = {drain}\n\n[source]\nask_every_seconds = {ask}\n\n\
             {build}",
            name = self.slot.name(),
            network = self.slot.network(),
            api = self.api_port(),
            https = self.https_port(),
            http = self.http_port(),
            healthy = settings.healthy_within,
            grace = settings.stop_grace,
            drain = settings.drain,
            ask = settings.ask_every,
            build = match settings.recipes {
                true => String::new(),
                false => format!(
                    "[build]\nimages = {{ PYTHON_311 = \"{}\" }}\n",
                    self.python_base()
                ),
            },
        )
    }

    /// The port of the API and the registry.
    pub fn api_port(&self) -> u16 {
        self.slot.port(0)
    }

    /// The port of the services' HTTPS.
    pub fn https_port(&self) -> u16 {
        self.slot.port(1)
    }

    /// The port of the services' HTTP.
    pub fn http_port(&self) -> u16 {
        self.slot.port(2)
    }

    /// The directory of everything this platform and its test make.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Its run directory.
    pub fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// Its registry as images name it.
    pub fn registry(&self) -> String {
        format!("localhost:{}", self.api_port())
    }

    /// The image that source code in Python is built on: of the second registry, by [`Platform::serve_python_base`].
    fn python_base(&self) -> String {
        format!(
            "localhost:{}/python-base:3",
            self.slot.port(PYTHON_REGISTRY)
        )
    }

    /// Serves the image that source code in Python is built on, so that no test has to make one.
    pub fn serve_python_base(&self) -> Result<Registry> {
        let registry = Registry::start(self, PYTHON_REGISTRY, None)?;
        registry.push_tagged(&assets::find("python-base-2")?, "3", "python-base:3")?;
        Ok(registry)
    }

    /// The `apron` command line for this platform.
    pub fn apron(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("apron"));
        command
            .env("APRON_DATA_DIR", self.data_dir())
            .env("APRON_RUN_DIR", self.run_dir());
        command.args(arguments);
        command
    }

    /// Where one of its programs is.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// Puts another file, of the same content, in the place of the proxy's program, as an upgrade does. Only for a platform
    /// with [`Settings::own_programs`].
    pub fn replace_proxy_program(&self) -> Result<()> {
        anyhow::ensure!(
            self.programs.starts_with(self.dir.path()),
            "the programs are everybody's"
        );
        let program = self.programs.join("apron-proxy");
        let new = self.programs.join("apron-proxy.new");
        fs::copy(&program, &new).context("could not copy the proxy's program")?;
        fs::rename(&new, &program).context("could not replace the proxy's program")
    }

    /// Puts the present program of the proxy into service.
    pub fn upgrade_proxy(&self) -> Result<()> {
        run::ok(&mut self.apron(&["proxy", "upgrade"])).map(drop)
    }

    /// `apron up`, and reads what `apron env` says.
    pub fn up(&mut self) -> Result<()> {
        run::ok(&mut self.apron(&["up"]))?;
        let text = run::ok(&mut self.apron(&["env"]))?;
        self.environment = exports(&text);
        let ca = fs::read_to_string(self.ca())
            .with_context(|| format!("could not read {}", self.ca().display()))?;
        self.tls = Some(http::trust(&ca)?);
        Ok(())
    }

    /// The certificate of the local authority.
    pub fn ca(&self) -> PathBuf {
        self.data_dir().join("ca.pem")
    }

    /// A variable of `apron env`.
    pub fn variable(&self, name: &str) -> Result<&str> {
        self.environment
            .get(name)
            .map(String::as_str)
            .with_context(|| format!("`apron env` does not print {name}"))
    }

    /// A client's command with the variables of `apron env`, and nothing of the user's own AWS settings.
    pub fn client(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .envs(&self.environment)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_PAGER", "");
        command.env("AWS_CONFIG_FILE", self.dir().join("no-config"));
        command.env(
            "AWS_SHARED_CREDENTIALS_FILE",
            self.dir().join("no-credentials"),
        );
        command
            .env_remove("AWS_PROFILE")
            .env_remove("AWS_SESSION_TOKEN");
        command
    }

    /// Where to send API requests.
    pub fn api_target(&self) -> Result<Target> {
        Ok(Target {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, self.api_port())),
            host: "localhost".to_owned(),
            tls: Some(self.tls()?),
        })
    }

    /// Where to send requests for a service's host name.
    pub fn service_target(&self, host: &str) -> Result<Target> {
        Ok(Target {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, self.https_port())),
            host: host.to_owned(),
            tls: Some(self.tls()?),
        })
    }

    fn tls(&self) -> Result<Arc<ClientConfig>> {
        self.tls.clone().context("the platform was not started")
    }

    /// A directory with the authority's certificate as `ca.crt`, the form registry clients want.
    pub fn certificate_dir(&self) -> Result<PathBuf> {
        let dir = self.dir().join("certificates");
        fs::create_dir_all(&dir)?;
        fs::copy(self.ca(), dir.join("ca.crt"))
            .context("could not copy the authority's certificate")?;
        Ok(dir)
    }

    /// The disk of its own that [`Settings::disk_mb`] asked for.
    pub fn disk(&self) -> Option<&disk::Disk> {
        self.disk.as_ref()
    }

    /// Everything of this platform that the machine shows.
    pub fn traces(&self) -> Result<Traces> {
        Traces::of(self)
    }

    /// Everything of this platform while no service exists, once the namespaces and disks that it keeps prepared are there.
    pub fn idle_traces(&self) -> Result<Traces> {
        crate::wait::until(
            "the prepared namespaces and disks",
            std::time::Duration::from_secs(20),
            || {
                let traces = self.traces()?;
                let count = |kind: &str| {
                    traces
                        .machine
                        .iter()
                        .filter(|line| line.starts_with(kind))
                        .count()
                };
                let ready = count("interface ") == PREPARED && count("loop device ") == PREPARED;
                Ok(ready.then_some(traces))
            },
        )
    }

    /// Ends the platform and removes every trace, as `apron down --purge` promises.
    pub fn purge(&self) -> Result<()> {
        run::ok(&mut self.apron(&["down", "--purge"])).map(drop)
    }

    /// The end of the platform's own logs.
    pub fn own_log(&self) -> String {
        let mut text = String::new();
        for file in crate::traces::files_below(self.dir.path())
            .into_iter()
            .filter(|file| file.extension().is_some_and(|ending| ending == "log"))
        {
            let content = fs::read(&file).unwrap_or_default();
            let content = String::from_utf8_lossy(&content);
            let lines: Vec<&str> = content.lines().collect();
            let skipped = lines.len().saturating_sub(LOG_LINES_MAX);
            text.push_str(&format!(
                "--- {}\n{}\n",
                file.display(),
                lines[skipped..].join("\n")
            ));
        }
        text
    }

    /// Ends every process of the platform with SIGKILL and undoes its mounts: what a power cut leaves, except for what
    /// only the kernel forgets.
    pub fn kill_everything(&self) -> Result<()> {
        // The control plane first, so that it starts nothing again; what it started meanwhile is found by the next look.
        crate::wait::until_true(
            "every process to end",
            std::time::Duration::from_secs(10),
            || {
                let mut left = processes::all(self)?;
                left.sort_by_key(|process| process.role != processes::Role::Serve);
                left.iter().for_each(processes::Process::kill);
                anyhow::ensure!(left.is_empty(), "{left:#?}");
                Ok(true)
            },
        )?;
        for mount in crate::traces::mounts_below(self.dir.path())? {
            if !self
                .disk
                .as_ref()
                .is_some_and(|disk| disk.is_mounted_at(&mount))
            {
                rustix::mount::unmount(&mount, rustix::mount::UnmountFlags::DETACH)
                    .with_context(|| format!("could not unmount {}", mount.display()))?;
            }
        }
        Ok(())
    }
}

impl Platform {
    /// Leaves the end of the platform's logs as `e2e-logs/<test>.log` beside the programs: a test that failed with an
    /// error is over by the time anybody knows.
    fn keep_log(&self) {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("unnamed").replace("::", ".");
        let Ok(programs) = assets::programs() else {
            return;
        };
        let dir = programs.with_file_name("e2e-logs");
        fs::create_dir_all(&dir).ok();
        fs::write(dir.join(format!("{test}.log")), self.own_log()).ok();
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.keep_log();
        if std::env::var_os("E2E_KEEP").is_some() {
            self.dir.disable_cleanup(true);
            return;
        }
        if let Err(error) = self.purge() {
            eprintln!("down --purge failed: {error:#}");
            self.kill_everything().ok();
        }
        self.disk.take();
    }
}

/// The programs once more, below `dir`: links where the file system can, as they are large.
fn own_programs(programs: &Path, dir: &Path) -> Result<PathBuf> {
    let own = dir.join("programs");
    fs::create_dir(&own).context("could not make a directory for programs")?;
    for name in ["apron", "apron-proxy", "apron-shim"] {
        let (from, to) = (programs.join(name), own.join(name));
        fs::hard_link(&from, &to)
            .or_else(|_| fs::copy(&from, &to).map(drop))
            .with_context(|| format!("could not copy {}", from.display()))?;
    }
    Ok(own)
}

/// Reads lines of the form `export NAME=value`, the value plain or in quotes.
fn exports(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("export "))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.trim_matches(['\'', '"']).to_owned()))
        .collect()
}

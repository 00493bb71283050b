//! Who is measured: `apron-proxy` and its peers, each with the configuration in `bench/peers` that is known to be its
//! best, all before the same application and with the same services.

use super::rig::{HOST, Identity, Program, Rig, Setup, other_host};
use anyhow::{Context as _, Result, ensure};
use apron_e2e::{assets, wait};
use apron_link::proxy::UpstreamProtocol;
use rustix::process::{Pid, Signal, kill_process};
use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Services beside the one that is measured.
const OTHER_SERVICES: usize = 10_000;

/// Threads or processes of each.
pub const WORKERS: usize = 2;

/// Longest time a peer may take to start and to end.
const START_MAX: Duration = Duration::from_secs(30);
const END_MAX: Duration = Duration::from_secs(5);

/// Apron's name in the tables.
pub const APRON: &str = "apron-proxy";

/// A proxy that runs.
pub struct Contender {
    /// Its name in the tables.
    pub name: String,
    /// Where it takes TLS.
    pub https: SocketAddr,
    /// Where it takes plain HTTP.
    pub plain: SocketAddr,
    running: Running,
    _directory: tempfile::TempDir,
}

enum Running {
    Apron(Rig),
    Peer(Child),
}

/// A peer: its name, the file of its configuration, and the command that starts it.
struct Peer {
    name: &'static str,
    configuration: &'static str,
    command: fn(&Path) -> Result<Command>,
}

const PEERS: [Peer; 4] = [
    Peer {
        name: "nginx",
        configuration: "nginx.conf",
        command: |file| Ok(with_file("nginx".into(), &["-c"], file)),
    },
    Peer {
        name: "HAProxy",
        configuration: "haproxy.cfg",
        command: |file| Ok(with_file("haproxy".into(), &["-db", "-f"], file)),
    },
    Peer {
        name: "Caddy",
        configuration: "caddy.json",
        command: |file| {
            let program = assets::find("caddy/usr/bin/caddy")?;
            let mut command = with_file(program, &["run", "--config"], file);
            // Its own state belongs with the configuration, and it takes as many threads as the others.
            let home = file.parent().context("the configuration has a directory")?;
            command.envs([("XDG_DATA_HOME", home), ("XDG_CONFIG_HOME", home)]);
            command.env("GOMAXPROCS", WORKERS.to_string());
            Ok(command)
        },
    },
    Peer {
        name: "Envoy",
        configuration: "envoy.yaml",
        command: |file| {
            let program = assets::find("envoy/envoy/_bin/envoy")?;
            let words = ["--disable-hot-restart", "--log-level", "error", "-c"];
            let mut command = with_file(program, &words, file);
            command.args(["--concurrency", &WORKERS.to_string()]);
            Ok(command)
        },
    },
];

fn with_file(program: PathBuf, words: &[&str], file: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(words).arg(file);
    command
}

/// The names of all contenders, Apron first.
pub fn names() -> impl Iterator<Item = &'static str> {
    std::iter::once(APRON).chain(PEERS.iter().map(|peer| peer.name))
}

impl Contender {
    /// Starts a contender by its name: Apron's own is `proxy`, and the path of a program is another build of it.
    pub fn start(name: &str, proxy: &Path, application: SocketAddr) -> Result<Contender> {
        match PEERS.iter().find(|peer| peer.name == name) {
            None => {
                let program = match name {
                    APRON => proxy,
                    path => Path::new(path),
                };
                apron(name, program, application, UpstreamProtocol::Http1)
            }
            Some(peer) => peer.start(application),
        }
        .with_context(|| format!("{name} could not be measured"))
    }

    /// Starts a build of Apron's proxy that counts what it does.
    pub fn instrumented(
        program: &Path,
        application: SocketAddr,
        protocol: UpstreamProtocol,
    ) -> Result<Contender> {
        apron("the build that counts", program, application, protocol)
    }

    /// Asks Apron's proxy to end in order, and waits until it has; a peer is ended as always.
    pub fn end(mut self) -> Result<()> {
        match &mut self.running {
            Running::Apron(rig) => rig.end(),
            Running::Peer(_) => Ok(()),
        }
    }

    /// The process that was started.
    pub fn pid(&self) -> u32 {
        match &self.running {
            Running::Apron(rig) => rig.pid(),
            Running::Peer(child) => child.id(),
        }
    }

    /// Lines of the access log that were delivered, if that is known.
    pub fn logged(&self) -> Option<u64> {
        match &self.running {
            Running::Apron(rig) => Some(rig.logged.load(std::sync::atomic::Ordering::Relaxed)),
            Running::Peer(_) => None,
        }
    }
}

fn apron(
    name: &str,
    program: &Path,
    application: SocketAddr,
    protocol: UpstreamProtocol,
) -> Result<Contender> {
    let directory = tempfile::tempdir()?;
    let setup = Setup {
        program: Program::Released(program),
        directory: directory.path(),
        workers: WORKERS,
        other_services: OTHER_SERVICES,
        application,
        protocol,
    };
    let rig = Rig::start(&setup, &Identity::make()?)?;
    Ok(Contender {
        name: name.to_owned(),
        https: rig.https,
        plain: rig.plain,
        running: Running::Apron(rig),
        _directory: directory,
    })
}

impl Peer {
    fn start(&self, application: SocketAddr) -> Result<Contender> {
        let directory = tempfile::tempdir()?;
        let (https, plain) = (free_address()?, free_address()?);
        let file = directory.path().join(self.configuration);
        let template = assets::checkout()
            .join("bench/peers")
            .join(self.configuration);
        let template = fs::read_to_string(&template)
            .with_context(|| format!("{} cannot be read", template.display()))?;
        write_files(directory.path(), &Identity::make()?)?;
        let text = template
            .replace("{{directory}}", &directory.path().display().to_string())
            .replace("{{workers}}", &WORKERS.to_string())
            .replace("{{application}}", &application.to_string())
            .replace("{{application_port}}", &application.port().to_string())
            .replace("{{plain}}", &plain.port().to_string())
            .replace("{{https}}", &https.port().to_string())
            .replace("{{hosts}}", &serde_json::to_string(&hosts())?);
        fs::write(&file, text)?;
        let errors = fs::File::create(directory.path().join("errors"))?;
        let child = (self.command)(&file)?
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .context("it could not be started")?;
        let mut contender = Contender {
            name: self.name.to_owned(),
            https,
            plain,
            running: Running::Peer(child),
            _directory: directory,
        };
        contender.wait_until_it_listens()?;
        Ok(contender)
    }
}

impl Contender {
    fn wait_until_it_listens(&mut self) -> Result<()> {
        let directory = self._directory.path().to_owned();
        let listens = wait::until_true("it to listen", START_MAX, || {
            Ok(TcpStream::connect(self.plain).is_ok() && TcpStream::connect(self.https).is_ok())
        });
        listens.with_context(|| fs::read_to_string(directory.join("errors")).unwrap_or_default())
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        if let Running::Peer(child) = &mut self.running {
            // Asked to end, nginx ends its workers, too. What has ended already needs nothing.
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
            let ended = wait::until_true("the peer to end", END_MAX, || {
                Ok(child.try_wait()?.is_some())
            });
            if ended.is_err() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn hosts() -> Vec<String> {
    let others = (0..OTHER_SERVICES).map(other_host);
    std::iter::once(HOST.to_owned()).chain(others).collect()
}

/// The certificate and the tables of hosts in the peers' forms.
fn write_files(directory: &Path, identity: &Identity) -> Result<()> {
    let (mut nginx, mut haproxy) = (String::new(), String::new());
    for host in hosts() {
        writeln!(nginx, "{host} application;")?;
        writeln!(haproxy, "{host} application")?;
    }
    let both = format!("{}{}", identity.chain_pem, identity.key_pem);
    for (name, text) in [
        ("chain.pem", &identity.chain_pem),
        ("key.pem", &identity.key_pem),
        ("both.pem", &both),
        ("hosts.nginx", &nginx),
        ("hosts.haproxy", &haproxy),
    ] {
        fs::write(directory.join(name), text)?;
    }
    Ok(())
}

/// A process and all its descendants.
fn tree(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(pid) = all.get(at) {
        for task in fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(
                children
                    .split_whitespace()
                    .filter_map(|it| it.parse::<u32>().ok()),
            );
        }
        at += 1;
    }
    all
}

/// The processor time of a process and its descendants so far, in microseconds, as the scheduler accounts it.
pub fn cpu_us(pid: u32) -> Result<f64> {
    let mut nanoseconds = 0;
    for pid in tree(pid) {
        for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let ran = text.split_whitespace().next();
            nanoseconds += ran.and_then(|it| it.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    ensure!(nanoseconds > 0, "the scheduler accounts no time");
    Ok(nanoseconds as f64 / 1e3)
}

/// The proportional memory of a process and its descendants, in KiB.
pub fn memory_kib(pid: u32) -> Result<f64> {
    let mut total = 0.0;
    for pid in tree(pid) {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        total += number.context("no proportional memory")?.parse::<f64>()?;
    }
    Ok(total)
}

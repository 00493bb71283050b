//! The proxy's process: its listening sockets, its start, its replacement when it ends or when another program is installed.
//!
//! The control plane binds the sockets and keeps duplicates: while no proxy runs, connections wait in the backlog instead of
//! being refused. A control plane that starts again takes the duplicates back out of the running proxy.

mod child;
mod listeners;
mod state;
mod supervisor;

use child::Process;
use listeners::Listeners;
use state::{Known, State};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

pub use state::{Look, end_running, last_look};
pub use supervisor::{Upgrades, supervise};

/// How the proxy is run.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// The program.
    pub program: PathBuf,
    /// Starts it; how the machine treats the process is the caller's to say.
    pub spawn: fn(&mut Command) -> io::Result<Child>,
    /// The control plane's socket it connects to.
    pub link: PathBuf,
    /// The directory where it keeps the last route table; made here and given to its user.
    pub data: PathBuf,
    /// Where the running process is written down.
    pub state: PathBuf,
    /// Where it serves HTTPS.
    pub https: Vec<SocketAddr>,
    /// Where it redirects plain HTTP.
    pub http: Vec<SocketAddr>,
    /// Worker threads.
    pub workers: usize,
    /// The user it becomes.
    pub uid: u32,
    /// The group it becomes.
    pub gid: u32,
    /// How long a proxy that was replaced may take for the connections it has.
    pub retire_within: Duration,
}

/// Why the data plane could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// An address cannot be listened on.
    #[error(
        "cannot listen on {address}: {error}. See who uses it with `ss -ltnp 'sport = :{}'`, or choose another \
         address in the configuration file",
        address.port()
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's answer.
        error: io::Error,
    },
    /// The proxy's program cannot be started.
    #[error("cannot start the proxy {program}: {error}")]
    Start {
        /// The program.
        program: String,
        /// The system's answer.
        error: io::Error,
    },
    /// A file of the proxy cannot be written.
    #[error("cannot prepare {path} for the proxy: {error}")]
    Prepare {
        /// The file or directory.
        path: String,
        /// The system's answer.
        error: io::Error,
    },
}

/// The data plane's listening sockets, with the proxies that have them already.
pub struct Sockets {
    listeners: Listeners,
    /// The proxy that takes new connections.
    running: Option<Process>,
    /// Proxies that were replaced and finish what they have.
    retiring: Vec<(Process, Known)>,
}

/// Takes the listening sockets of a running proxy, or binds them; nothing is started yet, so a port that is in use is found
/// before anything is made.
pub fn sockets(config: &ProxyConfig) -> Result<Sockets, ProxyError> {
    prepare(config)?;
    let state = State::read(&config.state).unwrap_or_default();
    let running = state.running.as_ref().and_then(Process::find);
    let retiring: Vec<(Process, Known)> = state
        .retiring
        .iter()
        .filter_map(|known| Some((Process::find(known)?, known.clone())))
        .collect();
    let alive = running.iter().chain(retiring.iter().map(|(p, _)| p));
    let (https, http) = (state.https.len(), state.http.len());
    let taken = alive.map(|process| {
        listeners::take_from(&process.pidfd, https * state.workers, http * state.workers)
    });
    let taken: Vec<_> = taken.collect();
    if taken.is_empty() {
        return Ok(Sockets {
            listeners: listeners::bind_all(config)?,
            running: None,
            retiring,
        });
    }
    let same =
        state.https == config.https && state.http == config.http && state.workers == config.workers;
    if same && let Some(listeners) = taken.into_iter().find_map(Result::ok) {
        return Ok(Sockets {
            listeners,
            running,
            retiring,
        });
    }
    tracing::warn!(
        "the running proxy has other addresses than configured, or its sockets cannot be taken over: it is ended"
    );
    for process in running.iter().chain(retiring.iter().map(|(p, _)| p)) {
        process.end();
    }
    Ok(Sockets {
        listeners: listeners::bind_all(config)?,
        running: None,
        retiring: Vec::new(),
    })
}

fn prepare(config: &ProxyConfig) -> Result<(), ProxyError> {
    let failed = |error| ProxyError::Prepare {
        path: config.data.display().to_string(),
        error,
    };
    std::fs::create_dir_all(&config.data).map_err(failed)?;
    std::os::unix::fs::chown(&config.data, Some(config.uid), Some(config.gid)).map_err(failed)?;
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&config.data, private).map_err(failed)
}

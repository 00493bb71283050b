//! What is written down of the proxies that run, for the next control plane and for the command line.

use super::child::{Process, runs};
use super::{ProxyConfig, ProxyError};
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::path::Path;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its id.
    pub pid: i32,
    /// Start time in clock ticks since boot: a process id alone may be somebody else's by now.
    pub started: u64,
    /// Until when it may finish what it has, in milliseconds since 1970; none while it takes new connections.
    pub by_ms: Option<u64>,
}

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Takes new connections.
    pub running: Option<Known>,
    /// Were replaced and finish what they have.
    pub retiring: Vec<Known>,
    /// Where they listen.
    pub https: Vec<SocketAddr>,
    /// Where they listen for plain HTTP.
    pub http: Vec<SocketAddr>,
    /// Sockets per address.
    pub workers: usize,
    /// How often it was looked whether another program is installed.
    #[serde(default)]
    pub looks: u64,
    /// Why the program that was installed at the last look does not serve.
    #[serde(default)]
    pub refusal: Option<String>,
}

impl State {
    /// Reads the file; none when there is none that is understood.
    pub fn read(path: &Path) -> Option<State> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    /// Writes the file, in one step.
    pub fn write(&self, config: &ProxyConfig) -> Result<(), ProxyError> {
        let failed = |error| ProxyError::Prepare {
            path: config.state.display().to_string(),
            error,
        };
        let text = serde_json::to_vec(self).map_err(|e| failed(io::Error::other(e)))?;
        let temporary = config.state.with_extension("new");
        std::fs::write(&temporary, text).map_err(failed)?;
        std::fs::rename(&temporary, &config.state).map_err(failed)
    }
}

/// Ends every proxy that the file names, for `apron down`; fine when none runs.
pub fn end_running(path: &Path) {
    let state = State::read(path).unwrap_or_default();
    for known in state.running.iter().chain(&state.retiring) {
        if let Some(process) = Process::find(known) {
            process.end();
        }
    }
}

/// What the last look for an installed program found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// How many there have been.
    pub number: u64,
    /// Why the installed program does not serve, if it was tried and does not.
    pub refusal: Option<String>,
    /// The proxy that takes new connections, if it runs the installed program.
    pub upgraded: Option<i32>,
}

/// What is written down of the last look; none while no control plane has written anything.
pub fn last_look(path: &Path, program: &Path) -> Option<Look> {
    let state = State::read(path)?;
    Some(Look {
        number: state.looks,
        refusal: state.refusal,
        upgraded: state
            .running
            .map(|running| running.pid)
            .filter(|pid| runs(*pid, program)),
    })
}

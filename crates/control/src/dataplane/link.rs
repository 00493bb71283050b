//! The control plane's end of the socket to the proxy.
//!
//! Two proxies may be connected: one that was started and one that it replaces, which still finishes what it has. Each
//! has a session; what a retiring one acknowledges counts for the instances it still uses and for nothing else.

mod brakes;
mod session;
mod sessions;

use super::board::Board;
use super::{DataPlane, DataPlaneError, Update};
use crate::access_log::{self, Intake, Outlet};
use apron_compute::Compute;
use apron_link::proxy::ServiceStatistics;
use async_trait::async_trait;
use sessions::{Session, Sessions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};

/// How long a table may go unacknowledged before whoever waits for it is told.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(10);

/// Messages from the proxy that wait for the control plane; beyond it they are dropped, which the log says, because
/// acknowledgements come the same way and must not wait.
const NEWS_MAX: usize = 4096;

/// What the proxy tells besides acknowledgements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A proxy has connected; it has this process id.
    Connected {
        /// Process id.
        pid: u32,
    },
    /// The proxy's connection ended.
    Disconnected {
        /// Process id.
        pid: u32,
    },
    /// A service has more requests than its instances may be given.
    Wanted {
        /// The service's id.
        service: String,
        /// Requests at instances.
        outstanding: u32,
        /// Requests waiting.
        waiting: u32,
    },
    /// An instance could not be reached.
    Unreachable {
        /// The instance's id.
        instance: String,
        /// What the system answered.
        error: String,
    },
    /// Traffic counters.
    Statistics(Vec<ServiceStatistics>),
}

#[derive(Default)]
struct State {
    board: Board,
    sessions: Sessions,
}

/// The link to the proxy.
pub struct ProxyLink {
    state: Mutex<State>,
    /// Counts acknowledgements and whatever else may end somebody's waiting for one.
    progress: watch::Sender<u64>,
    news: mpsc::Sender<News>,
    access_log: Intake,
    /// Where brakes come from, as soon as there is a backend.
    compute: OnceLock<Arc<dyn Compute>>,
}

/// What a proxy tells, besides acknowledgements.
pub struct Told {
    /// Events and counters.
    pub news: mpsc::Receiver<News>,
    /// Lines of access logs.
    pub access_log: Outlet,
}

impl ProxyLink {
    /// Listens on the socket, to which the proxy's user may connect; a socket file left behind is replaced.
    pub fn listen(path: &Path, uid: u32) -> io::Result<(Arc<ProxyLink>, Told)> {
        let listener = bind_for(path, uid)?;
        let (news, told) = mpsc::channel(NEWS_MAX);
        let (intake, outlet) = access_log::queue();
        let link = Arc::new(ProxyLink {
            state: Mutex::default(),
            progress: watch::channel(0).0,
            news,
            access_log: intake,
            compute: OnceLock::new(),
        });
        tokio::spawn(accept(link.clone(), listener, path.to_owned(), uid));
        let told = Told {
            news: told,
            access_log: outlet,
        };
        Ok((link, told))
    }

    /// Asks a proxy, now or when it connects, to finish what it has within this time and to exit.
    pub fn retire(&self, pid: u32, within: Duration) {
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        self.state().sessions.retire(pid, within_ms);
        self.progressed();
    }

    /// A proxy runs: while it is not connected, nothing is known of what it uses.
    pub fn expect(&self, pid: u32) {
        self.state().sessions.expect(pid);
    }

    /// A proxy's process has ended.
    pub fn gone(&self, pid: u32) {
        self.state().sessions.gone(pid);
        self.progressed();
    }

    /// Waits until a proxy has acknowledged a table.
    pub async fn follows(&self, pid: u32) {
        self.until(|sessions| sessions.of(pid).any(|session| session.acknowledged > 0))
            .await;
    }

    /// Waits until a proxy has been told to retire.
    pub async fn heard_to_retire(&self, pid: u32) {
        let was_told = |session: &Session| matches!(session.retire, Some((_, true)));
        self.until(|sessions| sessions.of(pid).any(was_told)).await;
    }

    async fn until(&self, mut is_so: impl FnMut(&Sessions) -> bool) {
        let mut progress = self.progress.subscribe();
        // The sender lives in `self`, so the channel cannot close.
        let _ = progress.wait_for(|_| is_so(&self.state().sessions)).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progressed(&self) {
        self.progress.send_modify(|count| *count += 1);
    }

    /// Passes on what a proxy tells.
    fn tell(&self, news: News) {
        if let Err(error) = self.news.try_send(news) {
            tracing::warn!(%error, "news of the proxy are dropped");
        }
    }
}

/// Binds a Unix socket that only this user (and root) can connect to, in place of one left behind. Whoever connects is
/// sent private keys.
fn bind_for(path: &Path, uid: u32) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    std::os::unix::fs::chown(path, Some(uid), None)?;
    Ok(listener)
}

/// Whether the other end is the proxy's user, root, or the user of this process.
fn is_allowed(stream: &UnixStream, uid: u32) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream
        .peer_cred()
        .is_ok_and(|peer| [uid, 0, own].contains(&peer.uid()))
}

async fn accept(link: Arc<ProxyLink>, listener: UnixListener, path: PathBuf, uid: u32) {
    loop {
        match listener.accept().await {
            // The permissions of the file come a moment after the file; the peer's credentials leave no such moment.
            Ok((stream, _)) if !is_allowed(&stream, uid) => {
                tracing::error!(path = %path.display(), "somebody who is not the proxy's user is turned away");
            }
            Ok((stream, _)) => {
                tokio::spawn(session::run(link.clone(), stream));
            }
            Err(error) => {
                tracing::error!(%error, path = %path.display(), "proxy link cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

#[async_trait]
impl DataPlane for ProxyLink {
    fn put(&self, update: Update) -> u64 {
        let mut state = self.state();
        let generation = state.board.put(update);
        state.sessions.wake_all();
        generation
    }

    async fn in_force(&self, generation: u64) -> Result<(), DataPlaneError> {
        let mut progress = self.progress.subscribe();
        let reached = progress.wait_for(|_| self.state().sessions.in_force() >= generation);
        match tokio::time::timeout(ACKNOWLEDGE_WITHIN, reached).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(DataPlaneError::NotAcknowledged {
                generation,
                waited_ms: u64::try_from(ACKNOWLEDGE_WITHIN.as_millis()).unwrap_or(u64::MAX),
            }),
        }
    }

    fn busy(&self, instance: &str) -> bool {
        let state = self.state();
        let left_at = state.board.left_at(instance);
        state.board.has(instance) || state.sessions.busy(instance, left_at)
    }
}

#[cfg(test)]
mod tests;

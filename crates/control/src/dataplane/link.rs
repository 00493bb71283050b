//! The control plane's end of the socket to the proxy.

use super::{DataPlane, DataPlaneError};
use apron_link::frame::{Decoder, encode};
use apron_link::proxy::{Draining, FromProxy, RouteTable, ServiceStatistics, ToProxy, VERSION};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};

/// How long a published table may go unacknowledged before the publisher is told.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(10);

/// Messages from the proxy that wait for the control plane; statistics beyond it are dropped by the sender's pace.
const NEWS_MAX: usize = 256;

/// What the proxy tells besides acknowledgements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A proxy has connected; it has this process id.
    Connected {
        /// Process id.
        pid: u32,
    },
    /// The proxy's connection ended.
    Disconnected,
    /// A service without instance has requests waiting.
    Wanted {
        /// The service's id.
        service: String,
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
    table: Option<RouteTable>,
    seen: u64,
    acknowledged: u64,
    draining: BTreeMap<String, u32>,
}

/// The link to the proxy.
pub struct ProxyLink {
    state: Mutex<State>,
    tables: watch::Sender<u64>,
    acknowledged: watch::Sender<u64>,
    retire: watch::Sender<Option<u64>>,
    news: mpsc::Sender<News>,
}

impl ProxyLink {
    /// Listens on the socket, to which the proxy's user may connect; a socket file left behind is replaced. The receiver
    /// gets what the proxy tells.
    pub fn listen(path: &Path, uid: u32) -> io::Result<(Arc<ProxyLink>, mpsc::Receiver<News>)> {
        let listener = bind_for(path, uid)?;
        let (news, receiver) = mpsc::channel(NEWS_MAX);
        let link = Arc::new(ProxyLink {
            state: Mutex::default(),
            tables: watch::channel(0).0,
            acknowledged: watch::channel(0).0,
            retire: watch::channel(None).0,
            news,
        });
        tokio::spawn(accept(link.clone(), listener, path.to_owned()));
        Ok((link, receiver))
    }

    /// Asks the connected proxy to finish what it has within this time and to exit.
    pub fn retire(&self, within: Duration) {
        self.retire
            .send_replace(Some(u64::try_from(within.as_millis()).unwrap_or(u64::MAX)));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Option<RouteTable> {
        self.state().table.clone()
    }

    /// Takes in one message; `false` ends the connection.
    async fn receive(&self, message: FromProxy) -> bool {
        let news = match message {
            FromProxy::Hello { version, pid, .. } if version != VERSION => {
                tracing::error!(
                    pid,
                    version,
                    expected = VERSION,
                    "proxy of another version refused"
                );
                return false;
            }
            FromProxy::Hello {
                pid, generation, ..
            } => {
                self.state().seen(generation);
                News::Connected { pid }
            }
            FromProxy::Applied {
                generation,
                draining,
            } => {
                self.state().applied(generation, draining);
                self.acknowledged.send_replace(generation);
                return true;
            }
            FromProxy::Drained { instance } => {
                self.state().draining.remove(&instance);
                return true;
            }
            FromProxy::Wanted { service, .. } => News::Wanted { service },
            FromProxy::Unreachable { instance, error } => News::Unreachable { instance, error },
            // Nobody asks for it yet.
            FromProxy::AccessLog(_) => return true,
            FromProxy::Statistics(statistics) => News::Statistics(statistics),
        };
        self.news.send(news).await.is_ok()
    }

    async fn converse(&self, stream: UnixStream) -> io::Result<()> {
        let (mut read, mut write) = stream.into_split();
        let mut decoder = Decoder::default();
        let mut buffer = vec![0; 16 << 10];
        let mut tables = self.tables.subscribe();
        let mut retire = self.retire.subscribe();
        retire.mark_unchanged();
        write
            .write_all(&bytes(&ToProxy::Welcome { version: VERSION })?)
            .await?;
        tables.mark_changed();
        loop {
            tokio::select! {
                count = read.read(&mut buffer) => {
                    let count = count?;
                    if count == 0 {
                        return Ok(());
                    }
                    decoder.push(buffer.get(..count).unwrap_or_default());
                    while let Some(message) = decoder.next().map_err(io::Error::other)? {
                        if !self.receive(message).await {
                            return Ok(());
                        }
                    }
                }
                _ = tables.changed() => {
                    if let Some(table) = self.current() {
                        write.write_all(&bytes(&ToProxy::Routes(table))?).await?;
                    }
                }
                _ = retire.changed() => {
                    let within = *retire.borrow_and_update();
                    if let Some(within_ms) = within {
                        write.write_all(&bytes(&ToProxy::Retire { within_ms })?).await?;
                    }
                }
            }
        }
    }
}

impl State {
    fn seen(&mut self, generation: u64) {
        self.seen = self.seen.max(generation);
    }

    fn applied(&mut self, generation: u64, draining: Vec<Draining>) {
        self.seen(generation);
        self.acknowledged = generation;
        self.draining = draining
            .into_iter()
            .map(|d| (d.instance, d.outstanding))
            .collect();
    }
}

fn bytes(message: &ToProxy) -> io::Result<Vec<u8>> {
    encode(message).map_err(io::Error::other)
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

async fn accept(link: Arc<ProxyLink>, listener: UnixListener, path: PathBuf) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::error!(%error, path = %path.display(), "proxy link cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let link = link.clone();
        tokio::spawn(async move {
            if let Err(error) = link.converse(stream).await {
                tracing::warn!(%error, "proxy link broke");
            }
            // The reader of news ends with the control plane.
            let _ = link.news.send(News::Disconnected).await;
        });
    }
}

#[async_trait]
impl DataPlane for ProxyLink {
    fn generation(&self) -> u64 {
        self.state().seen
    }

    async fn publish(&self, table: RouteTable) -> Result<(), DataPlaneError> {
        let generation = table.generation;
        let mut acknowledged = self.acknowledged.subscribe();
        {
            let mut state = self.state();
            state.seen(generation);
            state.table = Some(table);
        }
        self.tables.send_replace(generation);
        let wait = acknowledged.wait_for(|applied| *applied >= generation);
        match tokio::time::timeout(ACKNOWLEDGE_WITHIN, wait).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(DataPlaneError::NotAcknowledged {
                generation,
                waited_ms: u64::try_from(ACKNOWLEDGE_WITHIN.as_millis()).unwrap_or(u64::MAX),
            }),
        }
    }

    fn draining(&self) -> Option<BTreeMap<String, u32>> {
        let state = self.state();
        let newest = state.table.as_ref().map(|t| t.generation)?;
        (state.acknowledged >= newest).then(|| state.draining.clone())
    }
}

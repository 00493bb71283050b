//! The link to the control plane: route tables come in, acknowledgements, troubles and statistics go out. While nobody
//! listens the proxy tries to connect again for ever, and serves.

pub mod publish;
pub mod report;

use crate::shared::Event;
use crate::snapshot;
use apron_link::frame::{Decoder, FrameError, encode};
use apron_link::proxy::{FromProxy, RouteTable, ToProxy, VERSION};
use publish::Publisher;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};

/// Pauses between attempts to connect, in milliseconds; the last one repeats.
const RETRY_PAUSES_MS: [u64; 8] = [20, 20, 20, 40, 50, 100, 200, 500];

/// Longest time the control plane may take to read a message before it counts as gone.
const SEND_MAX: Duration = Duration::from_secs(5);

/// How often counters are sent.
const STATISTICS_INTERVAL: Duration = Duration::from_secs(1);

/// Bound of the drain after SIGTERM or SIGINT.
pub const TERMINATE_WITHIN: Duration = Duration::from_secs(30);

/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;

/// Why a connection to the control plane ended.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("connection failed: {0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the control plane closed the connection")]
    Closed,
    #[error("the control plane does not read")]
    Stalled,
    #[error("a change is based on route table {0}, which is not the one in force")]
    Base(u64),
    #[error("the control plane speaks version {0} of the link, this proxy version {VERSION}")]
    Version(u32),
}

/// The proxy's end of the link.
#[derive(Debug)]
pub struct Link {
    socket: PathBuf,
    snapshot: PathBuf,
    publisher: Publisher,
    table: Option<RouteTable>,
    events: mpsc::Receiver<Event>,
    terminate: Signal,
    interrupt: Signal,
    ticks: Interval,
}

impl Link {
    /// A link that is not connected yet.
    pub fn new(
        socket: PathBuf,
        snapshot: PathBuf,
        publisher: Publisher,
        events: mpsc::Receiver<Event>,
    ) -> std::io::Result<Link> {
        let mut ticks = interval(STATISTICS_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Link {
            socket,
            snapshot,
            publisher,
            table: None,
            events,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            ticks,
        })
    }

    /// Where the last table is kept.
    pub fn snapshot_path(&self) -> &Path {
        &self.snapshot
    }

    /// Puts the table from disk in force.
    pub async fn start_from(&mut self, table: &RouteTable) {
        self.publisher.apply(table).await;
        tracing::info!(
            generation = table.generation,
            "serving by the route table on disk"
        );
    }

    /// Connects, and connects again, for ever.
    pub async fn run(&mut self) -> anyhow::Result<Infallible> {
        let mut failures = 0;
        loop {
            match UnixStream::connect(&self.socket).await {
                Ok(stream) => {
                    let ended = self.session(stream, &mut failures).await;
                    tracing::warn!(error = %ended, "link to the control plane ended");
                    if matches!(ended, LinkError::Version(_)) {
                        // It will not be another version before it is another process.
                        failures = RETRY_PAUSES_MS.len();
                    }
                }
                Err(error) if failures == 0 => {
                    tracing::warn!(%error, "the control plane is not there, serving without it")
                }
                Err(_) => {}
            }
            let pause = RETRY_PAUSES_MS[failures.min(RETRY_PAUSES_MS.len() - 1)];
            failures += 1;
            self.pause(Duration::from_millis(pause)).await;
        }
    }

    /// Waits; nobody is there to hear of troubles, so they are dropped.
    async fn pause(&mut self, pause: Duration) {
        let mut over = std::pin::pin!(sleep(pause));
        loop {
            tokio::select! {
                () = &mut over => return,
                Some(_) = self.events.recv() => {}
                Some(()) = self.terminate.recv() => self.publisher.retire(TERMINATE_WITHIN),
                Some(()) = self.interrupt.recv() => self.publisher.retire(TERMINATE_WITHIN),
            }
        }
    }

    /// Talks to the control plane until the connection ends; answers why it did.
    async fn session(&mut self, stream: UnixStream, failures: &mut usize) -> LinkError {
        let (mut reader, mut writer) = stream.into_split();
        let generation = self.publisher.generation();
        let hello = FromProxy::Hello {
            version: VERSION,
            pid: std::process::id(),
            generation,
        };
        if let Err(error) = send(&mut writer, &hello).await {
            return error;
        }
        let (mut decoder, mut bytes) = (Decoder::default(), vec![0; READ_BYTES]);
        loop {
            let done = tokio::select! {
                read = reader.read(&mut bytes) => match read {
                    Ok(0) => Err(LinkError::Closed),
                    Ok(read) => {
                        *failures = 0;
                        decoder.push(&bytes[..read]);
                        self.receive(&mut decoder, &mut writer).await
                    }
                    Err(error) => Err(error.into()),
                },
                Some(event) = self.events.recv() => send(&mut writer, &report::message(event)).await,
                () = self.publisher.drained() => self.tell_drained(&mut writer).await,
                _ = self.ticks.tick() => self.tell_statistics(&mut writer).await,
                Some(()) = self.terminate.recv() => { self.publisher.retire(TERMINATE_WITHIN); Ok(()) }
                Some(()) = self.interrupt.recv() => { self.publisher.retire(TERMINATE_WITHIN); Ok(()) }
            };
            if let Err(error) = done {
                return error;
            }
        }
    }

    async fn receive<W: AsyncWriteExt + Unpin>(
        &mut self,
        decoder: &mut Decoder,
        writer: &mut W,
    ) -> Result<(), LinkError> {
        while let Some(message) = decoder.next::<ToProxy>()? {
            match message {
                ToProxy::Welcome { version: VERSION } => {
                    tracing::info!("linked to the control plane")
                }
                ToProxy::Welcome { version } => return Err(LinkError::Version(version)),
                ToProxy::Retire { within_ms } => {
                    self.publisher.retire(Duration::from_millis(within_ms))
                }
                ToProxy::Routes(table) => self.put_in_force(table, writer).await?,
                ToProxy::Change(change) => {
                    let Some(mut table) =
                        self.table.take().filter(|it| it.generation == change.base)
                    else {
                        return Err(LinkError::Base(change.base));
                    };
                    table.apply(&change);
                    self.put_in_force(table, writer).await?;
                }
                // Instances keep their processor.
                ToProxy::Brake { .. } => {}
            }
        }
        Ok(())
    }

    async fn put_in_force<W: AsyncWriteExt + Unpin>(
        &mut self,
        table: RouteTable,
        writer: &mut W,
    ) -> Result<(), LinkError> {
        let generation = table.generation;
        self.publisher.apply(&table).await;
        self.keep(table.clone()).await;
        self.table = Some(table);
        let draining = self.publisher.draining();
        let applied = FromProxy::Applied {
            generation,
            draining,
        };
        send(writer, &applied).await
    }

    /// Writes the table to disk. Serving goes on without; the next start would be by an older table.
    async fn keep(&self, table: RouteTable) {
        let path = self.snapshot.clone();
        let kept = tokio::task::spawn_blocking(move || snapshot::write(&path, &table)).await;
        if let Err(error) = kept.unwrap_or_else(|panic| Err(std::io::Error::other(panic))) {
            tracing::error!(path = %self.snapshot.display(), %error, "the route table cannot be kept on disk");
        }
    }

    async fn tell_drained<W: AsyncWriteExt + Unpin>(
        &mut self,
        writer: &mut W,
    ) -> Result<(), LinkError> {
        for instance in self.publisher.take_drained() {
            send(writer, &FromProxy::Drained { instance }).await?;
        }
        Ok(())
    }

    async fn tell_statistics<W: AsyncWriteExt + Unpin>(
        &mut self,
        writer: &mut W,
    ) -> Result<(), LinkError> {
        let statistics = report::statistics(self.publisher.services());
        match statistics.is_empty() {
            true => Ok(()),
            false => send(writer, &FromProxy::Statistics(statistics)).await,
        }
    }
}

async fn send<W: AsyncWriteExt + Unpin>(
    writer: &mut W,
    message: &FromProxy,
) -> Result<(), LinkError> {
    let bytes = encode(message)?;
    match timeout(SEND_MAX, writer.write_all(&bytes)).await {
        Ok(sent) => Ok(sent?),
        Err(_) => Err(LinkError::Stalled),
    }
}

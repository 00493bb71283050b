//! The link to the control plane: route tables come in, acknowledgements, troubles and statistics go out. While nobody
//! listens the proxy tries to connect again for ever, and serves.

pub mod publish;
pub mod report;

use crate::shared::Event;
use crate::snapshot::Keeper;
use apron_link::frame::{Decoder, FrameError, encode};
use apron_link::proxy::{FromProxy, RouteTable, ToProxy, VERSION};
use publish::Publisher;
use std::convert::Infallible;
use std::path::PathBuf;
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
    keeper: Keeper,
    publisher: Publisher,
    events: mpsc::Receiver<Event>,
    terminate: Signal,
    interrupt: Signal,
    ticks: Interval,
}

impl Link {
    /// A link that is not connected yet.
    pub fn new(
        socket: PathBuf,
        keeper: Keeper,
        publisher: Publisher,
        events: mpsc::Receiver<Event>,
    ) -> std::io::Result<Link> {
        let mut ticks = interval(STATISTICS_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Link {
            socket,
            keeper,
            publisher,
            events,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            ticks,
        })
    }

    /// Puts the table from disk in force, if there is one.
    pub async fn start_from(&mut self, table: Option<RouteTable>) {
        if let Some(table) = table {
            self.publisher.replace(&table);
            self.publisher.in_force().await;
            tracing::info!(
                path = %self.keeper.path().display(),
                generation = table.generation,
                "serving by the route table on disk"
            );
        }
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

    /// Takes in what has arrived. Changes that arrived together are put in force together.
    async fn receive<W: AsyncWriteExt + Unpin>(
        &mut self,
        decoder: &mut Decoder,
        writer: &mut W,
    ) -> Result<(), LinkError> {
        let mut ordered = Vec::new();
        while let Some(message) = decoder.next::<ToProxy>()? {
            match message {
                ToProxy::Welcome { version: VERSION } => {
                    tracing::info!("linked to the control plane")
                }
                ToProxy::Welcome { version } => return Err(LinkError::Version(version)),
                ToProxy::Retire { within_ms } => {
                    self.publisher.retire(Duration::from_millis(within_ms))
                }
                ToProxy::Routes(table) => {
                    ordered.push(table.generation);
                    self.publisher.replace(&table);
                    self.keeper.replace(table).await;
                }
                ToProxy::Change(change) => {
                    if change.base != self.publisher.generation() {
                        return Err(LinkError::Base(change.base));
                    }
                    ordered.push(change.generation);
                    self.publisher.change(&change);
                    self.keeper.append(&change);
                }
                // Instances keep their processor.
                ToProxy::Brake { .. } => {}
            }
        }
        self.acknowledge(ordered, writer).await
    }

    /// Says that the tables with these numbers are in force, when they are.
    async fn acknowledge<W: AsyncWriteExt + Unpin>(
        &mut self,
        ordered: Vec<u64>,
        writer: &mut W,
    ) -> Result<(), LinkError> {
        if ordered.is_empty() {
            return Ok(());
        }
        self.publisher.in_force().await;
        let draining = self.publisher.draining();
        for generation in ordered {
            let applied = FromProxy::Applied {
                generation,
                draining: draining.clone(),
            };
            send(writer, &applied).await?;
        }
        self.keeper.compact_if_long().await;
        Ok(())
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

//! The link to the control plane: route tables come in, acknowledgements, troubles and statistics go out. While nobody
//! listens the proxy tries to connect again for ever, and serves.

pub mod brakes;
pub mod publish;
mod receive;
pub mod report;

use crate::instance::brake::Brake;
use crate::service::Service;
use crate::shared::{Event, Shared};
use crate::snapshot::Keeper;
use apron_link::frame::{Decoder, FrameError, encode};
use apron_link::proxy::{FromProxy, RouteTable, ToProxy, VERSION};
use brakes::{Brakes, LOOK_INTERVAL};
use publish::Publisher;
use receive::Received;
use report::Traffic;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};

/// Pauses between attempts to connect, in milliseconds; the last one repeats.
const RETRY_PAUSES_MS: [u64; 8] = [20, 20, 20, 40, 50, 100, 200, 500];

/// Longest time the control plane may take to read a message before it counts as gone.
const SEND_MAX: Duration = Duration::from_secs(5);

/// How often counters are sent.
const STATISTICS_INTERVAL: Duration = Duration::from_secs(1);

/// Least time between two messages that a service has more requests than its instances may be given.
const WANTED_INTERVAL: Duration = Duration::from_millis(50);

/// Bound of the drain after SIGTERM or SIGINT.
pub const TERMINATE_WITHIN: Duration = Duration::from_secs(30);

/// How the workers ended; an error if nobody can say.
type WorkersEnd = Result<anyhow::Result<()>, oneshot::error::RecvError>;

/// Why a connection to the control plane ended.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("connection failed: {0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the control plane closed the connection")]
    Closed,
    #[error("a brake came without its open file")]
    NoFile,
    #[error("open files come without messages that carry them")]
    Files,
    #[error("the control plane does not read")]
    Stalled,
    #[error("the workers have ended")]
    Ended(WorkersEnd),
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
    shared: Arc<Shared>,
    traffic: Traffic,
    /// Services that have more requests than their instances may be given, as the control plane knows.
    wanting: Vec<Arc<Service>>,
    wanted_ticks: Interval,
    brakes: Brakes,
    brake_ticks: Interval,
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
        shared: Arc<Shared>,
        events: mpsc::Receiver<Event>,
    ) -> std::io::Result<Link> {
        let ticks = |every: Duration| {
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        Ok(Link {
            socket,
            keeper,
            publisher,
            shared,
            traffic: Traffic::default(),
            wanting: Vec::new(),
            wanted_ticks: ticks(WANTED_INTERVAL),
            brakes: Brakes::default(),
            brake_ticks: ticks(LOOK_INTERVAL),
            events,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            ticks: ticks(STATISTICS_INTERVAL),
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

    /// Connects, and connects again, until the workers have ended; answers how they did.
    pub async fn run(&mut self, mut ended: oneshot::Receiver<anyhow::Result<()>>) -> WorkersEnd {
        let mut failures = 0;
        loop {
            match UnixStream::connect(&self.socket).await {
                Ok(stream) => {
                    let why = self.session(stream, &mut failures, &mut ended).await;
                    self.brakes.give_up();
                    for service in self.wanting.drain(..) {
                        service.forget_wanting();
                    }
                    if let LinkError::Ended(workers) = why {
                        return workers;
                    }
                    tracing::warn!(error = %why, "link to the control plane ended");
                    if matches!(why, LinkError::Version(_)) {
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
            if let Some(workers) = self.pause(Duration::from_millis(pause), &mut ended).await {
                return workers;
            }
        }
    }

    /// Waits; nobody is there to hear of troubles, so they are dropped. Answers if the workers end meanwhile.
    async fn pause(
        &mut self,
        pause: Duration,
        ended: &mut oneshot::Receiver<anyhow::Result<()>>,
    ) -> Option<WorkersEnd> {
        let mut over = std::pin::pin!(sleep(pause));
        loop {
            tokio::select! {
                () = &mut over => return None,
                workers = &mut *ended => return Some(workers),
                Some(event) = self.events.recv() => {
                    if let Event::Wanted(service) = event {
                        service.forget_wanting();
                    }
                }
                Some(()) = self.terminate.recv() => self.retire(TERMINATE_WITHIN),
                Some(()) = self.interrupt.recv() => self.retire(TERMINATE_WITHIN),
            }
        }
    }

    /// Finishes what is under way within `within`. The next proxy gets the brakes and keeps the table.
    fn retire(&mut self, within: Duration) {
        self.brakes.retire();
        self.keeper.retire();
        self.publisher.retire(within);
    }

    /// Talks to the control plane until the connection ends; answers why it did.
    async fn session(
        &mut self,
        stream: UnixStream,
        failures: &mut usize,
        ended: &mut oneshot::Receiver<anyhow::Result<()>>,
    ) -> LinkError {
        let (reader, mut writer) = stream.into_split();
        let generation = self.publisher.generation();
        let hello = FromProxy::Hello {
            version: VERSION,
            pid: std::process::id(),
            generation,
        };
        if let Err(error) = send(&mut writer, &hello).await {
            return error;
        }
        if let Err(error) = self.tell_who_waits(&mut writer).await {
            return error;
        }
        let (mut decoder, mut received) = (Decoder::default(), Received::default());
        loop {
            let done = tokio::select! {
                bytes = received.more(reader.as_ref()) => match bytes {
                    Ok(bytes) => {
                        *failures = 0;
                        decoder.push(bytes);
                        self.receive(&mut decoder, &mut received.files, &mut writer).await
                    }
                    Err(error) => Err(error),
                },
                _ = self.brake_ticks.tick(), if !self.brakes.is_empty() => {
                    self.brakes.look(Instant::now());
                    Ok(())
                }
                Some(event) = self.events.recv() => self.tell(event, &mut writer).await,
                _ = self.wanted_ticks.tick(), if !self.wanting.is_empty() => self.tell_wanted(&mut writer).await,
                () = self.shared.access_log.ready() => self.tell_access_log(&mut writer).await,
                workers = &mut *ended => {
                    // Nobody hears of it if this fails.
                    let _ = self.tell_access_log(&mut writer).await;
                    let _ = self.tell_statistics(&mut writer).await;
                    return LinkError::Ended(workers);
                }
                () = self.publisher.drained() => self.tell_drained(&mut writer).await,
                _ = self.ticks.tick() => self.tell_regularly(&mut writer).await,
                Some(()) = self.terminate.recv() => { self.retire(TERMINATE_WITHIN); Ok(()) }
                Some(()) = self.interrupt.recv() => { self.retire(TERMINATE_WITHIN); Ok(()) }
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
        files: &mut VecDeque<Option<OwnedFd>>,
        writer: &mut W,
    ) -> Result<(), LinkError> {
        let mut ordered = Vec::new();
        while let Some(message) = decoder.next::<ToProxy>()? {
            match message {
                ToProxy::Welcome { version: VERSION } => {
                    tracing::info!("linked to the control plane")
                }
                ToProxy::Welcome { version } => return Err(LinkError::Version(version)),
                ToProxy::Retire { within_ms } => self.retire(Duration::from_millis(within_ms)),
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
                ToProxy::Brake {
                    instance,
                    idle,
                    busy,
                } => {
                    let file = files.pop_front().ok_or(LinkError::NoFile)?;
                    let brake = file.map(|file| Brake::new(file, idle, busy));
                    let registry = self.publisher.registry();
                    self.brakes.take(instance, brake, registry, Instant::now());
                }
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
        self.brakes
            .settle(self.publisher.registry(), Instant::now());
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

    async fn tell<W: AsyncWriteExt + Unpin>(
        &mut self,
        event: Event,
        writer: &mut W,
    ) -> Result<(), LinkError> {
        match event {
            Event::Wanted(service) => self.begin_wanting(service, writer).await,
            Event::Unreachable(instance, error) => {
                let instance = instance.id.clone();
                send(writer, &FromProxy::Unreachable { instance, error }).await
            }
        }
    }

    async fn begin_wanting<W: AsyncWriteExt + Unpin>(
        &mut self,
        service: Arc<Service>,
        writer: &mut W,
    ) -> Result<(), LinkError> {
        if self.wanting.is_empty() {
            self.wanted_ticks.reset();
        }
        let message = report::wanted(&service);
        self.wanting.push(service);
        send(writer, &message).await
    }

    /// Tells of the services that have had requests waiting since before this connection.
    async fn tell_who_waits<W: AsyncWriteExt + Unpin>(
        &mut self,
        writer: &mut W,
    ) -> Result<(), LinkError> {
        let services = self.publisher.registry().services();
        let waiting = services.filter(|it| it.waiting() > 0 && it.begins_to_want());
        let waiting: Vec<_> = waiting.cloned().collect();
        for service in waiting {
            self.begin_wanting(service, writer).await?;
        }
        Ok(())
    }

    /// Tells of the services that still have more requests than their instances may be given.
    async fn tell_wanted<W: AsyncWriteExt + Unpin>(
        &mut self,
        writer: &mut W,
    ) -> Result<(), LinkError> {
        self.wanting.retain(|service| service.still_wants());
        for service in &self.wanting {
            send(writer, &report::wanted(service)).await?;
        }
        Ok(())
    }

    /// Sends the lines of the access log that wait.
    async fn tell_access_log<W: AsyncWriteExt + Unpin>(
        &mut self,
        writer: &mut W,
    ) -> Result<(), LinkError> {
        while let Some((frame, batch)) = report::access_log(&self.shared) {
            if let Err(error) = send_bytes(writer, &frame).await {
                self.shared.access_log.lose(&batch);
                return Err(error);
            }
            self.shared.access_log.recycle(batch);
        }
        Ok(())
    }

    /// Sends what is sent once a second. Lines of the access log are among it when they have waited for the control plane.
    async fn tell_regularly<W: AsyncWriteExt + Unpin>(
        &mut self,
        writer: &mut W,
    ) -> Result<(), LinkError> {
        self.tell_access_log(writer).await?;
        self.tell_statistics(writer).await
    }

    async fn tell_statistics<W: AsyncWriteExt + Unpin>(
        &mut self,
        writer: &mut W,
    ) -> Result<(), LinkError> {
        let registry = self.publisher.registry();
        let statistics = self.traffic.statistics(&self.shared, registry);
        if statistics.is_empty() {
            self.shared.access_log.trim();
            return Ok(());
        }
        send(writer, &FromProxy::Statistics(statistics)).await
    }
}

async fn send<W: AsyncWriteExt + Unpin>(
    writer: &mut W,
    message: &FromProxy,
) -> Result<(), LinkError> {
    send_bytes(writer, &encode(message)?).await
}

async fn send_bytes<W: AsyncWriteExt + Unpin>(
    writer: &mut W,
    bytes: &[u8],
) -> Result<(), LinkError> {
    match timeout(SEND_MAX, writer.write_all(bytes)).await {
        Ok(sent) => Ok(sent?),
        Err(_) => Err(LinkError::Stalled),
    }
}

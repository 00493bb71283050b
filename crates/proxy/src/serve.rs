//! The process: workers, each on a thread, and the link on the thread that started them.

use crate::access::queue::Queue;
use crate::link::Link;
pub use crate::link::brakes::BRAKES_MAX;
use crate::link::publish::Publisher;
use crate::shared::{EVENTS_MAX, Orders, Shared};
use crate::snapshot::Keeper;
use crate::tls::Tls;
use crate::worker::run::{Listener, Purpose, run};
use anyhow::Context as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// What the process is started with.
#[derive(Debug)]
pub struct Options {
    /// The control plane's socket.
    pub link: PathBuf,
    /// Where the last route table is kept.
    pub snapshot: PathBuf,
    /// Listeners for TLS. Listener `i` of each list belongs to worker `i % workers`.
    pub https: Vec<TcpListener>,
    /// Listeners whose requests are redirected to `https`.
    pub redirect: Vec<TcpListener>,
    /// Listeners for requests without TLS.
    pub plain: Vec<TcpListener>,
    /// Threads.
    pub workers: usize,
    /// The port in `https` URLs; otherwise that of the first listener for TLS.
    pub https_port: Option<u16>,
    /// Client connections in the whole process.
    pub connections_max: usize,
}

/// Serves until told to retire; then everything under way was finished or its time was up.
pub fn serve(options: Options) -> anyhow::Result<()> {
    let workers = options.workers.max(1);
    let (events, events_received) = mpsc::channel(EVENTS_MAX);
    let (orders, orders_received) = watch::channel(Orders::default());
    let first_port = options
        .https
        .first()
        .and_then(|listener| listener.local_addr().ok())
        .map(|address| address.port());
    let shared = Arc::new(Shared {
        epoch: Instant::now(),
        events,
        access_log: Queue::default(),
        traffic: Mutex::default(),
        drained: Notify::new(),
        followed: Notify::new(),
        following: (0..workers).map(|_| AtomicU64::new(0)).collect(),
        orders: orders_received,
        tls: Tls::new().context("TLS cannot be set up")?,
        https_port: options.https_port.or(first_port).unwrap_or(443),
        connections_max: options.connections_max.div_ceil(workers),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = start_workers(&shared, workers, share_out(&options, workers))?;
    let publisher = Publisher::new(Arc::clone(&shared), orders);
    runtime.block_on(async {
        let (keeper, table) = Keeper::open(options.snapshot);
        let mut link = Link::new(
            options.link,
            keeper,
            publisher,
            Arc::clone(&shared),
            events_received,
        )?;
        link.start_from(table).await;
        link.run(ended)
            .await
            .context("nobody knows how the workers ended")?
    })
}

/// Listener `i` of each list to worker `i % workers`.
fn share_out(options: &Options, workers: usize) -> Vec<Vec<(Purpose, &TcpListener)>> {
    let mut shares: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
    for (purpose, listeners) in [
        (Purpose::Https, &options.https),
        (Purpose::Redirect, &options.redirect),
        (Purpose::Plain, &options.plain),
    ] {
        for (index, listener) in listeners.iter().enumerate() {
            shares[index % workers].push((purpose, listener));
        }
    }
    shares
}

/// Starts the threads. The receiver tells when all have ended well, or the first has failed.
fn start_workers(
    shared: &Arc<Shared>,
    workers: usize,
    shares: Vec<Vec<(Purpose, &TcpListener)>>,
) -> anyhow::Result<oneshot::Receiver<anyhow::Result<()>>> {
    let (sender, receiver) = oneshot::channel();
    let mut threads = Vec::with_capacity(workers);
    for (index, share) in shares.into_iter().enumerate() {
        let listeners: Result<Vec<Listener>, std::io::Error> = share
            .into_iter()
            .map(|(purpose, listener)| Ok((purpose, listener.try_clone()?)))
            .collect();
        let (shared, listeners) = (Arc::clone(shared), listeners?);
        let thread = std::thread::Builder::new().name(format!("worker-{index}"));
        threads.push(thread.spawn(move || run(shared, index, listeners))?);
    }
    std::thread::Builder::new()
        .name("joiner".into())
        .spawn(move || {
            let join = |thread: std::thread::JoinHandle<std::io::Result<()>>| match thread.join() {
                Ok(ended) => ended.context("a worker failed"),
                Err(_) => Err(anyhow::anyhow!("a worker panicked")),
            };
            // The process is over whoever hears of it.
            let _ = sender.send(threads.into_iter().try_for_each(join));
        })?;
    Ok(receiver)
}

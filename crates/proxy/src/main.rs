//! `apron-proxy`: the data plane's process. Started by the control plane with listening sockets as inherited descriptors.

use anyhow::Context as _;
use apron_proxy::privileges;
use apron_proxy::serve::{BRAKES_MAX, Options, serve};
use clap::Parser;
use std::path::PathBuf;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Descriptors that are not client connections or their upstream connections: listeners, runtime, link, logs.
const DESCRIPTORS_RESERVED: u64 = 256;

/// Share of the descriptors that is kept for instances' brakes, up to as many as there can be: one in so many.
const BRAKES_SHARE: u64 = 4;

/// Serves the services' HTTPS endpoints by the control plane's route table.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The control plane's socket.
    #[arg(long)]
    link: PathBuf,
    /// File that keeps the last route table; its directory must be writable for the user the proxy becomes.
    #[arg(long)]
    snapshot: PathBuf,
    /// Numbers of inherited listening sockets for TLS; the i-th belongs to worker i modulo the number of workers.
    #[arg(long, value_delimiter = ',')]
    https_fds: Vec<i32>,
    /// Numbers of inherited listening sockets whose requests are redirected to https.
    #[arg(long, value_delimiter = ',')]
    http_fds: Vec<i32>,
    /// Numbers of inherited listening sockets whose requests are forwarded without TLS.
    #[arg(long, value_delimiter = ',')]
    plain_fds: Vec<i32>,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// User to become.
    #[arg(long)]
    uid: Option<u32>,
    /// Group to become.
    #[arg(long)]
    gid: Option<u32>,
    /// Port in https URLs, if it is not that of the first listener for TLS.
    #[arg(long)]
    https_port: Option<u16>,
    /// Most client connections; without it, as many as the bound of open files allows.
    #[arg(long)]
    connections_max: Option<usize>,
    /// What is logged to standard error, for example `info` or `apron_proxy=debug`.
    #[arg(long, default_value = "info")]
    log: String,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    // The HTTP/2 library warns of what single clients do: whoever wants that in the log says so.
    let filter = EnvFilter::try_new(format!("h2=error,{}", arguments.log))
        .context("the log filter is not understood")?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    privileges::use_small_pages()?;
    let descriptors = privileges::raise_descriptors()?;
    let brakes = (descriptors / BRAKES_SHARE).min(BRAKES_MAX as u64);
    let connections = descriptors.saturating_sub(DESCRIPTORS_RESERVED + brakes);
    let connections = (connections / 2).max(1);
    let options = Options {
        https: privileges::listeners(&arguments.https_fds)?,
        redirect: privileges::listeners(&arguments.http_fds)?,
        plain: privileges::listeners(&arguments.plain_fds)?,
        link: arguments.link,
        snapshot: arguments.snapshot,
        workers: arguments.workers,
        https_port: arguments.https_port,
        connections_max: arguments
            .connections_max
            .unwrap_or(usize::try_from(connections).unwrap_or(usize::MAX)),
    };
    privileges::drop_privileges(arguments.uid, arguments.gid)?;
    serve(options)
}

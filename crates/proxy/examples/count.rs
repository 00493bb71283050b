//! The proxy on listeners of its own, for tools that count instructions and do not know the system calls by which the
//! program takes over listeners.
//!
//! `count <link> <snapshot> <workers>` prints `<https port> <plain port>` and serves until it is killed.

use anyhow::Context as _;
use apron_proxy::serve::{Options, serve};
use std::net::{SocketAddr, TcpListener};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Most client connections.
const CONNECTIONS_MAX: usize = 10_000;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [link, snapshot, workers] = &arguments[..] else {
        anyhow::bail!("usage: count <link> <snapshot> <workers>");
    };
    let workers = workers.parse()?;
    let (https, plain) = (listeners(workers)?, listeners(workers)?);
    let port = |list: &[TcpListener]| list[0].local_addr().map(|address| address.port());
    println!("{} {}", port(&https)?, port(&plain)?);
    serve(Options {
        link: link.into(),
        snapshot: snapshot.into(),
        https,
        redirect: Vec::new(),
        plain,
        workers,
        https_port: None,
        connections_max: CONNECTIONS_MAX,
    })
}

fn listeners(workers: usize) -> anyhow::Result<Vec<TcpListener>> {
    let first = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let copies = (1..workers).map(|_| first.try_clone());
    let mut all: Vec<_> = copies
        .collect::<Result<_, _>>()
        .context("a listener could not be shared")?;
    all.push(first);
    Ok(all)
}

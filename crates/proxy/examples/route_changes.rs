//! Measures how long a change of the route table takes to be in force, and what it costs.
//!
//! `route_changes [services] [changes] [workers]` serves a table of so many services in this process and sends changes of
//! one instance each, one after the other: time from sending to the acknowledgement, and processor time of the process per
//! change (with that of this program itself), for the table as given and for one of a hundredth of its size.

use apron_link::frame::{Decoder, encode};
use apron_link::proxy::{FromProxy, Route, RouteChange, RouteTable, ToProxy, Upstream, VERSION};
use apron_proxy::serve::{Options, serve};
use rustix::time::{ClockId, clock_gettime};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let numbers: Result<Vec<usize>, _> = std::env::args().skip(1).map(|it| it.parse()).collect();
    let numbers = numbers?;
    let number = |index: usize, default| numbers.get(index).copied().unwrap_or(default);
    let (services, changes, workers) = (number(0, 10_000), number(1, 1_000), number(2, 2));
    for services in [services / 100, services] {
        measure(services.max(1), changes.max(1), workers)?;
    }
    Ok(())
}

fn measure(services: usize, changes: usize, workers: usize) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("link.sock");
    let link = UnixListener::bind(&socket)?;
    let options = Options {
        link: socket,
        snapshot: directory.path().join("routes.json"),
        https: Vec::new(),
        redirect: Vec::new(),
        plain: vec![TcpListener::bind("127.0.0.1:0")?],
        workers,
        https_port: None,
        connections_max: 1_000,
    };
    std::thread::spawn(|| serve(options));
    let mut end = End {
        stream: link.accept()?.0,
        decoder: Decoder::default(),
    };
    end.send(&ToProxy::Welcome { version: VERSION })?;
    let table = RouteTable {
        generation: 1,
        routes: (0..services).map(|index| route(index, 0)).collect(),
        ..RouteTable::default()
    };
    let begin = Instant::now();
    end.send(&ToProxy::Routes(table))?;
    end.applied(1)?;
    println!(
        "{services} services: the whole table in force and on disk in {:?}",
        begin.elapsed()
    );
    let (cpu, mut times) = (cpu_time(), Vec::with_capacity(changes));
    for number in 1..=changes {
        let base = number as u64;
        let change = RouteChange {
            base,
            generation: base + 1,
            routes: vec![route(number * 7 % services, number)],
            ..RouteChange::default()
        };
        let begin = Instant::now();
        end.send(&ToProxy::Change(change))?;
        end.applied(base + 1)?;
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{services} services: {changes} changes: p50 {:?} p99 {:?} worst {:?}; processor {:?} per change",
        at(0.5),
        at(0.99),
        at(1.0),
        (cpu_time() - cpu) / changes as u32,
    );
    end.send(&ToProxy::Retire { within_ms: 0 })?;
    // The proxy's threads end with it.
    while end.stream.read(&mut [0; 4096])? > 0 {}
    Ok(())
}

struct End {
    stream: UnixStream,
    decoder: Decoder,
}

impl End {
    fn send(&mut self, message: &ToProxy) -> anyhow::Result<()> {
        Ok(self.stream.write_all(&encode(message)?)?)
    }

    fn applied(&mut self, wanted: u64) -> anyhow::Result<()> {
        let mut bytes = [0; 4096];
        loop {
            while let Some(message) = self.decoder.next()? {
                if matches!(message, FromProxy::Applied { generation, .. } if generation == wanted)
                {
                    return Ok(());
                }
            }
            let read = self.stream.read(&mut bytes)?;
            anyhow::ensure!(read > 0, "the proxy has left");
            self.decoder.push(&bytes[..read]);
        }
    }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn route(index: usize, instance: usize) -> Route {
    Route {
        service: format!("service-{index}"),
        hosts: vec![format!("service-{index}.apron.test")],
        upstreams: vec![Upstream {
            instance: format!("instance-{index}-{instance}"),
            address: ([127, 0, 0, 1], 1 + (instance % 60_000) as u16).into(),
        }],
        max_concurrency: 100,
        request_timeout_ms: 120_000,
        ..Route::default()
    }
}

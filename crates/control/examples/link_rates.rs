//! How quickly a change of one service's route is in force among many services, and how many lines of access logs are
//! taken in: `cargo run --release -p apron-control --example link_rates [services] [lines]`. The proxy is a stand-in at the
//! other end of the real socket, which acknowledges as soon as it has read a change.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement"
)]

use apron_control::chronicle::Chronicle;
use apron_control::dataplane::link::ProxyLink;
use apron_control::dataplane::{DataPlane, Update};
use apron_domain::ServiceId;
use apron_link::frame::{Decoder, encode};
use apron_link::proxy::{AccessLog, FromProxy, Route, ServiceLines, ToProxy, Upstream, VERSION};
use apron_telemetry::{Logs, Position, ReadLimits, ReadRange};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::Mutex;

/// Changes measured.
const CHANGES: u32 = 1_000;
/// Lines of one message, about as many as a worker's buffer holds.
const LINES: u64 = 300;
/// Lines under way at most: what is beyond the control plane's bound would be dropped.
const UNDER_WAY: u64 = 60_000;
/// When the measured requests ended.
const ENDED_MS: u64 = 1_764_000_000_000;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|text| text.parse::<u64>().unwrap());
    let services = arguments.next().unwrap_or(10_000);
    let lines = arguments.next().unwrap_or(1_200_000);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("link.sock");
    let uid = rustix::process::getuid().as_raw();
    let (link, told) = ProxyLink::listen(&path, uid).unwrap();
    let whole = link.put(Update::Whole {
        routes: (0..services).map(|number| route(number, 0)).collect(),
        certificates: Vec::new(),
    });
    let begun = Instant::now();
    let proxy = connect(&path).await;
    link.in_force(whole).await.unwrap();
    println!(
        "whole table of {services} services: {:.1} ms",
        ms(begun.elapsed())
    );
    changes(&link, services).await;
    let logs = Logs::open(&dir.path().join("logs")).await.unwrap();
    let chronicle = Chronicle::new(logs.clone());
    let service = ServiceId::from_random([7; 16]);
    chronicle.introduce_as(&service, "web");
    tokio::spawn(told.access_log.write(chronicle));
    access_log(&proxy, &logs, &service, lines).await;
    logs.close().await.unwrap();
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn route(number: u64, round: u32) -> Route {
    let upstream = |index: u32| Upstream {
        instance: format!("{number:016x}{round:08x}{index:08x}"),
        address: format!("10.213.0.{}:8080", index + 1).parse().unwrap(),
    };
    Route {
        service: format!("{number:032x}"),
        hosts: vec![format!("s{number}.us-east-1.apron.localhost")],
        upstreams: (0..2).map(upstream).collect(),
        max_concurrency: 100,
        ..Route::default()
    }
}

/// The sending half of the stand-in: acknowledgements and lines.
type Sender = Arc<Mutex<OwnedWriteHalf>>;

async fn send(sender: &Sender, message: &FromProxy) {
    let bytes = encode(message).unwrap();
    sender.lock().await.write_all(&bytes).await.unwrap();
}

/// Connects the stand-in, which acknowledges what it is told.
async fn connect(path: &Path) -> Sender {
    let (mut read, write) = UnixStream::connect(path).await.unwrap().into_split();
    let sender = Arc::new(Mutex::new(write));
    let hello = FromProxy::Hello {
        version: VERSION,
        pid: std::process::id(),
        generation: 0,
    };
    send(&sender, &hello).await;
    let answers = sender.clone();
    tokio::spawn(async move {
        let (mut decoder, mut buffer) = (Decoder::default(), vec![0; 64 << 10]);
        loop {
            let count = read.read(&mut buffer).await.unwrap();
            decoder.push(&buffer[..count]);
            while let Some(message) = decoder.next::<ToProxy>().unwrap() {
                let generation = match message {
                    ToProxy::Routes(table) => table.generation,
                    ToProxy::Change(change) => change.generation,
                    _ => continue,
                };
                let draining = Vec::new();
                let applied = FromProxy::Applied {
                    generation,
                    draining,
                };
                send(&answers, &applied).await;
            }
        }
    });
    sender
}

async fn changes(link: &ProxyLink, services: u64) {
    let mut times = Vec::new();
    for round in 1..=CHANGES {
        let changed = route(u64::from(round) * 7 % services, round);
        let begun = Instant::now();
        let number = link.put(Update::Service {
            service: changed.service.clone(),
            route: Some(changed),
        });
        link.in_force(number).await.unwrap();
        times.push(ms(begun.elapsed()));
    }
    times.sort_by(f64::total_cmp);
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    println!(
        "a change of one service until it is acknowledged: p50 {:.3} ms, p99 {:.3} ms, longest {:.3} ms",
        at(50),
        at(99),
        at(100)
    );
}

async fn access_log(proxy: &Sender, logs: &Logs, service: &ServiceId, lines: u64) {
    let line = |number: u64| {
        let text = format!(
            r#"{{"instance":"0123456789abcdef0123456789abcdef","client":"203.0.113.9","method":"GET","path":"/items/{number}","status":200,"bytesIn":0,"bytesOut":5120,"queueMs":0,"connectMs":0,"firstByteMs":3,"totalMs":4}}"#
        );
        (ENDED_MS, text)
    };
    let begun = Instant::now();
    let mut sent = 0;
    while sent < lines {
        let until = (sent + LINES).min(lines);
        let own = ServiceLines {
            service: service.to_string(),
            lines: (sent..until).map(line).collect(),
        };
        let message = FromProxy::AccessLog(AccessLog {
            services: vec![own],
            lost: 0,
        });
        send(proxy, &message).await;
        sent = until;
        if sent % UNDER_WAY == 0 {
            written(logs, service, sent - 1).await;
        }
    }
    written(logs, service, lines - 1).await;
    println!(
        "access log: {:.0} lines/s",
        lines as f64 / begun.elapsed().as_secs_f64()
    );
}

/// Waits until a line can be read.
async fn written(logs: &Logs, service: &ServiceId, number: u64) {
    let group = format!("/aws/apprunner/web/{service}/service");
    let limits = ReadLimits {
        events: 1,
        bytes: 1 << 20,
    };
    let wanted = format!("/items/{number}\"");
    loop {
        let range = ReadRange::default();
        let read = logs.read(&group, "access/2025-11-24", range, Position::Tail, limits);
        let newest = read.await.map(|page| page.events).unwrap_or_default();
        if newest.iter().any(|event| event.message.contains(&wanted)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

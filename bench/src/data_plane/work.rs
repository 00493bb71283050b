//! The works: what is asked of each contender, by whom, and what came of it.

use super::contender::{Contender, cpu_us};
use super::{application, load};
use anyhow::{Context as _, Result, ensure};
use apron_e2e::{assets, run};
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long one run of a work takes.
const TIME: Duration = Duration::from_secs(2);

/// Connections of closed loops, and of those with large answers.
const CONNECTIONS: usize = 64;
const LARGE_CONNECTIONS: usize = 16;

/// Connections, streams of each and requests of HTTP/2.
const HTTP2: (usize, usize, usize) = (16, 32, 25_000);

/// New connections at the same time.
const PARALLEL: usize = 16;

/// The fixed rate, in requests per second, and over how many connections.
const RATE: f64 = 4_000.0;
const RATE_CONNECTIONS: usize = 32;

/// A work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    Plain,
    Tls,
    Http2,
    NewConnection,
    LargePlain,
    LargeTls,
    FixedRate,
}

/// All works with their titles and what share of nginx's and HAProxy's processor time they may take.
pub const WORKS: [(Work, &str, [Option<f64>; 2]); 7] = [
    (
        Work::Plain,
        "HTTP/1.1, 198 bytes, 64 connections",
        [Some(0.75), Some(0.70)],
    ),
    (
        Work::Tls,
        "HTTP/1.1 over TLS 1.3, 198 bytes, 64 connections",
        [Some(0.65), Some(0.60)],
    ),
    (
        Work::Http2,
        "HTTP/2 over TLS 1.3, 198 bytes, 16 connections of 32 streams",
        [Some(0.65), Some(0.85)],
    ),
    (
        Work::NewConnection,
        "New TLS connections, full handshake and one request",
        [Some(0.45), Some(0.45)],
    ),
    (
        Work::LargePlain,
        "HTTP/1.1, 1 MiB, 16 connections",
        [Some(0.60), None],
    ),
    (
        Work::LargeTls,
        "HTTP/1.1 over TLS 1.3, 1 MiB, 16 connections",
        [Some(0.60), None],
    ),
    (
        Work::FixedRate,
        "HTTP/1.1 at a fixed 4,000 requests per second over 32 connections",
        [None, None],
    ),
];

/// What came of one run; what a client does not tell is not a number.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Processor time per request in microseconds.
    pub cpu_us: f64,
    /// Requests per second.
    pub rate: f64,
    /// Percentiles 50, 99 and 99.9 of the time a request took, in microseconds.
    pub percentiles: [f64; 3],
}

/// What a client saw.
struct Seen {
    requests: f64,
    seconds: f64,
    percentiles: [f64; 3],
}

/// Runs a work once.
pub fn measure(work: Work, contender: &Contender) -> Result<Sample> {
    let before = cpu_us(contender.pid())?;
    let seen = drive(work, contender)
        .with_context(|| format!("{} failed with {}", contender.name, title(work)))?;
    let spent = cpu_us(contender.pid())? - before;
    ensure!(seen.requests > 0.0, "no request was answered");
    Ok(Sample {
        cpu_us: spent / seen.requests,
        rate: seen.requests / seen.seconds,
        percentiles: seen.percentiles,
    })
}

/// The fixed rate without any proxy.
pub fn direct(application: SocketAddr) -> Result<Sample> {
    let seen = fixed_rate(application)?;
    Ok(Sample {
        cpu_us: f64::NAN,
        rate: seen.requests / seen.seconds,
        percentiles: seen.percentiles,
    })
}

pub fn title(work: Work) -> &'static str {
    let found = WORKS.iter().find(|(it, ..)| *it == work);
    found.map_or("", |(_, title, _)| *title)
}

fn drive(work: Work, contender: &Contender) -> Result<Seen> {
    let (plain, https) = (contender.plain.port(), contender.https.port());
    let large = application::LARGE;
    match work {
        Work::Plain => wrk(CONNECTIONS, &format!("http://localhost:{plain}/")),
        Work::Tls => wrk(CONNECTIONS, &format!("https://localhost:{https}/")),
        Work::LargePlain => wrk(
            LARGE_CONNECTIONS,
            &format!("http://localhost:{plain}{large}"),
        ),
        Work::LargeTls => wrk(
            LARGE_CONNECTIONS,
            &format!("https://localhost:{https}{large}"),
        ),
        Work::Http2 => h2load(&format!("https://localhost:{https}/")),
        Work::NewConnection => new_connections(contender.https),
        Work::FixedRate => fixed_rate(contender.plain),
    }
}

fn wrk(connections: usize, url: &str) -> Result<Seen> {
    let script = assets::checkout().join("bench/peers/report.lua");
    let mut command = Command::new("wrk");
    command
        .args(["-t1", &format!("-c{connections}")])
        .arg(format!("-d{}s", TIME.as_secs()))
        .arg("-s")
        .arg(script)
        .arg(url);
    let output = run::ok(&mut command)?;
    let line = output
        .lines()
        .find_map(|line| line.strip_prefix("measured "));
    let line = line.with_context(|| format!("wrk did not report: {output}"))?;
    let numbers: Result<Vec<f64>, _> = line.split(' ').map(str::parse).collect();
    let [requests, microseconds, errors, p50, p99, p999] = numbers?[..] else {
        anyhow::bail!("wrk reported {line:?}");
    };
    ensure!(errors == 0.0, "{errors} of {requests} requests failed");
    Ok(Seen {
        requests,
        seconds: microseconds / 1e6,
        percentiles: [p50, p99, p999],
    })
}

fn h2load(url: &str) -> Result<Seen> {
    let (connections, streams, requests) = HTTP2;
    let directory = tempfile::tempdir()?;
    let log = directory.path().join("log");
    let started = Instant::now();
    let mut command = Command::new("h2load");
    command
        .args(["-c", &connections.to_string(), "-m", &streams.to_string()])
        .args(["-n", &requests.to_string()])
        .arg(format!("--log-file={}", log.display()))
        .arg(url);
    run::ok(&mut command)?;
    let seconds = started.elapsed().as_secs_f64();
    let mut times = Vec::new();
    for line in fs::read_to_string(&log)?.lines() {
        let mut fields = line.split('\t').skip(1);
        let (status, time) = (fields.next(), fields.next());
        ensure!(status == Some("200"), "h2load reported {line:?}");
        times.push(time.context("no time")?.parse()?);
    }
    ensure!(times.len() == requests, "{} answers came", times.len());
    times.sort_by(f64::total_cmp);
    Ok(Seen {
        requests: requests as f64,
        seconds,
        percentiles: percentiles(&times),
    })
}

fn new_connections(address: SocketAddr) -> Result<Seen> {
    let target = load::Target {
        address,
        tls: Some(load::tls("http/1.1")?),
        path: "/",
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let started = Instant::now();
    let made = runtime.block_on(load::new_connections_for(&target, PARALLEL, TIME))?;
    Ok(Seen {
        requests: made as f64,
        seconds: started.elapsed().as_secs_f64(),
        percentiles: [f64::NAN; 3],
    })
}

fn fixed_rate(address: SocketAddr) -> Result<Seen> {
    let times = load::fixed_rate(address, RATE_CONNECTIONS, RATE, TIME)?;
    Ok(Seen {
        requests: times.len() as f64,
        seconds: TIME.as_secs_f64(),
        percentiles: percentiles(&times),
    })
}

/// Percentiles 50, 99 and 99.9 of sorted times.
fn percentiles(times: &[f64]) -> [f64; 3] {
    [500, 990, 999].map(|permille| {
        let rank = (times.len() * permille).div_ceil(1_000).saturating_sub(1);
        times.get(rank).copied().unwrap_or(f64::NAN)
    })
}

#[cfg(test)]
mod tests {
    use super::percentiles;

    #[test]
    fn percentiles_are_nearest_rank() {
        let times: Vec<f64> = (1..=1_000).map(f64::from).collect();
        assert_eq!(percentiles(&times), [500.0, 990.0, 999.0]);
        assert!(percentiles(&[]).iter().all(|it| it.is_nan()));
    }
}

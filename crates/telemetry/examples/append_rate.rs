//! How fast lines are taken in, how small they become, how fast they are found again:
//! `cargo run --release -p apron-telemetry --example append_rate [lines] [streams]`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use apron_telemetry::{LogEvent, Logs, Position, ReadLimits, ReadRange, ScanRequest, StreamFilter};
use std::sync::Arc;
use std::time::Instant;

const BATCH: u64 = 500;
const GROUP: &str = "/aws/apprunner/web/0/application";

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|text| text.parse::<u64>().unwrap());
    let lines = arguments.next().unwrap_or(4_000_000);
    let streams = arguments.next().unwrap_or(4);
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::open(dir.path()).await.unwrap();
    append(&logs, lines, streams).await;
    let disk = disk_bytes(dir.path());
    println!(
        "disk: {:.1} MB, {:.1} bytes a line",
        disk as f64 / 1e6,
        disk as f64 / lines as f64
    );
    read(&logs).await;
    search(&logs).await;
    logs.close().await.unwrap();
    drop(logs);
    let begun = Instant::now();
    let logs = Logs::open(dir.path()).await.unwrap();
    logs.read(
        GROUP,
        "instance/0",
        ReadRange::default(),
        Position::Tail,
        ReadLimits {
            events: 10,
            bytes: 1 << 20,
        },
    )
    .await
    .unwrap();
    println!(
        "open and read the last 10 lines: {:.1} ms",
        begun.elapsed().as_secs_f64() * 1e3
    );
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!(
        "{}",
        status
            .lines()
            .filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"))
            .collect::<Vec<_>>()
            .join(", ")
    );
}

async fn append(logs: &Arc<Logs>, lines: u64, streams: u64) {
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for stream in 0..streams {
        let logs = logs.clone();
        tasks.spawn(async move {
            let name = format!("instance/{stream}");
            let mut taken = 0;
            while taken < lines / streams {
                let events = (taken..taken + BATCH).map(|n| line(n, stream)).collect();
                logs.append(GROUP, &name, events).await.unwrap();
                taken += BATCH;
            }
        });
    }
    tasks.join_all().await;
    let taken = begun.elapsed();
    logs.flush().await.unwrap();
    let flushed = begun.elapsed();
    println!(
        "{lines} lines of {streams} streams: taken in {:.2} s ({:.0} lines/s), on disk in {:.2} s ({:.0} lines/s)",
        taken.as_secs_f64(),
        lines as f64 / taken.as_secs_f64(),
        flushed.as_secs_f64(),
        lines as f64 / flushed.as_secs_f64()
    );
}

fn line(n: u64, stream: u64) -> LogEvent {
    let hash = (n * 31 + stream).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let status = if hash.is_multiple_of(97) { 500 } else { 200 };
    let message = format!(
        "10.0.{}.{} - - \"GET /api/items/{} HTTP/1.1\" {status} {} \"-\" \"curl/7.88.1\" {}us",
        hash >> 56,
        hash >> 48 & 255,
        hash >> 40 & 0xffff,
        hash & 0xfff,
        hash >> 20 & 0xffff
    );
    LogEvent {
        timestamp_ms: 1_700_000_000_000 + n / 10,
        ingestion_ms: 1_700_000_000_002 + n / 10,
        message,
    }
}

async fn read(logs: &Arc<Logs>) {
    let limits = ReadLimits {
        events: 10_000,
        bytes: 1 << 20,
    };
    let (begun, mut events, mut pages, mut from) = (Instant::now(), 0, 0, Position::Head);
    loop {
        let page = logs
            .read(GROUP, "instance/0", ReadRange::default(), from, limits)
            .await
            .unwrap();
        if page.events.is_empty() && from == Position::After(page.next_forward) {
            break;
        }
        events += page.events.len();
        pages += 1;
        from = Position::After(page.next_forward);
    }
    println!(
        "one stream read: {events} lines in {pages} pages, {:.2} s",
        begun.elapsed().as_secs_f64()
    );
}

async fn search(logs: &Arc<Logs>) {
    let limits = ReadLimits {
        events: 10_000,
        bytes: 1 << 20,
    };
    let predicate: apron_telemetry::Predicate =
        Arc::new(|message: &str| message.contains("\" 500 "));
    let mut request = ScanRequest {
        streams: StreamFilter::All,
        range: ReadRange::default(),
        after: None,
        limits,
        predicate: Some(predicate),
    };
    let (begun, mut found, mut pages) = (Instant::now(), 0, 0);
    loop {
        let page = logs.scan(GROUP, request.clone()).await.unwrap();
        found += page.events.len();
        pages += 1;
        request.after = page.next;
        if page.next.is_none() {
            break;
        }
    }
    println!(
        "all streams searched: {found} matches in {pages} pages, {:.2} s",
        begun.elapsed().as_secs_f64()
    );
}

fn disk_bytes(path: &std::path::Path) -> u64 {
    std::fs::read_dir(path)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => disk_bytes(&entry.path()),
                false => entry.metadata().unwrap().len(),
            }
        })
        .sum()
}

//! A process killed while it appends loses nothing it was told is flushed.

use super::{event, read_all};
use apron_telemetry::Logs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// Names the directory when this test binary runs as the process to be killed.
const CHILD_DIR: &str = "APRON_LOGS_CRASH_DIR";
const GROUPS: [&str; 3] = ["/a", "/b", "/c"];

/// Not a test by itself: what the child process of the test below does until it is killed.
#[tokio::test]
async fn crash_child() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let logs = Logs::open(dir.as_ref()).await.unwrap();
    let mut counts = Vec::new();
    for group in GROUPS {
        counts.push(numbers_if_any(&logs, group).await.len() as u64);
    }
    for round in 0.. {
        // Sometimes a line, sometimes more than a block.
        let size = if round % 7 == 3 { 40_000 } else { 40 };
        for (group, count) in GROUPS.into_iter().zip(&mut counts) {
            let events =
                (*count..*count + 8).map(|n| event(n, format!("{n} {}", "x".repeat(size))));
            logs.append(group, "s", events.collect()).await.unwrap();
            *count += 8;
        }
        match round % 2 {
            0 => logs.flush().await.unwrap(),
            _ => {
                for group in GROUPS {
                    logs.flush_group(group).await.unwrap();
                }
            }
        }
        println!("flushed {}", counts.iter().min().unwrap());
    }
}

/// The numbers of a group's events in the order they are kept.
async fn numbers_if_any(logs: &Logs, group: &str) -> Vec<u64> {
    match logs.group_get(group).await.unwrap() {
        Some(_) => {
            let number = |message: &str| message.split(' ').next().unwrap().parse().unwrap();
            read_all(logs, group, "s")
                .await
                .iter()
                .map(|event| number(&event.message))
                .collect()
        }
        None => Vec::new(),
    }
}

fn killed_after(dir: &Path, lines: u32) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "logs::crash::crash_child", "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut flushed, mut seen) = (None, 0);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        if let Some((_, number)) = line.unwrap().split_once("flushed ") {
            flushed = number.parse().ok().or(flushed);
            seen += 1;
            if seen == lines {
                child.kill().unwrap();
            }
        }
    }
    child.wait().unwrap();
    flushed.unwrap()
}

#[tokio::test]
async fn nothing_flushed_is_lost_by_kills_one_after_another() {
    let dir = tempfile::tempdir().unwrap();
    for lines in [1, 9, 40] {
        let path = dir.path().to_owned();
        let flushed = tokio::task::spawn_blocking(move || killed_after(&path, lines))
            .await
            .unwrap();
        let logs = Logs::open(dir.path()).await.unwrap();
        for group in GROUPS {
            let numbers = numbers_if_any(&logs, group).await;
            let count = numbers.len() as u64;
            assert!(
                count >= flushed,
                "{group}: {count} events, flushed up to {flushed}"
            );
            assert!(
                numbers.iter().copied().eq(0..count),
                "{group}: in order, none twice, none missing"
            );
        }
        drop(logs);
    }
}

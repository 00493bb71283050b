//! Many tasks at once.

use super::{ALL, LARGE, event, open, page, read_all};
use apron_telemetry::{Logs, Position, ScanRequest, ScannedEvent, StreamFilter, TelemetryError};
use std::sync::Arc;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);

/// Every event of a group, by time.
pub async fn scan_all(logs: &Logs, group: &str) -> Vec<ScannedEvent> {
    let mut request = ScanRequest {
        streams: StreamFilter::All,
        range: ALL,
        after: None,
        limits: LARGE,
        predicate: None,
    };
    let mut all = Vec::new();
    loop {
        let page = logs.scan(group, request.clone()).await.unwrap();
        all.extend(page.events);
        request.after = page.next;
        if page.next.is_none() {
            return all;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn followers_see_every_event_once_and_in_order_while_many_append() {
    const WRITERS: u64 = 8;
    const BATCHES: u64 = 60;
    const LINES: u64 = 200;
    let (_dir, logs) = open().await;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let stream = format!("instance/{writer}");
        logs.append("/g", &stream, vec![event(0, "0 begin")])
            .await
            .unwrap();
        let follower = (logs.clone(), stream.clone());
        let appender = logs.clone();
        tasks.spawn(async move {
            for batch in 0..BATCHES {
                let first = 1 + batch * LINES;
                let lines = (first..first + LINES)
                    .map(|n| event(n, format!("{n} from {writer} {}", "y".repeat(60))));
                appender
                    .append("/g", &stream, lines.collect())
                    .await
                    .unwrap();
                tokio::task::yield_now().await;
            }
        });
        tasks.spawn(follow(follower.0, follower.1, BATCHES * LINES));
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let all = scan_all(&logs, "/g").await;
    assert_eq!(all.len() as u64, WRITERS * (1 + BATCHES * LINES));
    assert!(all.windows(2).all(|pair| {
        let key = |found: &ScannedEvent| (found.event.timestamp_ms, found.event.sequence);
        key(&pair[0]) < key(&pair[1])
    }));
}

async fn follow(logs: Arc<Logs>, stream: String, last: u64) {
    let begun = Instant::now();
    let (mut from, mut expected) = (Position::Head, 0);
    while expected <= last {
        assert!(begun.elapsed() < DEADLINE, "{stream} stopped at {expected}");
        let page = page(&logs, "/g", &stream, from).await;
        for event in &page.events {
            let number: u64 = event.message.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(number, expected, "{stream}");
            expected += 1;
        }
        from = Position::After(page.next_forward);
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stream_made_by_many_tasks_at_once_is_one_stream() {
    let (_dir, logs) = open().await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..40u64 {
        let logs = logs.clone();
        tasks.spawn(async move {
            let (group, stream) = (format!("/g{}", number % 2), format!("s{}", number % 5));
            logs.append(&group, &stream, vec![event(number, "x")])
                .await
                .unwrap();
        });
    }
    tasks.join_all().await;
    for group in ["/g0", "/g1"] {
        for stream in 0..5 {
            assert_eq!(read_all(&logs, group, &format!("s{stream}")).await.len(), 4);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn deleting_a_group_under_appenders_and_readers_harms_nobody() {
    let (dir, logs) = open().await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..4u64 {
        let logs = logs.clone();
        tasks.spawn(async move {
            for number in 0..100u64 {
                logs.append(
                    "/g",
                    &format!("s{task}"),
                    vec![event(number, "x".repeat(3000)); 10],
                )
                .await
                .unwrap();
                let read = logs.read("/g", "s0", ALL, Position::Tail, LARGE).await;
                let gone = |error: &TelemetryError| {
                    matches!(
                        error,
                        TelemetryError::GroupNotFound { .. }
                            | TelemetryError::StreamNotFound { .. }
                    )
                };
                assert!(read.as_ref().err().is_none_or(gone), "{read:?}");
            }
        });
    }
    let deleter = logs.clone();
    tasks.spawn(async move {
        for _ in 0..30 {
            match deleter.group_delete("/g").await {
                Ok(()) | Err(TelemetryError::GroupNotFound { .. }) => {
                    tokio::task::yield_now().await
                }
                Err(error) => panic!("{error}"),
            }
        }
    });
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    logs.append("/g", "end", vec![event(1, "last")])
        .await
        .unwrap();
    logs.flush().await.unwrap();
    assert_eq!(read_all(&logs, "/g", "end").await.len(), 1);
    let directories = std::fs::read_dir(dir.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().is_dir());
    assert_eq!(directories.count(), 1, "deleted groups leave nothing");
}

#[tokio::test]
async fn events_reach_the_disk_by_themselves() {
    let (dir, logs) = open().await;
    logs.append("/g", "a", vec![event(1, "needle in a file")])
        .await
        .unwrap();
    let begun = Instant::now();
    let on_disk = || {
        std::fs::read_dir(dir.path().join("1"))
            .map(|entries| {
                entries
                    .map(|entry| entry.unwrap().metadata().unwrap().len())
                    .sum::<u64>()
            })
            .unwrap_or(0)
    };
    while on_disk() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "not written");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_groups_than_are_kept_open_all_work() {
    let (_dir, logs) = open().await;
    for round in 0..2u64 {
        for group in 0..300 {
            logs.append(
                &format!("/g{group}"),
                "s",
                vec![event(round, format!("{group}"))],
            )
            .await
            .unwrap();
            if group % 64 == 0 {
                logs.flush().await.unwrap();
            }
        }
    }
    for group in (0..300).step_by(7) {
        let events = read_all(&logs, &format!("/g{group}"), "s").await;
        assert_eq!(events.len(), 2);
        assert_eq!(events[1].message, group.to_string());
    }
}

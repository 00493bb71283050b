//! Tails become segments, segments are merged and removed.

use super::*;
use crate::logs::model::StreamOrder;
use std::collections::BTreeSet;

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn many_small_segments_are_merged_into_few() {
    let (dir, logs) = open().await;
    for round in 0..64u64 {
        logs.append(GROUP, "a", vec![event(round, &format!("line {round}"))])
            .await
            .unwrap();
        seal(&logs, GROUP).await;
    }
    let group = logs.shared.group_existing(GROUP).await.unwrap();
    let rows = group.live().segments.len();
    assert!(rows <= 8, "{rows} segments of 64");
    assert_eq!(files(&group.dir).len(), rows, "{:?}", files(&group.dir));
    drop(group);
    let logs = reopen(dir.path(), logs).await;
    let events = read_forward(&logs, "a", ALL, LARGE).await;
    let wanted: Vec<String> = (0..64).map(|round| format!("line {round}")).collect();
    assert_eq!(messages(&events), wanted);
}

#[tokio::test]
async fn a_tail_of_large_blocks_becomes_a_segment_without_being_copied() {
    let (_dir, logs) = open().await;
    let line = "0123456789 abcdefghij ".repeat(50);
    for batch in 0..40u64 {
        let events = (0..100).map(|n| event(batch * 100 + n, &line)).collect();
        logs.append(GROUP, "a", events).await.unwrap();
    }
    seal(&logs, GROUP).await;
    let group = logs.shared.group_existing(GROUP).await.unwrap();
    let row = group.live().segments[0].clone();
    assert!(row.file.ends_with(".log"), "{row:?}");
    assert!(row.file_bytes * 5 < row.raw_bytes, "{row:?}");
    assert_eq!(read_forward(&logs, "a", ALL, LARGE).await.len(), 4000);
    logs.append(GROUP, "a", vec![event(1, "behind")])
        .await
        .unwrap();
    assert_eq!(read_forward(&logs, "a", ALL, LARGE).await.len(), 4001);
}

#[tokio::test]
async fn retention_hides_old_events_at_once_and_frees_their_segments() {
    const DAY: u64 = 86_400_000;
    let (dir, logs) = open().await;
    let now = 100 * DAY;
    for day in 90..100 {
        let messages = (0..10).map(|n| event(day * DAY + n, &format!("day {day}")));
        logs.append(GROUP, "a", messages.collect()).await.unwrap();
        seal(&logs, GROUP).await;
    }
    logs.append(GROUP, "old", vec![event(10 * DAY, "very old")])
        .await
        .unwrap();
    assert_eq!(
        logs.enforce_retention(now).await.unwrap(),
        0,
        "kept for ever by default"
    );
    logs.retention_set(GROUP, Some(5)).await.unwrap();
    assert_eq!(
        logs.group_get(GROUP).await.unwrap().unwrap().retention_days,
        Some(5)
    );
    let freed = logs.enforce_retention(now).await.unwrap();
    assert!(freed > 0);
    for _ in 0..2 {
        let events = read_forward(&logs, "a", ALL, LARGE).await;
        assert_eq!(events.len(), 50);
        assert!(events.iter().all(|event| event.timestamp_ms >= 95 * DAY));
        assert!(read_forward(&logs, "old", ALL, LARGE).await.is_empty());
        let names: BTreeSet<_> = scan_all(&logs, request(StreamFilter::All))
            .await
            .into_iter()
            .map(|e| e.stream)
            .collect();
        assert_eq!(names.len(), 1);
        logs.append(GROUP, "a", vec![]).await.unwrap();
    }
    let old = logs.stream_get(GROUP, "old").await.unwrap().unwrap();
    let logs = reopen(dir.path(), logs).await;
    assert_eq!(logs.stream_get(GROUP, "old").await.unwrap().unwrap(), old);
    // What could not be removed as a whole is removed in time.
    logs.enforce_retention(now + 20 * DAY).await.unwrap();
    let group = logs.shared.group_existing(GROUP).await.unwrap();
    assert!(files(&group.dir).is_empty(), "{:?}", files(&group.dir));
    for stream in ["a", "old"] {
        let info = logs.stream_get(GROUP, stream).await.unwrap().unwrap();
        assert_eq!(
            (info.stored_bytes, info.first_event_ms, info.last_event_ms),
            (0, None, None),
            "{stream}"
        );
    }
    logs.append(GROUP, "a", vec![event(now + 20 * DAY, "new")])
        .await
        .unwrap();
    assert_eq!(
        messages(&read_forward(&logs, "a", ALL, LARGE).await),
        ["new"]
    );
}

#[tokio::test]
async fn a_deleted_group_leaves_nothing_and_can_be_made_again() {
    let (dir, logs) = open().await;
    logs.append(GROUP, "a", vec![event(1, "one")])
        .await
        .unwrap();
    seal(&logs, GROUP).await;
    logs.append(GROUP, "a", vec![event(2, "two")])
        .await
        .unwrap();
    let group_dir = logs.shared.group_existing(GROUP).await.unwrap().dir.clone();
    assert!(group_dir.exists());
    logs.group_delete(GROUP).await.unwrap();
    assert!(!group_dir.exists());
    assert_eq!(
        files(dir.path())
            .iter()
            .filter(|name| name.starts_with("deleted"))
            .count(),
        0
    );
    assert!(logs.group_get(GROUP).await.unwrap().is_none());
    assert!(matches!(
        logs.group_delete(GROUP).await,
        Err(TelemetryError::GroupNotFound { .. })
    ));
    logs.append(GROUP, "b", vec![event(3, "three")])
        .await
        .unwrap();
    let streams = logs
        .streams(GROUP, None, StreamOrder::Name, false, None, 50)
        .await
        .unwrap();
    assert_eq!(
        streams
            .iter()
            .map(|info| info.name.as_str())
            .collect::<Vec<_>>(),
        ["b"]
    );
    assert_eq!(scan_all(&logs, request(StreamFilter::All)).await.len(), 1);
    assert!(
        logs.shared
            .waiting
            .load(std::sync::atomic::Ordering::Relaxed)
            > 0
    );
    logs.flush().await.unwrap();
    assert_eq!(
        logs.shared
            .waiting
            .load(std::sync::atomic::Ordering::Relaxed),
        0
    );
}

#[tokio::test]
async fn a_deletion_cut_short_is_finished_or_taken_back() {
    let (dir, logs) = open().await;
    for group in ["kept", "gone"] {
        logs.append(group, "a", vec![event(1, "one")])
            .await
            .unwrap();
    }
    logs.flush().await.unwrap();
    let ids = [
        logs.shared.group_existing("kept").await.unwrap().id,
        logs.shared.group_existing("gone").await.unwrap().id,
    ];
    logs.shared.index.group_remove(ids[1]).await.unwrap();
    for id in ids {
        std::fs::rename(
            dir.path().join(id.to_string()),
            dir.path().join(format!("deleted-{id}")),
        )
        .unwrap();
    }
    let logs = reopen(dir.path(), logs).await;
    assert!(!dir.path().join(format!("deleted-{}", ids[1])).exists());
    assert!(logs.group_get("gone").await.unwrap().is_none());
    let page = logs
        .read("kept", "a", ALL, Position::Head, LARGE)
        .await
        .unwrap();
    assert_eq!(messages(&page.events), ["one"]);
}

#[tokio::test]
async fn a_directory_of_a_lost_index_is_set_aside_not_removed() {
    let (dir, logs) = open().await;
    logs.append(GROUP, "a", vec![event(1, "one")])
        .await
        .unwrap();
    seal(&logs, GROUP).await;
    close_hard(dir.path(), logs).await;
    for file in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
        let _ = std::fs::remove_file(dir.path().join(file));
    }
    let logs = Logs::open(dir.path()).await.unwrap();
    logs.append("other", "b", vec![event(1, "two")])
        .await
        .unwrap();
    let page = logs
        .read("other", "b", ALL, Position::Head, LARGE)
        .await
        .unwrap();
    assert_eq!(messages(&page.events), ["two"]);
    assert_eq!(files(&dir.path().join("lost-1-0")).len(), 1);
}

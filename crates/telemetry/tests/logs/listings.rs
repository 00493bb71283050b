//! Groups and streams are listed once each, in order, whatever the page size.

use super::{event, open};
use apron_telemetry::{NameFilter, StreamCursor, StreamInfo, StreamOrder, TelemetryError};

#[tokio::test]
async fn groups_are_listed_by_name() {
    let (_dir, logs) = open().await;
    for name in ["/b", "/a/x", "/a/y", "/A", "c"] {
        logs.group_create(name, 7).await.unwrap();
    }
    let error = logs.group_create("/b", 8).await.unwrap_err();
    assert!(
        matches!(error, TelemetryError::GroupExists { .. }),
        "{error}"
    );
    for (filter, wanted) in [
        (NameFilter::All, vec!["/A", "/a/x", "/a/y", "/b", "c"]),
        (NameFilter::Prefix("/a".to_owned()), vec!["/a/x", "/a/y"]),
        (
            NameFilter::Contains("/A".to_owned()),
            vec!["/A", "/a/x", "/a/y"],
        ),
        (NameFilter::Contains("%".to_owned()), vec![]),
        (
            NameFilter::Prefix(String::new()),
            vec!["/A", "/a/x", "/a/y", "/b", "c"],
        ),
    ] {
        for limit in 1..=6 {
            let mut seen: Vec<String> = Vec::new();
            loop {
                let page = logs
                    .groups(&filter, seen.last().map(String::as_str), limit)
                    .await
                    .unwrap();
                assert!(page.len() <= limit);
                if page.is_empty() {
                    break;
                }
                assert!(
                    page.iter()
                        .all(|info| info.created_ms == 7 && info.stored_bytes == 0)
                );
                seen.extend(page.into_iter().map(|info| info.name));
            }
            assert_eq!(seen, wanted, "{filter:?} by {limit}");
        }
    }
}

#[tokio::test]
async fn streams_are_listed_by_name_and_by_last_event_both_ways() {
    let (_dir, logs) = open().await;
    for (name, time) in [("i/c", 30), ("i/a", 20), ("i/b", 30), ("events", 40)] {
        logs.append("/g", name, vec![event(time, "x"), event(10, "late")])
            .await
            .unwrap();
    }
    logs.stream_create("/g", "i/empty", 5).await.unwrap();
    for (order, prefix, wanted) in [
        (
            StreamOrder::Name,
            None,
            vec!["events", "i/a", "i/b", "i/c", "i/empty"],
        ),
        (
            StreamOrder::Name,
            Some("i/"),
            vec!["i/a", "i/b", "i/c", "i/empty"],
        ),
        (
            StreamOrder::LastEvent,
            None,
            vec!["i/empty", "i/a", "i/b", "i/c", "events"],
        ),
    ] {
        for descending in [false, true] {
            let mut wanted = wanted.clone();
            if descending {
                wanted.reverse();
            }
            for limit in 1..=6 {
                let mut seen: Vec<StreamInfo> = Vec::new();
                loop {
                    let after = seen.last().map(|info| StreamCursor {
                        last_event_ms: info.last_event_ms,
                        name: info.name.clone(),
                    });
                    let page = logs
                        .streams("/g", prefix, order, descending, after.as_ref(), limit)
                        .await
                        .unwrap();
                    if page.is_empty() {
                        break;
                    }
                    seen.extend(page);
                }
                let names: Vec<_> = seen.iter().map(|info| info.name.as_str()).collect();
                assert_eq!(
                    names, wanted,
                    "{order:?} descending {descending} by {limit}"
                );
            }
        }
    }
    let info = logs.stream_get("/g", "i/a").await.unwrap().unwrap();
    let wanted = StreamInfo {
        name: "i/a".to_owned(),
        created_ms: 23,
        first_event_ms: Some(10),
        last_event_ms: Some(20),
        last_ingestion_ms: Some(23),
        stored_bytes: 1 + 4 + 2 * 26,
    };
    assert_eq!(info, wanted);
    let group = logs.group_get("/g").await.unwrap().unwrap();
    assert_eq!(
        (group.stored_bytes, group.created_ms, group.retention_days),
        (4 * 57, 33, None)
    );
}

#[tokio::test]
async fn a_deleted_stream_is_gone_for_every_reader_and_its_name_free() {
    let (_dir, logs) = open().await;
    logs.append("/g", "a", vec![event(1, "old a")])
        .await
        .unwrap();
    logs.append("/g", "b", vec![event(2, "b")]).await.unwrap();
    logs.stream_delete("/g", "a").await.unwrap();
    assert!(matches!(
        logs.stream_delete("/g", "a").await,
        Err(TelemetryError::StreamNotFound { .. })
    ));
    assert!(logs.stream_get("/g", "a").await.unwrap().is_none());
    let found = super::tasks::scan_all(&logs, "/g").await;
    assert_eq!(found.len(), 1);
    logs.append("/g", "a", vec![event(3, "new a")])
        .await
        .unwrap();
    let events = super::read_all(&logs, "/g", "a").await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].message, "new a");
}

//! The work of one call is bounded, and bounded calls still come to the end.

use super::*;

/// Larger than what one call unpacks.
const LINES: u64 = 5_000;

/// Appends many long lines; `time` gives each its time.
async fn fill(logs: &Logs, time: impl Fn(u64) -> u64) {
    let long = "a line of text ".repeat(700);
    for first in (0..LINES).step_by(100) {
        let line = |n: u64| {
            event(
                time(n),
                &format!("{n} {long}{}", if n % 1_000 == 7 { "needle" } else { "" }),
            )
        };
        logs.append(GROUP, "a", (first..first + 100).map(line).collect())
            .await
            .unwrap();
    }
}

fn first_word(text: &str) -> u64 {
    text.split(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_search_that_finds_little_answers_in_parts() {
    let (_dir, logs) = open().await;
    fill(&logs, |n| n).await;
    let mut request = request(StreamFilter::All);
    request.predicate = Some(Arc::new(|message: &str| message.ends_with("needle")));
    let page = logs.scan(GROUP, request.clone()).await.unwrap();
    assert!(
        page.next.is_some() && page.events.len() < 5,
        "{} found at once",
        page.events.len()
    );
    let found = scan_all(&logs, request).await;
    let numbers: Vec<u64> = found
        .iter()
        .map(|found| first_word(&found.event.message))
        .collect();
    assert_eq!(numbers, [7, 1007, 2007, 3007, 4007]);
}

#[tokio::test]
async fn a_read_that_finds_nothing_answers_in_parts_and_ends() {
    let (_dir, logs) = open().await;
    // Every block has times on both sides of the range, none inside.
    fill(&logs, |n| if n % 2 == 0 { 0 } else { 1_000 }).await;
    let range = ReadRange {
        start_ms: Some(400),
        end_ms: Some(500),
    };
    let page = logs
        .read(GROUP, "a", range, Position::Head, LARGE)
        .await
        .unwrap();
    assert!(page.events.is_empty() && page.next_forward > EventCursor(0));
    assert!(read_forward(&logs, "a", range, LARGE).await.is_empty());
    assert!(read_backward(&logs, "a", range, LARGE).await.is_empty());
    assert!(
        scan_all(
            &logs,
            ScanRequest {
                range,
                ..request(StreamFilter::All)
            }
        )
        .await
        .is_empty()
    );
}

#[tokio::test]
async fn a_flood_within_one_millisecond_is_paged_to_its_end() {
    let (_dir, logs) = open().await;
    fill(&logs, |_| 77).await;
    seal(&logs, GROUP).await;
    let limits = ReadLimits {
        events: 2_000,
        bytes: usize::MAX,
    };
    let found = scan_all(
        &logs,
        ScanRequest {
            limits,
            ..request(StreamFilter::All)
        },
    )
    .await;
    assert!(
        found
            .iter()
            .map(|found| first_word(&found.event.message))
            .eq(0..LINES)
    );
}

#[tokio::test]
async fn a_page_holds_one_event_however_small_its_limits() {
    let (_dir, logs) = open().await;
    logs.append(GROUP, "a", vec![event(1, "one"), event(2, "two")])
        .await
        .unwrap();
    let nothing = ReadLimits {
        events: 0,
        bytes: 0,
    };
    let page = logs
        .read(GROUP, "a", ALL, Position::Head, nothing)
        .await
        .unwrap();
    assert_eq!(messages(&page.events), ["one"]);
    let page = logs
        .read(GROUP, "a", ALL, Position::Tail, nothing)
        .await
        .unwrap();
    assert_eq!(messages(&page.events), ["two"]);
    let page = logs
        .scan(
            GROUP,
            ScanRequest {
                limits: nothing,
                ..request(StreamFilter::All)
            },
        )
        .await
        .unwrap();
    assert_eq!((page.events.len(), page.next.is_some()), (1, true));
}

#[tokio::test]
async fn after_a_failed_sync_the_same_bytes_are_written_again() {
    let (dir, logs) = open().await;
    logs.append(GROUP, "a", vec![event(1, "one")])
        .await
        .unwrap();
    logs.flush().await.unwrap();
    logs.append(GROUP, "a", vec![event(2, "two")])
        .await
        .unwrap();
    let group = logs.shared.group_existing(GROUP).await.unwrap();
    write_out(&logs.shared, &group, Reach::Disk).await.unwrap();
    {
        let mut live = group.live();
        let tail = live.tail.as_mut().unwrap();
        (tail.suspect, tail.synced_len) = (true, tail.frames[0].end());
    }
    let before = std::fs::read(&group.live().tail.as_ref().unwrap().path).unwrap();
    assert!(group.live().is_dirty());
    logs.flush().await.unwrap();
    assert!(!group.live().is_dirty() && !group.live().tail.as_ref().unwrap().suspect);
    let after = std::fs::read(&group.live().tail.as_ref().unwrap().path).unwrap();
    assert_eq!(before, after);
    drop(group);
    let logs = reopen(dir.path(), logs).await;
    assert_eq!(
        messages(&read_forward(&logs, "a", ALL, LARGE).await),
        ["one", "two"]
    );
}

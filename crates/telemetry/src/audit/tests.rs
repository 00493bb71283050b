use super::*;
use serde_json::json;

fn record<'a>(kind: RecordKind, id: &'a str, at_ms: u64, body: &'a str) -> Record<'a> {
    Record {
        kind,
        id,
        at_ms,
        body,
    }
}

fn everything() -> Lookup {
    Lookup {
        since_ms: 0,
        until_ms: u64::MAX,
        before: None,
        containing: None,
        wanted: Box::new(|_| true),
        limit: 2,
    }
}

#[tokio::test]
async fn records_are_found_newest_first_with_their_ends() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(dir.path()).unwrap();
    audit
        .append(record(RecordKind::Event, "a", 1, "{\"x\":1}"))
        .unwrap();
    let begun = record(RecordKind::Begin, "b", 2, "{\"x\":2}");
    audit.append_durably(begun).await.unwrap();
    audit
        .append(record(RecordKind::Event, "c", 3, "{\"x\":3}"))
        .unwrap();
    audit
        .append(record(RecordKind::End, "b", 4, "{\"ok\":true}"))
        .unwrap();
    let page = audit.lookup(everything()).await.unwrap();
    let ids: Vec<&str> = page.events.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids, ["c", "b"]);
    assert_eq!(page.events[1].end, Some(json!({"ok": true})));
    let next = Lookup {
        before: page.before,
        ..everything()
    };
    let page = audit.lookup(next).await.unwrap();
    assert_eq!(
        (page.events.len(), page.events[0].id.as_str(), page.before),
        (1, "a", None)
    );
    let wanted = Lookup {
        wanted: Box::new(|body| body["x"] == 2),
        containing: Some("\"x\":2".to_owned()),
        ..everything()
    };
    assert_eq!(audit.lookup(wanted).await.unwrap().events[0].id, "b");
}

#[tokio::test]
async fn the_chain_goes_on_after_a_restart_and_shows_every_change() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let audit = Audit::open(dir.path()).unwrap();
        for at in 0..5 {
            let at_ms = (round * 24 * 60 + at) * 60_000;
            audit
                .append(record(RecordKind::Event, "e", at_ms, "{}"))
                .unwrap();
        }
        audit.flush().await.unwrap();
    }
    let whole = verify(dir.path()).unwrap();
    assert_eq!((whole.records, whole.numbers), (15, Some((0, 14))));
    let segments = segment::segments(dir.path()).unwrap();
    assert_eq!(segments.len(), 3, "each day has its segment");
    let text = std::fs::read_to_string(&segments[1]).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let without = |index: usize| {
        let mut kept = lines.clone();
        kept.remove(index);
        kept.concat()
    };
    let changes = [
        text.replacen("event", "Event", 1),
        without(3),
        without(5),
        lines[..lines.len() - 1].concat(),
        [lines[0], lines[2], lines[1], lines[3], lines[4], lines[5]].concat(),
    ];
    for changed in changes {
        std::fs::write(&segments[1], &changed).unwrap();
        assert!(verify(dir.path()).is_err(), "{changed}");
    }
    std::fs::write(&segments[1], &text).unwrap();
    assert_eq!(verify(dir.path()).unwrap(), whole);
    assert_eq!(
        segment::remove_before(dir.path(), 24 * 3_600_000 + 1).unwrap(),
        1
    );
    assert_eq!(verify(dir.path()).unwrap().numbers, Some((5, 14)));
}

#[tokio::test]
async fn a_record_cut_by_a_crash_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(dir.path()).unwrap();
    for id in ["a", "b"] {
        audit
            .append_durably(record(RecordKind::Event, id, 7, "{}"))
            .await
            .unwrap();
    }
    drop(audit);
    let path = segment::segments(dir.path()).unwrap().remove(0);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    let audit = Audit::open(dir.path()).unwrap();
    audit
        .append_durably(record(RecordKind::Event, "c", 8, "{}"))
        .await
        .unwrap();
    let page = audit.lookup(everything()).await.unwrap();
    let ids: Vec<&str> = page.events.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids, ["c", "a"]);
    assert_eq!(verify(dir.path()).unwrap().records, 2);
}

#[tokio::test]
async fn a_file_that_cannot_be_written_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("audit");
    let audit = Audit::open(&inner).unwrap();
    std::fs::remove_dir_all(&inner).unwrap();
    let refused = audit
        .append_durably(record(RecordKind::Event, "a", 1, "{}"))
        .await;
    assert!(matches!(refused, Err(AuditError::Failed(_))), "{refused:?}");
    assert!(
        audit
            .append(record(RecordKind::Event, "b", 1, "{}"))
            .is_err()
    );
    let large = format!("\"{}\"", "x".repeat(RECORD_BYTES_MAX));
    let other = Audit::open(&dir.path().join("other")).unwrap();
    let refused = other.append(record(RecordKind::Event, "a", 1, &large));
    assert!(matches!(refused, Err(AuditError::TooLarge(_))));
}

#[tokio::test]
async fn many_records_do_not_wait_for_the_second_to_pass() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(dir.path()).unwrap();
    let body = json!({"x": "y".repeat(10_000)}).to_string();
    for number in 0..2 * WRITE_AT_BYTES / body.len() {
        let id = number.to_string();
        audit
            .append(record(RecordKind::Event, &id, 1, &body))
            .unwrap();
        let state = audit.shared.lock();
        assert!(state.pending.len() < WRITE_AT_BYTES || state.hurry);
    }
    // Nothing is written any more when the directory goes.
    audit.flush().await.unwrap();
}

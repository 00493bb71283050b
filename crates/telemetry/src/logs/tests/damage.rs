//! Torn and damaged files.

use super::*;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Logs closed after five flushes, and the path of their tail.
async fn five_flushes() -> (tempfile::TempDir, PathBuf) {
    let (dir, logs) = open().await;
    for number in 0..5u64 {
        logs.append(
            GROUP,
            "a",
            vec![event(number, &format!("line {number} {}", "x".repeat(300)))],
        )
        .await
        .unwrap();
        logs.flush().await.unwrap();
    }
    let group = logs.shared.group_existing(GROUP).await.unwrap();
    let path = group.live().tail.as_ref().unwrap().path.clone();
    drop(group);
    close_hard(dir.path(), logs).await;
    (dir, path)
}

fn numbers(events: &[Event]) -> Vec<u32> {
    events
        .iter()
        .map(|event| event.message.split(' ').nth(1).unwrap().parse().unwrap())
        .collect()
}

#[tokio::test]
async fn a_torn_tail_keeps_every_whole_frame_and_goes_on() {
    let (dir, path) = five_flushes().await;
    let whole = std::fs::read(&path).unwrap();
    let frame = whole.len() / 5;
    for cut in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let logs = Logs::open(dir.path()).await.unwrap();
        let before = read_forward(&logs, "a", ALL, LARGE).await;
        let expected: Vec<u32> = (0..u32::try_from(cut / frame).unwrap()).collect();
        assert_eq!(numbers(&before), expected, "cut at {cut}");
        logs.append(GROUP, "a", vec![event(9, "line 9")])
            .await
            .unwrap();
        logs.flush().await.unwrap();
        let logs = reopen(dir.path(), logs).await;
        let after = read_forward(&logs, "a", ALL, LARGE).await;
        assert_eq!(after.len(), before.len() + 1);
        assert_eq!(numbers(&after).last(), Some(&9));
        let group = logs.shared.group_existing(GROUP).await.unwrap();
        let tail = group.live().tail.as_ref().unwrap().path.clone();
        drop(group);
        close_hard(dir.path(), logs).await;
        if tail != path {
            std::fs::remove_file(tail).unwrap();
        }
    }
}

#[tokio::test]
async fn a_damaged_frame_costs_itself_alone() {
    let (dir, path) = five_flushes().await;
    let whole = std::fs::read(&path).unwrap();
    let frame = whole.len() / 5;
    for (at, lost) in [
        (0, 0),
        (frame + 20, 1),
        (frame * 2 + 80, 2),
        (frame * 4 + 5, 4),
    ] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        std::fs::write(&path, &bytes).unwrap();
        let logs = Logs::open(dir.path()).await.unwrap();
        let expected: Vec<u32> = (0..5).filter(|number| *number != lost).collect();
        assert_eq!(
            numbers(&read_forward(&logs, "a", ALL, LARGE).await),
            expected,
            "damage at {at}"
        );
        assert_eq!(scan_all(&logs, request(StreamFilter::All)).await.len(), 4);
        close_hard(dir.path(), logs).await;
    }
}

#[tokio::test]
async fn damage_in_a_segment_is_passed_over_by_readers_and_merges() {
    let (_dir, logs) = open().await;
    let line = "some line of text ".repeat(30);
    for number in 0..3000u64 {
        logs.append(GROUP, "a", vec![event(number, &format!("{number} {line}"))])
            .await
            .unwrap();
    }
    seal(&logs, GROUP).await;
    let group = logs.shared.group_existing(GROUP).await.unwrap();
    let row = group.live().segments[0].clone();
    let segment = logs.shared.segment(&group, &row).unwrap();
    assert!(segment.frames.len() > 3);
    let middle = segment.frames[1].clone();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&segment.path)
        .unwrap();
    file.write_all_at(b"damage", middle.offset + u64::from(middle.head_len) + 20)
        .unwrap();
    let left = 3000 - usize::try_from(middle.block.events).unwrap();
    assert_eq!(read_forward(&logs, "a", ALL, LARGE).await.len(), left);
    assert_eq!(read_backward(&logs, "a", ALL, LARGE).await.len(), left);
    assert_eq!(
        scan_all(&logs, request(StreamFilter::All)).await.len(),
        left
    );
    let merged = crate::logs::segment::merge(&[segment], &group.dir)
        .unwrap()
        .unwrap();
    let merged = logs.shared.segment(&group, &merged).unwrap();
    let events: u64 = merged.frames.iter().map(|frame| frame.block.events).sum();
    assert_eq!(events as usize, left);
}

#[tokio::test]
async fn a_segment_cut_or_overwritten_is_an_error_that_names_it() {
    let (_dir, logs) = open().await;
    logs.append(GROUP, "a", vec![event(1, "one")])
        .await
        .unwrap();
    seal(&logs, GROUP).await;
    let group = logs.shared.group_existing(GROUP).await.unwrap();
    let row = group.live().segments[0].clone();
    let path = group.dir.join(&row.file);
    let whole = std::fs::read(&path).unwrap();
    for cut in [0, 10, whole.len() - 30, whole.len() - 1] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let error = logs
            .read(GROUP, "a", ALL, Position::Head, LARGE)
            .await
            .unwrap_err();
        assert!(error.to_string().contains(&row.file), "{error}");
    }
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(read_forward(&logs, "a", ALL, LARGE).await.len(), 1);
}

#[tokio::test]
async fn a_flipped_bit_anywhere_in_a_segment_is_noticed() {
    let (_dir, logs) = open().await;
    for stream in ["a", "b"] {
        logs.append(
            GROUP,
            stream,
            vec![event(1, "one"), event(2, &"two ".repeat(100))],
        )
        .await
        .unwrap();
        seal(&logs, GROUP).await;
    }
    let group = logs.shared.group_existing(GROUP).await.unwrap();
    let path = group.dir.join(&group.live().segments.last().unwrap().file);
    let whole = std::fs::read(&path).unwrap();
    let read = || {
        let file = crate::logs::segment::FrameFile::open(&path)?;
        file.frames
            .iter()
            .map(|frame| file.read(frame).map(|raw| (frame.block.clone(), raw)))
            .collect::<Result<Vec<_>, _>>()
    };
    let truth = read().unwrap();
    let mut noticed = 0;
    for index in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[index] ^= 1 << (index % 8);
        std::fs::write(&path, &bytes).unwrap();
        match read() {
            Ok(seen) => assert_eq!(seen, truth, "byte {index}"),
            Err(_) => noticed += 1,
        }
    }
    // The heads of frames repeat what the footer says, and are read only when there is no footer.
    assert!(noticed > whole.len() / 3, "{noticed} of {}", whole.len());
}

#[tokio::test]
async fn a_damaged_index_is_an_error_in_words() {
    let (dir, logs) = open().await;
    logs.append(GROUP, "a", vec![event(1, "one")])
        .await
        .unwrap();
    logs.close().await.unwrap();
    close_hard(dir.path(), logs).await;
    let index = dir.path().join("index.sqlite");
    let whole = std::fs::read(&index).unwrap();
    std::fs::write(&index, &whole[..whole.len() / 2]).unwrap();
    let error = Logs::open(dir.path()).await.unwrap_err();
    assert!(
        error.to_string().starts_with("log index: cannot open it: "),
        "{error}"
    );
    std::fs::write(&index, &whole).unwrap();
    let logs = Logs::open(dir.path()).await.unwrap();
    assert_eq!(read_forward(&logs, "a", ALL, LARGE).await.len(), 1);
}

#[test]
fn any_bytes_as_a_tail_are_read_without_a_panic() {
    use proptest::prelude::*;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0000000000000001.log");
    let mut block = crate::logs::block::Block::new(1);
    block.push_event(1, &event(1, "hello"));
    let (_, frame) = crate::logs::frame::encode(&block, 0);
    let config = ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let pieces = proptest::collection::vec(
        prop_oneof![
            any::<Vec<u8>>(),
            Just(frame.clone()),
            (0..frame.len()).prop_map(move |end| frame[..end].to_vec()),
            Just(b"ApL1".to_vec()),
        ],
        0..6,
    );
    proptest::test_runner::TestRunner::new(config)
        .run(&pieces, |pieces| {
            std::fs::write(&path, pieces.concat()).unwrap();
            let tail = crate::logs::tail::Tail::recover(&path).unwrap();
            for frame in tail.frames.iter() {
                crate::logs::frame::read_block(&tail.file, &path, frame).unwrap();
            }
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn one_process_at_a_time() {
    let (dir, logs) = open().await;
    let error = Logs::open(dir.path()).await.unwrap_err();
    assert!(
        crate::logs::write::chain(&error).contains("another process"),
        "{error:?}"
    );
    // One that lets go in time is waited for.
    let (reopened, ()) = tokio::join!(Logs::open(dir.path()), async move { drop(logs) });
    reopened.unwrap();
}

#[tokio::test]
async fn numbers_a_crash_took_are_not_given_again() {
    let (dir, logs) = open().await;
    logs.append(GROUP, "a", vec![event(1, "kept")])
        .await
        .unwrap();
    logs.flush().await.unwrap();
    logs.append(GROUP, "a", vec![event(2, "lost")])
        .await
        .unwrap();
    let seen = read_forward(&logs, "a", ALL, LARGE).await;
    // Dropped without a flush, as by a kill.
    let logs = reopen(dir.path(), logs).await;
    logs.append(GROUP, "a", vec![event(3, "next")])
        .await
        .unwrap();
    let place = EventCursor(seen.last().unwrap().sequence);
    let page = logs
        .read(GROUP, "a", ALL, Position::After(place), LARGE)
        .await
        .unwrap();
    assert_eq!(
        messages(&page.events).last(),
        Some(&"next"),
        "a reader behind the lost event misses nothing"
    );
}

//! Whatever happens to a group, it answers as a plain list of events would.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Append {
        stream: usize,
        events: Vec<(u64, String)>,
    },
    Flush,
    Seal,
    FlushAndReopen,
}

#[derive(Debug, Clone)]
struct Kept {
    stream: usize,
    timestamp_ms: u64,
    message: String,
}

const STREAMS: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    let message = prop_oneof![8 => "[a-zé ]{0,40}", 1 => Just("long line ".repeat(3000))];
    // Mostly in order, some late, some far off.
    let time = prop_oneof![8 => 1_000u64..1_100, 1 => 0u64..5, 1 => 100_000u64..100_010];
    prop_oneof![
        6 => (0..STREAMS, vec((time, message), 1..12)).prop_map(|(stream, events)| Step::Append { stream, events }),
        2 => Just(Step::Flush),
        1 => Just(Step::Seal),
        1 => Just(Step::FlushAndReopen),
    ]
}

fn stream_name(stream: usize) -> String {
    format!("instance/{stream}")
}

async fn perform(dir: &Path, mut logs: Arc<Logs>, steps: Vec<Step>) -> (Arc<Logs>, Vec<Kept>) {
    let mut kept = Vec::new();
    for step in steps {
        match step {
            Step::Append { stream, events } => {
                let batch = events
                    .iter()
                    .map(|(time, message)| event(*time, message))
                    .collect();
                logs.append(GROUP, &stream_name(stream), batch)
                    .await
                    .unwrap();
                kept.extend(events.into_iter().map(|(timestamp_ms, message)| Kept {
                    stream,
                    timestamp_ms,
                    message,
                }));
            }
            Step::Flush => logs.flush().await.unwrap(),
            Step::Seal if kept.is_empty() => {}
            Step::Seal => seal(&logs, GROUP).await,
            Step::FlushAndReopen => {
                logs.flush().await.unwrap();
                logs = reopen(dir, logs).await;
            }
        }
    }
    (logs, kept)
}

async fn check_streams(logs: &Logs, kept: &[Kept], limits: ReadLimits, range: ReadRange) {
    for stream in 0..STREAMS {
        let wanted: Vec<&Kept> = kept.iter().filter(|kept| kept.stream == stream).collect();
        if wanted.is_empty() {
            assert!(
                logs.stream_get(GROUP, &stream_name(stream))
                    .await
                    .unwrap()
                    .is_none()
            );
            continue;
        }
        let info = logs
            .stream_get(GROUP, &stream_name(stream))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            info.first_event_ms,
            wanted.iter().map(|kept| kept.timestamp_ms).min()
        );
        assert_eq!(
            info.last_event_ms,
            wanted.iter().map(|kept| kept.timestamp_ms).max()
        );
        assert_eq!(
            info.last_ingestion_ms,
            info.last_event_ms.map(|time| time + 3)
        );
        let bytes: usize = wanted.iter().map(|kept| kept.message.len() + 26).sum();
        assert_eq!(info.stored_bytes, bytes as u64);
        let wanted: Vec<_> = wanted
            .into_iter()
            .filter(|kept| range.contains(kept.timestamp_ms))
            .map(|kept| (kept.timestamp_ms, kept.message.as_str()))
            .collect();
        for events in [
            read_forward(logs, &stream_name(stream), range, limits).await,
            read_backward(logs, &stream_name(stream), range, limits).await,
        ] {
            let seen: Vec<_> = events
                .iter()
                .map(|event| (event.timestamp_ms, event.message.as_str()))
                .collect();
            assert_eq!(seen, wanted);
            assert!(
                events
                    .windows(2)
                    .all(|pair| pair[0].sequence < pair[1].sequence)
            );
        }
    }
}

async fn check_scans(logs: &Logs, kept: &[Kept], limits: ReadLimits, range: ReadRange) {
    let some = [0, 2].map(stream_name);
    for (filter, takes) in [
        (StreamFilter::All, [true; STREAMS]),
        (
            StreamFilter::Names(some.clone().into()),
            [true, false, true, false],
        ),
        (
            StreamFilter::Prefix("instance/1".to_owned()),
            [false, true, false, false],
        ),
        (StreamFilter::Prefix("other".to_owned()), [false; STREAMS]),
    ] {
        for pattern in [None, Some("a")] {
            let mut wanted: Vec<_> = kept
                .iter()
                .filter(|kept| takes[kept.stream] && range.contains(kept.timestamp_ms))
                .filter(|kept| pattern.is_none_or(|pattern| kept.message.contains(pattern)))
                .map(|kept| {
                    (
                        kept.timestamp_ms,
                        stream_name(kept.stream),
                        kept.message.clone(),
                    )
                })
                .collect();
            // A stable sort keeps the order of appending among events of one millisecond.
            wanted.sort_by_key(|kept| kept.0);
            let predicate = pattern.map(|pattern| {
                Arc::new(move |message: &str| message.contains(pattern))
                    as super::super::model::Predicate
            });
            let request = ScanRequest {
                streams: filter.clone(),
                range,
                after: None,
                limits,
                predicate,
            };
            let seen: Vec<_> = scan_all(logs, request)
                .await
                .into_iter()
                .map(|found| {
                    (
                        found.event.timestamp_ms,
                        found.stream.to_string(),
                        found.event.message,
                    )
                })
                .collect();
            assert_eq!(seen, wanted);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_group_answers_as_a_list_would(
        steps in vec(step(), 1..40),
        events in 1usize..30,
        bytes in prop_oneof![Just(1usize), 100usize..2_000, Just(1 << 20)],
        bounds in (proptest::option::of(1_000u64..1_050), proptest::option::of(1_050u64..1_200)),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let (dir, logs) = open().await;
            let (logs, kept) = perform(dir.path(), logs, steps).await;
            if kept.is_empty() {
                return;
            }
            let limits = ReadLimits { events, bytes };
            for range in [ALL, ReadRange { start_ms: bounds.0, end_ms: bounds.1 }] {
                check_streams(&logs, &kept, limits, range).await;
                check_scans(&logs, &kept, limits, range).await;
            }
        });
    }
}

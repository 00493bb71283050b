//! What is refused, and in which words.

use super::{ALL, LARGE, event, open};
use apron_telemetry::{
    MESSAGE_BYTES_KEPT_MAX, Position, ScanRequest, StreamFilter, StreamOrder, TelemetryError,
};

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let (_dir, logs) = open().await;
    logs.group_create("/g", 1).await.unwrap();
    let error = logs
        .read("/none", "a", ALL, Position::Head, LARGE)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "log group `/none` does not exist");
    let error = logs
        .read("/g", "a", ALL, Position::Head, LARGE)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "log stream `a` does not exist in log group `/g`"
    );
    let request = ScanRequest {
        streams: StreamFilter::All,
        range: ALL,
        after: None,
        limits: LARGE,
        predicate: None,
    };
    assert!(matches!(
        logs.scan("/none", request.clone()).await,
        Err(TelemetryError::GroupNotFound { .. })
    ));
    assert!(logs.scan("/g", request).await.unwrap().events.is_empty());
    let streams = logs
        .streams("/none", None, StreamOrder::Name, false, None, 10)
        .await;
    assert!(matches!(streams, Err(TelemetryError::GroupNotFound { .. })));
    assert!(matches!(
        logs.stream_create("/none", "a", 1).await,
        Err(TelemetryError::GroupNotFound { .. })
    ));
    assert!(matches!(
        logs.retention_set("/none", Some(1)).await,
        Err(TelemetryError::GroupNotFound { .. })
    ));
    assert!(matches!(
        logs.stream_check("/none", "a").await,
        Err(TelemetryError::GroupNotFound { .. })
    ));
    assert!(matches!(
        logs.stream_check("/g", "a").await,
        Err(TelemetryError::StreamNotFound { .. })
    ));
    logs.stream_create("/g", "b", 1).await.unwrap();
    logs.retention_set("/g", Some(7)).await.unwrap();
    assert_eq!(logs.stream_check("/g", "b").await.unwrap(), Some(7));
    assert!(logs.group_get("/none").await.unwrap().is_none());
    assert!(logs.stream_get("/none", "a").await.unwrap().is_none());
}

#[tokio::test]
async fn wrong_names_and_long_messages_are_refused_before_anything_is_made() {
    let (_dir, logs) = open().await;
    for (group, stream) in [("with space", "a"), ("/g", "a:b"), ("", "a"), ("/g", "")] {
        let error = logs
            .append(group, stream, vec![event(1, "x")])
            .await
            .unwrap_err();
        assert!(
            matches!(error, TelemetryError::InvalidName { .. }),
            "{error}"
        );
    }
    let long = vec![
        event(1, "fits"),
        event(1, "x".repeat(MESSAGE_BYTES_KEPT_MAX + 1)),
    ];
    let error = logs.append("/g", "a", long).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "log event of 1048577 bytes is larger than 1048576 bytes"
    );
    assert!(logs.group_get("/g").await.unwrap().is_none());
    logs.append(
        "/g",
        "a",
        vec![event(1, "x".repeat(MESSAGE_BYTES_KEPT_MAX))],
    )
    .await
    .unwrap();
    logs.flush().await.unwrap();
    assert_eq!(
        super::read_all(&logs, "/g", "a").await[0].message.len(),
        MESSAGE_BYTES_KEPT_MAX
    );
}

#[tokio::test]
async fn every_character_and_every_time_comes_back() {
    let (_dir, logs) = open().await;
    let odd = [
        "",
        "\0",
        "\u{1b}[31mred\u{1b}[0m",
        "a\nb\r\n",
        "\u{10ffff}é漢",
        "ApL1ApL1",
    ];
    let times = [0, 1, u64::MAX / 2, u64::MAX - 4, 5, 1];
    let events = odd
        .iter()
        .zip(times)
        .map(|(text, time)| event(time, *text))
        .collect();
    logs.append("/g", "a", events).await.unwrap();
    for _ in 0..2 {
        let seen = super::read_all(&logs, "/g", "a").await;
        assert_eq!(
            seen.iter()
                .map(|event| event.message.as_str())
                .collect::<Vec<_>>(),
            odd
        );
        assert_eq!(
            seen.iter()
                .map(|event| event.timestamp_ms)
                .collect::<Vec<_>>(),
            times
        );
        logs.flush().await.unwrap();
    }
}

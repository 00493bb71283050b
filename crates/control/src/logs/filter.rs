//! FilterLogEvents: the matching events of many streams, interleaved by time.

use super::pattern::Pattern;
use super::{CloudWatchLogs, PAGE_BYTES_MAX, PAGE_EVENTS_MAX, bad_page_token, failure, invalid};
use crate::endpoint::{Call, PageToken};
use apron_aws::ApiError;
use apron_telemetry::{ReadLimits, ScanCursor, ScanRequest, ScannedEvent, StreamFilter};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

const PAGE_KIND: &str = "log-filter";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FilterLogEvents {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    log_stream_names: Option<Vec<String>>,
    log_stream_name_prefix: Option<String>,
    start_time: Option<u64>,
    end_time: Option<u64>,
    filter_pattern: Option<String>,
    next_token: Option<String>,
    limit: Option<usize>,
    start_from_head: Option<bool>,
}

impl CloudWatchLogs {
    pub(super) async fn filter_log_events(&self, call: &Call) -> Result<Value, ApiError> {
        let input: FilterLogEvents = call.input()?;
        let group = self.group(
            input.log_group_name.as_deref(),
            input.log_group_identifier.as_deref(),
        )?;
        if input.start_from_head == Some(false) {
            return Err(invalid(
                "FilterLogEvents with startFromHead false is not available in this installation of Apron",
            ));
        }
        let streams = match (input.log_stream_names, input.log_stream_name_prefix) {
            (None, None) => StreamFilter::All,
            (Some(names), None) => StreamFilter::Names(names.into_iter().collect()),
            (None, Some(prefix)) => StreamFilter::Prefix(prefix),
            (Some(_), Some(_)) => {
                return Err(invalid(
                    "logStreamNames and logStreamNamePrefix must not be given together",
                ));
            }
        };
        let pattern = Pattern::parse(input.filter_pattern.as_deref().unwrap_or_default());
        let pattern = pattern.map_err(|e| invalid(format!("Invalid filter pattern: {e}")))?;
        let request = ScanRequest {
            streams,
            range: super::get::range(input.start_time, input.end_time)?,
            after: input.next_token.as_deref().map(read_cursor).transpose()?,
            limits: ReadLimits {
                events: input.limit.unwrap_or(PAGE_EVENTS_MAX),
                bytes: PAGE_BYTES_MAX,
            },
            predicate: predicate(pattern),
        };
        let page = self.logs.scan(&group, request).await;
        let page = page.map_err(|e| failure(call, "search the log events", &e))?;
        let events: Vec<Value> = page.events.iter().map(output).collect();
        // AWS has sent an empty list of searched streams since 2020.
        Ok(
            json!({"events": events, "searchedLogStreams": [], "nextToken": page.next.map(write_cursor)}),
        )
    }
}

type Predicate = Arc<dyn Fn(&str) -> bool + Send + Sync>;

fn predicate(pattern: Pattern) -> Option<Predicate> {
    if pattern.takes_all() {
        return None;
    }
    Some(Arc::new(move |message: &str| pattern.matches(message)))
}

fn output(found: &ScannedEvent) -> Value {
    let event = &found.event;
    json!({
        "logStreamName": &*found.stream,
        "timestamp": event.timestamp_ms,
        "message": event.message,
        "ingestionTime": event.ingestion_ms,
        // Unique in the group, and in the order of the answer, as clients that follow a log rely on.
        "eventId": format!("{:020}{:036}", event.timestamp_ms, event.sequence),
    })
}

fn write_cursor(cursor: ScanCursor) -> String {
    PageToken::after([
        &cursor.timestamp_ms.to_string(),
        &cursor.sequence.to_string(),
    ])
    .encode(PAGE_KIND)
}

fn read_cursor(text: &str) -> Result<ScanCursor, ApiError> {
    let [time, sequence]: [String; 2] =
        PageToken::decode(PAGE_KIND, text).map_err(bad_page_token)?;
    let number = |text: &str| {
        text.parse::<u64>()
            .map_err(|_| invalid("The specified nextToken is invalid."))
    };
    Ok(ScanCursor {
        timestamp_ms: number(&time)?,
        sequence: number(&sequence)?,
    })
}

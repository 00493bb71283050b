//! PutLogEvents: a batch of events into one stream.

use super::{CloudWatchLogs, EVENT_OVERHEAD_BYTES, PAGE_BYTES_MAX, failure, invalid};
use crate::endpoint::Call;
use apron_aws::ApiError;
use apron_domain::Millis;
use apron_telemetry::{LogEvent, MESSAGE_BYTES_MAX};
use serde::Deserialize;
use serde_json::{Value, json};

const HOUR_MS: u64 = 60 * 60 * 1000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// Time between the first and the last event of a batch.
const SPAN_MS_MAX: u64 = DAY_MS;
/// How far in the future an event may be.
const FUTURE_MS_MAX: u64 = 2 * HOUR_MS;
/// How far in the past an event may be.
const PAST_MS_MAX: u64 = 14 * DAY_MS;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PutLogEvents {
    log_group_name: String,
    log_stream_name: String,
    log_events: Vec<InputEvent>,
}

#[derive(Deserialize)]
pub(super) struct InputEvent {
    pub timestamp: u64,
    pub message: String,
}

/// Which events of a batch in order of time are taken: those from `from` to before `to`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    from: usize,
    /// Where the events that are older than the group keeps them end.
    expired_end: usize,
    /// Where the events that are older than any is taken end.
    too_old_end: usize,
    to: usize,
}

/// Refuses a batch that breaks the rules of PutLogEvents.
pub(super) fn check(events: &[InputEvent]) -> Result<(), ApiError> {
    if let Some(event) = events
        .iter()
        .find(|event| event.message.len() > MESSAGE_BYTES_MAX)
    {
        let bytes = event.message.len();
        return Err(invalid(format!(
            "Log event too large: {bytes} bytes exceeds limit of {MESSAGE_BYTES_MAX}"
        )));
    }
    let bytes: usize = events
        .iter()
        .map(|event| event.message.len() + EVENT_OVERHEAD_BYTES)
        .sum();
    if bytes > PAGE_BYTES_MAX {
        return Err(invalid(format!(
            "Upload too large: {bytes} bytes exceeds limit of {PAGE_BYTES_MAX}"
        )));
    }
    if !events.is_sorted_by_key(|event| event.timestamp) {
        return Err(invalid(
            "Log events in a single PutLogEvents request must be in chronological order.",
        ));
    }
    let times = events
        .first()
        .zip(events.last())
        .map(|(first, last)| last.timestamp - first.timestamp);
    if times.is_some_and(|span| span > SPAN_MS_MAX) {
        let text = "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.";
        return Err(invalid(text));
    }
    Ok(())
}

/// Which events of a batch in order of time are young and old enough.
pub(super) fn accepted(
    events: &[InputEvent],
    retention_days: Option<u32>,
    now: Millis,
) -> Accepted {
    let before = |ms: u64| events.partition_point(|event| event.timestamp < ms);
    let kept_ms = retention_days.map_or(u64::MAX, |days| u64::from(days) * DAY_MS);
    let too_old_end = before(now.0.saturating_sub(PAST_MS_MAX));
    let expired_end = before(now.0.saturating_sub(kept_ms));
    let from = too_old_end.max(expired_end);
    let to = before(now.0.saturating_add(FUTURE_MS_MAX).saturating_add(1)).max(from);
    Accepted {
        from,
        expired_end,
        too_old_end,
        to,
    }
}

impl CloudWatchLogs {
    pub(super) async fn put_log_events(&self, call: &Call) -> Result<Value, ApiError> {
        let input: PutLogEvents = call.input()?;
        let (group, stream) = (input.log_group_name, input.log_stream_name);
        check(&input.log_events)?;
        let retention_days = self
            .logs
            .stream_check(&group, &stream)
            .await
            .map_err(|e| failure(call, "find the log stream", &e))?;
        let count = input.log_events.len();
        let accepted = accepted(&input.log_events, retention_days, call.now);
        let event = |event: InputEvent| LogEvent {
            timestamp_ms: event.timestamp,
            ingestion_ms: call.now.0,
            message: event.message,
        };
        let taken = input
            .log_events
            .into_iter()
            .skip(accepted.from)
            .take(accepted.to - accepted.from);
        let taken: Vec<LogEvent> = taken.map(event).collect();
        if !taken.is_empty() {
            let kept = self.logs.append(&group, &stream, taken).await;
            kept.map_err(|e| failure(call, "keep the log events", &e))?;
            // What is acknowledged survives a crash.
            self.logs
                .flush_group(&group)
                .await
                .map_err(|e| failure(call, "keep the log events", &e))?;
        }
        Ok(json!({
            // Sequence tokens are accepted and ignored since 2023, and still sent.
            "nextSequenceToken": format!("{:056}", call.now.0),
            "rejectedLogEventsInfo": rejected(&accepted, count),
        }))
    }
}

fn rejected(accepted: &Accepted, count: usize) -> Option<Value> {
    let end = |index: usize| Some(index).filter(|index| *index > 0);
    let too_new = Some(accepted.to).filter(|start| *start < count);
    let info = json!({
        "tooNewLogEventStartIndex": too_new,
        "tooOldLogEventEndIndex": end(accepted.too_old_end),
        "expiredLogEventEndIndex": end(accepted.expired_end),
    });
    let any = too_new.is_some() || accepted.from > 0;
    any.then_some(info)
}

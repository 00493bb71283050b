//! GetLogEvents: the events of one stream, forward and backward.

use super::{CloudWatchLogs, PAGE_BYTES_MAX, PAGE_EVENTS_MAX, failure, invalid};
use crate::endpoint::Call;
use apron_aws::ApiError;
use apron_telemetry::{Event, EventCursor, Position, ReadLimits, ReadRange};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GetLogEvents {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    log_stream_name: String,
    start_time: Option<u64>,
    end_time: Option<u64>,
    next_token: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    start_from_head: bool,
}

impl CloudWatchLogs {
    pub(super) async fn get_log_events(&self, call: &Call) -> Result<Value, ApiError> {
        let input: GetLogEvents = call.input()?;
        let group = self.group(
            input.log_group_name.as_deref(),
            input.log_group_identifier.as_deref(),
        )?;
        let from = match input.next_token.as_deref() {
            Some(text) => read_token(text)?,
            None if input.start_from_head => Position::Head,
            None => Position::Tail,
        };
        let range = range(input.start_time, input.end_time)?;
        let limits = ReadLimits {
            events: input.limit.unwrap_or(PAGE_EVENTS_MAX),
            bytes: PAGE_BYTES_MAX,
        };
        let page = self
            .logs
            .read(&group, &input.log_stream_name, range, from, limits)
            .await;
        let page = page.map_err(|e| failure(call, "read the log events", &e))?;
        let events: Vec<Value> = page.events.iter().map(output).collect();
        Ok(json!({
            "events": events,
            "nextForwardToken": write_token(true, page.next_forward),
            "nextBackwardToken": write_token(false, page.next_backward),
        }))
    }
}

/// The times that are wanted.
pub(super) fn range(start_ms: Option<u64>, end_ms: Option<u64>) -> Result<ReadRange, ApiError> {
    match (start_ms, end_ms) {
        (Some(start), Some(end)) if start > end => {
            Err(invalid("The startTime must not be later than the endTime."))
        }
        _ => Ok(ReadRange { start_ms, end_ms }),
    }
}

fn output(event: &Event) -> Value {
    json!({"timestamp": event.timestamp_ms, "message": event.message, "ingestionTime": event.ingestion_ms})
}

/// Tokens have the form of CloudWatch Logs: direction, a number of 56 digits, and `s`. The number is the place in the
/// stream, so the token at an end is the one that led there.
fn write_token(forward: bool, cursor: EventCursor) -> String {
    let direction = if forward { 'f' } else { 'b' };
    format!("{direction}/{:056}/s", cursor.0)
}

fn read_token(text: &str) -> Result<Position, ApiError> {
    let bad = || invalid("The specified nextToken is invalid.");
    let mut parts = text.split('/');
    let (direction, digits, end) = (parts.next(), parts.next(), parts.next());
    let well_formed = end == Some("s") && parts.next().is_none();
    let digits = digits
        .filter(|text| well_formed && text.len() == 56 && text.bytes().all(|b| b.is_ascii_digit()));
    let place = EventCursor(digits.and_then(|text| text.parse().ok()).ok_or_else(bad)?);
    match direction {
        Some("f") => Ok(Position::After(place)),
        Some("b") => Ok(Position::Before(place)),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back() {
        for sequence in [0, 7, u64::MAX] {
            let cursor = EventCursor(sequence);
            assert_eq!(
                read_token(&write_token(true, cursor)).unwrap(),
                Position::After(cursor)
            );
            assert_eq!(
                read_token(&write_token(false, cursor)).unwrap(),
                Position::Before(cursor)
            );
        }
    }

    #[test]
    fn other_texts_are_no_tokens() {
        let good = write_token(true, EventCursor(7));
        let texts = [
            "",
            "f",
            "f/7/s",
            &good.replace('f', "x"),
            &good.replace("/s", ""),
            &format!("{good}/"),
            &good.replace('0', "9"),
        ];
        for text in texts {
            assert_eq!(
                read_token(text).unwrap_err().code,
                "InvalidParameterException",
                "{text}"
            );
        }
    }
}

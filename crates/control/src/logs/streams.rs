//! Log streams.

use super::{CloudWatchLogs, PAGE_ENTRIES_DEFAULT, bad_page_token, failure, invalid, nothing};
use crate::endpoint::{Call, PageToken};
use apron_aws::ApiError;
use apron_telemetry::{StreamCursor, StreamInfo, StreamOrder};
use serde::Deserialize;
use serde_json::{Value, json};

const PAGE_KIND: &str = "log-streams";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OneStream {
    log_group_name: String,
    log_stream_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DescribeLogStreams {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    log_stream_name_prefix: Option<String>,
    order_by: Option<String>,
    #[serde(default)]
    descending: bool,
    next_token: Option<String>,
    limit: Option<usize>,
}

impl CloudWatchLogs {
    pub(super) async fn create_log_stream(&self, call: &Call) -> Result<Value, ApiError> {
        let input: OneStream = call.input()?;
        let created = self
            .logs
            .stream_create(&input.log_group_name, &input.log_stream_name, call.now.0)
            .await;
        created.map_err(|e| failure(call, "create the log stream", &e))?;
        Ok(nothing())
    }

    pub(super) async fn delete_log_stream(&self, call: &Call) -> Result<Value, ApiError> {
        let input: OneStream = call.input()?;
        let deleted = self
            .logs
            .stream_delete(&input.log_group_name, &input.log_stream_name)
            .await;
        deleted.map_err(|e| failure(call, "delete the log stream", &e))?;
        Ok(nothing())
    }

    pub(super) async fn describe_log_streams(&self, call: &Call) -> Result<Value, ApiError> {
        let input: DescribeLogStreams = call.input()?;
        let group = self.group(
            input.log_group_name.as_deref(),
            input.log_group_identifier.as_deref(),
        )?;
        let order = match input.order_by.as_deref() {
            Some("LastEventTime") if input.log_stream_name_prefix.is_some() => {
                return Err(invalid(
                    "Cannot order by LastEventTime with a logStreamNamePrefix.",
                ));
            }
            Some("LastEventTime") => StreamOrder::LastEvent,
            _ => StreamOrder::Name,
        };
        let after = input.next_token.as_deref().map(read_cursor).transpose()?;
        let limit = input.limit.unwrap_or(PAGE_ENTRIES_DEFAULT);
        let prefix = input.log_stream_name_prefix.as_deref();
        let page = self
            .logs
            .streams(
                &group,
                prefix,
                order,
                input.descending,
                after.as_ref(),
                limit + 1,
            )
            .await;
        let mut page = page.map_err(|e| failure(call, "list the log streams", &e))?;
        let more = page.len() > limit;
        page.truncate(limit);
        let next = page.last().filter(|_| more).map(write_cursor);
        let arn = self.group_arn(&group);
        let streams: Vec<Value> = page.iter().map(|stream| describe(&arn, stream)).collect();
        Ok(json!({"logStreams": streams, "nextToken": next}))
    }
}

fn write_cursor(last: &StreamInfo) -> String {
    let time = last
        .last_event_ms
        .map_or(String::new(), |ms| ms.to_string());
    PageToken::after([&last.name, &time]).encode(PAGE_KIND)
}

fn read_cursor(text: &str) -> Result<StreamCursor, ApiError> {
    let [name, time] = PageToken::decode(PAGE_KIND, text).map_err(bad_page_token)?;
    let last_event_ms = match time.as_str() {
        "" => None,
        digits => Some(
            digits
                .parse()
                .map_err(|_| invalid("The specified nextToken is invalid."))?,
        ),
    };
    Ok(StreamCursor {
        last_event_ms,
        name,
    })
}

/// Streams tell no size: AWS has reported zero since 2019.
fn describe(group_arn: &str, stream: &StreamInfo) -> Value {
    json!({
        "logStreamName": stream.name,
        "creationTime": stream.created_ms,
        "firstEventTimestamp": stream.first_event_ms,
        "lastEventTimestamp": stream.last_event_ms,
        "lastIngestionTime": stream.last_ingestion_ms,
        "arn": format!("{group_arn}:log-stream:{}", stream.name),
        "storedBytes": 0,
    })
}

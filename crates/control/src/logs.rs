//! Amazon CloudWatch Logs over the platform's own log store: groups, streams, events, paging, filters.

mod filter;
mod get;
mod groups;
mod pattern;
mod put;
mod streams;
#[cfg(test)]
mod tests;

use crate::endpoint::{ApiService, Call, InvalidPageToken, internal};
use crate::settings::Settings;
use apron_aws::{ApiError, Arn, Model, model};
use apron_telemetry::{Logs, TelemetryError};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;

/// Events of one page (CloudWatch Logs: 10,000).
const PAGE_EVENTS_MAX: usize = 10_000;
/// Bytes of one page's or one batch's events, each message and [`EVENT_OVERHEAD_BYTES`] (CloudWatch Logs: 1 MiB).
const PAGE_BYTES_MAX: usize = 1 << 20;
/// What an event counts besides its message, bytes.
const EVENT_OVERHEAD_BYTES: usize = 26;
/// Groups or streams of one page, unless fewer are asked for.
const PAGE_ENTRIES_DEFAULT: usize = 50;

/// The CloudWatch Logs of this installation.
pub struct CloudWatchLogs {
    settings: Arc<Settings>,
    logs: Arc<Logs>,
}

impl CloudWatchLogs {
    /// CloudWatch Logs over this log store.
    pub fn new(settings: Arc<Settings>, logs: Arc<Logs>) -> CloudWatchLogs {
        CloudWatchLogs { settings, logs }
    }

    /// The ARN of a group without the `:*` that stands for its streams.
    fn group_arn(&self, group: &str) -> String {
        Arn::new(
            "logs",
            &self.settings.region,
            &self.settings.account,
            format!("log-group:{group}"),
        )
        .to_string()
    }

    /// The group that a name or an ARN means; exactly one of them must be given.
    fn group(&self, name: Option<&str>, identifier: Option<&str>) -> Result<String, ApiError> {
        match (name, identifier) {
            (Some(name), None) => Ok(name.to_owned()),
            (None, Some(identifier)) => self.group_of(identifier),
            _ => Err(invalid(
                "Exactly one of logGroupName and logGroupIdentifier must be given",
            )),
        }
    }

    /// The group that an identifier, a name or an ARN, means.
    fn group_of(&self, identifier: &str) -> Result<String, ApiError> {
        if !identifier.starts_with("arn:") {
            return Ok(identifier.to_owned());
        }
        let arn: Arn = identifier
            .parse()
            .map_err(|_| invalid("The log group identifier is not an ARN"))?;
        let ours = arn.service == "logs"
            && arn.region == self.settings.region
            && arn.account == self.settings.account;
        let name = arn
            .resource
            .strip_prefix("log-group:")
            .filter(|_| ours)
            .ok_or_else(group_not_found)?;
        Ok(name.strip_suffix(":*").unwrap_or(name).to_owned())
    }
}

fn error(code: &str, message: impl Into<String>) -> ApiError {
    model::logs().error(code, message)
}

fn invalid(message: impl Into<String>) -> ApiError {
    error("InvalidParameterException", message)
}

fn bad_page_token(_: InvalidPageToken) -> ApiError {
    invalid("The specified nextToken is invalid.")
}

fn group_not_found() -> ApiError {
    error(
        "ResourceNotFoundException",
        "The specified log group does not exist.",
    )
}

/// What the caller is told of a failure of the log store.
fn failure(call: &Call, doing: &str, cause: &TelemetryError) -> ApiError {
    match cause {
        TelemetryError::GroupNotFound { .. } => group_not_found(),
        TelemetryError::StreamNotFound { .. } => error(
            "ResourceNotFoundException",
            "The specified log stream does not exist.",
        ),
        TelemetryError::GroupExists { .. } => error(
            "ResourceAlreadyExistsException",
            "The specified log group already exists",
        ),
        TelemetryError::StreamExists { .. } => error(
            "ResourceAlreadyExistsException",
            "The specified log stream already exists",
        ),
        TelemetryError::InvalidName { .. } => invalid(cause.to_string()),
        TelemetryError::MessageTooLarge { bytes, max } => invalid(format!(
            "Log event too large: {bytes} bytes exceeds limit of {max}"
        )),
        TelemetryError::Backlog { .. } => error("ServiceUnavailableException", cause.to_string()),
        other if other.is_disk_full() => {
            tracing::error!(request_id = call.request_id, %cause, "cannot {doing}");
            error(
                "ServiceUnavailableException",
                "the disk that holds the logs is full",
            )
        }
        other => internal(call, doing, other),
    }
}

/// The answer of operations without output.
fn nothing() -> Value {
    json!({})
}

#[async_trait]
impl ApiService for CloudWatchLogs {
    fn model(&self) -> &'static Model {
        model::logs()
    }

    async fn call(&self, call: Call) -> Result<Value, ApiError> {
        match call.operation.as_str() {
            "CreateLogGroup" => self.create_log_group(&call).await,
            "DeleteLogGroup" => self.delete_log_group(&call).await,
            "DescribeLogGroups" => self.describe_log_groups(&call).await,
            "PutRetentionPolicy" => self.put_retention_policy(&call).await,
            "DeleteRetentionPolicy" => self.delete_retention_policy(&call).await,
            "CreateLogStream" => self.create_log_stream(&call).await,
            "DeleteLogStream" => self.delete_log_stream(&call).await,
            "DescribeLogStreams" => self.describe_log_streams(&call).await,
            "PutLogEvents" => self.put_log_events(&call).await,
            "GetLogEvents" => self.get_log_events(&call).await,
            "FilterLogEvents" => self.filter_log_events(&call).await,
            other => Err(ApiError::not_available("CloudWatch Logs", other)),
        }
    }
}

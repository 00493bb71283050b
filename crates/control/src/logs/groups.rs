//! Log groups and how long they keep their events.

use super::{CloudWatchLogs, PAGE_ENTRIES_DEFAULT, bad_page_token, failure, invalid, nothing};
use crate::endpoint::{Call, PageToken};
use apron_aws::ApiError;
use apron_telemetry::{GroupInfo, NameFilter};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const PAGE_KIND: &str = "log-groups";

/// The retentions there are, in days (CloudWatch Logs, PutRetentionPolicy).
const RETENTION_DAYS: [u32; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];

/// The only class of groups.
const CLASS: &str = "STANDARD";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateLogGroup {
    log_group_name: String,
    kms_key_id: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    log_group_class: Option<String>,
    #[serde(default)]
    deletion_protection_enabled: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OneGroup {
    log_group_name: String,
    retention_in_days: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DescribeLogGroups {
    log_group_name_prefix: Option<String>,
    log_group_name_pattern: Option<String>,
    log_group_identifiers: Option<Vec<String>>,
    log_group_class: Option<String>,
    next_token: Option<String>,
    limit: Option<usize>,
}

impl CloudWatchLogs {
    pub(super) async fn create_log_group(&self, call: &Call) -> Result<Value, ApiError> {
        let input: CreateLogGroup = call.input()?;
        let absent = |what: &str| {
            Err(invalid(format!(
                "{what} is not available in this installation of Apron"
            )))
        };
        if input.kms_key_id.is_some() {
            return absent("Encryption with a KMS key");
        }
        if !input.tags.is_empty() {
            return absent("Tagging of log groups");
        }
        if input.deletion_protection_enabled {
            return absent("Deletion protection of log groups");
        }
        if let Some(other) = input.log_group_class.filter(|class| class != CLASS) {
            return absent(&format!("The log group class {other}"));
        }
        let created = self
            .logs
            .group_create(&input.log_group_name, call.now.0)
            .await;
        created.map_err(|e| failure(call, "create the log group", &e))?;
        Ok(nothing())
    }

    pub(super) async fn delete_log_group(&self, call: &Call) -> Result<Value, ApiError> {
        let input: OneGroup = call.input()?;
        let deleted = self.logs.group_delete(&input.log_group_name).await;
        deleted.map_err(|e| failure(call, "delete the log group", &e))?;
        Ok(nothing())
    }

    pub(super) async fn put_retention_policy(&self, call: &Call) -> Result<Value, ApiError> {
        let input: OneGroup = call.input()?;
        let given = input.retention_in_days.unwrap_or_default();
        let days = u32::try_from(given)
            .ok()
            .filter(|days| RETENTION_DAYS.contains(days));
        if days.is_none() {
            let message = format!(
                "1 validation error detected: Value '{given}' at 'retentionInDays' failed to satisfy constraint: Member \
                 must satisfy enum value set: {RETENTION_DAYS:?}"
            );
            return Err(invalid(message));
        }
        self.set_retention(call, &input.log_group_name, days).await
    }

    pub(super) async fn delete_retention_policy(&self, call: &Call) -> Result<Value, ApiError> {
        let input: OneGroup = call.input()?;
        self.set_retention(call, &input.log_group_name, None).await
    }

    async fn set_retention(
        &self,
        call: &Call,
        group: &str,
        days: Option<u32>,
    ) -> Result<Value, ApiError> {
        let set = self.logs.retention_set(group, days).await;
        set.map_err(|e| failure(call, "set the retention", &e))?;
        Ok(nothing())
    }

    pub(super) async fn describe_log_groups(&self, call: &Call) -> Result<Value, ApiError> {
        let input: DescribeLogGroups = call.input()?;
        if input
            .log_group_class
            .as_deref()
            .is_some_and(|class| class != CLASS)
        {
            return Ok(json!({"logGroups": []}));
        }
        let filter = match (
            input.log_group_name_prefix,
            input.log_group_name_pattern,
            input.log_group_identifiers,
        ) {
            (None, None, None) => NameFilter::All,
            (Some(prefix), None, None) => NameFilter::Prefix(prefix),
            (None, Some(pattern), None) => NameFilter::Contains(pattern),
            (None, None, Some(identifiers)) => {
                return self.describe_named(call, &identifiers).await;
            }
            _ => {
                let text = "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.";
                return Err(invalid(text));
            }
        };
        let after = input
            .next_token
            .as_deref()
            .map(|text| PageToken::decode::<1>(PAGE_KIND, text))
            .transpose();
        let after = after.map_err(bad_page_token)?.map(|[name]| name);
        let limit = input.limit.unwrap_or(PAGE_ENTRIES_DEFAULT);
        let page = self.logs.groups(&filter, after.as_deref(), limit + 1).await;
        let mut page = page.map_err(|e| failure(call, "list the log groups", &e))?;
        let more = page.len() > limit;
        page.truncate(limit);
        let next = page
            .last()
            .filter(|_| more)
            .map(|last| PageToken::after([&last.name]).encode(PAGE_KIND));
        let groups: Vec<Value> = page.iter().map(|group| self.describe(group)).collect();
        Ok(json!({"logGroups": groups, "nextToken": next}))
    }

    async fn describe_named(&self, call: &Call, identifiers: &[String]) -> Result<Value, ApiError> {
        let mut groups = Vec::with_capacity(identifiers.len());
        for identifier in identifiers {
            let name = self.group_of(identifier)?;
            let found = self
                .logs
                .group_get(&name)
                .await
                .map_err(|e| failure(call, "read the log group", &e))?;
            groups.extend(found.map(|group| self.describe(&group)));
        }
        Ok(json!({"logGroups": groups}))
    }

    fn describe(&self, group: &GroupInfo) -> Value {
        let arn = self.group_arn(&group.name);
        json!({
            "logGroupName": group.name,
            "creationTime": group.created_ms,
            "retentionInDays": group.retention_days,
            "metricFilterCount": 0,
            "arn": format!("{arn}:*"),
            "logGroupArn": arn,
            "storedBytes": group.stored_bytes,
            "logGroupClass": CLASS,
        })
    }
}

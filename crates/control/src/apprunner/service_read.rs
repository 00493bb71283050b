//! `DescribeService`, `ListServices`, `ListOperations`.

use super::output::{ServiceAnswer, with_text};
use super::service_lifecycle::ByArn;
use super::{AppRunner, page, store_failed};
use apron_aws::ApiError;
use apron_domain::{OperationId, ServiceId};
use serde::Deserialize;
use serde_json::Value;

/// Entries on a page when the caller does not say. The API reference promises everything in one response then; this is
/// more than the services an installation may have.
const PAGE_ENTRIES: u32 = 999;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct List {
    next_token: Option<String>,
    max_results: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListOperations {
    service_arn: String,
    #[serde(flatten)]
    list: List,
}

/// `{<name>: <entries>}` with the token of the next page.
fn listed(name: &str, entries: Vec<Value>, next_token: Option<String>) -> Value {
    with_text(name, Value::Array(entries), "NextToken", next_token)
}

impl List {
    fn entries(&self) -> usize {
        self.max_results.unwrap_or(PAGE_ENTRIES) as usize
    }
}

impl AppRunner {
    pub(super) async fn service_describe(&self, input: ByArn) -> Result<ServiceAnswer, ApiError> {
        let service = self.service_by_arn(&input.service_arn).await?;
        Ok(self.answer(&service, None))
    }

    pub(super) async fn service_list(&self, input: List) -> Result<Value, ApiError> {
        let after = match &input.next_token {
            Some(token) => {
                let (at, id) = page::place(token)?;
                let id = ServiceId::parse(&id).map_err(|_| page::bad_token())?;
                Some((at, id))
            }
            None => None,
        };
        let wanted = input.entries();
        let mut found = self
            .engine
            .store
            .service_summaries(after.as_ref(), wanted as u32 + 1)
            .await
            .map_err(store_failed)?;
        let more = found.len() > wanted;
        found.truncate(wanted);
        let last = found.last().filter(|_| more);
        let next_token = last.map(|s| page::token(s.created_at, s.id.as_str()));
        let entries = found.iter().map(|s| self.service_summary(s)).collect();
        Ok(listed("ServiceSummaryList", entries, next_token))
    }

    pub(super) async fn operation_list(&self, input: ListOperations) -> Result<Value, ApiError> {
        let service = self.service_by_arn(&input.service_arn).await?;
        let after = match &input.list.next_token {
            Some(token) => {
                let (at, id) = page::place(token)?;
                let id = OperationId::parse(&id).map_err(|_| page::bad_token())?;
                Some((at, id))
            }
            None => None,
        };
        let wanted = input.list.entries();
        let found = self
            .engine
            .store
            .operations(&service.id, after.as_ref(), wanted as u32 + 1)
            .await;
        let mut found = found.map_err(store_failed)?;
        let more = found.len() > wanted;
        found.truncate(wanted);
        let last = found.last().filter(|_| more);
        let next_token = last.map(|o| page::token(o.started_at, o.id.as_str()));
        let entries = found.iter().map(|o| self.operation_output(o, &service));
        Ok(listed(
            "OperationSummaryList",
            entries.collect(),
            next_token,
        ))
    }
}

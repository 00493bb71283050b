//! Rolling back, cancelling, explaining: what the App Runner API has no words for.

use super::{Operator, read};
use crate::endpoint::{Call, internal};
use crate::operations::Plan;
use apron_aws::ApiError;
use apron_domain::{Operation, OperationId, OperationKind, Service, ServiceStatus, Trigger};
use apron_store::StoreError;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ByServiceArn {
    service_arn: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeOperation {
    service_arn: String,
    operation_id: Option<String>,
}

fn invalid_state(message: impl Into<String>) -> ApiError {
    ApiError::client("InvalidStateException", message)
}

pub(super) fn not_found(message: impl Into<String>) -> ApiError {
    ApiError::client("ResourceNotFoundException", message)
}

impl Operator {
    /// Deploys what served before the present deployment, with the image it had then.
    pub(super) async fn roll_back(&self, call: &Call) -> Result<Value, ApiError> {
        let input: ByServiceArn = read(call)?;
        let service = self
            .app_runner
            .service_to_change(&input.service_arn)
            .await?;
        let begun = self
            .operations
            .begin(&service.id, |service| {
                match (service.status, &service.previous) {
                    (ServiceStatus::Running, Some(previous)) => Ok(Plan {
                        kind: OperationKind::UpdateService,
                        trigger: Trigger::User,
                        config: previous.config.clone(),
                        image: Some(previous.image.clone()),
                    }),
                    (ServiceStatus::Running, None) => Err(invalid_state(
                        "The service has no previous deployment to go back to.",
                    )),
                    (status, _) => Err(invalid_state(format!(
                        "Service cannot be rolled back in the current state: {}.",
                        status.as_str()
                    ))),
                }
            })
            .await;
        let (operation, _) = begun.map_err(|e| stored(call, &e))??;
        Ok(json!({ "OperationId": operation.id.as_str() }))
    }

    /// Ends the deployment under way without its effect; the version that serves goes on.
    pub(super) async fn cancel(&self, call: &Call) -> Result<Value, ApiError> {
        let input: ByServiceArn = read(call)?;
        let service = self
            .app_runner
            .service_to_change(&input.service_arn)
            .await?;
        let store = &self.engine.store;
        let unfinished = store
            .operations_unfinished()
            .await
            .map_err(|e| stored(call, &e))?;
        let Some(operation) = unfinished.into_iter().find(|o| o.service == service.id) else {
            return Err(invalid_state("The service has no operation under way."));
        };
        let cancelled = store.operation_cancel(&operation.id).await;
        if !cancelled.map_err(|e| stored(call, &e))? {
            return Err(invalid_state(
                "The operation can't be cancelled any more: the traffic is being switched, or it has failed already.",
            ));
        }
        self.engine.fleet.poke();
        Ok(json!({ "OperationId": operation.id.as_str() }))
    }

    /// An operation with its failure, its evidence and its journal; the newest one when none is named.
    pub(super) async fn describe(&self, call: &Call) -> Result<Value, ApiError> {
        let input: DescribeOperation = read(call)?;
        let service = self.app_runner.service_by_arn(&input.service_arn).await?;
        let operation = self
            .operation(call, &service, input.operation_id.as_deref())
            .await?;
        let journal = self.engine.store.operation_journal(&operation.id).await;
        let journal = journal.map_err(|e| stored(call, &e))?;
        let lines: Vec<_> = journal
            .iter()
            .map(|line| {
                json!({
                    "At": line.at.as_seconds(),
                    "Stage": format!("{:?}", line.stage),
                    "Note": line.note,
                })
            })
            .collect();
        let failure = operation.failure.as_ref();
        Ok(json!({ "Operation": {
            "Id": operation.id.as_str(),
            "Type": operation.kind.as_str(),
            "Status": operation.status.as_str(),
            "Stage": format!("{:?}", operation.stage),
            "Reason": failure.map(|f| format!("{}: {}", f.reason(), f.message)),
            "Evidence": failure.map(|f| f.evidence.clone()).unwrap_or_default(),
            "Journal": lines,
        } }))
    }

    async fn operation(
        &self,
        call: &Call,
        service: &Service,
        id: Option<&str>,
    ) -> Result<Operation, ApiError> {
        let store = &self.engine.store;
        let found = match id {
            Some(text) => match OperationId::parse(text) {
                Ok(id) => store
                    .operation_get(&id)
                    .await
                    .map_err(|e| stored(call, &e))?,
                Err(_) => None,
            },
            None => {
                let newest = store.operations(&service.id, None, 1).await;
                newest.map_err(|e| stored(call, &e))?.into_iter().next()
            }
        };
        found
            .filter(|operation| operation.service == service.id)
            .ok_or_else(|| not_found("The service has no such operation."))
    }
}

pub(super) fn stored(call: &Call, error: &StoreError) -> ApiError {
    internal(call, "use the stored state", error)
}

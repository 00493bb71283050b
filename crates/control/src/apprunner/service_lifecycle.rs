//! `StartDeployment`, `PauseService`, `ResumeService`, `DeleteService`.

use super::output::ServiceAnswer;
use super::service_update::wrong_state;
use super::{AppRunner, invalid, store_failed};
use crate::operations::Plan;
use apron_aws::ApiError;
use apron_domain::{Digest, OperationKind, Service, ServiceStatus, Trigger};
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ByArn {
    pub(super) service_arn: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeploymentAnswer {
    operation_id: String,
}

/// A plan that deploys or ends what the service has.
fn plan(kind: OperationKind, service: &Service, image: Option<Digest>) -> Plan {
    Plan {
        kind,
        trigger: Trigger::User,
        config: service.config.clone(),
        image,
    }
}

impl AppRunner {
    pub(super) async fn deployment_start(
        &self,
        input: ByArn,
    ) -> Result<DeploymentAnswer, ApiError> {
        let service = self.service_to_change(&input.service_arn).await?;
        let begun = self.operations.begin(&service.id, |service| match service.status {
            ServiceStatus::Running => Ok(plan(OperationKind::StartDeployment, service, None)),
            _ => Err(invalid(
                "Can't start a deployment on the specified service, because it isn't in RUNNING state.",
            )),
        });
        let (operation, _) = begun.await.map_err(store_failed)??;
        Ok(DeploymentAnswer {
            operation_id: operation.id.to_string(),
        })
    }

    pub(super) async fn service_pause(&self, input: ByArn) -> Result<ServiceAnswer, ApiError> {
        let service = self.service_to_change(&input.service_arn).await?;
        if service.status == ServiceStatus::Paused {
            return Ok(self.answer(&service, None));
        }
        let begun = self
            .operations
            .begin(&service.id, |service| match service.status {
                ServiceStatus::Running => Ok(plan(OperationKind::PauseService, service, None)),
                _ => Err(wrong_state(service)),
            });
        let (operation, service) = begun.await.map_err(store_failed)??;
        Ok(self.answer(&service, Some(&operation)))
    }

    pub(super) async fn service_resume(&self, input: ByArn) -> Result<ServiceAnswer, ApiError> {
        let service = self.service_to_change(&input.service_arn).await?;
        if service.status == ServiceStatus::Running {
            return Ok(self.answer(&service, None));
        }
        let begun = self.operations.begin(&service.id, |service| {
            match (service.status, &service.deployed) {
                (ServiceStatus::Paused, Some(deployed)) => Ok(plan(
                    OperationKind::ResumeService,
                    service,
                    Some(deployed.image.clone()),
                )),
                _ => Err(wrong_state(service)),
            }
        });
        let (operation, service) = begun.await.map_err(store_failed)??;
        Ok(self.answer(&service, Some(&operation)))
    }

    pub(super) async fn service_delete(&self, input: ByArn) -> Result<ServiceAnswer, ApiError> {
        let service = self.service_to_change(&input.service_arn).await?;
        let begun = self
            .operations
            .begin(&service.id, |service| match service.status {
                // Deleted since it was looked at, by a call that was under way until then.
                ServiceStatus::OperationInProgress | ServiceStatus::Deleted => {
                    Err(wrong_state(service))
                }
                _ => Ok(plan(OperationKind::DeleteService, service, None)),
            });
        let (operation, service) = begun.await.map_err(store_failed)??;
        Ok(self.answer(&service, Some(&operation)))
    }
}

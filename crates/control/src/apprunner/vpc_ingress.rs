//! VPC ingress connections. One needs a private service, and private services do not exist yet: none can be made, and
//! none is found.

use super::{AppRunner, invalid, invalid_state, not_found};
use apron_aws::ApiError;
use apron_domain::ServiceStatus;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateIngress {
    service_arn: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ByIngressArn {
    vpc_ingress_connection_arn: String,
}

impl AppRunner {
    pub(super) async fn ingress_create(&self, input: CreateIngress) -> Result<Value, ApiError> {
        let found = self.service_to_change(&input.service_arn).await;
        // This operation has no ResourceNotFoundException in the model.
        let service = found.map_err(|error| invalid(error.message))?;
        if service.status != ServiceStatus::Running {
            let status = service.status.as_str();
            return Err(invalid_state(format!(
                "A VPC ingress connection can't be created in the current state of the service: {status}."
            )));
        }
        Err(invalid(format!(
            "The service {} is publicly accessible: a VPC ingress connection needs a private service, which is not \
             available in this installation of Apron.",
            service.name
        )))
    }

    pub(super) async fn ingress_missing(&self, input: ByIngressArn) -> Result<Value, ApiError> {
        let arn = input.vpc_ingress_connection_arn;
        Err(not_found(format!(
            "VPC ingress connection with the provided ARN was not found: {arn}."
        )))
    }

    pub(super) async fn ingress_list(&self) -> Result<Value, ApiError> {
        Ok(json!({ "VpcIngressConnectionSummaryList": [] }))
    }
}

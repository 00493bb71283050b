//! VPC ingress connections. One needs a private service, and private services do not exist yet: none can be made, and
//! none is found.

use super::tags::{Tag, Tagged, checked};
use super::{AppRunner, invalid, invalid_state, not_found, page};
use apron_aws::ApiError;
use apron_domain::ServiceStatus;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateIngress {
    service_arn: String,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ByIngressArn {
    vpc_ingress_connection_arn: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListIngress {
    next_token: Option<String>,
}

impl AppRunner {
    pub(super) async fn ingress_create(&self, input: CreateIngress) -> Result<Value, ApiError> {
        checked(Tagged::VpcIngress, input.tags, Default::default())?;
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

    pub(super) async fn ingress_list(&self, input: ListIngress) -> Result<Value, ApiError> {
        // The one page has everything, so no token was ever given out.
        if input.next_token.is_some() {
            return Err(page::bad_token());
        }
        Ok(json!({ "VpcIngressConnectionSummaryList": [] }))
    }
}

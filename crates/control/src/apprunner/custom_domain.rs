//! Custom domains. Their engine (validation, certificates, routing) does not exist yet: nothing can be associated, and
//! services answer that they have none.

use super::{AppRunner, invalid, invalid_state, not_found, page};
use apron_aws::ApiError;
use apron_domain::ServiceStatus;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ByDomain {
    service_arn: String,
    domain_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeDomains {
    service_arn: String,
    next_token: Option<String>,
}

impl AppRunner {
    pub(super) async fn domain_associate(&self, input: ByDomain) -> Result<Value, ApiError> {
        let found = self.service_to_change(&input.service_arn).await;
        // This operation has no ResourceNotFoundException in the model.
        let service = found.map_err(|error| invalid(error.message))?;
        if service.status != ServiceStatus::Running {
            return Err(wrong_state(service.status));
        }
        Err(invalid(format!(
            "The domain {} can't be associated: custom domains are not available in this installation of Apron.",
            input.domain_name
        )))
    }

    pub(super) async fn domain_describe(&self, input: DescribeDomains) -> Result<Value, ApiError> {
        let service = self.service_by_arn(&input.service_arn).await?;
        // The one page has everything, so no token was ever given out.
        if input.next_token.is_some() {
            return Err(page::bad_token());
        }
        Ok(json!({
            "DNSTarget": self.engine.settings.service_host(&service.label),
            "ServiceArn": self.arn_of(&service),
            "CustomDomains": [],
            "VpcDNSTargets": [],
        }))
    }

    pub(super) async fn domain_disassociate(&self, input: ByDomain) -> Result<Value, ApiError> {
        let service = self.service_to_change(&input.service_arn).await?;
        if service.status != ServiceStatus::Running {
            return Err(wrong_state(service.status));
        }
        Err(not_found(format!(
            "The domain {} is not associated with the service.",
            input.domain_name
        )))
    }
}

fn wrong_state(status: ServiceStatus) -> ApiError {
    invalid_state(format!(
        "Custom domains can't be changed in the current state: {}.",
        status.as_str()
    ))
}

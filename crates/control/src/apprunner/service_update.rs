//! `UpdateService`: a changed configuration, or the rebuild of a service whose creation failed.

use super::config::Configuration;
use super::output::ServiceAnswer;
use super::{AppRunner, invalid, invalid_state, store_failed};
use crate::operations::Plan;
use apron_aws::ApiError;
use apron_domain::configuration::{AutoScaling, Revision};
use apron_domain::{OperationKind, Service, ServiceStatus, Trigger};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateService {
    service_arn: String,
    #[serde(flatten)]
    configuration: Configuration,
}

impl AppRunner {
    pub(super) async fn service_update(
        &self,
        input: UpdateService,
    ) -> Result<ServiceAnswer, ApiError> {
        let service = self.service_to_change(&input.service_arn).await?;
        let settings = self.engine.settings.clone();
        let _order = self.engine.configurations.read().await;
        let scalings = self.scalings().await?;
        let configuration = input.configuration;
        self.check_roles(&configuration)?;
        let begun = self
            .operations
            .begin(&service.id, move |service| {
                if !matches!(
                    service.status,
                    ServiceStatus::Running | ServiceStatus::CreateFailed
                ) {
                    return Err(wrong_state(service));
                }
                plan(service, configuration, &settings, &scalings)
            })
            .await
            .map_err(store_failed)?;
        let (operation, service) = begun?;
        Ok(self.answer(&service, Some(&operation)))
    }
}

fn plan(
    service: &Service,
    configuration: Configuration,
    settings: &crate::settings::Settings,
    scalings: &[Revision<AutoScaling>],
) -> Result<Plan, ApiError> {
    let names_image = configuration
        .source_configuration
        .as_ref()
        .is_some_and(|s| s.image_repository.is_some());
    let code = configuration
        .source_configuration
        .as_ref()
        .is_some_and(|s| s.code_repository.is_some());
    if code {
        return Err(invalid(
            "The source of a service can't be changed from an image to a code repository.",
        ));
    }
    let config = configuration.apply(service.config.clone(), settings, scalings)?;
    // The image is looked up again when the request names it: the same tag may mean another image by now.
    let image = match (&service.deployed, names_image) {
        (Some(deployed), false) if deployed.config.image.identifier == config.image.identifier => {
            Some(deployed.image.clone())
        }
        _ => None,
    };
    Ok(Plan {
        kind: OperationKind::UpdateService,
        trigger: Trigger::User,
        config,
        image,
    })
}

/// The error of a call that the service's state does not allow.
pub(super) fn wrong_state(service: &Service) -> ApiError {
    invalid_state(format!(
        "Service cannot be updated in the current state: {}.",
        service.status.as_str()
    ))
}

//! `UpdateService`: a changed configuration, or the rebuild of a service whose creation failed.

use super::config::{Configuration, Known};
use super::output::ServiceAnswer;
use super::{AppRunner, invalid, invalid_state, store_failed};
use crate::operations::Plan;
use apron_aws::ApiError;
use apron_domain::code::CodeSource;
use apron_domain::extension::Extensions;
use apron_domain::{Digest, OperationKind, Service, ServiceConfig, ServiceStatus, Trigger};
use serde::Deserialize;
use std::collections::BTreeMap;

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
        let (scalings, connections) = (self.scalings().await?, self.connections().await?);
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
                let known = Known {
                    settings: &settings,
                    scalings: &scalings,
                    connections: &connections,
                    supported_at: None,
                };
                plan(service, configuration, &known)
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
    known: &Known<'_>,
) -> Result<Plan, ApiError> {
    let source = configuration.source_configuration.as_ref();
    let names_image = source.is_some_and(|s| s.image_repository.is_some());
    let names_code = source.is_some_and(|s| s.code_repository.is_some());
    if names_image && service.config.code.is_some() {
        return Err(invalid(
            "The source of a service can't be changed from a code repository to an image.",
        ));
    }
    if names_code && service.config.code.is_none() {
        return Err(invalid(
            "The source of a service can't be changed from an image to a code repository.",
        ));
    }
    let config = configuration.apply(service.config.clone(), known)?;
    let image = match &config.code {
        Some(code) => built_image(service, code),
        None => found_image(service, &config, names_image),
    };
    Ok(Plan {
        kind: OperationKind::UpdateService,
        trigger: Trigger::User,
        config,
        image,
    })
}

/// The image that is deployed, if an update does not name one. It is looked up again when the request names it: the same
/// tag may mean another image by now.
fn found_image(service: &Service, config: &ServiceConfig, named: bool) -> Option<Digest> {
    let deployed = service.deployed.as_ref().filter(|_| !named)?;
    let same = deployed.config.image.identifier == config.image.identifier;
    same.then(|| deployed.image.clone())
}

/// The image that was built, if another build would see nothing else: an update of what only the running container needs
/// builds nothing.
fn built_image(service: &Service, code: &CodeSource) -> Option<Digest> {
    let deployed = service.deployed.as_ref()?;
    let built = code.built.as_ref()?;
    let dockerfile = Extensions::of(&service.tags, &BTreeMap::new()).dockerfile;
    let same = deployed.config.code.as_ref()?.built.as_ref() == Some(built);
    (same && built.dockerfile == dockerfile).then(|| deployed.image.clone())
}

/// The error of a call that the service's state does not allow.
pub(super) fn wrong_state(service: &Service) -> ApiError {
    invalid_state(format!(
        "Service cannot be updated in the current state: {}.",
        service.status.as_str()
    ))
}

//! `CreateService`.

use super::config::{Configuration, Known};
use super::output::ServiceAnswer;
use super::tags::{Tag, Tagged, checked, has_role_for_identity};
use super::{AppRunner, invalid, quota_exceeded, store_failed};
use crate::clock::random;
use crate::kms::KeyRefusal;
use apron_aws::ApiError;
use apron_domain::service::label_from_random;
use apron_domain::{Service, ServiceId, ServiceStatus};
use apron_store::StoreError;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateService {
    service_name: String,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(flatten)]
    configuration: Configuration,
}

impl AppRunner {
    pub(super) async fn service_create(
        &self,
        input: CreateService,
    ) -> Result<ServiceAnswer, ApiError> {
        let settings = &self.engine.settings;
        self.check_roles(&input.configuration)?;
        let key = self.encryption_key(&input.configuration).await?;
        let _order = self.engine.configurations.read().await;
        let (scalings, connections) = (self.scalings().await?, self.connections().await?);
        let mut config = input.configuration.create(&Known {
            settings,
            scalings: &scalings,
            connections: &connections,
            supported_at: (!self.engine.sources.options().retired_runtimes)
                .then(|| self.engine.clock.now()),
        })?;
        config.encryption_key = key;
        let tags = checked(Tagged::Service, input.tags, Default::default())?;
        has_role_for_identity(&tags, &config)?;
        let chance = self.engine.chance.as_ref();
        let now = self.engine.clock.now();
        let service = Service {
            id: ServiceId::from_random(random(chance)),
            name: input.service_name,
            label: label_from_random(random(chance)),
            status: ServiceStatus::OperationInProgress,
            config: config.clone(),
            deployed: None,
            previous: None,
            last_revision: 0,
            tried_commit: None,
            push_pending: false,
            tags,
            created_at: now,
            updated_at: now,
            deleted_at: None,
        };
        let name = service.name.clone();
        self.ensure_service_role().await?;
        match self.operations.create(service, config).await {
            Ok((operation, service)) => Ok(self.answer(&service, Some(&operation))),
            Err(StoreError::Limit { limit, .. }) => Err(quota_exceeded(format!(
                "The limit of {limit} services is reached. Delete a service first."
            ))),
            Err(StoreError::Conflict { .. }) => Err(invalid(format!(
                "Service with the provided name already exists: {name}."
            ))),
            Err(error) => Err(store_failed(error)),
        }
    }

    /// The ARN of the customer's key that is to seal what is stored of the service; it has to be in use.
    async fn encryption_key(&self, input: &Configuration) -> Result<Option<String>, ApiError> {
        let Some(encryption) = &input.encryption_configuration else {
            return Ok(None);
        };
        match self.engine.vault.keyring.usable(&encryption.kms_key).await {
            Ok(key) => Ok(Some(key.arn)),
            Err(KeyRefusal::Store(error)) => Err(store_failed(error)),
            Err(refusal) => Err(invalid(format!(
                "The key in EncryptionConfiguration.KmsKey can't be used: {refusal}."
            ))),
        }
    }
}

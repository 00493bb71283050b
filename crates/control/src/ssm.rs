//! AWS Systems Manager, of it Parameter Store: parameters with versions and labels, all of their values sealed.
//!
//! A parameter is a record of the vault under its name; the value of each version is a sealed part of it. A `SecureString`
//! with a customer's key is encrypted with that key, and its ARN as the encryption context, as AWS does.

mod delete;
mod describe;
mod filter;
mod get;
mod history;
mod labels;
mod name;
mod page;
mod put;
mod record;
mod tags;

pub use name::parameter_arn;
pub use record::{PARAMETER_RECORDS, ParameterRecord};

use crate::authorizer::{ResourceFacts, ResourceQuestion};
use crate::endpoint::{ApiService, Call, InvalidPageToken, internal};
use crate::kms::{KeyRefusal, Keyring};
use crate::settings::Settings;
use apron_aws::{ApiError, Model, model};
use apron_store::{Store, StoreError};
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;

/// Parameters of one installation (Parameter Store's quota of standard parameters).
pub const PARAMETERS_MAX: u32 = 10_000;

/// The Parameter Store of this installation.
pub struct ParameterStore {
    settings: Arc<Settings>,
    store: Store,
    keyring: Keyring,
    changes: tokio::sync::broadcast::Sender<String>,
}

/// Changes of parameters that wait for whoever rolls services; one that is missed is found by its next look.
const CHANGES_MAX: usize = 256;

impl ParameterStore {
    /// Parameter Store over this store.
    pub fn new(settings: Arc<Settings>, store: Store, keyring: Keyring) -> ParameterStore {
        ParameterStore {
            keyring,
            settings,
            store,
            changes: tokio::sync::broadcast::Sender::new(CHANGES_MAX),
        }
    }

    /// The ARNs of parameters that change from now on.
    pub fn changes(&self) -> tokio::sync::broadcast::Receiver<String> {
        self.changes.subscribe()
    }

    /// The number of the version that a name or ARN means now, without reading its value; none when there is none.
    pub async fn version_of(&self, name: &str) -> Result<Option<String>, StoreError> {
        let Some(selected) = self.selected(name) else {
            return Ok(None);
        };
        let found: Option<ParameterRecord> = self
            .store
            .vault_get(PARAMETER_RECORDS, &selected.name)
            .await?;
        let wanted = selected.selector.as_deref();
        Ok(found
            .and_then(|record| get::chosen(&record, wanted).map(|(number, _)| number.to_string())))
    }

    fn arn(&self, name: &str) -> String {
        parameter_arn(&self.settings, name)
    }

    async fn look_up(&self, call: &Call, name: &str) -> Result<Option<ParameterRecord>, ApiError> {
        let found = self.store.vault_get(PARAMETER_RECORDS, name).await;
        found.map_err(|e| internal(call, "read the parameter", &e))
    }
}

fn error(code: &str, message: impl Into<String>) -> ApiError {
    model::ssm().error(code, message)
}

fn invalid(message: impl Into<String>) -> ApiError {
    error("ValidationException", message)
}

fn not_found() -> ApiError {
    error("ParameterNotFound", "")
}

fn bad_page_token(_: InvalidPageToken) -> ApiError {
    error("InvalidNextToken", "The specified token isn't valid.")
}

/// What a caller is told when a customer's key cannot be used.
fn key_refused(call: &Call, refusal: &KeyRefusal) -> ApiError {
    match refusal {
        KeyRefusal::Store(cause) => internal(call, "read the key", cause),
        KeyRefusal::Denied(text) => ApiError::access_denied(text.as_str()).with_status(400),
        refusal => error("InvalidKeyId", refusal.to_string()),
    }
}

/// What a caller is told of a failure of the store.
fn stored(call: &Call, doing: &str, cause: &StoreError) -> ApiError {
    match cause {
        StoreError::Limit { limit, .. } => error(
            "ParameterLimitExceeded",
            format!("You have exceeded the number of parameters for this account, {limit}."),
        ),
        other => internal(call, doing, other),
    }
}

#[async_trait]
impl ApiService for ParameterStore {
    fn model(&self) -> &'static Model {
        model::ssm()
    }

    async fn resource(
        &self,
        question: &ResourceQuestion<'_>,
    ) -> Result<Option<ResourceFacts>, ApiError> {
        // Which version is meant is no part of what policies name.
        let Some(selected) = self.selected(question.arn) else {
            return Ok(None);
        };
        let name = selected.name;
        let found: Option<ParameterRecord> = self
            .store
            .vault_get(PARAMETER_RECORDS, &name)
            .await
            .map_err(|error| {
            tracing::error!(%error, "a parameter cannot be read");
            ApiError::internal_failure()
        })?;
        Ok(Some(ResourceFacts {
            arn: Some(self.arn(&name)),
            tags: found.map(|record| record.tags).unwrap_or_default(),
            ..ResourceFacts::default()
        }))
    }

    async fn call(&self, call: Call) -> Result<Value, ApiError> {
        match call.operation.as_str() {
            "PutParameter" => self.put_parameter(&call).await,
            "GetParameter" => self.get_parameter(&call).await,
            "GetParameters" => self.get_parameters(&call).await,
            "GetParametersByPath" => self.get_parameters_by_path(&call).await,
            "GetParameterHistory" => self.get_parameter_history(&call).await,
            "DescribeParameters" => self.describe_parameters(&call).await,
            "DeleteParameter" => self.delete_parameter(&call).await,
            "DeleteParameters" => self.delete_parameters(&call).await,
            "LabelParameterVersion" => self.label_parameter_version(&call).await,
            "UnlabelParameterVersion" => self.unlabel_parameter_version(&call).await,
            "AddTagsToResource" => self.add_tags_to_resource(&call).await,
            "RemoveTagsFromResource" => self.remove_tags_from_resource(&call).await,
            "ListTagsForResource" => self.list_tags_for_resource(&call).await,
            other => Err(ApiError::not_available("Systems Manager", other)),
        }
    }
}

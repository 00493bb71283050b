//! Amazon ECR: repositories, images by tag and digest, and the passwords of the registry.
//!
//! Repositories are rows of the store, their images are in the content store; the distribution server asks [`RegistryGate`]
//! whether a repository exists, so an image is reachable only while its repository is.

mod batch;
mod gate;
mod images;
mod manifest;
mod policy;
mod repositories;
mod tags;
#[cfg(test)]
pub(crate) mod tests;
mod tokens;

pub use gate::{PushWatcher, RegistryGate};
pub use repositories::SweepError;
pub use tokens::{Holder, TOKEN_LIFE_MS, TokenRefusal, Tokens};

use crate::authorizer::{ResourceFacts, ResourceQuestion};
use crate::endpoint::{ApiService, Call, InvalidPageToken, internal};
use crate::settings::Settings;
use apron_aws::{ApiError, Model, model};
use apron_oci::{ContentStore, OciError};
use apron_store::{Repository, Store, StoreError};
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;

/// Entries of one page when the caller does not say (ECR's documentation of `maxResults`).
const PAGE_ENTRIES_DEFAULT: u32 = 100;
/// Repositories of one installation (ECR's default quota).
pub const REPOSITORIES_MAX: u32 = 10_000;

/// The ECR of this installation.
pub struct Ecr {
    settings: Arc<Settings>,
    store: Store,
    content: Arc<ContentStore>,
    tokens: Arc<Tokens>,
    /// Creating and deleting are two stores each; one at a time keeps them together.
    lifecycle: tokio::sync::Mutex<()>,
}

impl Ecr {
    /// ECR over these stores; `tokens` makes the passwords that the registry's gate checks.
    pub fn new(
        settings: Arc<Settings>,
        store: Store,
        content: Arc<ContentStore>,
        tokens: Arc<Tokens>,
    ) -> Ecr {
        Ecr {
            settings,
            store,
            content,
            tokens,
            lifecycle: tokio::sync::Mutex::default(),
        }
    }

    fn error(&self, code: &str, message: impl Into<String>) -> ApiError {
        self.model().error(code, message)
    }

    fn invalid(&self, parameter: &str, constraint: &str) -> ApiError {
        let message = format!(
            "Invalid parameter at '{parameter}' failed to satisfy constraint: '{constraint}'"
        );
        self.error("InvalidParameterException", message)
    }

    fn not_found(&self, name: &str, registry: &str) -> ApiError {
        self.error(
            "RepositoryNotFoundException",
            not_found_text(name, registry),
        )
    }

    fn bad_page_token(&self, _: InvalidPageToken) -> ApiError {
        self.invalid("nextToken", "Invalid nextToken")
    }

    /// The repository of that name in the registry the caller means.
    async fn repository(
        &self,
        call: &Call,
        registry: Option<&str>,
        name: &str,
    ) -> Result<Repository, ApiError> {
        self.check_registry(registry, name)?;
        let found = self
            .store
            .repository_get(name)
            .await
            .map_err(|e| stored(call, "read the repository", &e))?;
        found.ok_or_else(|| self.not_found(name, &self.settings.account))
    }

    /// There is one registry, that of the account.
    fn check_registry(&self, registry: Option<&str>, name: &str) -> Result<(), ApiError> {
        match registry {
            Some(other) if other != self.settings.account => Err(self.not_found(name, other)),
            _ => Ok(()),
        }
    }

    /// A failure of the content store; only a full disk is something the caller can act upon.
    fn content_failure(&self, call: &Call, doing: &str, error: &OciError) -> ApiError {
        match error {
            OciError::DiskFull { .. } => self.error("ServerException", error.to_string()),
            other => internal(call, doing, other),
        }
    }

    fn arn(&self, name: &str) -> String {
        repository_arn(&self.settings, name)
    }
}

/// The ARN of a repository.
pub(crate) fn repository_arn(settings: &Settings, name: &str) -> String {
    format!(
        "arn:aws:ecr:{}:{}:repository/{name}",
        settings.region, settings.account
    )
}

/// ECR's text for a repository that does not exist, in the API and in the registry.
fn not_found_text(name: &str, registry: &str) -> String {
    format!("The repository with name '{name}' does not exist in the registry with id '{registry}'")
}

/// A failure of the store.
fn stored(call: &Call, doing: &str, error: &StoreError) -> ApiError {
    match error {
        StoreError::Full { .. } => model::ecr().error("ServerException", error.to_string()),
        other => internal(call, doing, other),
    }
}

#[async_trait]
impl ApiService for Ecr {
    fn model(&self) -> &'static Model {
        model::ecr()
    }

    async fn call(&self, call: Call) -> Result<Value, ApiError> {
        match call.operation.as_str() {
            "CreateRepository" => self.create_repository(&call).await,
            "DescribeRepositories" => self.describe_repositories(&call).await,
            "DeleteRepository" => self.delete_repository(&call).await,
            "PutImageTagMutability" => self.put_image_tag_mutability(&call).await,
            "SetRepositoryPolicy" => self.set_repository_policy(&call).await,
            "GetRepositoryPolicy" => self.get_repository_policy(&call).await,
            "DeleteRepositoryPolicy" => self.delete_repository_policy(&call).await,
            "ListTagsForResource" => self.list_tags_for_resource(&call).await,
            "TagResource" => self.tag_resource(&call).await,
            "UntagResource" => self.untag_resource(&call).await,
            "ListImages" => self.list_images(&call).await,
            "DescribeImages" => self.describe_images(&call).await,
            "BatchGetImage" => self.batch_get_image(&call).await,
            "BatchDeleteImage" => self.batch_delete_image(&call).await,
            "GetAuthorizationToken" => Ok(self.get_authorization_token(&call)),
            other => Err(ApiError::not_available("ECR", other)),
        }
    }

    fn has_resource_policy(&self, action: &str) -> bool {
        action.starts_with("ecr:")
    }

    async fn resource(
        &self,
        question: &ResourceQuestion<'_>,
    ) -> Result<Option<ResourceFacts>, ApiError> {
        self.facts(question).await
    }
}

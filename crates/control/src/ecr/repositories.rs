//! Repositories: create, describe, delete, and whether their tags may move.

use super::{Ecr, PAGE_ENTRIES_DEFAULT, stored};
use crate::ecr::tags::{Tag, check_tags};
use crate::endpoint::{Call, PageToken};
use apron_aws::ApiError;
use apron_oci::OciError;
use apron_store::{Repository, StoreError};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const PAGE_KIND: &str = "ecr-repositories";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateRepository {
    registry_id: Option<String>,
    repository_name: String,
    #[serde(default)]
    tags: Vec<Tag>,
    image_tag_mutability: Option<String>,
    image_scanning_configuration: Option<ImageScanning>,
    encryption_configuration: Option<Encryption>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImageScanning {
    #[serde(default)]
    scan_on_push: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Encryption {
    encryption_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DescribeRepositories {
    registry_id: Option<String>,
    repository_names: Option<Vec<String>>,
    next_token: Option<String>,
    max_results: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeleteRepository {
    registry_id: Option<String>,
    repository_name: String,
    #[serde(default)]
    force: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PutImageTagMutability {
    registry_id: Option<String>,
    repository_name: String,
    image_tag_mutability: String,
}

/// Why [`Ecr::sweep`] stopped.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The content store failed.
    #[error(transparent)]
    Content(#[from] OciError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Ecr {
    pub(super) async fn create_repository(&self, call: &Call) -> Result<Value, ApiError> {
        let input: CreateRepository = call.input()?;
        let name = input.repository_name;
        self.check_registry(input.registry_id.as_deref(), &name)?;
        apron_oci::check_repository(&name)
            .map_err(|e| self.invalid("repositoryName", &e.to_string()))?;
        let immutable_tags =
            self.immutable(input.image_tag_mutability.as_deref().unwrap_or("MUTABLE"))?;
        if let Some(other) = input
            .encryption_configuration
            .filter(|e| e.encryption_type != "AES256")
        {
            let text = format!(
                "{} is not available in this installation, use AES256",
                other.encryption_type
            );
            return Err(self.invalid("encryptionConfiguration.encryptionType", &text));
        }
        let tags = input
            .tags
            .into_iter()
            .map(|tag| (tag.key, tag.value))
            .collect();
        check_tags(self, &tags)?;
        let scan_on_push = input
            .image_scanning_configuration
            .is_some_and(|scanning| scanning.scan_on_push);
        let created_at = call.now;
        let repository = Repository {
            name,
            created_at,
            immutable_tags,
            scan_on_push,
            tags,
            policy: None,
        };
        self.create(call, &repository).await?;
        Ok(json!({"repository": self.describe(&repository)}))
    }

    async fn create(&self, call: &Call, repository: &Repository) -> Result<(), ApiError> {
        let name = &repository.name;
        let _one_at_a_time = self.lifecycle.lock().await;
        let found = self
            .store
            .repository_get(name)
            .await
            .map_err(|e| stored(call, "read the repository", &e))?;
        if found.is_some() {
            return Err(self.already_exists(name));
        }
        // What a push that raced with the deletion of an earlier repository of this name may have left.
        let cleared = self.content.delete_repository(name).await;
        cleared.map_err(|e| self.content_failure(call, "clear the repository", &e))?;
        self.store
            .repository_create(repository)
            .await
            .map_err(|error| match error {
                StoreError::Conflict { .. } => self.already_exists(name),
                other => stored(call, "create the repository", &other),
            })
    }

    fn already_exists(&self, name: &str) -> ApiError {
        let account = &self.settings.account;
        let message = format!(
            "The repository with name '{name}' already exists in the registry with id '{account}'"
        );
        self.error("RepositoryAlreadyExistsException", message)
    }

    pub(super) async fn describe_repositories(&self, call: &Call) -> Result<Value, ApiError> {
        let input: DescribeRepositories = call.input()?;
        if let Some(names) = input.repository_names {
            if input.next_token.is_some() || input.max_results.is_some() {
                return Err(self.invalid(
                    "repositoryNames",
                    "must not be given together with nextToken or maxResults",
                ));
            }
            let mut found = Vec::with_capacity(names.len());
            for name in names {
                found.push(
                    self.describe(
                        &self
                            .repository(call, input.registry_id.as_deref(), &name)
                            .await?,
                    ),
                );
            }
            return Ok(json!({"repositories": found}));
        }
        self.check_registry(input.registry_id.as_deref(), "*")?;
        let after = input
            .next_token
            .as_deref()
            .map(|text| PageToken::decode::<1>(PAGE_KIND, text))
            .transpose();
        let after = after
            .map_err(|e| self.bad_page_token(e))?
            .map(|[name]| name);
        let limit = input.max_results.unwrap_or(PAGE_ENTRIES_DEFAULT);
        // One more than asked for tells whether there is another page; the store's own page bound may cut it.
        let page = self.store.repositories(after.as_deref(), limit + 1).await;
        let mut page = page.map_err(|e| stored(call, "list the repositories", &e))?;
        let more =
            page.len() > limit as usize || page.len() == apron_store::PAGE_RECORDS_MAX as usize;
        page.truncate(limit as usize);
        let next = page
            .last()
            .filter(|_| more)
            .map(|last| PageToken::after([&last.name]).encode(PAGE_KIND));
        let found: Vec<Value> = page
            .iter()
            .map(|repository| self.describe(repository))
            .collect();
        Ok(json!({"repositories": found, "nextToken": next}))
    }

    pub(super) async fn delete_repository(&self, call: &Call) -> Result<Value, ApiError> {
        let input: DeleteRepository = call.input()?;
        let name = &input.repository_name;
        let _one_at_a_time = self.lifecycle.lock().await;
        let repository = self
            .repository(call, input.registry_id.as_deref(), name)
            .await?;
        let images = self.content.manifests(name).await;
        let images = images.map_err(|e| self.content_failure(call, "list the images", &e))?;
        if !images.is_empty() && !input.force {
            let account = &self.settings.account;
            let message = format!(
                "The repository with name '{name}' in registry with id '{account}' cannot be deleted because it still \
                 contains images"
            );
            return Err(self.error("RepositoryNotEmptyException", message));
        }
        // The row first: from then on nothing can be pushed or pulled, and an interrupted removal is finished when the name
        // is created again or swept.
        self.store
            .repository_delete(name)
            .await
            .map_err(|e| stored(call, "delete the repository", &e))?;
        let removed = self.content.delete_repository(name).await;
        removed.map_err(|e| self.content_failure(call, "remove the images", &e))?;
        Ok(json!({"repository": self.describe(&repository)}))
    }

    pub(super) async fn put_image_tag_mutability(&self, call: &Call) -> Result<Value, ApiError> {
        let input: PutImageTagMutability = call.input()?;
        let name = &input.repository_name;
        let immutable = self.immutable(&input.image_tag_mutability)?;
        self.repository(call, input.registry_id.as_deref(), name)
            .await?;
        self.change(call, name, |repository| {
            repository.immutable_tags = immutable
        })
        .await?;
        Ok(json!({
            "registryId": self.settings.account,
            "repositoryName": name,
            "imageTagMutability": mutability(immutable),
        }))
    }

    /// Removes images whose repository does not exist (any more): what an interrupted deletion, or a push that raced with
    /// one, has left. Returns the names that were removed.
    ///
    /// # Errors
    /// A store cannot be read or written; what is left is removed the next time.
    pub async fn sweep(&self) -> Result<Vec<String>, SweepError> {
        let mut removed = Vec::new();
        for name in self.content.repositories().await? {
            let _one_at_a_time = self.lifecycle.lock().await;
            if self.store.repository_get(&name).await?.is_none() {
                self.content.delete_repository(&name).await?;
                removed.push(name);
            }
        }
        Ok(removed)
    }

    /// Changes a repository that exists.
    pub(super) async fn change(
        &self,
        call: &Call,
        name: &str,
        change: impl FnOnce(&mut Repository) + Send,
    ) -> Result<Repository, ApiError> {
        self.store
            .repository_update(name, change)
            .await
            .map_err(|error| match error {
                StoreError::NotFound { .. } => self.not_found(name, &self.settings.account),
                other => stored(call, "change the repository", &other),
            })
    }

    fn immutable(&self, mutability: &str) -> Result<bool, ApiError> {
        match mutability {
            "MUTABLE" => Ok(false),
            "IMMUTABLE" => Ok(true),
            other => {
                let text = format!(
                    "{other} is not available in this installation, use MUTABLE or IMMUTABLE"
                );
                Err(self.invalid("imageTagMutability", &text))
            }
        }
    }

    fn describe(&self, repository: &Repository) -> Value {
        json!({
            "repositoryArn": self.arn(&repository.name),
            "registryId": self.settings.account,
            "repositoryName": repository.name,
            "repositoryUri": format!("{}/{}", self.settings.registry_host, repository.name),
            "createdAt": repository.created_at.as_seconds(),
            "imageTagMutability": mutability(repository.immutable_tags),
            "imageScanningConfiguration": {"scanOnPush": repository.scan_on_push},
            "encryptionConfiguration": {"encryptionType": "AES256"},
        })
    }
}

fn mutability(immutable: bool) -> &'static str {
    if immutable { "IMMUTABLE" } else { "MUTABLE" }
}

/// The tags of a repository.
pub(super) type Tags = BTreeMap<String, String>;

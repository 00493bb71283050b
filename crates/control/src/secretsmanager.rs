//! AWS Secrets Manager: secrets with versions and staging labels, sealed in the store.
//!
//! A secret is a record of the vault under its name; the value of each version is a sealed part of it. One whose secret
//! names a customer's key is encrypted with that key, and its ARN and version as the encryption context, as AWS does.

mod batch;
mod change;
mod create;
mod delete;
mod list;
mod password;
mod policies;
mod read;
mod record;
mod stages;
mod tags;
mod value;

pub use record::{SECRET_RECORDS, SecretRecord, secret_arn};

use crate::authorizer::{ResourceFacts, ResourcePolicy, ResourceQuestion};
use crate::clock::Chance;
use crate::endpoint::{ApiService, Call, internal};
use crate::iam::Document;
use crate::kms::{KeyRefusal, Keyring};
use crate::settings::Settings;
use apron_aws::policy::Kind;
use apron_aws::{ApiError, Arn, Model, model};
use apron_domain::Millis;
use apron_store::{Change, SealError, Store, StoreError};
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;

/// Secrets of one installation (a bound of the platform; Secrets Manager: 500,000).
pub const SECRETS_MAX: u32 = 10_000;

/// The Secrets Manager of this installation.
pub struct SecretsManager {
    settings: Arc<Settings>,
    store: Store,
    keyring: Keyring,
    chance: Arc<dyn Chance>,
    changes: tokio::sync::broadcast::Sender<String>,
}

/// Changes of secrets that wait for whoever rolls services; one that is missed is found by its next look.
const CHANGES_MAX: usize = 256;

impl SecretsManager {
    /// Secrets Manager over this store.
    pub fn new(
        settings: Arc<Settings>,
        store: Store,
        keyring: Keyring,
        chance: Arc<dyn Chance>,
    ) -> SecretsManager {
        SecretsManager {
            keyring,
            settings,
            store,
            chance,
            changes: tokio::sync::broadcast::Sender::new(CHANGES_MAX),
        }
    }

    /// The ARNs of secrets whose current value changes from now on.
    pub fn changes(&self) -> tokio::sync::broadcast::Receiver<String> {
        self.changes.subscribe()
    }

    /// Destroys secrets whose time of deletion has come. Returns how many.
    pub async fn sweep(&self, now: Millis) -> Result<usize, StoreError> {
        let mut destroyed = 0;
        for (name, secret) in self.store.vault_all::<SecretRecord>(SECRET_RECORDS).await? {
            if secret.destroy_at.is_some_and(|at| at <= now) {
                self.store.vault_drop(SECRET_RECORDS, &name).await?;
                destroyed += 1;
            }
        }
        Ok(destroyed)
    }

    /// The id of the version that a reference means now, without reading its value; none when there is none.
    pub async fn version_of(
        &self,
        id: &str,
        version: Option<&str>,
        stage: Option<&str>,
    ) -> Result<Option<String>, StoreError> {
        let found = self.look_up(id).await?;
        Ok(found.and_then(|(_, secret)| match version {
            Some(version) => secret
                .versions
                .contains_key(version)
                .then(|| version.to_owned()),
            None => secret
                .staged(stage.unwrap_or(record::CURRENT))
                .map(str::to_owned),
        }))
    }

    fn arn(&self, name: &str, secret: &SecretRecord) -> String {
        secret_arn(&self.settings, name, &secret.suffix)
    }

    /// The secret that a name, an ARN, or an ARN without its last characters names.
    async fn find(&self, call: &Call, id: &str) -> Result<(String, SecretRecord), ApiError> {
        let found = self.look_up(id).await;
        found
            .map_err(|e| internal(call, "read the secret", &e))?
            .ok_or_else(not_found)
    }

    async fn look_up(&self, id: &str) -> Result<Option<(String, SecretRecord)>, StoreError> {
        let get = |name: String| async move {
            let secret: Option<SecretRecord> = self.store.vault_get(SECRET_RECORDS, &name).await?;
            Ok::<_, StoreError>(secret.map(|secret| (name, secret)))
        };
        let Ok(arn) = id.parse::<Arn>() else {
            return get(id.to_owned()).await;
        };
        let ours = arn.service == "secretsmanager"
            && arn.region == self.settings.region
            && arn.account == self.settings.account;
        let Some(name) = arn.resource.strip_prefix("secret:").filter(|_| ours) else {
            return Ok(None);
        };
        if let Some((name, suffix)) = name.rsplit_once('-')
            && let Some((name, secret)) = get(name.to_owned()).await?
            && secret.suffix == suffix
        {
            return Ok(Some((name, secret)));
        }
        get(name.to_owned()).await
    }

    /// A secret that is not to be deleted.
    async fn find_live(&self, call: &Call, id: &str) -> Result<(String, SecretRecord), ApiError> {
        let (name, secret) = self.find(call, id).await?;
        match secret.destroy_at {
            Some(_) => Err(deleted()),
            None => Ok((name, secret)),
        }
    }

    /// Changes a secret that is not to be deleted. `change` may refuse with what the caller is told.
    async fn change<O: Send>(
        &self,
        call: &Call,
        name: &str,
        change: impl FnOnce(SecretRecord) -> Result<Change<SecretRecord, O>, ApiError> + Send,
    ) -> Result<O, ApiError> {
        let change = |secret: Option<SecretRecord>| match secret {
            None => Err(not_found()),
            Some(secret) if secret.destroy_at.is_some() => Err(deleted()),
            Some(secret) => change(secret),
        };
        self.store
            .vault_change(SECRET_RECORDS, name, SECRETS_MAX, change)
            .await
            .map_err(|e| stored(call, "change the secret", &e))?
    }
}

fn error(code: &str, message: impl Into<String>) -> ApiError {
    model::secretsmanager().error(code, message)
}

fn invalid_parameter(message: impl Into<String>) -> ApiError {
    error("InvalidParameterException", message)
}

fn invalid_request(message: impl Into<String>) -> ApiError {
    error("InvalidRequestException", message)
}

fn not_found() -> ApiError {
    error(
        "ResourceNotFoundException",
        "Secrets Manager can't find the specified secret.",
    )
}

fn deleted() -> ApiError {
    invalid_request(
        "You can't perform this operation on the secret because it was marked for deletion.",
    )
}

fn not_here(what: &str) -> ApiError {
    invalid_request(format!(
        "{what} is not available in this installation of Apron"
    ))
}

/// What a caller is told when a customer's key cannot be used.
fn key_refused(call: &Call, code: &str, refusal: &KeyRefusal) -> ApiError {
    let verb = if code == "DecryptionFailure" {
        "decrypt"
    } else {
        "encrypt"
    };
    match refusal {
        KeyRefusal::Store(cause) => internal(call, "read the key", cause),
        KeyRefusal::Denied(text) => {
            ApiError::access_denied(format!("Access to KMS is not allowed: {text}"))
                .with_status(400)
        }
        refusal => error(
            code,
            format!(
                "Secrets Manager can't {verb} the protected secret text using the provided KMS key. Check that the KMS key \
                 is available, enabled, and not in an invalid state: {refusal}."
            ),
        ),
    }
}

/// What a caller is told of a failure of the store.
fn stored(call: &Call, doing: &str, cause: &StoreError) -> ApiError {
    match cause {
        StoreError::Limit { limit, .. } => error(
            "LimitExceededException",
            format!("The limit of {limit} secrets is reached."),
        ),
        StoreError::Sealing(SealError::KeyMissing { .. }) => error(
            "EncryptionFailure",
            "Secrets Manager can't encrypt the protected secret text using the provided KMS key.",
        ),
        other => internal(call, doing, other),
    }
}

#[async_trait]
impl ApiService for SecretsManager {
    fn model(&self) -> &'static Model {
        model::secretsmanager()
    }

    fn has_resource_policy(&self, action: &str) -> bool {
        action.starts_with("secretsmanager:")
    }

    async fn resource(
        &self,
        question: &ResourceQuestion<'_>,
    ) -> Result<Option<ResourceFacts>, ApiError> {
        let found = self.look_up(question.arn).await.map_err(|error| {
            tracing::error!(%error, "a secret cannot be read");
            ApiError::internal_failure()
        })?;
        let Some((name, secret)) = found else {
            return Ok(None);
        };
        // A policy that was stored is one.
        let policy = secret.policy.as_deref();
        let document = policy.and_then(|text| Document::parse(text, Kind::Secret).ok());
        Ok(Some(ResourceFacts {
            arn: Some(self.arn(&name, &secret)),
            tags: secret.tags,
            policy: document.map(|document| ResourcePolicy {
                name: format!("policy of secret {name}"),
                document,
                required: false,
            }),
            ..ResourceFacts::default()
        }))
    }

    async fn call(&self, call: Call) -> Result<Value, ApiError> {
        match call.operation.as_str() {
            "CreateSecret" => self.create_secret(&call).await,
            "GetSecretValue" => self.get_secret_value(&call).await,
            "BatchGetSecretValue" => self.batch_get_secret_value(&call).await,
            "PutSecretValue" => self.put_secret_value(&call).await,
            "UpdateSecret" => self.update_secret(&call).await,
            "UpdateSecretVersionStage" => self.update_secret_version_stage(&call).await,
            "DescribeSecret" => self.describe_secret(&call).await,
            "ListSecretVersionIds" => self.list_secret_version_ids(&call).await,
            "ListSecrets" => self.list_secrets(&call).await,
            "DeleteSecret" => self.delete_secret(&call).await,
            "RestoreSecret" => self.restore_secret(&call).await,
            "TagResource" => self.tag_resource(&call).await,
            "UntagResource" => self.untag_resource(&call).await,
            "PutResourcePolicy" => self.put_resource_policy(&call).await,
            "GetResourcePolicy" => self.get_resource_policy(&call).await,
            "DeleteResourcePolicy" => self.delete_resource_policy(&call).await,
            "GetRandomPassword" => self.get_random_password(&call),
            other => Err(ApiError::not_available("Secrets Manager", other)),
        }
    }
}

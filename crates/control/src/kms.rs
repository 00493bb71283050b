//! AWS KMS, the part that applications and the platform itself use: symmetric keys, aliases, encryption with a context.
//!
//! The material of keys stays in the store, which also does the cryptography; see `apron_store`'s customer keys. Other
//! services find and use keys through [`Keyring`].

mod aliases;
mod crypto;
mod keyring;
mod keys;
mod policies;
mod record;
mod tags;

pub use keyring::{KeyRefusal, Keyring, UsableKey, Use};
pub use record::{KeyRecord, KeyState};

use crate::authorizer::{ResourceFacts, ResourcePolicy, ResourceQuestion};
use crate::clock::Chance;
use crate::endpoint::{ApiService, Call, InvalidPageToken, Listing, internal};
use crate::iam::Document;
use crate::settings::Settings;
use apron_aws::policy::Kind;
use apron_aws::{ApiError, Model, model};
use apron_store::{Store, StoreError};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;

/// Keys of one installation (a bound of the platform; KMS: 100,000).
pub const KEYS_MAX: u32 = 10_000;
/// Aliases of one installation.
pub const ALIASES_MAX: u32 = 10_000;
/// Entries of one page, unless fewer are asked for (KMS: 100, of aliases 50).
const PAGE_ENTRIES_DEFAULT: usize = 100;

/// The KMS of this installation.
pub struct Kms {
    settings: Arc<Settings>,
    store: Store,
    keyring: Keyring,
    chance: Arc<dyn Chance>,
}

impl Kms {
    /// KMS over this store.
    pub fn new(
        settings: Arc<Settings>,
        store: Store,
        keyring: Keyring,
        chance: Arc<dyn Chance>,
    ) -> Kms {
        Kms {
            keyring,
            settings,
            store,
            chance,
        }
    }

    /// The key that a text names, with the errors of KMS.
    async fn key(&self, call: &Call, text: &str) -> Result<(String, KeyRecord), ApiError> {
        let found = self.keyring.find(text).await;
        found.map_err(|refusal| refused(call, refusal))
    }
}

fn error(code: &str, message: impl Into<String>) -> ApiError {
    model::kms().error(code, message)
}

fn not_here(what: &str) -> ApiError {
    error(
        "UnsupportedOperationException",
        format!("{what} is not available in this installation of Apron"),
    )
}

/// What a caller is told when a key cannot be used.
fn refused(call: &Call, refusal: KeyRefusal) -> ApiError {
    match refusal {
        KeyRefusal::NotFound(text) => error("NotFoundException", text),
        KeyRefusal::Disabled(arn) => error("DisabledException", format!("{arn} is disabled.")),
        KeyRefusal::PendingDeletion(arn) => error(
            "KMSInvalidStateException",
            format!("{arn} is pending deletion."),
        ),
        KeyRefusal::Denied(text) => ApiError::access_denied(text).with_status(400),
        KeyRefusal::Store(cause) => stored(call, "read the key", &cause),
    }
}

/// What a caller is told of a failure of the store.
fn stored(call: &Call, doing: &str, cause: &StoreError) -> ApiError {
    match cause {
        StoreError::Limit { limit, .. } => error(
            "LimitExceededException",
            format!("The limit of {limit} is reached."),
        ),
        other => internal(call, doing, other),
    }
}

/// The page of entries behind a marker, and the marker of the next.
fn page<T>(
    kind: &str,
    entries: Vec<T>,
    name: impl Fn(&T) -> &str,
    marker: Option<&str>,
    limit: Option<usize>,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    let listing = Listing {
        kind,
        token: marker,
        entries_max: limit.unwrap_or(PAGE_ENTRIES_DEFAULT),
    };
    listing.page(entries, name).map_err(|_: InvalidPageToken| {
        error(
            "InvalidMarkerException",
            "The marker is not one of this list.",
        )
    })
}

/// A page's answer: its entries under their name, with the marker of the next page.
fn listed(name: &str, entries: Vec<Value>, next: Option<String>) -> Value {
    json!({ name: entries, "Truncated": next.is_some(), "NextMarker": next })
}

#[async_trait]
impl ApiService for Kms {
    fn model(&self) -> &'static Model {
        model::kms()
    }

    fn has_resource_policy(&self, action: &str) -> bool {
        action.starts_with("kms:")
    }

    async fn resource(
        &self,
        question: &ResourceQuestion<'_>,
    ) -> Result<Option<ResourceFacts>, ApiError> {
        let found = self.keyring.facts(question.arn).await.map_err(|error| {
            tracing::error!(%error, "a key cannot be read");
            ApiError::internal_failure()
        })?;
        let Some((id, arn, record)) = found else {
            return Ok(None);
        };
        // A policy that was stored is one.
        let document = Document::parse(&record.policy, Kind::Key).ok();
        Ok(Some(ResourceFacts {
            arn: Some(arn),
            tags: record.tags,
            policy: document.map(|document| ResourcePolicy {
                name: format!("policy of key {id}"),
                document,
                required: true,
            }),
            ..ResourceFacts::default()
        }))
    }

    async fn call(&self, call: Call) -> Result<Value, ApiError> {
        match call.operation.as_str() {
            "CreateKey" => self.create_key(&call).await,
            "DescribeKey" => self.describe_key(&call).await,
            "ListKeys" => self.list_keys(&call).await,
            "EnableKey" => self.enable_key(&call).await,
            "DisableKey" => self.disable_key(&call).await,
            "ScheduleKeyDeletion" => self.schedule_key_deletion(&call).await,
            "CancelKeyDeletion" => self.cancel_key_deletion(&call).await,
            "UpdateKeyDescription" => self.update_key_description(&call).await,
            "CreateAlias" => self.create_alias(&call).await,
            "UpdateAlias" => self.update_alias(&call).await,
            "DeleteAlias" => self.delete_alias(&call).await,
            "ListAliases" => self.list_aliases(&call).await,
            "Encrypt" => self.encrypt(&call).await,
            "Decrypt" => self.decrypt(&call).await,
            "ReEncrypt" => self.re_encrypt(&call).await,
            "GenerateDataKey" => self.generate_data_key(&call, true).await,
            "GenerateDataKeyWithoutPlaintext" => self.generate_data_key(&call, false).await,
            "GenerateRandom" => self.generate_random(&call),
            "GetKeyPolicy" => self.get_key_policy(&call).await,
            "PutKeyPolicy" => self.put_key_policy(&call).await,
            "ListKeyPolicies" => self.list_key_policies(&call).await,
            "TagResource" => self.tag_resource(&call).await,
            "UntagResource" => self.untag_resource(&call).await,
            "ListResourceTags" => self.list_resource_tags(&call).await,
            other => Err(ApiError::not_available("KMS", other)),
        }
    }
}

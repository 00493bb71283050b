//! Keys: made, described, taken out of use, deleted after a time in which that can be undone.

use super::policies::{checked, default_policy};
use super::record::{KeyRecord, KeyState};
use super::tags::{Tag, checked_tags};
use super::{KEYS_MAX, Kms, error, listed, not_here, page, refused, stored};
use crate::clock::random;
use crate::endpoint::Call;
use apron_aws::ApiError;
use apron_store::{Change, KEY_RECORDS};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const PAGE_KIND: &str = "kms-keys";
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Days until a key is destroyed: fewest, most, unless something else is asked for (KMS, ScheduleKeyDeletion).
const WINDOW_DAYS: (u64, u64, u64) = (7, 30, 30);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateKey {
    policy: Option<String>,
    #[serde(default)]
    description: String,
    key_usage: Option<String>,
    customer_master_key_spec: Option<String>,
    key_spec: Option<String>,
    origin: Option<String>,
    custom_key_store_id: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    multi_region: bool,
    xks_key_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OneKey {
    pub key_id: String,
    description: Option<String>,
    pending_window_in_days: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Paging {
    pub key_id: Option<String>,
    pub limit: Option<usize>,
    pub marker: Option<String>,
}

impl CreateKey {
    fn check(&self) -> Result<(), ApiError> {
        let other = |given: &Option<String>, ours: &str| {
            given
                .as_deref()
                .filter(|given| *given != ours)
                .map(str::to_owned)
        };
        let spec = other(&self.key_spec, "SYMMETRIC_DEFAULT")
            .or(other(&self.customer_master_key_spec, "SYMMETRIC_DEFAULT"));
        if let Some(spec) = spec {
            return Err(not_here(&format!("The key spec {spec}")));
        }
        if let Some(usage) = other(&self.key_usage, "ENCRYPT_DECRYPT") {
            return Err(not_here(&format!("The key usage {usage}")));
        }
        if let Some(origin) = other(&self.origin, "AWS_KMS") {
            return Err(not_here(&format!("The key origin {origin}")));
        }
        if self.multi_region {
            return Err(not_here("A multi-Region key"));
        }
        match self.custom_key_store_id.is_some() || self.xks_key_id.is_some() {
            true => Err(not_here("A custom key store")),
            false => Ok(()),
        }
    }
}

impl Kms {
    pub(super) async fn create_key(&self, call: &Call) -> Result<Value, ApiError> {
        let input: CreateKey = call.input()?;
        input.check()?;
        let policy = match &input.policy {
            Some(policy) => checked(policy)?,
            None => default_policy(&self.settings.account),
        };
        let record = KeyRecord {
            description: input.description,
            state: KeyState::Enabled,
            policy,
            tags: checked_tags(BTreeMap::new(), input.tags)?,
            created_at: call.now,
        };
        let id = uuid(random(self.chance.as_ref()));
        let created = self
            .store
            .customer_key_create(&id, record.clone(), KEYS_MAX)
            .await;
        created.map_err(|e| stored(call, "create the key", &e))?;
        Ok(json!({ "KeyMetadata": self.metadata(&id, &record) }))
    }

    pub(super) async fn describe_key(&self, call: &Call) -> Result<Value, ApiError> {
        let input: OneKey = call.input()?;
        let (id, record) = self.key(call, &input.key_id).await?;
        Ok(json!({ "KeyMetadata": self.metadata(&id, &record) }))
    }

    pub(super) async fn list_keys(&self, call: &Call) -> Result<Value, ApiError> {
        let input: Paging = call.input()?;
        let all = self.store.vault_all::<KeyRecord>(KEY_RECORDS).await;
        let all = all.map_err(|e| stored(call, "list the keys", &e))?;
        let (keys, next) = page(
            PAGE_KIND,
            all,
            |entry| entry.0.as_str(),
            input.marker.as_deref(),
            input.limit,
        )?;
        let entries = keys
            .iter()
            .map(|(id, _)| json!({"KeyId": id, "KeyArn": self.keyring.arn(&format!("key/{id}"))}))
            .collect();
        Ok(listed("Keys", entries, next))
    }

    pub(super) async fn enable_key(&self, call: &Call) -> Result<Value, ApiError> {
        let input: OneKey = call.input()?;
        self.change_key(call, &input.key_id, |record| {
            record.state = KeyState::Enabled
        })
        .await?;
        Ok(Value::Null)
    }

    pub(super) async fn disable_key(&self, call: &Call) -> Result<Value, ApiError> {
        let input: OneKey = call.input()?;
        self.change_key(call, &input.key_id, |record| {
            record.state = KeyState::Disabled
        })
        .await?;
        Ok(Value::Null)
    }

    pub(super) async fn update_key_description(&self, call: &Call) -> Result<Value, ApiError> {
        let input: OneKey = call.input()?;
        let description = input.description.unwrap_or_default();
        self.change_key(call, &input.key_id, |record| {
            record.description = description
        })
        .await?;
        Ok(Value::Null)
    }

    pub(super) async fn schedule_key_deletion(&self, call: &Call) -> Result<Value, ApiError> {
        let input: OneKey = call.input()?;
        let (least, most, usual) = WINDOW_DAYS;
        let days = input.pending_window_in_days.unwrap_or(usual);
        if !(least..=most).contains(&days) {
            return Err(error(
                "ValidationException",
                format!("PendingWindowInDays must be between {least} and {most}."),
            ));
        }
        let at = call.now.plus(days * DAY_MS);
        let state = KeyState::PendingDeletion { at };
        let (id, _) = self
            .change_key(call, &input.key_id, |record| record.state = state)
            .await?;
        Ok(json!({
            "KeyId": self.keyring.arn(&format!("key/{id}")),
            "DeletionDate": at.as_seconds(),
            "KeyState": state.as_str(),
            "PendingWindowInDays": days,
        }))
    }

    pub(super) async fn cancel_key_deletion(&self, call: &Call) -> Result<Value, ApiError> {
        let input: OneKey = call.input()?;
        let (id, record) = self.key(call, &input.key_id).await?;
        let arn = self.keyring.arn(&format!("key/{id}"));
        if !matches!(record.state, KeyState::PendingDeletion { .. }) {
            let text = format!("{arn} is not pending deletion.");
            return Err(error("KMSInvalidStateException", text));
        }
        let back = |record: Option<KeyRecord>| {
            let mut record = record.ok_or(())?;
            // One that is restored is out of use until it is enabled (KMS, CancelKeyDeletion).
            record.state = KeyState::Disabled;
            Ok(Change::record(record, ()))
        };
        self.vault_change(call, &id, back).await?;
        Ok(json!({ "KeyId": arn }))
    }

    /// Changes a key that is not pending deletion; answers its id and its record from then on.
    pub(super) async fn change_key(
        &self,
        call: &Call,
        text: &str,
        change: impl FnOnce(&mut KeyRecord) + Send,
    ) -> Result<(String, KeyRecord), ApiError> {
        let (id, record) = self.key(call, text).await?;
        if matches!(record.state, KeyState::PendingDeletion { .. }) {
            let arn = self.keyring.arn(&format!("key/{id}"));
            return Err(refused(call, super::KeyRefusal::PendingDeletion(arn)));
        }
        let record = self
            .vault_change(call, &id, |record: Option<KeyRecord>| {
                let mut record = record.ok_or(())?;
                change(&mut record);
                Ok(Change::record(record.clone(), record))
            })
            .await?;
        Ok((id, record))
    }

    async fn vault_change<O: Send>(
        &self,
        call: &Call,
        id: &str,
        change: impl FnOnce(Option<KeyRecord>) -> Result<Change<KeyRecord, O>, ()> + Send,
    ) -> Result<O, ApiError> {
        let changed = self.store.vault_change(KEY_RECORDS, id, KEYS_MAX, change);
        let changed = changed
            .await
            .map_err(|e| stored(call, "change the key", &e))?;
        // Destroyed meanwhile.
        changed.map_err(|()| {
            let arn = self.keyring.arn(&format!("key/{id}"));
            error("NotFoundException", format!("Key '{arn}' does not exist"))
        })
    }

    fn metadata(&self, id: &str, record: &KeyRecord) -> Value {
        let mut metadata = json!({
            "AWSAccountId": self.settings.account,
            "KeyId": id,
            "Arn": self.keyring.arn(&format!("key/{id}")),
            "CreationDate": record.created_at.as_seconds(),
            "Enabled": record.state == KeyState::Enabled,
            "Description": record.description,
            "KeyUsage": "ENCRYPT_DECRYPT",
            "KeyState": record.state.as_str(),
            "Origin": "AWS_KMS",
            "KeyManager": "CUSTOMER",
            "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
            "KeySpec": "SYMMETRIC_DEFAULT",
            "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
            "MultiRegion": false,
        });
        if let KeyState::PendingDeletion { at } = record.state {
            metadata["DeletionDate"] = json!(at.as_seconds());
        }
        metadata
    }
}

/// A random UUID (RFC 9562, version 4) from 16 random bytes.
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    super::Keyring::text_of(&bytes)
}

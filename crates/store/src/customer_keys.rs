//! Keys that customers make (KMS) and what is done with them. Their material never leaves this crate: it is made here,
//! kept as a sealed part of the key's record, and used here.

use crate::Store;
use crate::error::StoreError;
use crate::seal::key::{KEY_LEN, random, unhex};
use crate::seal::{CustomerKeyId, EncryptionContext, SealError, Sealer};
use crate::vault::{Change, Changed, Lock, Part};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The kind of the keys' records.
pub const KEY_RECORDS: &str = "kms-key";
/// The part with the material.
const MATERIAL: &str = "material";

impl Store {
    /// Stores a new key under the text of its UUID, with material made for it.
    pub async fn customer_key_create<T>(
        &self,
        id: &str,
        record: T,
        limit: u32,
    ) -> Result<(), StoreError>
    where
        T: Serialize + DeserializeOwned + Send + Sync,
    {
        let material: [u8; KEY_LEN] = random()?;
        let part = Part::Put {
            name: MATERIAL.to_owned(),
            lock: Lock::Platform,
            value: material.to_vec(),
        };
        let made: Changed<(), ()> = self
            .vault_change(KEY_RECORDS, id, limit, move |_: Option<T>| {
                Ok(Change {
                    record: Some(record),
                    parts: vec![part],
                    outcome: (),
                })
            })
            .await;
        // A fresh UUID is refused by nobody.
        let _ = made?;
        let id = customer_key_id(id).ok_or(SealError::Forged)?;
        Ok(self.sealer().add_customer_key(id, &material)?)
    }

    /// Drops a key with its material: what it sealed opens no more.
    pub async fn customer_key_destroy(&self, id: &str) -> Result<(), StoreError> {
        self.vault_drop(KEY_RECORDS, id).await?;
        if let Some(id) = customer_key_id(id) {
            self.sealer().forget_customer_key(&id);
        }
        Ok(())
    }

    /// Encrypts with a key; see [`Sealer::seal_with`].
    pub fn customer_key_seal(
        &self,
        id: &CustomerKeyId,
        context: &EncryptionContext,
        value: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        self.sealer().seal_with(id, context, value)
    }

    /// Decrypts with the key that the envelope names; see [`Sealer::open_with`].
    pub fn customer_key_open(
        &self,
        context: &EncryptionContext,
        envelope: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        self.sealer().open_with(context, envelope)
    }

    /// Makes the material of all keys known.
    pub(crate) async fn customer_keys_open(&self) -> Result<(), StoreError> {
        let none = EncryptionContext::default();
        for (id, _) in self.vault_all::<serde_json::Value>(KEY_RECORDS).await? {
            let material = self.vault_open(KEY_RECORDS, &id, MATERIAL, &none).await?;
            if let (Some(key), Some(material)) = (customer_key_id(&id), material) {
                self.sealer().add_customer_key(key, &material)?;
            }
        }
        Ok(())
    }
}

/// A key's UUID from its text.
pub fn customer_key_id(text: &str) -> Option<CustomerKeyId> {
    let digits = text.len() == 36 && text.bytes().filter(|b| *b == b'-').count() == 4;
    let bytes = unhex(&text.replace('-', "")).filter(|_| digits)?;
    bytes.try_into().ok()
}

/// The key that an envelope names; none when no customer's key made it.
pub fn customer_key_of(envelope: &[u8]) -> Option<CustomerKeyId> {
    Sealer::customer_key_of(envelope)
}

//! Values: given in a request, sealed, opened again.

use super::record::{SECRET_RECORDS, SecretRecord, VersionRecord};
use super::{SecretsManager, error, invalid_parameter, key_refused};
use crate::endpoint::{Call, internal};
use crate::kms::{Keyring, Use};
use apron_aws::ApiError;
use apron_store::{EncryptionContext, Lock, Part, SealError, StoreError};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// The alias of the key that AWS manages: for us, the platform's own data key.
const MANAGED_ALIAS: &str = "alias/aws/secretsmanager";
/// Bytes of a value (Secrets Manager's quota).
const VALUE_BYTES_MAX: usize = 65_536;

/// A value as it was given. Not for printing.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SecretValue {
    pub binary: bool,
    pub bytes: Vec<u8>,
}

impl SecretValue {
    /// The value of a request; none when it has none.
    pub fn given(
        string: Option<String>,
        binary: Option<String>,
    ) -> Result<Option<SecretValue>, ApiError> {
        let value = match (string, binary) {
            (Some(_), Some(_)) => {
                return Err(invalid_parameter(
                    "You can't specify both a binary secret value and a string secret value in the same secret.",
                ));
            }
            (None, None) => return Ok(None),
            (Some(text), None) => SecretValue {
                binary: false,
                bytes: text.into_bytes(),
            },
            (None, Some(blob)) => SecretValue {
                binary: true,
                bytes: BASE64_STANDARD
                    .decode(blob)
                    .map_err(|_| ApiError::serialization("SecretBinary is not Base64"))?,
            },
        };
        match value.bytes.len() > VALUE_BYTES_MAX {
            true => Err(invalid_parameter(format!(
                "The secret value has more than {VALUE_BYTES_MAX} bytes."
            ))),
            false => Ok(Some(value)),
        }
    }

    /// Puts the value into an answer.
    pub fn answer(self, into: &mut Value) {
        match self.binary {
            true => into["SecretBinary"] = json!(BASE64_STANDARD.encode(self.bytes)),
            false => into["SecretString"] = json!(String::from_utf8_lossy(&self.bytes)),
        }
    }
}

impl SecretsManager {
    /// The context that the values of a customer's key are bound to, as AWS has it.
    fn context(&self, name: &str, secret: &SecretRecord, version: &str) -> EncryptionContext {
        EncryptionContext::of("SecretARN", &self.arn(name, secret)).with("SecretVersionId", version)
    }

    /// What seals a new version of a secret.
    ///
    /// # Errors
    /// `EncryptionFailure` when the secret's key cannot be used.
    pub(super) async fn lock(
        &self,
        call: &Call,
        name: &str,
        secret: &SecretRecord,
        version: &str,
    ) -> Result<Lock, ApiError> {
        match secret.kms_key_id.as_deref() {
            None | Some("" | MANAGED_ALIAS) => Ok(Lock::Platform),
            Some(key) => {
                let context = self.context(name, secret, version);
                let sealing = Use {
                    service: "secretsmanager",
                    action: "kms:GenerateDataKey",
                    context: &context,
                };
                match self.keyring.usable_by(call, &sealing, key).await {
                    Ok(key) => Ok(Lock::Customer(key.id, context)),
                    Err(refusal) => Err(key_refused(call, "EncryptionFailure", &refusal)),
                }
            }
        }
    }

    /// The sealed part of a version.
    pub(super) fn part(version: &str, lock: Lock, value: &SecretValue) -> Part {
        Part::Put {
            name: version.to_owned(),
            lock,
            value: value.bytes.clone(),
        }
    }

    /// The value of a version.
    pub(super) async fn open(
        &self,
        call: &Call,
        name: &str,
        secret: &SecretRecord,
        id: &str,
        version: &VersionRecord,
    ) -> Result<SecretValue, ApiError> {
        let context = self.context(name, secret, id);
        self.check_key_of(call, name, id, &context).await?;
        let opened = self
            .store
            .vault_open(SECRET_RECORDS, name, id, &context)
            .await;
        match opened {
            Ok(Some(bytes)) => Ok(SecretValue {
                binary: version.binary,
                bytes,
            }),
            Ok(None) => Err(super::not_found()),
            Err(StoreError::Sealing(SealError::KeyMissing { .. })) => Err(error(
                "DecryptionFailure",
                "Secrets Manager can't decrypt the protected secret text using the provided KMS key.",
            )),
            Err(cause) => Err(internal(call, "open the secret", &cause)),
        }
    }

    /// Refuses to open what a customer's key sealed that is out of use.
    async fn check_key_of(
        &self,
        call: &Call,
        name: &str,
        id: &str,
        context: &EncryptionContext,
    ) -> Result<(), ApiError> {
        let key = self.store.vault_key_of(SECRET_RECORDS, name, id).await;
        let Some(key) = key.map_err(|e| internal(call, "read the secret", &e))? else {
            return Ok(());
        };
        let key = Keyring::text_of(&key);
        let opening = Use {
            service: "secretsmanager",
            action: "kms:Decrypt",
            context,
        };
        match self.keyring.usable_by(call, &opening, &key).await {
            Ok(_) => Ok(()),
            Err(refusal) => Err(key_refused(call, "DecryptionFailure", &refusal)),
        }
    }
}

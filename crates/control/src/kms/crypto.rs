//! Encrypting and decrypting.

use super::keyring::{Keyring, UsableKey};
use super::{Kms, error, not_here, refused};
use crate::endpoint::Call;
use apron_aws::ApiError;
use apron_store::{EncryptionContext, customer_key_of};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The only algorithm of symmetric keys.
const ALGORITHM: &str = "SYMMETRIC_DEFAULT";
/// Bytes that one call encrypts (KMS, Encrypt).
const PLAINTEXT_BYTES_MAX: usize = 4096;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Encrypt {
    key_id: String,
    plaintext: String,
    #[serde(default)]
    encryption_context: BTreeMap<String, String>,
    #[serde(flatten)]
    manner: Manner,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Decrypt {
    ciphertext_blob: Option<String>,
    #[serde(default)]
    encryption_context: BTreeMap<String, String>,
    key_id: Option<String>,
    #[serde(flatten)]
    manner: Manner,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ReEncrypt {
    ciphertext_blob: Option<String>,
    #[serde(default)]
    source_encryption_context: BTreeMap<String, String>,
    source_key_id: Option<String>,
    destination_key_id: String,
    #[serde(default)]
    destination_encryption_context: BTreeMap<String, String>,
    #[serde(flatten)]
    manner: Manner,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GenerateDataKey {
    key_id: String,
    #[serde(default)]
    encryption_context: BTreeMap<String, String>,
    number_of_bytes: Option<usize>,
    key_spec: Option<String>,
    #[serde(flatten)]
    manner: Manner,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GenerateRandom {
    number_of_bytes: Option<usize>,
    custom_key_store_id: Option<String>,
    recipient: Option<Value>,
}

/// What all of these have.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Manner {
    encryption_algorithm: Option<String>,
    source_encryption_algorithm: Option<String>,
    destination_encryption_algorithm: Option<String>,
    #[serde(default)]
    grant_tokens: Vec<String>,
    recipient: Option<Value>,
    #[serde(default)]
    dry_run: bool,
}

impl Manner {
    fn check(&self) -> Result<(), ApiError> {
        let algorithms = [
            &self.encryption_algorithm,
            &self.source_encryption_algorithm,
            &self.destination_encryption_algorithm,
        ];
        let other = algorithms.into_iter().flatten().find(|a| *a != ALGORITHM);
        if let Some(other) = other {
            let text = format!("The algorithm {other} is not one of a symmetric key.");
            return Err(error("InvalidKeyUsageException", text));
        }
        if !self.grant_tokens.is_empty() {
            let text = "There are no grants in this installation of Apron.";
            return Err(error("InvalidGrantTokenException", text));
        }
        match self.recipient.is_some() {
            true => Err(not_here("A recipient in an enclave")),
            false => Ok(()),
        }
    }

    /// The end of a call that only asks whether it may be made.
    fn end_dry_run(&self) -> Result<(), ApiError> {
        match self.dry_run {
            true => Err(error(
                "DryRunOperationException",
                "The request would have succeeded, but the DryRun option is set.",
            )),
            false => Ok(()),
        }
    }
}

impl Kms {
    pub(super) async fn encrypt(&self, call: &Call) -> Result<Value, ApiError> {
        let input: Encrypt = call.input()?;
        input.manner.check()?;
        let plaintext = bytes(&input.plaintext)?;
        if plaintext.len() > PLAINTEXT_BYTES_MAX {
            return Err(error(
                "ValidationException",
                format!(
                    "1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have \
                     length less than or equal to {PLAINTEXT_BYTES_MAX}"
                ),
            ));
        }
        let key = self.usable(call, &input.key_id).await?;
        input.manner.end_dry_run()?;
        let sealed = self.seal(&key, input.encryption_context, &plaintext)?;
        Ok(json!({
            "CiphertextBlob": sealed,
            "KeyId": key.arn,
            "EncryptionAlgorithm": ALGORITHM,
        }))
    }

    pub(super) async fn decrypt(&self, call: &Call) -> Result<Value, ApiError> {
        let input: Decrypt = call.input()?;
        input.manner.check()?;
        let (key, plaintext) = self
            .open(
                call,
                input.ciphertext_blob.as_deref(),
                input.encryption_context,
                input.key_id.as_deref(),
            )
            .await?;
        input.manner.end_dry_run()?;
        Ok(json!({
            "KeyId": key.arn,
            "Plaintext": BASE64_STANDARD.encode(plaintext),
            "EncryptionAlgorithm": ALGORITHM,
        }))
    }

    pub(super) async fn re_encrypt(&self, call: &Call) -> Result<Value, ApiError> {
        let input: ReEncrypt = call.input()?;
        input.manner.check()?;
        let (source, plaintext) = self
            .open(
                call,
                input.ciphertext_blob.as_deref(),
                input.source_encryption_context,
                input.source_key_id.as_deref(),
            )
            .await?;
        let key = self.usable(call, &input.destination_key_id).await?;
        input.manner.end_dry_run()?;
        let sealed = self.seal(&key, input.destination_encryption_context, &plaintext)?;
        Ok(json!({
            "CiphertextBlob": sealed,
            "SourceKeyId": source.arn,
            "KeyId": key.arn,
            "SourceEncryptionAlgorithm": ALGORITHM,
            "DestinationEncryptionAlgorithm": ALGORITHM,
        }))
    }

    pub(super) async fn generate_data_key(
        &self,
        call: &Call,
        with_plaintext: bool,
    ) -> Result<Value, ApiError> {
        let input: GenerateDataKey = call.input()?;
        input.manner.check()?;
        let length = match (input.key_spec.as_deref(), input.number_of_bytes) {
            (Some("AES_128"), None) => 16,
            (Some(_), None) => 32,
            (None, Some(length)) => length,
            _ => {
                let text = "Please specify either number of bytes or key spec.";
                return Err(error("ValidationException", text));
            }
        };
        let key = self.usable(call, &input.key_id).await?;
        input.manner.end_dry_run()?;
        let mut made = vec![0; length];
        self.chance.fill(&mut made);
        let sealed = self.seal(&key, input.encryption_context, &made)?;
        let mut answer = json!({ "CiphertextBlob": sealed, "KeyId": key.arn });
        if with_plaintext {
            answer["Plaintext"] = json!(BASE64_STANDARD.encode(made));
        }
        Ok(answer)
    }

    pub(super) fn generate_random(&self, call: &Call) -> Result<Value, ApiError> {
        let input: GenerateRandom = call.input()?;
        if input.custom_key_store_id.is_some() {
            return Err(not_here("A custom key store"));
        }
        if input.recipient.is_some() {
            return Err(not_here("A recipient in an enclave"));
        }
        let Some(length) = input.number_of_bytes else {
            let text = "NumberOfBytes is required.";
            return Err(error("ValidationException", text));
        };
        let mut made = vec![0; length];
        self.chance.fill(&mut made);
        Ok(json!({ "Plaintext": BASE64_STANDARD.encode(made) }))
    }

    async fn usable(&self, call: &Call, text: &str) -> Result<UsableKey, ApiError> {
        let key = self.keyring.usable(text).await;
        key.map_err(|refusal| refused(call, refusal))
    }

    fn seal(
        &self,
        key: &UsableKey,
        context: BTreeMap<String, String>,
        value: &[u8],
    ) -> Result<String, ApiError> {
        let context = EncryptionContext::new(context);
        match self.store.customer_key_seal(&key.id, &context, value) {
            Ok(sealed) => Ok(BASE64_STANDARD.encode(sealed)),
            Err(cause) => {
                tracing::error!(key = key.arn, %cause, "a value cannot be encrypted");
                Err(error(
                    "KMSInternalException",
                    "The value cannot be encrypted.",
                ))
            }
        }
    }

    /// Decrypts, with the key that made the ciphertext, which has to be the named one when one is named.
    async fn open(
        &self,
        call: &Call,
        ciphertext: Option<&str>,
        context: BTreeMap<String, String>,
        named: Option<&str>,
    ) -> Result<(UsableKey, Vec<u8>), ApiError> {
        // KMS says nothing more of it, and so gives nothing away.
        let invalid = || error("InvalidCiphertextException", "");
        let sealed = bytes(ciphertext.unwrap_or_default())?;
        let made_by = customer_key_of(&sealed).ok_or_else(invalid)?;
        if let Some(named) = named {
            let named = self.usable(call, named).await?;
            if named.id != made_by {
                let text = "The key ID in the request does not identify a CMK that can perform this operation.";
                return Err(error("IncorrectKeyException", text));
            }
        }
        let key = match self.keyring.usable(&Keyring::text_of(&made_by)).await {
            Err(super::KeyRefusal::NotFound(_)) => return Err(invalid()),
            found => found.map_err(|refusal| refused(call, refusal))?,
        };
        let context = EncryptionContext::new(context);
        let opened = self.store.customer_key_open(&context, &sealed);
        Ok((key, opened.map_err(|_| invalid())?))
    }
}

fn bytes(blob: &str) -> Result<Vec<u8>, ApiError> {
    BASE64_STANDARD
        .decode(blob)
        .map_err(|_| ApiError::serialization("a blob of the request is not Base64"))
}

//! `CreateSecret`.

use super::change::{self, Put};
use super::record::{SECRET_RECORDS, SecretRecord};
use super::tags::{Tag, checked_tags};
use super::value::SecretValue;
use super::{SECRETS_MAX, SecretsManager, error, invalid_request, not_here, stored};
use crate::clock::random;
use crate::endpoint::{Call, internal};
use apron_aws::ApiError;
use apron_store::Change;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What the characters after a secret's name are made of.
const SUFFIX_ALPHABET: &[u8; 62] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateSecret {
    name: String,
    client_request_token: Option<String>,
    description: Option<String>,
    kms_key_id: Option<String>,
    secret_binary: Option<String>,
    secret_string: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    add_replica_regions: Vec<Value>,
    #[serde(rename = "Type")]
    kind: Option<String>,
    #[serde(rename = "CrossAccountPrimaryARN")]
    cross_account_primary_arn: Option<String>,
}

impl CreateSecret {
    fn check(&self) -> Result<(), ApiError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-/_+=.@!".contains(&b);
        if !self.name.bytes().all(allowed) {
            return Err(error(
                "ValidationException",
                "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!",
            ));
        }
        if !self.add_replica_regions.is_empty() || self.cross_account_primary_arn.is_some() {
            return Err(not_here("Replication of secrets"));
        }
        match self.kind.as_deref() {
            None | Some("") => Ok(()),
            Some(_) => Err(not_here("A secret that a partner manages")),
        }
    }
}

impl SecretsManager {
    pub(super) async fn create_secret(&self, call: &Call) -> Result<Value, ApiError> {
        let input: CreateSecret = call.input()?;
        input.check()?;
        let value = SecretValue::given(input.secret_string, input.secret_binary)?;
        let name = input.name;
        let mut secret = SecretRecord {
            suffix: self.suffix(),
            description: input.description,
            kms_key_id: input.kms_key_id.filter(|key| !key.is_empty()),
            tags: checked_tags(BTreeMap::new(), input.tags)?,
            created_at: call.now,
            changed_at: call.now,
            ..SecretRecord::default()
        };
        let token = match input.client_request_token {
            Some(token) => token,
            None => self.version_id(),
        };
        if let Some(answer) = self
            .created_before(call, &name, &token, value.as_ref())
            .await?
        {
            return Ok(answer);
        }
        let put = Put {
            lock: self.lock(call, &name, &secret, &token).await?,
            id: token,
            value,
            stages: Vec::new(),
        };
        let arn = self.arn(&name, &secret);
        let mut answer = json!({ "ARN": arn, "Name": name });
        let mut parts = Vec::new();
        if put.value.is_some() {
            answer["VersionId"] = json!(put.id);
            parts = change::add_version(&mut secret, &put, call.now)?;
        }
        let make = |before: Option<SecretRecord>| match before {
            Some(before) => Err(in_the_way(&name, &before)),
            None => Ok(Change {
                record: Some(secret),
                parts,
                outcome: answer,
            }),
        };
        self.store
            .vault_change(SECRET_RECORDS, &name, SECRETS_MAX, make)
            .await
            .map_err(|e| stored(call, "create the secret", &e))?
    }

    /// The answer when the same request made the secret already, so that clients may send it again.
    async fn created_before(
        &self,
        call: &Call,
        name: &str,
        token: &str,
        value: Option<&SecretValue>,
    ) -> Result<Option<Value>, ApiError> {
        let found: Option<SecretRecord> = self
            .store
            .vault_get(SECRET_RECORDS, name)
            .await
            .map_err(|e| internal(call, "read the secret", &e))?;
        let Some(secret) = found else {
            return Ok(None);
        };
        let (Some(version), Some(value)) = (secret.versions.get(token), value) else {
            return Err(in_the_way(name, &secret));
        };
        let same = secret.destroy_at.is_none()
            && self.open(call, name, &secret, token, version).await? == *value;
        match same {
            true => Ok(Some(json!({
                "ARN": self.arn(name, &secret),
                "Name": name,
                "VersionId": token,
            }))),
            false => Err(in_the_way(name, &secret)),
        }
    }

    fn suffix(&self) -> String {
        let bytes: [u8; 6] = random(self.chance.as_ref());
        let letter = |byte: &u8| char::from(SUFFIX_ALPHABET[usize::from(byte % 62)]);
        bytes.iter().map(letter).collect()
    }

    /// The id of a version whose request has no token of its own: a UUID.
    pub(super) fn version_id(&self) -> String {
        let mut bytes: [u8; 16] = random(self.chance.as_ref());
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        crate::kms::Keyring::text_of(&bytes)
    }
}

fn in_the_way(name: &str, secret: &SecretRecord) -> ApiError {
    match secret.destroy_at {
        Some(_) => invalid_request(
            "You can't create this secret because a secret with this name is already scheduled for deletion.",
        ),
        None => error(
            "ResourceExistsException",
            format!("The operation failed because the secret {name} already exists."),
        ),
    }
}

//! `PutSecretValue` and `UpdateSecret`: new versions, and what is said of a secret.

use super::record::{CURRENT, STAGES_MAX, SecretRecord, VERSIONS_MAX, VersionRecord};
use super::value::SecretValue;
use super::{SecretsManager, error, invalid_request, not_here};
use crate::endpoint::Call;
use apron_aws::ApiError;
use apron_domain::Millis;
use apron_store::{Change, Lock, Part};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutSecretValue {
    secret_id: String,
    client_request_token: Option<String>,
    secret_binary: Option<String>,
    secret_string: Option<String>,
    #[serde(default)]
    version_stages: Vec<String>,
    rotation_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateSecret {
    secret_id: String,
    client_request_token: Option<String>,
    description: Option<String>,
    kms_key_id: Option<String>,
    secret_binary: Option<String>,
    secret_string: Option<String>,
    #[serde(rename = "Type")]
    kind: Option<String>,
}

/// A version to be added.
pub(super) struct Put {
    /// Its id.
    pub id: String,
    /// What seals it.
    pub lock: Lock,
    /// Its value.
    pub value: Option<SecretValue>,
    /// The labels it is given; none: it becomes current.
    pub stages: Vec<String>,
}

/// Adds a version to a secret; what becomes of its sealed parts.
pub(super) fn add_version(
    secret: &mut SecretRecord,
    put: &Put,
    now: Millis,
) -> Result<Vec<Part>, ApiError> {
    let Some(value) = &put.value else {
        return Ok(Vec::new());
    };
    let version = VersionRecord {
        created_at: now,
        accessed_at: None,
        stages: Vec::new(),
        binary: value.binary,
    };
    secret.versions.insert(put.id.clone(), version);
    let current = [CURRENT.to_owned()];
    let stages = match put.stages.is_empty() {
        true => &current[..],
        false => &put.stages,
    };
    for stage in stages {
        secret.stage(stage, &put.id);
    }
    // The first version is current whatever it is called besides.
    if secret.staged(CURRENT).is_none() {
        secret.stage(CURRENT, &put.id);
    }
    secret.changed_at = now;
    let mut parts = vec![SecretsManager::part(&put.id, put.lock.clone(), value)];
    let gone = secret.forget_deprecated();
    parts.extend(gone.into_iter().map(|name| Part::Drop { name }));
    let crowded = secret.versions.len() > VERSIONS_MAX
        || secret
            .versions
            .values()
            .any(|v| v.stages.len() > STAGES_MAX);
    match crowded {
        true => Err(error(
            "LimitExceededException",
            format!(
                "A secret has at most {VERSIONS_MAX} versions with labels, and a version {STAGES_MAX} labels."
            ),
        )),
        false => Ok(parts),
    }
}

impl SecretsManager {
    pub(super) async fn put_secret_value(&self, call: &Call) -> Result<Value, ApiError> {
        let input: PutSecretValue = call.input()?;
        if input.rotation_token.is_some() {
            return Err(not_here("Rotation of secrets"));
        }
        let Some(value) = SecretValue::given(input.secret_string, input.secret_binary)? else {
            return Err(invalid_request(
                "You must provide either SecretString or SecretBinary.",
            ));
        };
        let (name, secret) = self.find_live(call, &input.secret_id).await?;
        let id = input
            .client_request_token
            .unwrap_or_else(|| self.version_id());
        if self
            .is_put_already(call, &name, &secret, &id, &value)
            .await?
        {
            return Ok(put_answer(&self.arn(&name, &secret), &name, &secret, &id));
        }
        let put = Put {
            lock: self.lock(call, &name, &secret, &id).await?,
            id,
            value: Some(value),
            stages: input.version_stages,
        };
        let (arn, now) = (self.arn(&name, &secret), call.now);
        let answer = self
            .change(call, &name, |mut secret| {
                refuse_taken(&secret, &arn, &put.id)?;
                let parts = add_version(&mut secret, &put, now)?;
                Ok(Change {
                    outcome: put_answer(&arn, &name, &secret, &put.id),
                    record: Some(secret),
                    parts,
                })
            })
            .await?;
        self.tell_of_change(&arn);
        Ok(answer)
    }

    pub(super) async fn update_secret(&self, call: &Call) -> Result<Value, ApiError> {
        let input: UpdateSecret = call.input()?;
        if input.kind.is_some() {
            return Err(not_here("A secret that a partner manages"));
        }
        let value = SecretValue::given(input.secret_string, input.secret_binary)?;
        let (name, mut secret) = self.find_live(call, &input.secret_id).await?;
        let arn = self.arn(&name, &secret);
        let (description, key) = (input.description, input.kms_key_id);
        if let Some(key) = &key {
            secret.kms_key_id = Some(key.clone()).filter(|key| !key.is_empty());
        }
        let id = input
            .client_request_token
            .unwrap_or_else(|| self.version_id());
        let lock = self.lock(call, &name, &secret, &id).await?;
        let new = match &value {
            Some(value) => {
                !self
                    .is_put_already(call, &name, &secret, &id, value)
                    .await?
            }
            None => false,
        };
        let mut answer = json!({ "ARN": arn, "Name": name });
        if value.is_some() {
            answer["VersionId"] = json!(id);
        }
        let put = Put {
            id,
            lock,
            value: value.filter(|_| new),
            stages: Vec::new(),
        };
        let now = call.now;
        self.change(call, &name, |mut secret| {
            if description.is_some() {
                secret.description = description;
            }
            if let Some(key) = key {
                secret.kms_key_id = Some(key).filter(|key| !key.is_empty());
            }
            secret.changed_at = now;
            if put.value.is_some() {
                refuse_taken(&secret, &arn, &put.id)?;
            }
            let parts = add_version(&mut secret, &put, now)?;
            Ok(Change {
                record: Some(secret),
                parts,
                outcome: (),
            })
        })
        .await?;
        if new {
            self.tell_of_change(&arn);
        }
        Ok(answer)
    }

    /// Whether the version exists with this value, because the same request came before.
    async fn is_put_already(
        &self,
        call: &Call,
        name: &str,
        secret: &SecretRecord,
        id: &str,
        value: &SecretValue,
    ) -> Result<bool, ApiError> {
        let Some(version) = secret.versions.get(id) else {
            return Ok(false);
        };
        match self.open(call, name, secret, id, version).await? == *value {
            true => Ok(true),
            false => Err(taken(&self.arn(name, secret), id)),
        }
    }

    /// Tells whoever listens that the secret has another current value.
    pub(super) fn tell_of_change(&self, arn: &str) {
        // Nobody needs to listen.
        let _ = self.changes.send(arn.to_owned());
    }
}

fn put_answer(arn: &str, name: &str, secret: &SecretRecord, id: &str) -> Value {
    let version = secret.versions.get(id);
    json!({
        "ARN": arn,
        "Name": name,
        "VersionId": id,
        "VersionStages": version.map(|version| &version.stages),
    })
}

/// A version of that id that another request made meanwhile.
fn refuse_taken(secret: &SecretRecord, arn: &str, id: &str) -> Result<(), ApiError> {
    match secret.versions.contains_key(id) {
        true => Err(taken(arn, id)),
        false => Ok(()),
    }
}

fn taken(arn: &str, id: &str) -> ApiError {
    error(
        "ResourceExistsException",
        format!(
            "You can't use ClientRequestToken {id} because that value is already in use for a version of secret {arn}."
        ),
    )
}

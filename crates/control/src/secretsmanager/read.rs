//! `GetSecretValue`, `DescribeSecret` and `ListSecretVersionIds`.

use super::record::{CURRENT, SECRET_RECORDS, SecretRecord, VersionRecord, day};
use super::{SECRETS_MAX, SecretsManager, error, invalid_request};
use crate::endpoint::{Call, InvalidPageToken, Listing};
use apron_aws::ApiError;
use apron_store::{Change, Changed};
use serde::Deserialize;
use serde_json::{Map, Value, json};

const PAGE_KIND: &str = "secret-versions";
/// Versions of one page, unless fewer are asked for.
const PAGE_ENTRIES_DEFAULT: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OneSecret {
    pub secret_id: String,
    pub version_id: Option<String>,
    pub version_stage: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListVersions {
    secret_id: String,
    max_results: Option<usize>,
    next_token: Option<String>,
    #[serde(default)]
    include_deprecated: bool,
}

impl SecretsManager {
    pub(super) async fn get_secret_value(&self, call: &Call) -> Result<Value, ApiError> {
        let input: OneSecret = call.input()?;
        let (name, secret) = self.find_live(call, &input.secret_id).await?;
        let id = chosen(&secret, &input)?.to_owned();
        self.value_answer(call, &name, &secret, &id).await
    }

    /// A version of a secret with its value, as the API answers it.
    pub(super) async fn value_answer(
        &self,
        call: &Call,
        name: &str,
        secret: &SecretRecord,
        id: &str,
    ) -> Result<Value, ApiError> {
        let version = secret.versions.get(id).ok_or_else(super::not_found)?;
        let value = self.open(call, name, secret, id, version).await?;
        self.note_access(call, name, secret, id).await;
        let mut answer = json!({
            "ARN": self.arn(name, secret),
            "Name": name,
            "VersionId": id,
            "VersionStages": version.stages,
            "CreatedDate": version.created_at.as_seconds(),
        });
        value.answer(&mut answer);
        Ok(answer)
    }

    /// Writes down on which day a value was read; once a day, so that reading does not mean writing.
    async fn note_access(&self, call: &Call, name: &str, secret: &SecretRecord, id: &str) {
        let today = day(call.now);
        let known = secret.versions.get(id).and_then(|v| v.accessed_at);
        if secret.accessed_at == Some(today) && known == Some(today) {
            return;
        }
        let note = |secret: Option<SecretRecord>| {
            let mut secret = secret.ok_or(())?;
            secret.accessed_at = Some(today);
            if let Some(version) = secret.versions.get_mut(id) {
                version.accessed_at = Some(today);
            }
            Ok(Change::record(secret, ()))
        };
        let noted: Changed<(), ()> = self
            .store
            .vault_change(SECRET_RECORDS, name, SECRETS_MAX, note)
            .await;
        if let Err(cause) = noted {
            tracing::warn!(%cause, "the day of the access to a secret cannot be written down");
        }
    }

    pub(super) async fn describe_secret(&self, call: &Call) -> Result<Value, ApiError> {
        let input: OneSecret = call.input()?;
        let (name, secret) = self.find(call, &input.secret_id).await?;
        let mut answer = self.description(&name, &secret);
        answer["VersionIdsToStages"] = stages_of(&secret);
        Ok(answer)
    }

    /// What describing and listing have in common.
    pub(super) fn description(&self, name: &str, secret: &SecretRecord) -> Value {
        let seconds = |at: Option<apron_domain::Millis>| at.map(|at| at.as_seconds());
        let tags: Vec<Value> = secret
            .tags
            .iter()
            .map(|(key, value)| json!({"Key": key, "Value": value}))
            .collect();
        json!({
            "ARN": self.arn(name, secret),
            "Name": name,
            "Description": secret.description,
            "KmsKeyId": secret.kms_key_id,
            "CreatedDate": secret.created_at.as_seconds(),
            "LastChangedDate": secret.changed_at.as_seconds(),
            "LastAccessedDate": seconds(secret.accessed_at),
            "DeletedDate": seconds(secret.deleted_at),
            "Tags": tags,
        })
    }

    pub(super) async fn list_secret_version_ids(&self, call: &Call) -> Result<Value, ApiError> {
        let input: ListVersions = call.input()?;
        let (name, secret) = self.find(call, &input.secret_id).await?;
        let listing = Listing {
            kind: PAGE_KIND,
            token: input.next_token.as_deref(),
            entries_max: input.max_results.unwrap_or(PAGE_ENTRIES_DEFAULT),
        };
        let wanted =
            |version: &VersionRecord| input.include_deprecated || !version.stages.is_empty();
        let versions = secret
            .versions
            .iter()
            .filter(|(_, version)| wanted(version));
        let page = listing.page(versions, |(id, _)| id.as_str());
        let (versions, next) = page.map_err(bad_page_token)?;
        let entries: Vec<Value> = versions
            .into_iter()
            .map(|(id, version)| {
                json!({
                    "VersionId": id,
                    "VersionStages": Some(&version.stages).filter(|stages| !stages.is_empty()),
                    "LastAccessedDate": version.accessed_at.map(|at| at.as_seconds()),
                    "CreatedDate": version.created_at.as_seconds(),
                })
            })
            .collect();
        Ok(json!({
            "Versions": entries,
            "NextToken": next,
            "ARN": self.arn(&name, &secret),
            "Name": name,
        }))
    }
}

/// The labels of the versions that have some.
pub(super) fn stages_of(secret: &SecretRecord) -> Value {
    let stages: Map<String, Value> = secret
        .versions
        .iter()
        .filter(|(_, version)| !version.stages.is_empty())
        .map(|(id, version)| (id.clone(), json!(version.stages)))
        .collect();
    Value::Object(stages)
}

/// The version that a request means.
fn chosen<'a>(secret: &'a SecretRecord, input: &'a OneSecret) -> Result<&'a str, ApiError> {
    let missing = |what: String| {
        error(
            "ResourceNotFoundException",
            format!("Secrets Manager can't find the specified secret value for {what}"),
        )
    };
    match (&input.version_id, &input.version_stage) {
        (Some(id), stage) => {
            let version = secret.versions.get(id);
            let version = version.ok_or_else(|| missing(format!("VersionId: {id}")))?;
            match stage {
                Some(stage) if !version.stages.contains(stage) => Err(invalid_request(
                    "You provided a VersionStage that is not associated to the provided VersionId.",
                )),
                _ => Ok(id),
            }
        }
        (None, stage) => {
            let stage = stage.as_deref().unwrap_or(CURRENT);
            let found = secret.staged(stage);
            found.ok_or_else(|| missing(format!("staging label: {stage}")))
        }
    }
}

pub(super) fn bad_page_token(_: InvalidPageToken) -> ApiError {
    error(
        "InvalidNextTokenException",
        "The NextToken value is invalid.",
    )
}

//! Versions of managed policies.

use super::directory::Directory;
use super::document::Document;
use super::entity::{ManagedPolicy, PolicyVersion};
use super::errors::{self, conflict, error, no_policy};
use super::input::{page, text};
use super::{Iam, output, quotas};
use crate::endpoint::Call;
use apron_aws::ApiError;
use apron_aws::policy::Kind;
use serde_json::{Value, json};

impl Iam {
    pub(super) async fn create_policy_version(&self, call: &Call) -> Result<Value, ApiError> {
        let document = Document::parse(text(call, "PolicyDocument"), Kind::Managed)
            .map_err(|e| errors::document(&e))?;
        let change = |directory: &mut Directory| {
            let policy = directory.policy_mut(text(call, "PolicyArn"))?;
            if policy.versions.len() >= quotas::VERSIONS_PER_POLICY {
                let message = format!(
                    "A managed policy can have up to {} versions. Before you create a new version, you must delete an \
                     existing version.",
                    quotas::VERSIONS_PER_POLICY
                );
                return Err(error("LimitExceededException", message));
            }
            policy.last_version += 1;
            policy.updated_at = call.now;
            let version = PolicyVersion {
                number: policy.last_version,
                created_at: call.now,
                document,
            };
            if call.input.get("SetAsDefault") == Some(&Value::Bool(true)) {
                policy.default_version = version.number;
            }
            let answer = output::version(policy, &version, false);
            policy.versions.push(version);
            Ok(json!({"PolicyVersion": answer}))
        };
        self.identities.change(change).await
    }

    pub(super) fn get_policy_version(&self, call: &Call) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let arn = text(call, "PolicyArn");
        let policy = directory.policy(arn).ok_or_else(|| no_policy(arn))?;
        let version = version(policy, call)?;
        Ok(json!({"PolicyVersion": output::version(policy, version, true)}))
    }

    pub(super) fn list_policy_versions(&self, call: &Call) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let arn = text(call, "PolicyArn");
        let policy = directory.policy(arn).ok_or_else(|| no_policy(arn))?;
        // Newest first, as IAM lists them.
        let versions = policy.versions.iter().rev();
        let versions = versions.enumerate().map(|(index, version)| {
            let key = format!("{index:04}");
            (key, output::version(policy, version, false))
        });
        page(call, "iam-versions", "Versions", versions)
    }

    pub(super) async fn set_default_policy_version(&self, call: &Call) -> Result<Value, ApiError> {
        let change = |directory: &mut Directory| {
            let policy = directory.policy_mut(text(call, "PolicyArn"))?;
            policy.default_version = version(policy, call)?.number;
            policy.updated_at = call.now;
            Ok(json!({}))
        };
        self.identities.change(change).await
    }

    pub(super) async fn delete_policy_version(&self, call: &Call) -> Result<Value, ApiError> {
        let change = |directory: &mut Directory| {
            let policy = directory.policy_mut(text(call, "PolicyArn"))?;
            let number = version(policy, call)?.number;
            if number == policy.default_version {
                return Err(conflict("Cannot delete the default version of a policy."));
            }
            policy.versions.retain(|version| version.number != number);
            policy.updated_at = call.now;
            Ok(json!({}))
        };
        self.identities.change(change).await
    }
}

fn version<'a>(policy: &'a ManagedPolicy, call: &Call) -> Result<&'a PolicyVersion, ApiError> {
    let (arn, id) = (text(call, "PolicyArn"), text(call, "VersionId"));
    let number = id.strip_prefix('v').and_then(|number| number.parse().ok());
    let found = number.and_then(|number| policy.version(number));
    found.ok_or_else(|| {
        let message = format!("Policy {arn} version {id} does not exist or is not attachable.");
        error("NoSuchEntityException", message)
    })
}

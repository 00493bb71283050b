//! Managed policies attached to users, groups and roles.

use super::directory::Directory;
use super::entity::Holder;
use super::errors::{error, quota};
use super::inline::unprotected;
use super::input::{name, optional, page, text};
use super::{Iam, output, quotas};
use crate::endpoint::Call;
use apron_aws::ApiError;
use serde_json::{Value, json};

impl Iam {
    pub(super) async fn attach(&self, call: &Call, holder: Holder) -> Result<Value, ApiError> {
        let (name, arn) = (name(call, holder)?, text(call, "PolicyArn"));
        let change = |directory: &mut Directory| {
            unprotected(directory, holder, name)?;
            let policy = directory.policy(arn).ok_or_else(|| not_attachable(arn))?;
            if policy.path == "/aws-service-role/" {
                let message =
                    format!("Cannot attach a Service Role Policy to a Customer Role: {arn}");
                return Err(error("PolicyNotAttachableException", message));
            }
            let attached = &mut directory.permissions_mut(holder, name)?.attached;
            if attached.iter().any(|it| it == arn) {
                return Ok(json!({}));
            }
            if attached.len() >= quotas::ATTACHED_POLICIES {
                let name = format!("PoliciesPer{}", holder.title());
                return Err(quota(&name, quotas::ATTACHED_POLICIES));
            }
            attached.push(arn.to_owned());
            Ok(json!({}))
        };
        self.identities.change(change).await
    }

    pub(super) async fn detach(&self, call: &Call, holder: Holder) -> Result<Value, ApiError> {
        let (name, arn) = (name(call, holder)?, text(call, "PolicyArn"));
        let change = |directory: &mut Directory| {
            unprotected(directory, holder, name)?;
            let attached = &mut directory.permissions_mut(holder, name)?.attached;
            let before = attached.len();
            attached.retain(|it| it != arn);
            if attached.len() == before {
                let message = format!("Policy {arn} was not found.");
                return Err(error("NoSuchEntityException", message));
            }
            Ok(json!({}))
        };
        self.identities.change(change).await
    }

    pub(super) fn list_attached(&self, call: &Call, holder: Holder) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let permissions = directory.permissions(holder, name(call, holder)?)?;
        let prefix = optional(call, "PathPrefix").unwrap_or("/");
        let within = |arn: &String| {
            let policy = directory.policy(arn);
            policy.is_none_or(|policy| policy.path.starts_with(prefix))
        };
        let attached = permissions.attached.iter().filter(|arn| within(arn));
        let mut attached: Vec<(String, Value)> = attached
            .map(|arn| (arn.clone(), output::attached(&directory, arn)))
            .collect();
        attached.sort_by(|a, b| a.0.cmp(&b.0));
        page(
            call,
            "iam-attached",
            "AttachedPolicies",
            attached.into_iter(),
        )
    }
}

fn not_attachable(arn: &str) -> ApiError {
    let message = format!("Policy {arn} does not exist or is not attachable.");
    error("NoSuchEntityException", message)
}

//! Managed policies.

use super::directory::{Directory, key_of};
use super::document::Document;
use super::entity::{Entity, Holder, ManagedPolicy, PolicyVersion};
use super::errors::{self, conflict, error, no_policy, quota};
use super::ids::{IdKind, unique_id};
use super::input::{optional, page, path, tags, text};
use super::{Iam, managed, output, quotas};
use crate::endpoint::Call;
use apron_aws::ApiError;
use apron_aws::policy::Kind;
use serde_json::{Value, json};
use std::sync::Arc;

impl Iam {
    pub(super) async fn create_policy(&self, call: &Call) -> Result<Value, ApiError> {
        let document = Document::parse(text(call, "PolicyDocument"), Kind::Managed)
            .map_err(|e| errors::document(&e))?;
        let first = PolicyVersion {
            number: 1,
            created_at: call.now,
            document,
        };
        let policy = ManagedPolicy {
            id: unique_id(IdKind::Policy, &*self.chance),
            name: text(call, "PolicyName").to_owned(),
            path: path(call),
            created_at: call.now,
            updated_at: call.now,
            description: optional(call, "Description").map(str::to_owned),
            versions: vec![first],
            default_version: 1,
            last_version: 1,
            tags: tags(call)?,
        };
        let change = |directory: &mut Directory| {
            let key = key_of(&policy.name);
            if directory.policies.contains_key(&key) {
                let message = format!(
                    "A policy called {} already exists. Duplicate names are not allowed.",
                    policy.name
                );
                return Err(error("EntityAlreadyExistsException", message));
            }
            if directory.policies.len() >= quotas::POLICIES {
                return Err(quota("PoliciesPerAccount", quotas::POLICIES));
            }
            let answer = output::policy(&policy, directory);
            directory.policies.insert(key, Arc::new(policy));
            Ok(json!({"Policy": answer}))
        };
        self.identities.change(change).await
    }

    pub(super) fn get_policy(&self, call: &Call) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let arn = text(call, "PolicyArn");
        let policy = directory.policy(arn).ok_or_else(|| no_policy(arn))?;
        Ok(json!({"Policy": output::policy(policy, &directory)}))
    }

    pub(super) fn list_policies(&self, call: &Call) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let scope = optional(call, "Scope").unwrap_or("All");
        let of_aws = managed::policies().filter(|_| scope != "Local");
        let of_account = directory.policies.values().filter(|_| scope != "AWS");
        let prefix = optional(call, "PathPrefix").unwrap_or("/");
        let only_attached = call.input.get("OnlyAttached") == Some(&Value::Bool(true));
        let usage = optional(call, "PolicyUsageFilter");
        let wanted = |arn: &str| {
            let attached = directory.attachments(arn) > 0;
            match usage {
                Some("PermissionsBoundary") => directory.boundaries(arn) > 0,
                Some(_) => attached,
                None => !only_attached || attached,
            }
        };
        let filtered = only_attached || usage.is_some();
        let mut found: Vec<(String, Value)> = of_aws
            .chain(of_account)
            .filter(|policy| policy.path.starts_with(prefix))
            .map(|policy| (output::policy_arn(policy, &directory.account), policy))
            .filter(|(arn, _)| !filtered || wanted(arn))
            .map(|(arn, policy)| {
                let mut listed = output::policy(policy, &directory);
                // Listings leave these out.
                listed["Tags"] = Value::Null;
                listed["Description"] = Value::Null;
                (arn, listed)
            })
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        page(call, "iam-policies", "Policies", found.into_iter())
    }

    pub(super) async fn delete_policy(&self, call: &Call) -> Result<Value, ApiError> {
        let arn = text(call, "PolicyArn");
        let change = |directory: &mut Directory| {
            let in_use = directory.attachments(arn) + directory.boundaries(arn) > 0;
            let policy = directory.policy_mut(arn)?;
            if policy.versions.len() > 1 {
                return Err(conflict(
                    "This policy has more than one version. Before you delete a policy, you must delete the policy's \
                     versions. The default version is deleted with the policy.",
                ));
            }
            if in_use {
                return Err(conflict("Cannot delete a policy attached to entities."));
            }
            let key = key_of(&policy.name);
            directory.policies.remove(&key);
            Ok(json!({}))
        };
        self.identities.change(change).await
    }

    pub(super) fn list_entities_for_policy(&self, call: &Call) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let arn = text(call, "PolicyArn");
        directory.policy(arn).ok_or_else(|| no_policy(arn))?;
        let as_boundary = optional(call, "PolicyUsageFilter") == Some("PermissionsBoundary");
        let kind = optional(call, "EntityFilter");
        let prefix = optional(call, "PathPrefix").unwrap_or("/");
        let mut found = (Vec::new(), Vec::new(), Vec::new());
        for (holder, name, id, permissions) in directory.holders() {
            let uses = match as_boundary {
                true => permissions.boundary.as_deref() == Some(arn),
                false => permissions.attached.iter().any(|it| it == arn),
            };
            let wanted = kind.is_none_or(|kind| kind == holder.title());
            if !uses || !wanted || !path_of(&directory, holder, name).starts_with(prefix) {
                continue;
            }
            match holder {
                Holder::User => found.0.push(json!({"UserName": name, "UserId": id})),
                Holder::Group => found.1.push(json!({"GroupName": name, "GroupId": id})),
                Holder::Role => found.2.push(json!({"RoleName": name, "RoleId": id})),
            }
        }
        let (users, groups, roles) = found;
        Ok(json!({
            "PolicyUsers": users, "PolicyGroups": groups, "PolicyRoles": roles, "IsTruncated": false,
        }))
    }
}

fn path_of(directory: &Directory, holder: Holder, name: &str) -> String {
    let path = match holder {
        Holder::User => directory.user(name).map(|it| it.path().to_owned()),
        Holder::Group => directory.group(name).map(|it| it.path().to_owned()),
        Holder::Role => directory.role(name).map(|it| it.path().to_owned()),
    };
    path.unwrap_or_default()
}

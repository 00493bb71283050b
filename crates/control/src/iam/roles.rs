//! Roles and their trust policies.

use super::directory::{Directory, key_of};
use super::document::Document;
use super::entity::{Entity, Holder, Permissions, Role};
use super::errors::{self, conflict, error, exists, quota};
use super::ids::{IdKind, unique_id};
use super::input::{name, optional, page, path, tags, text};
use super::{Iam, boundaries, output, quotas};
use crate::endpoint::Call;
use apron_aws::policy::{Kind, PrincipalPattern, Principals};
use apron_aws::{ApiError, Arn};
use serde_json::{Value, json};
use std::sync::Arc;

/// The longest session of a role unless it says otherwise, seconds.
const SESSION_SECONDS_DEFAULT: u32 = 3_600;

impl Iam {
    pub(super) async fn create_role(&self, call: &Call) -> Result<Value, ApiError> {
        let role = Role {
            id: unique_id(IdKind::Role, &*self.chance),
            name: text(call, "RoleName").to_owned(),
            path: path(call),
            created_at: call.now,
            description: optional(call, "Description").map(str::to_owned),
            max_session_seconds: session_seconds(call).unwrap_or(SESSION_SECONDS_DEFAULT),
            trust: Document::parse(text(call, "AssumeRolePolicyDocument"), Kind::Trust)
                .map_err(|e| errors::document(&e))?,
            tags: tags(call)?,
            permissions: Permissions::default(),
            service: None,
        };
        if role.path.starts_with("/aws-service-role/") {
            let text = "The path /aws-service-role/ is reserved for service-linked roles; use CreateServiceLinkedRole.";
            return Err(errors::invalid_input(text));
        }
        let change = |directory: &mut Directory| {
            let mut role = role;
            check_principals(directory, &role.trust)?;
            role.permissions.boundary = boundaries::given(directory, call)?;
            add(directory, role).map(|role| json!({"Role": role}))
        };
        self.identities.change(change).await
    }

    pub(super) fn get_role(&self, call: &Call) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let role = directory.role(text(call, "RoleName"))?;
        let role = output::role(role, &directory.account, self.identities.last_used());
        Ok(json!({"Role": role}))
    }

    pub(super) fn list_roles(&self, call: &Call) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let prefix = optional(call, "PathPrefix").unwrap_or("/");
        let roles = directory.roles.iter();
        let roles = roles.filter(|(_, role)| role.path.starts_with(prefix));
        let roles =
            roles.map(|(key, role)| (key.clone(), output::role_listed(role, &directory.account)));
        page(call, "iam-roles", "Roles", roles)
    }

    pub(super) async fn update_role(&self, call: &Call) -> Result<Value, ApiError> {
        let change = |directory: &mut Directory| {
            let account = directory.account.clone();
            let role = changeable(directory, call)?;
            if let Some(description) = optional(call, "Description") {
                role.description = Some(description.to_owned());
            }
            if let Some(seconds) = session_seconds(call) {
                role.max_session_seconds = seconds;
            }
            let role = output::role_listed(role, &account);
            Ok(match call.operation.as_str() {
                "UpdateRoleDescription" => json!({"Role": role}),
                _ => json!({}),
            })
        };
        self.identities.change(change).await
    }

    pub(super) async fn update_assume_role_policy(&self, call: &Call) -> Result<Value, ApiError> {
        let trust = Document::parse(text(call, "PolicyDocument"), Kind::Trust)
            .map_err(|e| errors::document(&e))?;
        let change = |directory: &mut Directory| {
            check_principals(directory, &trust)?;
            changeable(directory, call)?.trust = trust;
            Ok(json!({}))
        };
        self.identities.change(change).await
    }

    pub(super) async fn delete_role(&self, call: &Call) -> Result<Value, ApiError> {
        let change = |directory: &mut Directory| {
            let role = changeable(directory, call)?;
            if !role.permissions.attached.is_empty() {
                return Err(conflict(
                    "Cannot delete entity, must detach all policies first.",
                ));
            }
            if !role.permissions.inline.is_empty() {
                return Err(conflict(
                    "Cannot delete entity, must delete policies first.",
                ));
            }
            let (key, id) = (key_of(&role.name), role.id.clone());
            directory.roles.remove(&key);
            Ok(id)
        };
        let id = self.identities.change(change).await?;
        self.identities.last_used().forget(&id);
        Ok(json!({}))
    }

    /// There are no instance profiles, so a role is in none.
    pub(super) fn list_instance_profiles_for_role(&self, call: &Call) -> Result<Value, ApiError> {
        self.identities.directory().role(text(call, "RoleName"))?;
        Ok(json!({"InstanceProfiles": [], "IsTruncated": false}))
    }
}

fn session_seconds(call: &Call) -> Option<u32> {
    let seconds = call.input.get("MaxSessionDuration").and_then(Value::as_u64);
    seconds.and_then(|seconds| u32::try_from(seconds).ok())
}

/// Adds a role whose name is free.
pub(super) fn add(directory: &mut Directory, role: Role) -> Result<Value, ApiError> {
    let key = key_of(&role.name);
    if directory.roles.contains_key(&key) {
        return Err(exists("Role", &role.name));
    }
    if directory.roles.len() >= quotas::ROLES {
        return Err(quota("RolesPerAccount", quotas::ROLES));
    }
    let mut answer = output::role_listed(&role, &directory.account);
    if !role.tags.is_empty() {
        answer["Tags"] = output::tags(&role.tags);
    }
    directory.roles.insert(key, Arc::new(role));
    Ok(answer)
}

/// The role that is meant, unless it belongs to a service.
fn changeable<'a>(directory: &'a mut Directory, call: &Call) -> Result<&'a mut Role, ApiError> {
    let role = directory.role_mut(name(call, Holder::Role)?)?;
    unprotected(role)?;
    Ok(role)
}

/// Refuses to change a role that belongs to a service.
pub(super) fn unprotected(role: &Role) -> Result<(), ApiError> {
    match &role.service {
        None => Ok(()),
        Some(_) => {
            let message = format!(
                "Cannot perform the operation on the protected role '{}' - this role is only modifiable by AWS",
                role.name
            );
            Err(error("UnmodifiableEntityException", message))
        }
    }
}

/// Users and roles of this account that a trust policy names have to exist, as IAM wants it: a principal that comes to be later
/// would be trusted by somebody who did not know it.
fn check_principals(directory: &Directory, trust: &Document) -> Result<(), ApiError> {
    let statements = trust.policy().statements.iter();
    let principals = statements.filter_map(|statement| statement.principals.as_ref());
    for Principals { entries, .. } in principals {
        for entry in entries {
            let PrincipalPattern::Arn(text) = entry else {
                continue;
            };
            let known = text
                .parse::<Arn>()
                .is_ok_and(|arn| exists_in(directory, &arn));
            if !known {
                let message = format!("Invalid principal in policy: \"AWS\":\"{text}\"");
                return Err(error("MalformedPolicyDocumentException", message));
            }
        }
    }
    Ok(())
}

fn exists_in(directory: &Directory, arn: &Arn) -> bool {
    if arn.account != directory.account {
        // Nothing is known of other accounts.
        return true;
    }
    let name = arn.resource.rsplit('/').next().unwrap_or_default();
    match arn.resource.split('/').next() {
        Some("user") => directory
            .user(name)
            .is_ok_and(|user| user.arn(&directory.account) == arn.to_string()),
        Some("role") => directory.role_by_arn(&arn.to_string()).is_some(),
        Some("assumed-role") => {
            let role = arn.resource.split('/').nth(1).unwrap_or_default();
            directory.role(role).is_ok()
        }
        _ => true,
    }
}

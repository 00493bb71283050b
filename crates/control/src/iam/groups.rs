//! Groups and who is in them.

use super::directory::{Directory, key_of};
use super::entity::{Group, Permissions};
use super::errors::{conflict, error, exists, quota};
use super::ids::{IdKind, unique_id};
use super::input::{optional, page, path, text};
use super::{Iam, output, quotas};
use crate::endpoint::Call;
use apron_aws::ApiError;
use serde_json::{Value, json};
use std::sync::Arc;

impl Iam {
    pub(super) async fn create_group(&self, call: &Call) -> Result<Value, ApiError> {
        let group = Group {
            id: unique_id(IdKind::Group, &*self.chance),
            name: text(call, "GroupName").to_owned(),
            path: path(call),
            created_at: call.now,
            permissions: Permissions::default(),
        };
        let change = |directory: &mut Directory| {
            let key = key_of(&group.name);
            if directory.groups.contains_key(&key) {
                return Err(exists("Group", &group.name));
            }
            if directory.groups.len() >= quotas::GROUPS {
                return Err(quota("GroupsPerAccount", quotas::GROUPS));
            }
            let answer = output::group(&group, &directory.account);
            directory.groups.insert(key, Arc::new(group));
            Ok(json!({"Group": answer}))
        };
        self.identities.change(change).await
    }

    pub(super) fn get_group(&self, call: &Call) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let group = directory.group(text(call, "GroupName"))?;
        let users = directory.users.iter();
        let users = users.filter(|(_, user)| user.groups.contains(&group.id));
        let users =
            users.map(|(key, user)| (key.clone(), output::user_listed(user, &directory.account)));
        let mut answer = page(call, "iam-group", "Users", users)?;
        answer["Group"] = output::group(group, &directory.account);
        Ok(answer)
    }

    pub(super) fn list_groups(&self, call: &Call) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let prefix = optional(call, "PathPrefix").unwrap_or("/");
        let groups = directory.groups.iter();
        let groups = groups.filter(|(_, group)| group.path.starts_with(prefix));
        let groups =
            groups.map(|(key, group)| (key.clone(), output::group(group, &directory.account)));
        page(call, "iam-groups", "Groups", groups)
    }

    pub(super) async fn update_group(&self, call: &Call) -> Result<Value, ApiError> {
        let old = text(call, "GroupName");
        let change = |directory: &mut Directory| {
            let mut group = Group::clone(directory.group(old)?);
            let new = optional(call, "NewGroupName").unwrap_or(&group.name);
            if key_of(new) != key_of(old) && directory.groups.contains_key(&key_of(new)) {
                return Err(exists("Group", new));
            }
            let new = new.to_owned();
            if let Some(path) = optional(call, "NewPath") {
                path.clone_into(&mut group.path);
            }
            group.name = new;
            directory.groups.remove(&key_of(old));
            directory
                .groups
                .insert(key_of(&group.name), Arc::new(group));
            Ok(json!({}))
        };
        self.identities.change(change).await
    }

    pub(super) async fn delete_group(&self, call: &Call) -> Result<Value, ApiError> {
        let name = text(call, "GroupName");
        let change = |directory: &mut Directory| {
            let group = directory.group(name)?;
            if !group.permissions.attached.is_empty() {
                return Err(conflict(
                    "Cannot delete entity, must detach all policies first.",
                ));
            }
            if !group.permissions.inline.is_empty() {
                return Err(conflict(
                    "Cannot delete entity, must delete policies first.",
                ));
            }
            let mut users = directory.users.values();
            if users.any(|user| user.groups.contains(&group.id)) {
                return Err(conflict(
                    "Cannot delete entity, must remove users from group first.",
                ));
            }
            directory.groups.remove(&key_of(name));
            Ok(json!({}))
        };
        self.identities.change(change).await
    }

    pub(super) async fn add_user_to_group(&self, call: &Call) -> Result<Value, ApiError> {
        let change = |directory: &mut Directory| {
            let id = directory.group(text(call, "GroupName"))?.id.clone();
            let user = directory.user_mut(text(call, "UserName"))?;
            user.groups.insert(id);
            if user.groups.len() > quotas::GROUPS_PER_USER {
                return Err(quota("GroupsPerUser", quotas::GROUPS_PER_USER));
            }
            Ok(json!({}))
        };
        self.identities.change(change).await
    }

    pub(super) async fn remove_user_from_group(&self, call: &Call) -> Result<Value, ApiError> {
        let change = |directory: &mut Directory| {
            let id = directory.group(text(call, "GroupName"))?.id.clone();
            let user = directory.user_mut(text(call, "UserName"))?;
            if !user.groups.remove(&id) {
                let message = format!(
                    "User {} is not in group {}.",
                    user.name,
                    text(call, "GroupName")
                );
                return Err(error("NoSuchEntityException", message));
            }
            Ok(json!({}))
        };
        self.identities.change(change).await
    }

    pub(super) fn list_groups_for_user(&self, call: &Call) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let user = directory.user(super::input::name(call, super::Holder::User)?)?;
        let groups = directory.groups_of(user);
        let groups = groups.map(|group| {
            (
                key_of(&group.name),
                output::group(group, &directory.account),
            )
        });
        page(call, "iam-groups-of-user", "Groups", groups)
    }
}

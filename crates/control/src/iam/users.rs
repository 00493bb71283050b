//! Users.

use super::directory::{Directory, key_of};
use super::entity::{Holder, Permissions, User};
use super::errors::{conflict, exists, quota};
use super::ids::{IdKind, unique_id};
use super::input::{name, optional, page, path, tags, text};
use super::{Iam, boundaries, output, quotas, root};
use crate::endpoint::Call;
use apron_aws::ApiError;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Iam {
    pub(super) async fn create_user(&self, call: &Call) -> Result<Value, ApiError> {
        let user = User {
            id: unique_id(IdKind::User, &*self.chance),
            name: text(call, "UserName").to_owned(),
            path: path(call),
            created_at: call.now,
            tags: tags(call)?,
            permissions: Permissions::default(),
            groups: BTreeSet::new(),
            keys: Vec::new(),
        };
        let change = |directory: &mut Directory| {
            let key = key_of(&user.name);
            if directory.users.contains_key(&key) {
                return Err(exists("User", &user.name));
            }
            if directory.users.len() >= quotas::USERS {
                return Err(quota("UsersPerAccount", quotas::USERS));
            }
            let mut user = user;
            user.permissions.boundary = boundaries::given(directory, call)?;
            let answer = output::user(&user, &directory.account);
            directory.users.insert(key, Arc::new(user));
            Ok(json!({"User": answer}))
        };
        self.identities.change(change).await
    }

    pub(super) fn get_user(&self, call: &Call) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let account = &directory.account;
        if call.caller.is_root() && optional(call, "UserName").is_none() {
            // The root user, which has neither name nor path.
            return Ok(json!({"User": {
                "Path": "/", "UserName": root::NAME, "UserId": account, "Arn": call.caller.arn, "CreateDate": 0,
            }}));
        }
        let user = directory.user(name(call, Holder::User)?)?;
        Ok(json!({"User": output::user(user, account)}))
    }

    pub(super) fn list_users(&self, call: &Call) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let prefix = optional(call, "PathPrefix").unwrap_or("/");
        let users = directory.users.iter();
        let users = users.filter(|(_, user)| user.path.starts_with(prefix));
        let users =
            users.map(|(key, user)| (key.clone(), output::user_listed(user, &directory.account)));
        page(call, "iam-users", "Users", users)
    }

    pub(super) async fn update_user(&self, call: &Call) -> Result<Value, ApiError> {
        let old = name(call, Holder::User)?;
        let change = |directory: &mut Directory| {
            let mut user = User::clone(directory.user(old)?);
            let new = optional(call, "NewUserName").unwrap_or(&user.name);
            if key_of(new) != key_of(old) && directory.users.contains_key(&key_of(new)) {
                return Err(exists("User", new));
            }
            let new = new.to_owned();
            if let Some(path) = optional(call, "NewPath") {
                path.clone_into(&mut user.path);
            }
            user.name = new;
            directory.users.remove(&key_of(old));
            directory.users.insert(key_of(&user.name), Arc::new(user));
            Ok(json!({}))
        };
        self.identities.change(change).await
    }

    pub(super) async fn delete_user(&self, call: &Call) -> Result<Value, ApiError> {
        let name = name(call, Holder::User)?;
        let change = |directory: &mut Directory| {
            let user = directory.user(name)?;
            if !user.keys.is_empty() {
                return Err(conflict(
                    "Cannot delete entity, must delete access keys first.",
                ));
            }
            if !user.permissions.attached.is_empty() {
                return Err(conflict(
                    "Cannot delete entity, must detach all policies first.",
                ));
            }
            if !user.permissions.inline.is_empty() {
                return Err(conflict(
                    "Cannot delete entity, must delete policies first.",
                ));
            }
            if !user.groups.is_empty() {
                return Err(conflict(
                    "Cannot delete entity, must remove users from group first.",
                ));
            }
            directory.users.remove(&key_of(name));
            Ok(json!({}))
        };
        self.identities.change(change).await
    }
}

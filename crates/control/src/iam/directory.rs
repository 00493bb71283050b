//! All identities of the account, as one value. Changing it is a pure matter; what was changed is found out by comparing.

use super::document::Document;
use super::entity::{
    AccessKey, Entity, Group, Holder, ManagedPolicy, OidcProvider, Permissions, Role, User,
};
use super::errors::{no_policy, no_such_entity};
use super::managed;
use super::root::{self, Root};
use apron_aws::ApiError;
use apron_aws::sigv4::Secret;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Identities of one kind by their names without case, since IAM's names are unique without case.
pub type Entities<T> = BTreeMap<String, Arc<T>>;

/// All identities of the account.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// The account.
    pub account: String,
    /// The root user.
    pub root: Arc<Root>,
    /// Users.
    pub users: Entities<User>,
    /// Groups.
    pub groups: Entities<Group>,
    /// Roles.
    pub roles: Entities<Role>,
    /// The account's own managed policies.
    pub policies: Entities<ManagedPolicy>,
    /// OpenID Connect providers.
    pub providers: Entities<OidcProvider>,
    /// The secrets of access keys by the keys' ids.
    pub secrets: BTreeMap<String, Secret>,
    /// The users, by key in `users`, that access keys belong to; none for the root user's.
    pub(super) key_owners: BTreeMap<String, Option<String>>,
}

/// Who an access key belongs to.
#[derive(Clone, Copy, Debug)]
pub enum KeyOwner<'a> {
    /// The root user.
    Root,
    /// A user.
    User(&'a User),
}

impl<'a> KeyOwner<'a> {
    /// The user's name.
    pub fn name(self) -> &'a str {
        match self {
            KeyOwner::Root => root::NAME,
            KeyOwner::User(user) => &user.name,
        }
    }
}

/// A policy that takes part in decisions, and what it is called in records.
#[derive(Clone, Debug)]
pub struct Named {
    /// Its ARN, or a text such as `inline policy of user ann: own-services`.
    pub name: String,
    /// The document.
    pub document: Document,
}

/// The key of a name in [`Entities`].
pub fn key_of(name: &str) -> String {
    name.to_ascii_lowercase()
}

impl Directory {
    /// Puts the index of access keys in order after a change of users.
    pub fn index(&mut self) {
        let of_users = self.users.iter().flat_map(|(name, user)| {
            let of_user = user.keys.iter();
            of_user.map(|key| (key.id.clone(), Some(name.clone())))
        });
        let of_root = self.root.keys.iter().map(|key| (key.id.clone(), None));
        self.key_owners = of_users.chain(of_root).collect();
    }

    /// Whose an access key is, and the key.
    pub fn key(&self, id: &str) -> Option<(KeyOwner<'_>, &AccessKey)> {
        let (owner, keys) = match self.key_owners.get(id)? {
            None => (KeyOwner::Root, &self.root.keys),
            Some(name) => {
                let user = self.users.get(name)?;
                (KeyOwner::User(user), &user.keys)
            }
        };
        let key = keys.iter().find(|key| key.id == id)?;
        Some((owner, key))
    }

    /// A user by name.
    pub fn user(&self, name: &str) -> Result<&Arc<User>, ApiError> {
        let found = self.users.get(&key_of(name));
        found.ok_or_else(|| no_such_entity("user", name))
    }

    /// A user to be changed.
    pub fn user_mut(&mut self, name: &str) -> Result<&mut User, ApiError> {
        let found = self.users.get_mut(&key_of(name));
        found
            .map(Arc::make_mut)
            .ok_or_else(|| no_such_entity("user", name))
    }

    /// A group by name.
    pub fn group(&self, name: &str) -> Result<&Arc<Group>, ApiError> {
        let found = self.groups.get(&key_of(name));
        found.ok_or_else(|| no_such_entity("group", name))
    }

    /// A group to be changed.
    pub fn group_mut(&mut self, name: &str) -> Result<&mut Group, ApiError> {
        let found = self.groups.get_mut(&key_of(name));
        found
            .map(Arc::make_mut)
            .ok_or_else(|| no_such_entity("group", name))
    }

    /// A role by name.
    pub fn role(&self, name: &str) -> Result<&Arc<Role>, ApiError> {
        let found = self.roles.get(&key_of(name));
        found.ok_or_else(|| no_such_entity("role", name))
    }

    /// A role to be changed.
    pub fn role_mut(&mut self, name: &str) -> Result<&mut Role, ApiError> {
        let found = self.roles.get_mut(&key_of(name));
        found
            .map(Arc::make_mut)
            .ok_or_else(|| no_such_entity("role", name))
    }

    /// A role by its ARN.
    pub fn role_by_arn(&self, arn: &str) -> Option<&Arc<Role>> {
        self.by_arn(&self.roles, arn)
    }

    /// The provider for an issuer, by the issuer's URL.
    pub fn provider_of(&self, issuer: &str) -> Option<&Arc<OidcProvider>> {
        let url = issuer.strip_prefix("https://")?.trim_end_matches('/');
        let found = self.providers.get(&key_of(url))?;
        (found.url == url).then_some(found)
    }

    /// A provider by its ARN. Its name may have slashes.
    pub fn provider(&self, arn: &str) -> Option<&Arc<OidcProvider>> {
        let (_, url) = arn.split_once(":oidc-provider/")?;
        let found = self.providers.get(&key_of(url))?;
        (found.arn(&self.account) == arn).then_some(found)
    }

    fn by_arn<'a, T: Entity>(&self, entities: &'a Entities<T>, arn: &str) -> Option<&'a Arc<T>> {
        let name = arn.rsplit('/').next()?;
        let found = entities.get(&key_of(name))?;
        (found.arn(&self.account) == arn).then_some(found)
    }

    /// A managed policy by ARN: the account's own, or one of AWS's.
    pub fn policy(&self, arn: &str) -> Option<&Arc<ManagedPolicy>> {
        self.by_arn(&self.policies, arn)
            .or_else(|| managed::policy(arn))
    }

    /// A managed policy of the account to be changed.
    pub fn policy_mut(&mut self, arn: &str) -> Result<&mut ManagedPolicy, ApiError> {
        if managed::policy(arn).is_some() {
            return Err(super::errors::managed_by_aws(arn));
        }
        if self.policy(arn).is_none() {
            return Err(no_policy(arn));
        }
        let name = arn.rsplit('/').next().unwrap_or_default();
        let found = self.policies.get_mut(&key_of(name));
        found.map(Arc::make_mut).ok_or_else(|| no_policy(arn))
    }

    /// The policies of a user, group or role.
    pub fn permissions(&self, holder: Holder, name: &str) -> Result<&Permissions, ApiError> {
        Ok(match holder {
            Holder::User => &self.user(name)?.permissions,
            Holder::Group => &self.group(name)?.permissions,
            Holder::Role => &self.role(name)?.permissions,
        })
    }

    /// The policies of a user, group or role, to be changed.
    pub fn permissions_mut(
        &mut self,
        holder: Holder,
        name: &str,
    ) -> Result<&mut Permissions, ApiError> {
        Ok(match holder {
            Holder::User => &mut self.user_mut(name)?.permissions,
            Holder::Group => &mut self.group_mut(name)?.permissions,
            Holder::Role => &mut self.role_mut(name)?.permissions,
        })
    }

    /// Every user, group and role with its policies.
    pub fn holders(&self) -> impl Iterator<Item = (Holder, &str, &str, &Permissions)> {
        let users = self.users.values().map(|it| {
            let (name, id) = (it.name.as_str(), it.id.as_str());
            (Holder::User, name, id, &it.permissions)
        });
        let groups = self.groups.values().map(|it| {
            let (name, id) = (it.name.as_str(), it.id.as_str());
            (Holder::Group, name, id, &it.permissions)
        });
        let roles = self.roles.values().map(|it| {
            let (name, id) = (it.name.as_str(), it.id.as_str());
            (Holder::Role, name, id, &it.permissions)
        });
        users.chain(groups).chain(roles)
    }

    /// How many users, groups and roles have a managed policy attached.
    pub fn attachments(&self, arn: &str) -> usize {
        let attached = |permissions: &Permissions| permissions.attached.iter().any(|it| it == arn);
        self.holders().filter(|(.., it)| attached(it)).count()
    }

    /// How many users and roles have a managed policy as their boundary.
    pub fn boundaries(&self, arn: &str) -> usize {
        self.holders()
            .filter(|(.., it)| it.boundary.as_deref() == Some(arn))
            .count()
    }

    /// The groups of a user, by name.
    pub fn groups_of<'a>(&'a self, user: &'a User) -> impl Iterator<Item = &'a Arc<Group>> {
        self.groups
            .values()
            .filter(|group| user.groups.contains(&group.id))
    }

    /// The policies that speak for a user: its own and those of its groups.
    pub fn policies_of_user(&self, user: &User) -> Vec<Named> {
        let mut found = Vec::new();
        self.gather(&mut found, Holder::User, &user.name, &user.permissions);
        if !user.groups.is_empty() {
            for group in self.groups_of(user) {
                self.gather(&mut found, Holder::Group, &group.name, &group.permissions);
            }
        }
        found
    }

    /// The policies of a group.
    pub fn policies_of_group(&self, group: &Group) -> Vec<Named> {
        let mut found = Vec::new();
        self.gather(&mut found, Holder::Group, &group.name, &group.permissions);
        found
    }

    /// The policies of a role.
    pub fn policies_of_role(&self, role: &Role) -> Vec<Named> {
        let mut found = Vec::new();
        self.gather(&mut found, Holder::Role, &role.name, &role.permissions);
        found
    }

    /// The document of a permissions boundary. One that is not there any more is a boundary nothing is within, which the
    /// caller has to treat so; it cannot be deleted while it is in use.
    pub fn boundary_of(&self, permissions: &Permissions) -> Option<Option<Named>> {
        let arn = permissions.boundary.as_deref()?;
        Some(self.managed(arn))
    }

    /// The document of a managed policy by ARN.
    pub fn managed(&self, arn: &str) -> Option<Named> {
        let document = self.policy(arn)?.document()?.clone();
        Some(Named {
            name: arn.to_owned(),
            document,
        })
    }

    fn gather(
        &self,
        found: &mut Vec<Named>,
        holder: Holder,
        name: &str,
        permissions: &Permissions,
    ) {
        let inline = permissions.inline.iter().map(|(policy, document)| Named {
            name: format!("inline policy of {} {name}: {policy}", holder.word()),
            document: document.clone(),
        });
        found.extend(inline);
        let attached = permissions.attached.iter();
        found.extend(attached.filter_map(|arn| self.managed(arn)));
    }
}

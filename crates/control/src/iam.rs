//! AWS IAM: users, access keys, groups, roles, policies. One file per family of operations; this one finds the operation.
//!
//! [`Identities`] has everything in memory and in the store; [`Directory`] is its value, which operations change as a whole.
//! What callers may do with it decides [`crate::authorizer`].

mod account;
mod assume;
mod attachments;
mod boundaries;
mod credentials;
mod directory;
mod document;
mod entity;
mod errors;
mod groups;
mod identities;
mod ids;
mod inline;
mod input;
mod keys;
mod last_used;
mod managed;
mod oidc_providers;
mod output;
mod policies;
mod quotas;
mod resource;
mod roles;
mod root;
mod service_linked;
mod sessions;
mod simulate;
mod tags;
mod users;
mod versions;

pub use assume::{AssumeFailure, ServicePrincipal};
pub use directory::{Directory, Named};
pub use document::Document;
pub use entity::{Entity, OidcProvider, Role, Tags, User};
pub use identities::Identities;
pub use root::RootKey;
pub use service_linked::APP_RUNNER as SERVICE_PRINCIPAL;
pub use sessions::{Holder as SessionHolder, Session, Temporary, session_policy};

use crate::authorizer::{ResourceFacts, ResourceQuestion};
use crate::clock::Chance;
use crate::endpoint::{ApiService, Call};
use apron_aws::{ApiError, Model, model};
use async_trait::async_trait;
use entity::Holder;
use serde_json::Value;
use std::sync::Arc;

/// The IAM of this installation.
pub struct Iam {
    identities: Arc<Identities>,
    chance: Arc<dyn Chance>,
}

impl Iam {
    /// IAM over these identities.
    pub fn new(identities: Arc<Identities>, chance: Arc<dyn Chance>) -> Iam {
        Iam { identities, chance }
    }
}

#[async_trait]
impl ApiService for Iam {
    fn model(&self) -> &'static Model {
        model::iam()
    }

    async fn call(&self, call: Call) -> Result<Value, ApiError> {
        match call.operation.as_str() {
            "CreateUser" => self.create_user(&call).await,
            "GetUser" => self.get_user(&call),
            "ListUsers" => self.list_users(&call),
            "UpdateUser" => self.update_user(&call).await,
            "DeleteUser" => self.delete_user(&call).await,
            keys::CREATE => self.create_access_key(&call).await,
            "UpdateAccessKey" => self.update_access_key(&call).await,
            "DeleteAccessKey" => self.delete_access_key(&call).await,
            "ListAccessKeys" => self.list_access_keys(&call),
            "GetAccessKeyLastUsed" => self.get_access_key_last_used(&call),
            "CreateGroup" => self.create_group(&call).await,
            "GetGroup" => self.get_group(&call),
            "ListGroups" => self.list_groups(&call),
            "UpdateGroup" => self.update_group(&call).await,
            "DeleteGroup" => self.delete_group(&call).await,
            "AddUserToGroup" => self.add_user_to_group(&call).await,
            "RemoveUserFromGroup" => self.remove_user_from_group(&call).await,
            "ListGroupsForUser" => self.list_groups_for_user(&call),
            _ => self.call_on_role(call).await,
        }
    }

    fn has_resource_policy(&self, action: &str) -> bool {
        action.starts_with("sts:")
    }

    async fn resource(
        &self,
        question: &ResourceQuestion<'_>,
    ) -> Result<Option<ResourceFacts>, ApiError> {
        Ok(resource::facts(&self.identities.directory(), question))
    }
}

impl Iam {
    async fn call_on_role(&self, call: Call) -> Result<Value, ApiError> {
        match call.operation.as_str() {
            "CreateRole" => self.create_role(&call).await,
            "GetRole" => self.get_role(&call),
            "ListRoles" => self.list_roles(&call),
            "UpdateRole" | "UpdateRoleDescription" => self.update_role(&call).await,
            "DeleteRole" => self.delete_role(&call).await,
            "UpdateAssumeRolePolicy" => self.update_assume_role_policy(&call).await,
            "ListInstanceProfilesForRole" => self.list_instance_profiles_for_role(&call),
            "CreateServiceLinkedRole" => self.create_service_linked_role(&call).await,
            "DeleteServiceLinkedRole" => self.delete_service_linked_role(&call).await,
            "GetServiceLinkedRoleDeletionStatus" => self.deletion_status(&call),
            _ => self.call_on_policy(call).await,
        }
    }

    async fn call_on_policy(&self, call: Call) -> Result<Value, ApiError> {
        match call.operation.as_str() {
            "CreatePolicy" => self.create_policy(&call).await,
            "GetPolicy" => self.get_policy(&call),
            "ListPolicies" => self.list_policies(&call),
            "DeletePolicy" => self.delete_policy(&call).await,
            "ListEntitiesForPolicy" => self.list_entities_for_policy(&call),
            "CreatePolicyVersion" => self.create_policy_version(&call).await,
            "GetPolicyVersion" => self.get_policy_version(&call),
            "ListPolicyVersions" => self.list_policy_versions(&call),
            "SetDefaultPolicyVersion" => self.set_default_policy_version(&call).await,
            "DeletePolicyVersion" => self.delete_policy_version(&call).await,
            "SimulatePrincipalPolicy" => self.simulate_principal_policy(&call),
            "SimulateCustomPolicy" => self.simulate_custom_policy(&call),
            "GetContextKeysForCustomPolicy" => self.context_keys_of_texts(&call),
            "GetContextKeysForPrincipalPolicy" => self.context_keys_of_principal(&call),
            "GetAccountSummary" => self.get_account_summary(),
            "GetAccountAuthorizationDetails" => self.get_account_authorization_details(&call),
            _ => self.call_on_holder(call).await,
        }
    }

    /// The operations that are the same for users, groups and roles.
    async fn call_on_holder(&self, call: Call) -> Result<Value, ApiError> {
        use Holder::{Group, Role, User};
        match call.operation.as_str() {
            "PutUserPolicy" => self.put_inline(&call, User).await,
            "PutGroupPolicy" => self.put_inline(&call, Group).await,
            "PutRolePolicy" => self.put_inline(&call, Role).await,
            "GetUserPolicy" => self.get_inline(&call, User),
            "GetGroupPolicy" => self.get_inline(&call, Group),
            "GetRolePolicy" => self.get_inline(&call, Role),
            "DeleteUserPolicy" => self.delete_inline(&call, User).await,
            "DeleteGroupPolicy" => self.delete_inline(&call, Group).await,
            "DeleteRolePolicy" => self.delete_inline(&call, Role).await,
            "ListUserPolicies" => self.list_inline(&call, User),
            "ListGroupPolicies" => self.list_inline(&call, Group),
            "ListRolePolicies" => self.list_inline(&call, Role),
            "AttachUserPolicy" => self.attach(&call, User).await,
            "AttachGroupPolicy" => self.attach(&call, Group).await,
            "AttachRolePolicy" => self.attach(&call, Role).await,
            "DetachUserPolicy" => self.detach(&call, User).await,
            "DetachGroupPolicy" => self.detach(&call, Group).await,
            "DetachRolePolicy" => self.detach(&call, Role).await,
            "ListAttachedUserPolicies" => self.list_attached(&call, User),
            "ListAttachedGroupPolicies" => self.list_attached(&call, Group),
            "ListAttachedRolePolicies" => self.list_attached(&call, Role),
            "PutUserPermissionsBoundary" => self.put_boundary(&call, User).await,
            "PutRolePermissionsBoundary" => self.put_boundary(&call, Role).await,
            "DeleteUserPermissionsBoundary" => self.delete_boundary(&call, User).await,
            "DeleteRolePermissionsBoundary" => self.delete_boundary(&call, Role).await,
            _ => self.call_on_tags(call).await,
        }
    }

    async fn call_on_tags(&self, call: Call) -> Result<Value, ApiError> {
        match call.operation.as_str() {
            "TagUser" | "TagRole" | "TagPolicy" | "TagOpenIDConnectProvider" => {
                self.tag(&call).await
            }
            "UntagUser" | "UntagRole" | "UntagPolicy" | "UntagOpenIDConnectProvider" => {
                self.untag(&call).await
            }
            "ListUserTags"
            | "ListRoleTags"
            | "ListPolicyTags"
            | "ListOpenIDConnectProviderTags" => self.list_tags(&call),
            _ => self.call_on_provider(call).await,
        }
    }

    async fn call_on_provider(&self, call: Call) -> Result<Value, ApiError> {
        match call.operation.as_str() {
            "CreateOpenIDConnectProvider" => self.create_provider(&call).await,
            "GetOpenIDConnectProvider" => self.get_provider(&call),
            "ListOpenIDConnectProviders" => self.list_providers(),
            "DeleteOpenIDConnectProvider" => self.delete_provider(&call).await,
            "AddClientIDToOpenIDConnectProvider" => self.add_client_id(&call).await,
            "RemoveClientIDFromOpenIDConnectProvider" => self.remove_client_id(&call).await,
            "UpdateOpenIDConnectProviderThumbprint" => self.update_thumbprint(&call).await,
            other => Err(ApiError::not_available("IAM", other)),
        }
    }
}

//! Tags of users, roles and managed policies.

use super::Iam;
use super::directory::Directory;
use super::entity::{Holder, Tags};
use super::errors::no_policy;
use super::input::{checked_tags, name, page, tags, text, texts};
use super::oidc_providers;
use crate::endpoint::Call;
use apron_aws::ApiError;
use serde_json::{Value, json};

impl Iam {
    pub(super) async fn tag(&self, call: &Call) -> Result<Value, ApiError> {
        let added = tags(call)?;
        let change = |directory: &mut Directory| {
            let tags = tags_mut(directory, call)?;
            for (key, value) in added {
                // A key in other letters is the same key, and takes the new letters.
                tags.retain(|known, _| !known.eq_ignore_ascii_case(&key));
                tags.insert(key, value);
            }
            *tags = checked_tags(std::mem::take(tags))?;
            Ok(json!({}))
        };
        self.identities.change(change).await
    }

    pub(super) async fn untag(&self, call: &Call) -> Result<Value, ApiError> {
        let keys = texts(call, "TagKeys");
        let change = |directory: &mut Directory| {
            let tags = tags_mut(directory, call)?;
            tags.retain(|known, _| !keys.iter().any(|key| known.eq_ignore_ascii_case(key)));
            Ok(json!({}))
        };
        self.identities.change(change).await
    }

    pub(super) fn list_tags(&self, call: &Call) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let tags = match call.operation.as_str() {
            "ListUserTags" => &directory.user(name(call, Holder::User)?)?.tags,
            "ListOpenIDConnectProviderTags" => &oidc_providers::named(&directory, call)?.tags,
            "ListRoleTags" => &directory.role(text(call, "RoleName"))?.tags,
            _ => {
                let arn = text(call, "PolicyArn");
                &directory.policy(arn).ok_or_else(|| no_policy(arn))?.tags
            }
        };
        let tags = tags.iter();
        let tags = tags.map(|(key, value)| (key.clone(), json!({"Key": key, "Value": value})));
        page(call, "iam-tags", "Tags", tags)
    }
}

fn tags_mut<'a>(directory: &'a mut Directory, call: &Call) -> Result<&'a mut Tags, ApiError> {
    Ok(match call.operation.as_str() {
        "TagUser" | "UntagUser" => &mut directory.user_mut(text(call, "UserName"))?.tags,
        "TagOpenIDConnectProvider" | "UntagOpenIDConnectProvider" => {
            &mut oidc_providers::named_mut(directory, call)?.tags
        }
        "TagRole" | "UntagRole" => &mut directory.role_mut(text(call, "RoleName"))?.tags,
        _ => &mut directory.policy_mut(text(call, "PolicyArn"))?.tags,
    })
}

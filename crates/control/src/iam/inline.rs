//! Inline policies of users, groups and roles.

use super::directory::Directory;
use super::document::Document;
use super::entity::Holder;
use super::errors::{self, error};
use super::input::{name, page, text};
use super::{Iam, output, quotas, roles};
use crate::endpoint::Call;
use apron_aws::ApiError;
use apron_aws::policy::Kind;
use serde_json::{Value, json};

impl Iam {
    pub(super) async fn put_inline(&self, call: &Call, holder: Holder) -> Result<Value, ApiError> {
        let (kind, chars_max) = match holder {
            Holder::User => (Kind::UserInline, quotas::USER_POLICY_SIZE),
            Holder::Group => (Kind::GroupInline, quotas::GROUP_POLICY_SIZE),
            Holder::Role => (Kind::RoleInline, quotas::ROLE_POLICY_SIZE),
        };
        let document = Document::parse(text(call, "PolicyDocument"), kind)
            .map_err(|e| errors::document(&e))?;
        let name = name(call, holder)?;
        let change = |directory: &mut Directory| {
            unprotected(directory, holder, name)?;
            let inline = &mut directory.permissions_mut(holder, name)?.inline;
            inline.insert(text(call, "PolicyName").to_owned(), document);
            let chars: usize = inline.values().map(|it| it.policy().chars).sum();
            if chars > chars_max {
                let message = format!(
                    "Maximum policy size of {chars_max} bytes exceeded for {} {name}",
                    holder.word()
                );
                return Err(error("LimitExceededException", message));
            }
            Ok(json!({}))
        };
        self.identities.change(change).await
    }

    pub(super) fn get_inline(&self, call: &Call, holder: Holder) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let (name, policy) = (name(call, holder)?, text(call, "PolicyName"));
        let inline = &directory.permissions(holder, name)?.inline;
        let document = inline.get(policy).ok_or_else(|| missing(holder, policy))?;
        let member = format!("{}Name", holder.title());
        Ok(
            json!({member: name, "PolicyName": policy, "PolicyDocument": output::document(document)}),
        )
    }

    pub(super) async fn delete_inline(
        &self,
        call: &Call,
        holder: Holder,
    ) -> Result<Value, ApiError> {
        let (name, policy) = (name(call, holder)?, text(call, "PolicyName"));
        let change = |directory: &mut Directory| {
            unprotected(directory, holder, name)?;
            let inline = &mut directory.permissions_mut(holder, name)?.inline;
            let removed = inline.remove(policy);
            removed.ok_or_else(|| missing(holder, policy))?;
            Ok(json!({}))
        };
        self.identities.change(change).await
    }

    pub(super) fn list_inline(&self, call: &Call, holder: Holder) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let inline = &directory.permissions(holder, name(call, holder)?)?.inline;
        let names = inline.keys().map(|name| (name.clone(), json!(name)));
        page(call, "iam-inline", "PolicyNames", names)
    }
}

/// Refuses to change a role that belongs to a service.
pub(super) fn unprotected(
    directory: &Directory,
    holder: Holder,
    name: &str,
) -> Result<(), ApiError> {
    match holder {
        Holder::Role => roles::unprotected(directory.role(name)?),
        Holder::User | Holder::Group => Ok(()),
    }
}

fn missing(holder: Holder, policy: &str) -> ApiError {
    let message = format!(
        "The {} policy with name {policy} cannot be found.",
        holder.word()
    );
    error("NoSuchEntityException", message)
}

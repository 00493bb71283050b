//! Permissions boundaries of users and roles.

use super::Iam;
use super::directory::Directory;
use super::entity::Holder;
use super::errors::error;
use super::inline::unprotected;
use super::input::{name, optional};
use crate::endpoint::Call;
use apron_aws::ApiError;
use serde_json::{Value, json};

impl Iam {
    pub(super) async fn put_boundary(
        &self,
        call: &Call,
        holder: Holder,
    ) -> Result<Value, ApiError> {
        let name = name(call, holder)?;
        let change = |directory: &mut Directory| {
            unprotected(directory, holder, name)?;
            let boundary = given(directory, call)?;
            directory.permissions_mut(holder, name)?.boundary = boundary;
            Ok(json!({}))
        };
        self.identities.change(change).await
    }

    pub(super) async fn delete_boundary(
        &self,
        call: &Call,
        holder: Holder,
    ) -> Result<Value, ApiError> {
        let name = name(call, holder)?;
        let change = |directory: &mut Directory| {
            unprotected(directory, holder, name)?;
            let boundary = &mut directory.permissions_mut(holder, name)?.boundary;
            if boundary.take().is_none() {
                let message = format!(
                    "The {} {name} does not have a permissions boundary.",
                    holder.word()
                );
                return Err(error("NoSuchEntityException", message));
            }
            Ok(json!({}))
        };
        self.identities.change(change).await
    }
}

/// The boundary that a request names, which has to be a managed policy.
pub(super) fn given(directory: &Directory, call: &Call) -> Result<Option<String>, ApiError> {
    let Some(arn) = optional(call, "PermissionsBoundary") else {
        return Ok(None);
    };
    match directory.policy(arn) {
        Some(_) => Ok(Some(arn.to_owned())),
        None => {
            let message = format!("Scope ARN: {arn} does not exist or is not attachable.");
            Err(error("NoSuchEntityException", message))
        }
    }
}

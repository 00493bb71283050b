//! Service-linked roles: those of App Runner, which come to be when it first needs them.

use super::directory::{Directory, key_of};
use super::document::Document;
use super::entity::{Permissions, Role, Tags};
use super::errors::{self, error, no_such_entity};
use super::identities::Identities;
use super::ids::{IdKind, unique_id};
use super::input::{optional, text};
use super::{Iam, roles};
use crate::clock::{Chance, random};
use crate::endpoint::Call;
use apron_aws::ApiError;
use apron_aws::policy::Kind;
use apron_domain::Millis;
use serde_json::{Value, json};

/// The principal of App Runner.
pub const APP_RUNNER: &str = "apprunner.amazonaws.com";

/// The services that have one: principal, name of the role, its policy.
const ROLES: [(&str, &str, &str); 2] = [
    (
        APP_RUNNER,
        "AWSServiceRoleForAppRunner",
        "arn:aws:iam::aws:policy/aws-service-role/AppRunnerServiceRolePolicy",
    ),
    (
        "networking.apprunner.amazonaws.com",
        "AWSServiceRoleForAppRunnerNetworking",
        "arn:aws:iam::aws:policy/aws-service-role/AppRunnerNetworkingServiceRolePolicy",
    ),
];

impl Identities {
    /// Makes sure that a service's own role exists.
    ///
    /// # Errors
    /// The quota of roles is reached, or the store cannot be written.
    pub async fn ensure_service_role(
        &self,
        principal: &str,
        now: Millis,
        chance: &dyn Chance,
    ) -> Result<(), ApiError> {
        let Some((_, name, _)) = ROLES.iter().find(|(service, ..)| *service == principal) else {
            return Ok(());
        };
        if self.directory().role(name).is_ok() {
            return Ok(());
        }
        let role = service_role(principal, None, now, chance)?;
        let change = |directory: &mut Directory| match directory.role(&role.name) {
            Ok(_) => Ok(()),
            Err(_) => roles::add(directory, role).map(|_| ()),
        };
        self.change(change).await
    }
}

impl Iam {
    pub(super) async fn create_service_linked_role(&self, call: &Call) -> Result<Value, ApiError> {
        let principal = text(call, "AWSServiceName");
        if optional(call, "CustomSuffix").is_some() {
            let message = format!("Custom suffix is not allowed for {principal}");
            return Err(errors::invalid_input(message));
        }
        let description = optional(call, "Description").map(str::to_owned);
        let role = service_role(principal, description, call.now, &*self.chance)?;
        let change = |directory: &mut Directory| {
            if directory.role(&role.name).is_ok() {
                let message = format!(
                    "Service role name {} has been taken in this account, please try a different suffix.",
                    role.name
                );
                return Err(errors::invalid_input(message));
            }
            roles::add(directory, role).map(|role| json!({"Role": role}))
        };
        self.identities.change(change).await
    }

    /// The role goes at once, or the status of the deletion says why it stays.
    pub(super) async fn delete_service_linked_role(&self, call: &Call) -> Result<Value, ApiError> {
        let name = text(call, "RoleName");
        let directory = self.identities.directory();
        let role = directory.role(name)?;
        let Some(principal) = &role.service else {
            return Err(no_such_entity("service-linked role", name));
        };
        let task = format!(
            "task{}{}/{}",
            role.path,
            role.name,
            hex::encode(random::<16>(&*self.chance))
        );
        if !self.is_used(principal).await? {
            let change = |directory: &mut Directory| {
                directory.roles.remove(&key_of(name));
                Ok(())
            };
            self.identities.change(change).await?;
        }
        Ok(json!({"DeletionTaskId": task}))
    }

    /// A deletion has come to its end when it is asked for: the role is gone, or it was in use.
    pub(super) fn deletion_status(&self, call: &Call) -> Result<Value, ApiError> {
        let task = text(call, "DeletionTaskId");
        let unknown = || {
            let message = format!("Deletion task {task} does not exist.");
            error("NoSuchEntityException", message)
        };
        let parts: Vec<&str> = task.split('/').collect();
        let &["task", "aws-service-role", principal, name, _] = parts.as_slice() else {
            return Err(unknown());
        };
        let known =
            |(service, role, _): &(&str, &str, &str)| *service == principal && *role == name;
        if !ROLES.iter().any(known) {
            return Err(unknown());
        }
        Ok(match self.identities.directory().role(name) {
            Err(_) => json!({"Status": "SUCCEEDED"}),
            Ok(_) => json!({"Status": "FAILED", "Reason": {
                "Reason": "The role is used by services of App Runner; delete those first.",
            }}),
        })
    }

    async fn is_used(&self, principal: &str) -> Result<bool, ApiError> {
        if principal != APP_RUNNER {
            return Ok(false);
        }
        let services = self.identities.store().services_live().await;
        let services = services.map_err(|cause| {
            tracing::error!(%cause, "the services cannot be read");
            error(
                "ServiceFailureException",
                "The services cannot be read now.",
            )
        })?;
        Ok(!services.is_empty())
    }
}

fn service_role(
    principal: &str,
    description: Option<String>,
    now: Millis,
    chance: &dyn Chance,
) -> Result<Role, ApiError> {
    let known = ROLES.iter().find(|(service, ..)| *service == principal);
    let (_, name, policy) = known.ok_or_else(|| {
        errors::invalid_input(format!(
            "The service principal {principal} has no service-linked role."
        ))
    })?;
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": principal}, "Action": "sts:AssumeRole",
    }]});
    let trust =
        Document::parse(&trust.to_string(), Kind::Trust).map_err(|e| errors::document(&e))?;
    Ok(Role {
        id: unique_id(IdKind::Role, chance),
        name: (*name).to_owned(),
        path: format!("/aws-service-role/{principal}/"),
        created_at: now,
        description,
        max_session_seconds: 3_600,
        trust,
        tags: Tags::new(),
        permissions: Permissions {
            attached: vec![(*policy).to_owned()],
            ..Permissions::default()
        },
        service: Some(principal.to_owned()),
    })
}

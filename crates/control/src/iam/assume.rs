//! Roles as App Runner's services assume them: the access role to pull, the instance role for the application.

use super::entity::Tags;
use super::entity::{Entity, Role};
use super::identities::Identities;
use super::sessions::{Holder, Session, Temporary};
use crate::clock::Chance;
use crate::endpoint::Caller;
use apron_aws::policy::{
    self, Context, Decision, Layers, Request, ResourceLayer, Source, evaluate,
};
use apron_domain::Millis;
use std::sync::Arc;

/// A service of the platform that assumes roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServicePrincipal {
    /// Pulls images, with the access role.
    Build,
    /// Runs instances, with the instance role.
    Tasks,
}

impl ServicePrincipal {
    /// The principal that trust policies name (App Runner developer guide, "How App Runner works with IAM").
    pub fn name(self) -> &'static str {
        match self {
            ServicePrincipal::Build => "build.apprunner.amazonaws.com",
            ServicePrincipal::Tasks => "tasks.apprunner.amazonaws.com",
        }
    }
}

/// Why a role cannot be assumed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssumeFailure {
    /// There is no such role in this account.
    #[error("the role {0} does not exist")]
    NoRole(String),
    /// Its trust policy does not let the service.
    #[error("the trust policy of {role} does not allow {principal} to assume it")]
    NotTrusted {
        /// The role.
        role: String,
        /// The service.
        principal: &'static str,
    },
}

impl Role {
    /// What its trust policy alone says of somebody who wants to assume it.
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        let name = format!("trust policy of role {}", self.name);
        let trust = Source {
            name: &name,
            policy: self.trust.policy(),
        };
        let layers = Layers {
            resource: Some(ResourceLayer::Trust(trust)),
            ..Layers::default()
        };
        evaluate(request, &layers)
    }
}

impl Identities {
    /// The role of that ARN, when its trust policy lets a service assume it.
    ///
    /// # Errors
    /// See [`AssumeFailure`].
    pub fn trusting(
        &self,
        principal: ServicePrincipal,
        role_arn: &str,
        now: Millis,
    ) -> Result<Arc<Role>, AssumeFailure> {
        let directory = self.directory();
        let missing = || AssumeFailure::NoRole(role_arn.to_owned());
        let role = directory.role_by_arn(role_arn).ok_or_else(missing)?;
        let caller = policy::Caller::Service {
            name: principal.name().to_owned(),
        };
        let mut context: Context = caller.context();
        context.set_time(i64::try_from(now.0 / 1000).unwrap_or(i64::MAX));
        context.set("aws:SourceAccount", &directory.account);
        context.set("aws:ResourceAccount", &directory.account);
        let request = Request {
            caller: &caller,
            action: "sts:AssumeRole",
            resource: role_arn,
            owner: &directory.account,
            context: &context,
        };
        match role.decide(&request).is_allowed() {
            true => Ok(role.clone()),
            false => Err(AssumeFailure::NotTrusted {
                role: role_arn.to_owned(),
                principal: principal.name(),
            }),
        }
    }

    /// Temporary credentials of a role for a service; they last an hour, or as long as the role's sessions may.
    ///
    /// # Errors
    /// See [`AssumeFailure`].
    pub fn role_session(
        &self,
        principal: ServicePrincipal,
        role_arn: &str,
        session: &str,
        now: Millis,
        chance: &dyn Chance,
    ) -> Result<Temporary, AssumeFailure> {
        let role = self.trusting(principal, role_arn, now)?;
        self.last_used().note(&role.id, now, "sts", "");
        Ok(self.issue(session_of(&role, session, now), chance))
    }

    /// A role as a caller, for what the platform does with its permissions.
    ///
    /// # Errors
    /// See [`AssumeFailure`].
    pub fn role_caller(
        &self,
        principal: ServicePrincipal,
        role_arn: &str,
        session: &str,
        now: Millis,
    ) -> Result<Caller, AssumeFailure> {
        let role = self.trusting(principal, role_arn, now)?;
        let missing = |_| AssumeFailure::NoRole(role_arn.to_owned());
        let identity = policy::Caller::RoleSession {
            role: role
                .arn(&self.directory().account)
                .parse()
                .map_err(missing)?,
            role_id: role.id.clone(),
            session: session.to_owned(),
        };
        let made = session_of(&role, session, now);
        Ok(Caller::new(identity, "", Some(Arc::new(made))))
    }
}

/// How long the sessions of services last at most, seconds.
const SERVICE_SESSION_SECONDS: u32 = 3_600;

fn session_of(role: &Role, session: &str, now: Millis) -> Session {
    let seconds = role.max_session_seconds.min(SERVICE_SESSION_SECONDS);
    Session {
        holder: Holder::Role {
            id: role.id.clone(),
            session: session.to_owned(),
        },
        issued: now,
        expires: now.plus(u64::from(seconds) * 1000),
        policy: None,
        policy_arns: Vec::new(),
        tags: Tags::new(),
        transitive: Vec::new(),
        source_identity: None,
    }
}

//! What was decided, and by which statement: for the audit record and for the caller.

use super::document::{Effect, Statement};
use super::request::Request;
use std::fmt;

/// The place of a policy in the evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// Service control policies of an organisation.
    ServiceControl,
    /// The policy of the resource.
    Resource,
    /// The trust policy of a role.
    Trust,
    /// Policies of the user, its groups, or the role.
    Identity,
    /// The permissions boundary of the user or role.
    Boundary,
    /// Policies given when the session was made.
    Session,
}

impl Layer {
    /// The kind of policy with its article, as error messages have it
    /// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html>).
    fn with_article(self) -> &'static str {
        match self {
            Layer::ServiceControl => "a service control policy",
            Layer::Resource => "a resource-based policy",
            Layer::Trust => "the role trust policy",
            Layer::Identity => "an identity-based policy",
            Layer::Boundary => "a permissions boundary",
            Layer::Session => "a session policy",
        }
    }

    /// The kind of policy, for people and records.
    pub fn name(self) -> &'static str {
        match self {
            Layer::ServiceControl => "service control policy",
            Layer::Resource => "resource-based policy",
            Layer::Trust => "role trust policy",
            Layer::Identity => "identity-based policy",
            Layer::Boundary => "permissions boundary",
            Layer::Session => "session policy",
        }
    }
}

/// A statement by its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementName {
    /// Where its policy takes part.
    pub layer: Layer,
    /// The policy: its ARN or whatever else the caller named it by.
    pub policy: String,
    /// Its place in the document, from zero.
    pub index: usize,
    /// Its `Sid`, when it has one.
    pub sid: Option<String>,
    /// What it does.
    pub effect: Effect,
}

impl StatementName {
    pub(super) fn new(layer: Layer, policy: &str, index: usize, statement: &Statement) -> Self {
        StatementName {
            layer,
            policy: policy.to_owned(),
            index,
            sid: statement.sid.clone().filter(|sid| !sid.is_empty()),
            effect: statement.effect,
        }
    }
}

impl fmt::Display for StatementName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StatementName { policy, index, .. } = self;
        let (effect, layer) = (self.effect.as_str(), self.layer.name());
        write!(f, "{effect} of {layer} {policy}, Statement[{index}]")?;
        match &self.sid {
            Some(sid) => write!(f, " ({sid})"),
            None => Ok(()),
        }
    }
}

/// Why a request goes through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// The root user of the resource's account, whom nothing denies.
    Root,
    /// The statements that allow, one of each layer that had to.
    Statements(Vec<StatementName>),
}

/// Why a request does not go through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// A statement denies it.
    Explicit(StatementName),
    /// No policy of a layer that has to allows it.
    Missing(Layer),
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It goes through.
    Allowed(Grant),
    /// It does not.
    Denied(Denial),
}

impl Decision {
    /// Whether the request goes through.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Decision::Allowed(_))
    }

    /// The word of `SimulatePrincipalPolicy`: `allowed`, `explicitDeny` or `implicitDeny`.
    pub fn simulated(&self) -> &'static str {
        match self {
            Decision::Allowed(_) => "allowed",
            Decision::Denied(Denial::Explicit(_)) => "explicitDeny",
            Decision::Denied(Denial::Missing(_)) => "implicitDeny",
        }
    }
}

/// For the audit record.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Decision::Allowed(Grant::Root) => f.write_str("allowed: root user of the account"),
            Decision::Allowed(Grant::Statements(names)) => {
                let names: Vec<String> = names.iter().map(ToString::to_string).collect();
                write!(f, "allowed: {}", names.join("; "))
            }
            Decision::Denied(Denial::Explicit(name)) => write!(f, "denied: {name}"),
            Decision::Denied(Denial::Missing(layer)) => {
                write!(f, "denied: no {} allows it", layer.name())
            }
        }
    }
}

impl Denial {
    /// The text for the caller, in the form that AWS publishes
    /// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html>).
    pub fn message(&self, request: &Request<'_>) -> String {
        let user = request.caller.display_name();
        let Request {
            action, resource, ..
        } = request;
        let why = match self {
            Denial::Explicit(name) => {
                format!("with an explicit deny in {}", name.layer.with_article())
            }
            Denial::Missing(layer) => {
                format!("because no {} allows the {action} action", layer.name())
            }
        };
        format!("User: {user} is not authorized to perform: {action} on resource: {resource} {why}")
    }
}

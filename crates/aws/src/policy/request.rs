//! Who asks for what.

use super::context::Context;
use crate::arn::Arn;

/// Who makes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The root user of an account.
    Root {
        /// The account.
        account: String,
    },
    /// A user.
    User {
        /// `arn:aws:iam::<account>:user/<path><name>`.
        arn: Arn,
        /// The unique id, `AIDA…`.
        id: String,
    },
    /// A session of a role.
    RoleSession {
        /// `arn:aws:iam::<account>:role/<path><name>`.
        role: Arn,
        /// The role's unique id, `AROA…`.
        role_id: String,
        /// The name of the session.
        session: String,
    },
    /// A session of `GetFederationToken`.
    FederatedUser {
        /// The user who federated, or the account's root.
        issuer: Arn,
        /// The name of the session.
        name: String,
    },
    /// A service that acts for itself.
    Service {
        /// Its principal, for example `tasks.apprunner.amazonaws.com`.
        name: String,
    },
    /// Somebody whom an identity provider vouches for, before a role is assumed.
    WebIdentity {
        /// The ARN or name of the provider, as trust policies have it.
        provider: String,
    },
    /// Somebody who gave no credentials.
    Anonymous,
}

impl Caller {
    /// The ARN, which `GetCallerIdentity` answers with; none for a service, a web identity and nobody.
    pub fn arn(&self) -> Option<String> {
        match self {
            Caller::Root { account } => Some(Arn::new("iam", "", account, "root").to_string()),
            Caller::User { arn, .. } => Some(arn.to_string()),
            Caller::RoleSession { role, session, .. } => {
                let name = role.resource.rsplit('/').next().unwrap_or_default();
                Some(sts_arn(role, format!("assumed-role/{name}/{session}")))
            }
            Caller::FederatedUser { issuer, name } => {
                Some(sts_arn(issuer, format!("federated-user/{name}")))
            }
            Caller::Service { .. } | Caller::WebIdentity { .. } | Caller::Anonymous => None,
        }
    }

    /// The account; none for a service, a web identity and nobody.
    pub fn account(&self) -> Option<&str> {
        match self {
            Caller::Root { account } => Some(account),
            Caller::User { arn, .. } => Some(&arn.account),
            Caller::RoleSession { role, .. } => Some(&role.account),
            Caller::FederatedUser { issuer, .. } => Some(&issuer.account),
            Caller::Service { .. } | Caller::WebIdentity { .. } | Caller::Anonymous => None,
        }
    }

    /// What an error message calls the caller.
    pub fn display_name(&self) -> String {
        self.arn().unwrap_or_else(|| match self {
            Caller::Service { name } => name.clone(),
            Caller::WebIdentity { provider } => provider.clone(),
            _ => "anonymous".to_owned(),
        })
    }

    /// The condition keys that say who the caller is
    /// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html>, principal key values).
    /// Tags of the caller are `aws:PrincipalTag`, see [`Context::set_tags`].
    pub fn context(&self) -> Context {
        let mut context = Context::new();
        let service = matches!(self, Caller::Service { .. });
        context.set("aws:PrincipalIsAWSService", service.to_string());
        if let Some(account) = self.account() {
            context.set("aws:PrincipalAccount", account);
        }
        let (kind, arn, id) = match self {
            Caller::Root { account } => ("Account", self.arn(), Some(account.clone())),
            Caller::User { arn, id } => {
                let name = arn.resource.rsplit('/').next().unwrap_or_default();
                context.set("aws:username", name);
                ("User", self.arn(), Some(id.clone()))
            }
            // The role's ARN, not the session's.
            Caller::RoleSession {
                role,
                role_id,
                session,
            } => (
                "AssumedRole",
                Some(role.to_string()),
                Some(format!("{role_id}:{session}")),
            ),
            Caller::FederatedUser { issuer, name } => (
                "FederatedUser",
                self.arn(),
                Some(format!("{}:{name}", issuer.account)),
            ),
            Caller::Service { name } => {
                context.set("aws:PrincipalServiceName", name);
                context.set_all("aws:PrincipalServiceNamesList", [name]);
                ("Service", None, None)
            }
            Caller::WebIdentity { .. } | Caller::Anonymous => ("Anonymous", None, None),
        };
        if !service {
            context.set("aws:PrincipalType", kind);
        }
        if let Some(arn) = arn {
            context.set("aws:PrincipalArn", arn);
        }
        if let Some(id) = id {
            context.set("aws:userid", id);
        }
        context
    }
}

fn sts_arn(of: &Arn, resource: String) -> String {
    let mut arn = Arn::new("sts", "", &of.account, resource);
    arn.partition.clone_from(&of.partition);
    arn.to_string()
}

/// The account that owns a resource: the one in its ARN, or else the one given, which for `*` and for resources without an
/// account is the caller's.
pub fn owner_of<'a>(resource: &'a str, otherwise: &'a str) -> &'a str {
    resource
        .strip_prefix("arn:")
        .and_then(|rest| rest.split(':').nth(3))
        .filter(|account| account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()))
        .unwrap_or(otherwise)
}

/// One question to the policies.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// The action, for example `apprunner:CreateService`.
    pub action: &'a str,
    /// The ARN of the resource; `*` for actions that have none.
    pub resource: &'a str,
    /// The account the resource belongs to; see [`owner_of`].
    pub owner: &'a str,
    /// What is known, with what [`Caller::context`] gives.
    pub context: &'a Context,
}

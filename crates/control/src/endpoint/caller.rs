//! Who calls.

use crate::iam::Session;
use crate::web_identity::Verified;
use apron_aws::policy;
use apron_aws::sigv4::Secret;
use std::sync::Arc;

/// Who calls.
#[derive(Clone, Debug, PartialEq)]
pub struct Caller {
    /// The twelve-digit account.
    pub account: String,
    /// The access key id that signed.
    pub access_key_id: String,
    /// The ARN of the identity, `arn:aws:iam::<account>:root` for the account itself.
    pub arn: String,
    /// The unique id of the identity; the account id for the account itself, `AROA…:<session>` for a session of a role.
    pub user_id: String,
    /// The same for the policies.
    pub identity: policy::Caller,
    /// The session, for temporary credentials.
    pub session: Option<Arc<Session>>,
    /// What was proved of the token of an identity provider, for who came with one.
    pub token: Option<Arc<Verified>>,
}

impl Caller {
    /// A caller who has an account.
    pub fn new(
        identity: policy::Caller,
        access_key_id: &str,
        session: Option<Arc<Session>>,
    ) -> Caller {
        let account = identity.account().unwrap_or_default().to_owned();
        let user_id = match &identity {
            policy::Caller::User { id, .. } => id.clone(),
            policy::Caller::RoleSession {
                role_id, session, ..
            } => format!("{role_id}:{session}"),
            policy::Caller::FederatedUser { name, .. } => format!("{account}:{name}"),
            _ => account.clone(),
        };
        Caller {
            account,
            access_key_id: access_key_id.to_owned(),
            arn: identity.arn().unwrap_or_default(),
            user_id,
            identity,
            session,
            token: None,
        }
    }

    /// The root user of an account.
    pub fn root(account: &str, access_key_id: &str) -> Caller {
        let account = account.to_owned();
        Caller::new(policy::Caller::Root { account }, access_key_id, None)
    }

    /// Whether it is the root user.
    pub fn is_root(&self) -> bool {
        matches!(self.identity, policy::Caller::Root { .. })
    }

    /// The name of the user, when a user calls.
    pub fn user_name(&self) -> Option<&str> {
        match &self.identity {
            policy::Caller::User { arn, .. } => arn.resource.rsplit('/').next(),
            _ => None,
        }
    }
}

/// A caller and the secret that proves it.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The secret access key.
    pub secret: Secret,
    /// Who it belongs to.
    pub caller: Caller,
}

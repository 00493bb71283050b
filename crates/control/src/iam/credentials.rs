//! From an access key to who calls.

use super::directory::KeyOwner;
use super::entity::{Entity, User};
use super::identities::Identities;
use super::sessions::{Holder, Session};
use crate::endpoint::{Caller, Principal};
use apron_aws::Arn;
use apron_aws::policy;
use apron_aws::sigv4::{AuthFailure, Secret};
use apron_domain::Millis;
use std::sync::Arc;

impl Identities {
    /// Whose key it is, and the secret that proves it.
    ///
    /// # Errors
    /// [`AuthFailure::UnknownKey`] for a key or session token that is not ours, or not in force; [`AuthFailure::ExpiredToken`].
    pub fn find(
        &self,
        access_key_id: &str,
        session_token: Option<&str>,
        now: Millis,
    ) -> Result<Principal, AuthFailure> {
        match session_token {
            Some(token) => self.find_session(access_key_id, token, now),
            None => self.find_permanent(access_key_id),
        }
    }

    /// Whether an access key of that id is known, in force or not.
    pub fn is_key(&self, access_key_id: &str) -> bool {
        self.directory().key(access_key_id).is_some()
    }

    fn find_permanent(&self, access_key_id: &str) -> Result<Principal, AuthFailure> {
        let directory = self.directory();
        let (owner, key) = directory
            .key(access_key_id)
            .ok_or(AuthFailure::UnknownKey)?;
        let secret = directory.secrets.get(access_key_id);
        let secret = secret.filter(|_| key.active);
        let caller = match owner {
            KeyOwner::Root => Caller::root(&directory.account, access_key_id),
            KeyOwner::User(user) => {
                Caller::new(user_caller(user, &directory.account)?, access_key_id, None)
            }
        };
        Ok(Principal {
            secret: secret.ok_or(AuthFailure::UnknownKey)?.clone(),
            caller,
        })
    }

    fn find_session(
        &self,
        access_key_id: &str,
        token: &str,
        now: Millis,
    ) -> Result<Principal, AuthFailure> {
        let opened = self.sessions.open(access_key_id, token);
        let (session, secret) = opened.map_err(|_| AuthFailure::UnknownKey)?;
        if session.expires <= now {
            return Err(AuthFailure::ExpiredToken);
        }
        self.principal(access_key_id, session, secret)
    }

    /// Who a session acts as. The role or user has to exist still.
    fn principal(
        &self,
        access_key_id: &str,
        session: Session,
        secret: Secret,
    ) -> Result<Principal, AuthFailure> {
        let directory = self.directory();
        let account = &directory.account;
        let identity = match &session.holder {
            Holder::Root => policy::Caller::Root {
                account: account.clone(),
            },
            Holder::User { id } => {
                let user = directory.users.values().find(|user| user.id == *id);
                user_caller(user.ok_or(AuthFailure::UnknownKey)?, account)?
            }
            Holder::Role { id, session } => {
                let role = directory.roles.values().find(|role| role.id == *id);
                let role = role.ok_or(AuthFailure::UnknownKey)?;
                policy::Caller::RoleSession {
                    role: arn(&**role, account)?,
                    role_id: id.clone(),
                    session: session.clone(),
                }
            }
        };
        let caller = Caller::new(identity, access_key_id, Some(Arc::new(session)));
        Ok(Principal { secret, caller })
    }
}

fn user_caller(user: &User, account: &str) -> Result<policy::Caller, AuthFailure> {
    Ok(policy::Caller::User {
        arn: arn(user, account)?,
        id: user.id.clone(),
    })
}

/// The ARN of an identity. Names and paths were held against the model when it was stored, so it is one.
fn arn<T: Entity>(entity: &T, account: &str) -> Result<Arn, AuthFailure> {
    let text = entity.arn(account);
    text.parse().map_err(|error| {
        tracing::error!(%error, "an identity has no valid ARN");
        AuthFailure::UnknownKey
    })
}

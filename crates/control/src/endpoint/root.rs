//! The one account of an installation and its access keys.

use super::{Caller, Credentials, Principal};
use apron_aws::sigv4::{AuthFailure, Secret};
use async_trait::async_trait;
use std::collections::BTreeMap;

/// The root identity of one account, with its access keys.
#[derive(Clone, Debug)]
pub struct RootCredentials {
    account: String,
    keys: BTreeMap<String, Secret>,
}

impl RootCredentials {
    /// The root of `account` with one access key.
    pub fn new(account: &str, access_key_id: &str, secret: Secret) -> RootCredentials {
        let keys = BTreeMap::from([(access_key_id.to_owned(), secret)]);
        RootCredentials {
            account: account.to_owned(),
            keys,
        }
    }
}

#[async_trait]
impl Credentials for RootCredentials {
    async fn find(
        &self,
        access_key_id: &str,
        session_token: Option<&str>,
    ) -> Result<Principal, AuthFailure> {
        let secret = self
            .keys
            .get(access_key_id)
            .ok_or(AuthFailure::UnknownKey)?;
        // Root keys are permanent: whoever sends a session token with one has mixed two sets of credentials.
        if session_token.is_some() {
            return Err(AuthFailure::UnknownKey);
        }
        let caller = Caller {
            account: self.account.clone(),
            access_key_id: access_key_id.to_owned(),
            arn: format!("arn:aws:iam::{}:root", self.account),
            user_id: self.account.clone(),
        };
        Ok(Principal {
            secret: secret.clone(),
            caller,
        })
    }
}

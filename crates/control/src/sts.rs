//! AWS STS: who the caller is, and temporary credentials.

mod assume_role;
mod duration;
mod marks;
mod session_token;
mod web_identity;

use crate::authorizer::{Answered, Surroundings};
use crate::clock::Chance;
use crate::endpoint::Caller;
use crate::endpoint::{ApiService, Call};
use crate::iam::{Identities, Temporary};
use crate::web_identity::WebIdentity;
use apron_aws::{ApiError, Model, model};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;

/// The STS of this installation.
pub struct Sts {
    identities: Arc<Identities>,
    issuers: Arc<WebIdentity>,
    chance: Arc<dyn Chance>,
}

impl Sts {
    /// STS over these identities, which believes these issuers.
    pub fn new(
        identities: Arc<Identities>,
        issuers: Arc<WebIdentity>,
        chance: Arc<dyn Chance>,
    ) -> Sts {
        Sts {
            identities,
            issuers,
            chance,
        }
    }
}

#[async_trait]
impl ApiService for Sts {
    fn model(&self) -> &'static Model {
        model::sts()
    }

    async fn call(&self, call: Call) -> Result<Value, ApiError> {
        match call.operation.as_str() {
            "GetCallerIdentity" => {
                let caller = call.caller;
                Ok(json!({"Account": caller.account, "Arn": caller.arn, "UserId": caller.user_id}))
            }
            "AssumeRole" => self.assume_role(&call),
            "AssumeRoleWithWebIdentity" => self.assume_role_with_web_identity(&call),
            "GetSessionToken" => self.get_session_token(&call),
            "GetAccessKeyInfo" => self.get_access_key_info(&call),
            other => Err(ApiError::not_available("STS", other)),
        }
    }

    async fn vouch(
        &self,
        call: &Call,
        surroundings: &Surroundings,
    ) -> Result<(Caller, Vec<Answered>), ApiError> {
        match call.operation.as_str() {
            "AssumeRoleWithWebIdentity" => self.web_identity(call, surroundings).await,
            _ => Err(ApiError::missing_authentication_token_query()),
        }
    }
}

impl Sts {
    /// The account of a key, for keys that are known here.
    fn get_access_key_info(&self, call: &Call) -> Result<Value, ApiError> {
        let id = call.input["AccessKeyId"].as_str().unwrap_or_default();
        match self.identities.is_key(id) {
            true => Ok(json!({"Account": call.caller.account})),
            false => {
                let text = format!("The access key {id} is not known to this installation.");
                Err(ApiError::validation(text))
            }
        }
    }
}

/// An error of STS by the name of its shape.
fn error(shape: &str, message: impl Into<String>) -> ApiError {
    model::sts().error(shape, message)
}

/// The caller may not do this, in STS's words.
fn denied(message: impl Into<String>) -> ApiError {
    let mut denied = ApiError::access_denied(message);
    denied.code = "AccessDenied".to_owned();
    denied
}

/// Temporary credentials as answers have them.
fn credentials(made: &Temporary) -> Value {
    json!({
        "AccessKeyId": made.access_key_id,
        "SecretAccessKey": made.secret.reveal(),
        "SessionToken": made.token.reveal(),
        "Expiration": made.expires.as_seconds(),
    })
}

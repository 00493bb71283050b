//! AWS STS: who the caller is. Temporary credentials come with identities other than the account's root; until then
//! their operations are answered as not available.

use crate::endpoint::{ApiService, Call};
use apron_aws::{ApiError, Model, model};
use async_trait::async_trait;
use serde_json::{Value, json};

/// The STS of this installation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sts;

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
            other => Err(ApiError::not_available("STS", other)),
        }
    }
}

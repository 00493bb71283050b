//! Key policies. A key has one, named `default`.

use super::record::KeyRecord;
use super::{Kms, error};
use crate::endpoint::Call;
use apron_aws::ApiError;
use apron_aws::policy::{Kind, Policy};
use serde::Deserialize;
use serde_json::{Value, json};

/// The only name of a key's policy.
const NAME: &str = "default";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeyPolicy {
    key_id: String,
    policy_name: Option<String>,
    policy: Option<String>,
}

impl KeyPolicy {
    fn check_name(&self) -> Result<(), ApiError> {
        match self.policy_name.as_deref() {
            None | Some(NAME) => Ok(()),
            Some(_) => Err(error("NotFoundException", "No such policy exists")),
        }
    }
}

impl Kms {
    pub(super) async fn get_key_policy(&self, call: &Call) -> Result<Value, ApiError> {
        let input: KeyPolicy = call.input()?;
        let (_, record) = self.key(call, &input.key_id).await?;
        input.check_name()?;
        Ok(json!({ "Policy": record.policy, "PolicyName": NAME }))
    }

    pub(super) async fn put_key_policy(&self, call: &Call) -> Result<Value, ApiError> {
        let input: KeyPolicy = call.input()?;
        input.check_name()?;
        let policy = checked(input.policy.as_deref().unwrap_or_default())?;
        self.change_key(call, &input.key_id, |record: &mut KeyRecord| {
            record.policy = policy;
        })
        .await?;
        Ok(Value::Null)
    }

    pub(super) async fn list_key_policies(&self, call: &Call) -> Result<Value, ApiError> {
        let input: KeyPolicy = call.input()?;
        self.key(call, &input.key_id).await?;
        Ok(json!({ "PolicyNames": [NAME], "Truncated": false }))
    }
}

/// The policy as it was given, if it is one.
pub(super) fn checked(text: &str) -> Result<String, ApiError> {
    match Policy::parse(text, Kind::Key) {
        Ok(_) => Ok(text.to_owned()),
        Err(cause) => Err(error(
            "MalformedPolicyDocumentException",
            format!("The policy is not valid: {cause}"),
        )),
    }
}

/// The policy of a key that is made without one (KMS developer guide, default key policy): the account's identity policies
/// decide.
pub(super) fn default_policy(account: &str) -> String {
    json!({
        "Version": "2012-10-17",
        "Id": "key-default-1",
        "Statement": [{
            "Sid": "Enable IAM User Permissions",
            "Effect": "Allow",
            "Principal": {"AWS": format!("arn:aws:iam::{account}:root")},
            "Action": "kms:*",
            "Resource": "*",
        }],
    })
    .to_string()
}

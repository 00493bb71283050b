//! Resource policies of secrets.

use super::{SecretsManager, error};
use crate::endpoint::Call;
use apron_aws::ApiError;
use apron_aws::policy::{Kind, Policy};
use apron_store::Change;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ResourcePolicy {
    secret_id: String,
    resource_policy: Option<String>,
    #[serde(default)]
    block_public_policy: bool,
}

impl SecretsManager {
    pub(super) async fn put_resource_policy(&self, call: &Call) -> Result<Value, ApiError> {
        let input: ResourcePolicy = call.input()?;
        let text = input.resource_policy.unwrap_or_default();
        if let Err(cause) = Policy::parse(&text, Kind::Secret) {
            let message = format!("This resource policy contains a malformed document: {cause}");
            return Err(error("MalformedPolicyDocumentException", message));
        }
        if input.block_public_policy && is_public(&text) {
            return Err(error(
                "PublicPolicyException",
                "The resource policy grants access to the public, which BlockPublicPolicy forbids.",
            ));
        }
        let (name, secret) = self.find_live(call, &input.secret_id).await?;
        self.change(call, &name, |mut secret| {
            secret.policy = Some(text);
            Ok(Change::record(secret, ()))
        })
        .await?;
        Ok(json!({"ARN": self.arn(&name, &secret), "Name": name}))
    }

    pub(super) async fn get_resource_policy(&self, call: &Call) -> Result<Value, ApiError> {
        let input: ResourcePolicy = call.input()?;
        let (name, secret) = self.find_live(call, &input.secret_id).await?;
        Ok(json!({
            "ARN": self.arn(&name, &secret),
            "Name": name,
            "ResourcePolicy": secret.policy,
        }))
    }

    pub(super) async fn delete_resource_policy(&self, call: &Call) -> Result<Value, ApiError> {
        let input: ResourcePolicy = call.input()?;
        let (name, secret) = self.find_live(call, &input.secret_id).await?;
        self.change(call, &name, |mut secret| {
            secret.policy = None;
            Ok(Change::record(secret, ()))
        })
        .await?;
        Ok(json!({"ARN": self.arn(&name, &secret), "Name": name}))
    }
}

/// Whether a statement allows everybody something without a condition. The text is a policy.
fn is_public(text: &str) -> bool {
    let document: Value = serde_json::from_str(text).unwrap_or_default();
    let statements = match document.get("Statement") {
        Some(Value::Array(statements)) => statements.clone(),
        Some(one) => vec![one.clone()],
        None => Vec::new(),
    };
    let everybody = |principal: &Value| match principal {
        Value::String(text) => text == "*",
        Value::Object(kinds) => kinds.values().any(|who| match who {
            Value::Array(all) => all.iter().any(|one| one == "*"),
            one => one == "*",
        }),
        _ => false,
    };
    statements.iter().any(|statement| {
        statement
            .get("Effect")
            .is_some_and(|effect| effect == "Allow")
            && statement.get("Condition").is_none()
            && (statement.get("Principal").is_some_and(everybody)
                || statement.get("NotPrincipal").is_some())
    })
}

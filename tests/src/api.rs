//! A minimal API client of the harness itself, for looking often: starting a real client costs most of a second of
//! processor time. What a scenario is about goes through the real clients in [`crate::aws`].

use crate::Platform;
use crate::http::Response;
use crate::signing::Signer;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use time::OffsetDateTime;

/// An AWS service with a JSON protocol.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// The service name in signatures.
    pub name: &'static str,
    /// What stands before the operation in `X-Amz-Target`.
    pub target: &'static str,
    /// The content type.
    pub content_type: &'static str,
}

/// App Runner, JSON 1.0.
pub const APP_RUNNER: Dialect = Dialect {
    name: "apprunner",
    target: "AppRunner",
    content_type: "application/x-amz-json-1.0",
};
/// CloudWatch Logs, JSON 1.1.
pub const LOGS: Dialect = Dialect {
    name: "logs",
    target: "Logs_20140328",
    content_type: "application/x-amz-json-1.1",
};
/// ECR, JSON 1.1.
pub const ECR: Dialect = Dialect {
    name: "ecr",
    target: "AmazonEC2ContainerRegistry_V20150921",
    content_type: "application/x-amz-json-1.1",
};

/// Secrets Manager, JSON 1.1.
pub const SECRETS_MANAGER: Dialect = Dialect {
    name: "secretsmanager",
    target: "secretsmanager",
    content_type: "application/x-amz-json-1.1",
};
/// Systems Manager, of it Parameter Store, JSON 1.1.
pub const PARAMETER_STORE: Dialect = Dialect {
    name: "ssm",
    target: "AmazonSSM",
    content_type: "application/x-amz-json-1.1",
};
/// What no AWS API can say, JSON 1.0.
pub const APRON: Dialect = Dialect {
    name: "apron",
    target: "Apron",
    content_type: "application/x-amz-json-1.0",
};

/// The present, for signatures.
pub fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

impl Platform {
    /// Calls an operation that must succeed.
    pub fn call(&self, dialect: Dialect, operation: &str, input: &Value) -> Result<Value> {
        let response = self.call_raw(dialect, operation, input.to_string().as_bytes(), now())?;
        if response.status != 200 {
            bail!(
                "{operation} answered {}: {}",
                response.status,
                response.text()
            );
        }
        serde_json::from_slice(&response.body)
            .with_context(|| format!("{operation} answered no JSON"))
    }

    /// Sends a signed request with any body and any clock.
    pub fn call_raw(
        &self,
        dialect: Dialect,
        operation: &str,
        body: &[u8],
        at: OffsetDateTime,
    ) -> Result<Response> {
        let target = self.api_target()?;
        let signer = Signer {
            key_id: self.variable("AWS_ACCESS_KEY_ID")?,
            secret: self.variable("AWS_SECRET_ACCESS_KEY")?,
            region: self.variable("AWS_DEFAULT_REGION")?,
            service: dialect.name,
            now: at,
        };
        let headers = signer.sign(
            &target.host_header(),
            dialect.content_type,
            &format!("{}.{operation}", dialect.target),
            body,
        );
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        target.request("POST", "/", &headers, body)
    }
}

//! The small `Apron` API for what the AWS APIs cannot say, in the same protocol, signed the same way.

mod connections;
mod issuer;
mod operations;
mod sealing;

use crate::apprunner::AppRunner;
use crate::endpoint::{ApiService, Call, internal};
use crate::engine::Engine;
use crate::images::REGISTRY_SECRETS;
use crate::operations::Operations;
use apron_aws::{ApiError, Model};
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// The service behind the `Apron` target.
pub struct Operator {
    engine: Arc<Engine>,
    operations: Arc<Operations>,
    /// Finds services by ARN, with App Runner's own errors.
    app_runner: AppRunner,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRegistryCredential {
    host: String,
    username: String,
    password: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteRegistryCredential {
    host: String,
}

impl Operator {
    /// The operator's API over this engine.
    pub fn new(engine: Arc<Engine>, operations: Arc<Operations>) -> Operator {
        let app_runner = AppRunner::new(engine.clone(), operations.clone());
        Operator {
            engine,
            operations,
            app_runner,
        }
    }

    async fn credentials(&self, call: &Call) -> Result<Value, ApiError> {
        let store = &self.engine.store;
        let failed =
            |error: apron_store::StoreError| internal(call, "use the sealed credentials", &error);
        match call.operation.as_str() {
            "PutRegistryCredential" => {
                let input: PutRegistryCredential = read(call)?;
                let value = format!("{}:{}", input.username, input.password);
                let put = store.secret_put(REGISTRY_SECRETS, &input.host, value.as_bytes());
                put.await.map_err(failed)?;
                Ok(json!({}))
            }
            "DeleteRegistryCredential" => {
                let input: DeleteRegistryCredential = read(call)?;
                let deleted = store.secret_delete(REGISTRY_SECRETS, &input.host);
                deleted.await.map_err(failed)?;
                Ok(json!({}))
            }
            _ => {
                let hosts = store.secrets(REGISTRY_SECRETS).await.map_err(failed)?;
                Ok(json!({ "Hosts": hosts }))
            }
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(call: &Call) -> Result<T, ApiError> {
    serde_json::from_value(call.input.clone())
        .map_err(|error| ApiError::serialization(error.to_string()))
}

#[async_trait]
impl ApiService for Operator {
    fn model(&self) -> &'static Model {
        apron_aws::model::apron()
    }

    async fn call(&self, call: Call) -> Result<Value, ApiError> {
        match call.operation.as_str() {
            "RollbackService" => self.roll_back(&call).await,
            "CancelOperation" => self.cancel(&call).await,
            "DescribeOperation" => self.describe(&call).await,
            "CompleteConnection" => self.complete_connection(&call).await,
            "RotateIssuerKey" => self.rotate_issuer_key(&call).await,
            "RotateSealingKey" => self.rotate_sealing_key(&call).await,
            "PutRegistryCredential" | "DeleteRegistryCredential" | "ListRegistryCredentials" => {
                self.credentials(&call).await
            }
            other => Err(ApiError::not_available("Apron", other)),
        }
    }
}

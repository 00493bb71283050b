//! The small `Apron` API for what the AWS APIs cannot say, in the same protocol, signed the same way.

use crate::endpoint::{ApiService, Call, internal};
use crate::images::REGISTRY_SECRETS;
use apron_aws::{ApiError, Model};
use apron_store::Store;
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

/// The service behind the `Apron` target.
pub struct Operator {
    store: Store,
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
    /// The operator's API over this store.
    pub fn new(store: Store) -> Operator {
        Operator { store }
    }

    async fn perform(&self, call: &Call) -> Result<Value, ApiError> {
        let failed =
            |error: apron_store::StoreError| internal(call, "use the sealed credentials", &error);
        match call.operation.as_str() {
            "PutRegistryCredential" => {
                let input: PutRegistryCredential = read(call)?;
                let value = format!("{}:{}", input.username, input.password);
                self.store
                    .secret_put(REGISTRY_SECRETS, &input.host, value.as_bytes())
                    .await
                    .map_err(failed)?;
                Ok(json!({}))
            }
            "DeleteRegistryCredential" => {
                let input: DeleteRegistryCredential = read(call)?;
                self.store
                    .secret_delete(REGISTRY_SECRETS, &input.host)
                    .await
                    .map_err(failed)?;
                Ok(json!({}))
            }
            "ListRegistryCredentials" => {
                let hosts = self.store.secrets(REGISTRY_SECRETS).await.map_err(failed)?;
                Ok(json!({ "Hosts": hosts }))
            }
            other => Err(ApiError::not_available("Apron", other)),
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
        self.perform(&call).await
    }
}

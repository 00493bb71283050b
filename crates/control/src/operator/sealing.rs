//! `RotateSealingKey`: another master key for everything that is sealed, while the platform goes on.

use super::Operator;
use crate::endpoint::{Call, internal};
use apron_aws::{ApiError, model};
use apron_store::{SealError, StoreError};
use serde_json::{Value, json};

impl Operator {
    pub(super) async fn rotate_sealing_key(&self, call: &Call) -> Result<Value, ApiError> {
        match self.engine.store.sealing_rotate().await {
            Ok(rotation) => {
                tracing::info!(key = rotation.key, "the sealing key is replaced");
                Ok(json!({
                    "KeyId": rotation.key,
                    "DataKeys": rotation.data_keys,
                    "FormerKeysRemoved": rotation.former_keys_removed,
                }))
            }
            // What the operator has to do about it stands in the text; it names places and ids, no key.
            Err(StoreError::Sealing(
                cause @ (SealError::NothingNew { .. }
                | SealError::Command { .. }
                | SealError::File { .. }
                | SealError::KeyFile { .. }),
            )) => Err(model::apron().error("InvalidStateException", cause.to_string())),
            Err(other) => Err(internal(call, "replace the sealing key", &other)),
        }
    }
}

//! `DeleteParameter` and `DeleteParameters`.

use super::record::PARAMETER_RECORDS;
use super::{ParameterStore, not_found};
use crate::endpoint::{Call, internal};
use apron_aws::ApiError;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Delete {
    name: Option<String>,
    #[serde(default)]
    names: Vec<String>,
}

impl ParameterStore {
    pub(super) async fn delete_parameter(&self, call: &Call) -> Result<Value, ApiError> {
        let input: Delete = call.input()?;
        match self
            .delete(call, input.name.as_deref().unwrap_or_default())
            .await?
        {
            true => Ok(json!({})),
            false => Err(not_found()),
        }
    }

    pub(super) async fn delete_parameters(&self, call: &Call) -> Result<Value, ApiError> {
        let input: Delete = call.input()?;
        let (mut deleted, mut missing) = (Vec::new(), Vec::new());
        for name in &input.names {
            match self.delete(call, name).await? {
                true => deleted.push(name),
                false => missing.push(name),
            }
        }
        Ok(json!({ "DeletedParameters": deleted, "InvalidParameters": missing }))
    }

    async fn delete(&self, call: &Call, name: &str) -> Result<bool, ApiError> {
        let Some(selected) = self.selected(name).filter(|s| s.selector.is_none()) else {
            return Ok(false);
        };
        if self.look_up(call, &selected.name).await?.is_none() {
            return Ok(false);
        }
        let dropped = self
            .store
            .vault_drop(PARAMETER_RECORDS, &selected.name)
            .await;
        dropped.map_err(|e| internal(call, "delete the parameter", &e))?;
        Ok(true)
    }
}

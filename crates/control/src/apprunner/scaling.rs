//! Auto scaling configurations: so far the built-in one.

use super::config::{default_scaling, scaling};
use super::{AppRunner, invalid, not_found, store_failed};
use apron_aws::ApiError;
use apron_domain::Millis;
use serde::Deserialize;
use serde_json::{Value, json};

/// The fact under which the installation's birth is stored.
pub const INSTALLED_AT: &str = "installed-at";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeScaling {
    auto_scaling_configuration_arn: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListScaling {
    auto_scaling_configuration_name: Option<String>,
    next_token: Option<String>,
}

impl AppRunner {
    /// When the built-in configuration came to be, and whether a service uses it.
    async fn default_scaling_state(&self) -> Result<(Millis, bool), ApiError> {
        let store = &self.engine.store;
        let born = store.fact_get(INSTALLED_AT).await.map_err(store_failed)?;
        let born = born.and_then(|text| text.parse().ok()).unwrap_or_default();
        Ok((
            Millis(born),
            store.services_count().await.map_err(store_failed)? > 0,
        ))
    }

    pub(super) async fn scaling_describe(&self, input: DescribeScaling) -> Result<Value, ApiError> {
        let arn = input.auto_scaling_configuration_arn;
        let found = scaling(&arn, &self.engine.settings).map_err(|_| {
            not_found(format!(
                "Auto scaling configuration with the provided ARN was not found: {arn}."
            ))
        })?;
        let (created_at, in_use) = self.default_scaling_state().await?;
        Ok(json!({ "AutoScalingConfiguration": {
            "AutoScalingConfigurationArn": found.arn,
            "AutoScalingConfigurationName": found.name,
            "AutoScalingConfigurationRevision": found.revision,
            "Latest": true,
            "Status": "active",
            "MaxConcurrency": found.max_concurrency,
            "MinSize": found.min_size,
            "MaxSize": found.max_size,
            "CreatedAt": created_at.as_seconds(),
            "HasAssociatedService": in_use,
            "IsDefault": true,
        } }))
    }

    pub(super) async fn scaling_list(&self, input: ListScaling) -> Result<Value, ApiError> {
        if input.next_token.is_some() {
            return Err(invalid("The provided NextToken is not valid."));
        }
        let built_in = default_scaling(&self.engine.settings);
        let (created_at, in_use) = self.default_scaling_state().await?;
        let wanted = input
            .auto_scaling_configuration_name
            .is_none_or(|name| name == built_in.name);
        let all = wanted.then(|| {
            json!({
                "AutoScalingConfigurationArn": built_in.arn,
                "AutoScalingConfigurationName": built_in.name,
                "AutoScalingConfigurationRevision": built_in.revision,
                "Status": "active",
                "CreatedAt": created_at.as_seconds(),
                "HasAssociatedService": in_use,
                "IsDefault": true,
            })
        });
        Ok(json!({ "AutoScalingConfigurationSummaryList": Vec::from_iter(all) }))
    }
}

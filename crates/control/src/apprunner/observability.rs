//! Observability configurations. They are stored and validated; a service that switches tracing on is refused until its
//! engine exists.

use super::tags::{Tag, Tagged, checked};
use super::{AppRunner, invalid, not_found, page, quota_exceeded, store_failed};
use crate::configurations::{BUILT_IN, OBSERVABILITY, arn_of, listed, revision, room, select};
use apron_aws::ApiError;
use apron_domain::configuration::{
    Observability, Revision, find, forget_deleted, is_latest, next_number,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// Names an account may have, besides the built-in one (service quotas, L-A0B46A0C).
const NAMES_MAX: usize = 10;

/// Active revisions a name may have (developer guide, observability).
const REVISIONS_MAX: usize = 10;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateObservability {
    observability_configuration_name: String,
    trace_configuration: Option<TraceConfiguration>,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TraceConfiguration {
    vendor: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ByObservabilityArn {
    observability_configuration_arn: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListObservability {
    observability_configuration_name: Option<String>,
    latest_only: Option<bool>,
    next_token: Option<String>,
    max_results: Option<usize>,
}

type All = Vec<Revision<Observability>>;

impl AppRunner {
    fn observability_output(&self, all: &All, item: &Revision<Observability>) -> Value {
        let mut output = self.observability_summary(item);
        output["Latest"] = json!(is_latest(all, item));
        output["Status"] = json!(if item.is_active() {
            "ACTIVE"
        } else {
            "INACTIVE"
        });
        output["CreatedAt"] = json!(item.created_at.as_seconds());
        if let Some(at) = item.deleted_at {
            output["DeletedAt"] = json!(at.as_seconds());
        }
        if let Some(vendor) = &item.content.vendor {
            output["TraceConfiguration"] = json!({ "Vendor": vendor });
        }
        output
    }

    fn observability_summary(&self, item: &Revision<Observability>) -> Value {
        json!({
            "ObservabilityConfigurationArn": arn_of(&self.engine.settings, OBSERVABILITY, item),
            "ObservabilityConfigurationName": item.name,
            "ObservabilityConfigurationRevision": item.number,
        })
    }

    fn observability_index(&self, all: &All, arn: &str) -> Result<usize, ApiError> {
        let selector = select(&self.engine.settings, OBSERVABILITY, arn);
        let found = selector.and_then(|selector| find(all, &selector));
        let index = found.and_then(|found| all.iter().position(|r| r.id == found.id));
        index.ok_or_else(|| {
            not_found(format!(
                "Observability configuration with the provided ARN was not found: {arn}."
            ))
        })
    }

    pub(super) async fn observability_create(
        &self,
        input: CreateObservability,
    ) -> Result<Value, ApiError> {
        let name = input.observability_configuration_name;
        if name == BUILT_IN {
            return Err(invalid(format!("The name {BUILT_IN} is reserved.")));
        }
        let content = Observability {
            vendor: input.trace_configuration.map(|t| t.vendor),
        };
        let tags = checked(Tagged::Observability, input.tags, Default::default())?;
        let engine = self.engine.clone();
        let before = engine.forget_before();
        let change = move |all: &mut All| {
            forget_deleted(all, before);
            room(all, &name, NAMES_MAX, REVISIONS_MAX).map_err(quota_exceeded)?;
            let number = next_number(all, &name);
            let made = revision(&engine, name, number, tags, content);
            all.push(made.clone());
            Ok::<_, ApiError>((all.clone(), made))
        };
        let changed = self
            .engine
            .store
            .configurations_change(OBSERVABILITY, change)
            .await;
        let (all, made) = changed.map_err(store_failed)??;
        Ok(json!({ "ObservabilityConfiguration": self.observability_output(&all, &made) }))
    }

    pub(super) async fn observability_describe(
        &self,
        input: ByObservabilityArn,
    ) -> Result<Value, ApiError> {
        let all: All = self
            .engine
            .store
            .configurations(OBSERVABILITY)
            .await
            .map_err(store_failed)?;
        let index = self.observability_index(&all, &input.observability_configuration_arn)?;
        Ok(json!({ "ObservabilityConfiguration": self.observability_output(&all, &all[index]) }))
    }

    pub(super) async fn observability_list(
        &self,
        input: ListObservability,
    ) -> Result<Value, ApiError> {
        let all: All = self
            .engine
            .store
            .configurations(OBSERVABILITY)
            .await
            .map_err(store_failed)?;
        let name = input.observability_configuration_name.as_deref();
        let listed = listed(&all, name, input.latest_only.unwrap_or(true));
        let key = |r: &&Revision<Observability>| (r.created_at, r.id.clone());
        let (listed, next) =
            page::cut(listed, key, input.next_token.as_deref(), input.max_results)?;
        let summaries: Vec<_> = listed
            .into_iter()
            .map(|r| self.observability_summary(r))
            .collect();
        Ok(json!({ "ObservabilityConfigurationSummaryList": summaries, "NextToken": next }))
    }

    pub(super) async fn observability_delete(
        &self,
        input: ByObservabilityArn,
    ) -> Result<Value, ApiError> {
        let (arn, now) = (
            input.observability_configuration_arn,
            self.engine.clock.now(),
        );
        let change = |all: &mut All| {
            let index = self.observability_index(all, &arn)?;
            if !all[index].is_active() {
                return Err(invalid(
                    "The observability configuration you specified has been deleted.",
                ));
            }
            if all[index].name == BUILT_IN {
                return Err(invalid(format!(
                    "The observability configuration {BUILT_IN} can't be deleted."
                )));
            }
            all[index].deleted_at = Some(now);
            Ok((all.clone(), index))
        };
        let changed = self
            .engine
            .store
            .configurations_change(OBSERVABILITY, change)
            .await;
        let (all, index) = changed.map_err(store_failed)??;
        Ok(json!({ "ObservabilityConfiguration": self.observability_output(&all, &all[index]) }))
    }
}

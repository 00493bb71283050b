//! Auto scaling configurations: revisions, the account's default, and who uses them.

use super::tags::{Tag, Tagged, checked};
use super::{AppRunner, invalid, not_found, page, quota_exceeded, store_failed};
use crate::configurations::{AUTO_SCALING, arn_of, listed, revision, room, select};
use apron_aws::ApiError;
use apron_domain::Service;
use apron_domain::configuration::{
    AutoScaling, Revision, find, forget_deleted, is_latest, next_number, set_default,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// Names of auto scaling configurations an account may have, besides the built-in one (service quotas, L-1D8C5BDD).
const NAMES_MAX: usize = 10;

/// Active revisions a name may have (developer guide, auto scaling).
const REVISIONS_MAX: usize = 5;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateScaling {
    auto_scaling_configuration_name: String,
    max_concurrency: Option<u32>,
    min_size: Option<u32>,
    max_size: Option<u32>,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ByScalingArn {
    auto_scaling_configuration_arn: String,
    #[serde(default)]
    delete_all_revisions: bool,
    next_token: Option<String>,
    max_results: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListScaling {
    auto_scaling_configuration_name: Option<String>,
    latest_only: Option<bool>,
    next_token: Option<String>,
    max_results: Option<usize>,
}

type Scalings = Vec<Revision<AutoScaling>>;

impl AppRunner {
    pub(super) async fn scalings(&self) -> Result<Scalings, ApiError> {
        self.engine
            .store
            .configurations(AUTO_SCALING)
            .await
            .map_err(store_failed)
    }

    fn scaling_arn(&self, scaling: &Revision<AutoScaling>) -> String {
        arn_of(&self.engine.settings, AUTO_SCALING, scaling)
    }

    /// The position of the revision that an ARN means.
    fn scaling_index(&self, all: &Scalings, arn: &str) -> Result<usize, ApiError> {
        let selector = select(&self.engine.settings, AUTO_SCALING, arn);
        let found = selector.and_then(|selector| find(all, &selector));
        let index = found.and_then(|found| all.iter().position(|r| r.id == found.id));
        index.ok_or_else(|| {
            not_found(format!(
                "Auto scaling configuration with the provided ARN was not found: {arn}."
            ))
        })
    }

    async fn services(&self) -> Result<Vec<Service>, ApiError> {
        self.engine
            .store
            .services_live()
            .await
            .map_err(store_failed)
    }

    fn scaling_output(
        &self,
        all: &Scalings,
        scaling: &Revision<AutoScaling>,
        services: &[Service],
    ) -> Value {
        let mut output = self.scaling_summary(scaling, services);
        output["Latest"] = json!(is_latest(all, scaling));
        output["MaxConcurrency"] = json!(scaling.content.max_concurrency);
        output["MinSize"] = json!(scaling.content.min_size);
        output["MaxSize"] = json!(scaling.content.max_size);
        if let Some(at) = scaling.deleted_at {
            output["DeletedAt"] = json!(at.as_seconds());
        }
        output
    }

    fn scaling_summary(&self, scaling: &Revision<AutoScaling>, services: &[Service]) -> Value {
        let arn = self.scaling_arn(scaling);
        json!({
            "HasAssociatedService": services.iter().any(|s| uses(s, &arn)),
            "AutoScalingConfigurationArn": arn,
            "AutoScalingConfigurationName": scaling.name,
            "AutoScalingConfigurationRevision": scaling.number,
            // Lower case on the wire, unlike the model says: what the real service answers and Terraform waits for.
            "Status": if scaling.is_active() { "active" } else { "inactive" },
            "CreatedAt": scaling.created_at.as_seconds(),
            "IsDefault": scaling.content.is_default,
        })
    }

    pub(super) async fn scaling_create(&self, input: CreateScaling) -> Result<Value, ApiError> {
        let content = AutoScaling {
            max_concurrency: input.max_concurrency.unwrap_or(100),
            min_size: input.min_size.unwrap_or(1),
            max_size: input.max_size.unwrap_or(25),
            is_default: false,
        };
        if content.min_size > content.max_size {
            return Err(invalid(format!(
                "MinSize {} can't be greater than MaxSize {}.",
                content.min_size, content.max_size
            )));
        }
        let (name, tags) = (
            input.auto_scaling_configuration_name,
            checked(Tagged::AutoScaling, input.tags, Default::default())?,
        );
        // No service is bound to a name's latest revision while there comes a later one.
        let _order = self.engine.configurations.write().await;
        let engine = self.engine.clone();
        let before = engine.forget_before();
        let change = move |all: &mut Scalings| {
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
            .configurations_change(AUTO_SCALING, change)
            .await;
        let (all, made) = changed.map_err(store_failed)??;
        Ok(json!({ "AutoScalingConfiguration": self.scaling_output(&all, &made, &[]) }))
    }

    pub(super) async fn scaling_describe(&self, input: ByScalingArn) -> Result<Value, ApiError> {
        let _order = self.engine.configurations.read().await;
        let all = self.scalings().await?;
        let index = self.scaling_index(&all, &input.auto_scaling_configuration_arn)?;
        let output = self.scaling_output(&all, &all[index], &self.services().await?);
        Ok(json!({ "AutoScalingConfiguration": output }))
    }

    pub(super) async fn scaling_list(&self, input: ListScaling) -> Result<Value, ApiError> {
        let _order = self.engine.configurations.read().await;
        let all = self.scalings().await?;
        let services = self.services().await?;
        let name = input.auto_scaling_configuration_name.as_deref();
        let listed = listed(&all, name, input.latest_only.unwrap_or(true));
        let key = |r: &&Revision<AutoScaling>| (r.created_at, r.id.clone());
        let (listed, next) =
            page::cut(listed, key, input.next_token.as_deref(), input.max_results)?;
        let summaries: Vec<_> = listed
            .into_iter()
            .map(|r| self.scaling_summary(r, &services))
            .collect();
        Ok(json!({ "AutoScalingConfigurationSummaryList": summaries, "NextToken": next }))
    }

    pub(super) async fn scaling_set_default(&self, input: ByScalingArn) -> Result<Value, ApiError> {
        let arn = input.auto_scaling_configuration_arn;
        // No service is made with the old default once the new one is acknowledged.
        let _order = self.engine.configurations.write().await;
        let change = |all: &mut Scalings| {
            let index = self.scaling_index(all, &arn)?;
            if !all[index].is_active() {
                return Err(deleted());
            }
            let id = all[index].id.clone();
            set_default(all, &id);
            Ok((all.clone(), index))
        };
        let changed = self
            .engine
            .store
            .configurations_change(AUTO_SCALING, change)
            .await;
        let (all, index) = changed.map_err(store_failed)??;
        let output = self.scaling_output(&all, &all[index], &self.services().await?);
        Ok(json!({ "AutoScalingConfiguration": output }))
    }

    pub(super) async fn scaling_delete(&self, input: ByScalingArn) -> Result<Value, ApiError> {
        let arn = input.auto_scaling_configuration_arn;
        // No service may come to use it between the look and the deletion.
        let _order = self.engine.configurations.write().await;
        let services = self.services().await?;
        let (now, every) = (self.engine.clock.now(), input.delete_all_revisions);
        let change = |all: &mut Scalings| {
            let index = self.scaling_index(all, &arn)?;
            let name = all[index].name.clone();
            if every && !arn.ends_with(&format!("/{name}")) {
                return Err(invalid(
                    "DeleteAllRevisions is only valid with an ARN that ends with the name.",
                ));
            }
            let doomed: Vec<usize> = match every {
                true => (0..all.len())
                    .filter(|i| all[*i].name == name && all[*i].is_active())
                    .collect(),
                false => vec![index],
            };
            for i in &doomed {
                self.deletable(&all[*i], &services)?;
            }
            for i in doomed {
                all[i].deleted_at = Some(now);
            }
            Ok((all.clone(), index))
        };
        let changed = self
            .engine
            .store
            .configurations_change(AUTO_SCALING, change)
            .await;
        let (all, index) = changed.map_err(store_failed)??;
        Ok(json!({ "AutoScalingConfiguration": self.scaling_output(&all, &all[index], &services) }))
    }

    fn deletable(
        &self,
        scaling: &Revision<AutoScaling>,
        services: &[Service],
    ) -> Result<(), ApiError> {
        let arn = self.scaling_arn(scaling);
        if !scaling.is_active() {
            return Err(deleted());
        }
        if scaling.content.is_default {
            return Err(invalid(format!(
                "The default auto scaling configuration can't be deleted. ARN: {arn}"
            )));
        }
        match services.iter().find(|s| uses(s, &arn)) {
            Some(service) => Err(invalid(format!(
                "The auto scaling configuration is used by the service {}. ARN: {arn}",
                service.name
            ))),
            None => Ok(()),
        }
    }

    pub(super) async fn scaling_services(&self, input: ByScalingArn) -> Result<Value, ApiError> {
        let _order = self.engine.configurations.read().await;
        let all = self.scalings().await?;
        let index = self.scaling_index(&all, &input.auto_scaling_configuration_arn)?;
        let arn = self.scaling_arn(&all[index]);
        let users: Vec<_> = self
            .services()
            .await?
            .into_iter()
            .filter(|s| uses(s, &arn))
            .collect();
        let key = |s: &Service| (s.created_at, s.id.to_string());
        let (users, next) = page::cut(users, key, input.next_token.as_deref(), input.max_results)?;
        let arns: Vec<_> = users.iter().map(|s| self.arn_of(s)).collect();
        Ok(json!({ "ServiceArnList": arns, "NextToken": next }))
    }
}

fn deleted() -> ApiError {
    invalid("The auto scaling configuration you specified has been deleted.")
}

/// Whether a service is bound to a revision: by what it shows, or by what still runs during an update.
fn uses(service: &Service, arn: &str) -> bool {
    let running = service
        .deployed
        .as_ref()
        .map(|d| d.config.scaling.arn.as_str());
    service.config.scaling.arn == arn || running == Some(arn)
}

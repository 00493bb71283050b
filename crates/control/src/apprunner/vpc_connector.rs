//! VPC connectors. They are stored and validated; a service that uses one is refused until private networking exists.

use super::tags::{Tag, Tagged, checked};
use super::{AppRunner, invalid, not_found, page, quota_exceeded, store_failed};
use crate::configurations::{VPC_CONNECTOR, arn_of, revision, select};
use apron_aws::ApiError;
use apron_domain::configuration::{Revision, VpcConnector, find, forget_deleted};
use serde::Deserialize;
use serde_json::{Value, json};

/// Connectors an account may have (service quotas, L-F7ADEB8C).
const CONNECTORS_MAX: usize = 10;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateConnector {
    vpc_connector_name: String,
    subnets: Vec<String>,
    #[serde(default)]
    security_groups: Vec<String>,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ByConnectorArn {
    vpc_connector_arn: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListConnectors {
    next_token: Option<String>,
    max_results: Option<usize>,
}

type All = Vec<Revision<VpcConnector>>;

impl AppRunner {
    fn connector_output(&self, item: &Revision<VpcConnector>) -> Value {
        let mut output = json!({
            "VpcConnectorName": item.name,
            "VpcConnectorArn": arn_of(&self.engine.settings, VPC_CONNECTOR, item),
            "VpcConnectorRevision": item.number,
            "Subnets": item.content.subnets,
            "SecurityGroups": item.content.security_groups,
            "Status": if item.is_active() { "ACTIVE" } else { "INACTIVE" },
            "CreatedAt": item.created_at.as_seconds(),
        });
        if let Some(at) = item.deleted_at {
            output["DeletedAt"] = json!(at.as_seconds());
        }
        output
    }

    /// The connector of a full ARN; partial ones are not accepted here.
    fn connector_index(&self, all: &All, arn: &str) -> Result<usize, ApiError> {
        let selector = select(&self.engine.settings, VPC_CONNECTOR, arn).filter(|s| s.id.is_some());
        let found = selector.and_then(|selector| find(all, &selector));
        let index = found.and_then(|found| all.iter().position(|r| r.id == found.id));
        index.ok_or_else(|| {
            not_found(format!(
                "VPC connector with the provided ARN was not found: {arn}."
            ))
        })
    }

    pub(super) async fn connector_create(&self, input: CreateConnector) -> Result<Value, ApiError> {
        let (name, tags) = (
            input.vpc_connector_name,
            checked(Tagged::VpcConnector, input.tags, Default::default())?,
        );
        let content = VpcConnector {
            subnets: input.subnets,
            security_groups: input.security_groups,
        };
        let engine = self.engine.clone();
        let before = engine.forget_before();
        let change = move |all: &mut All| {
            forget_deleted(all, before);
            if all.iter().any(|r| r.name == name && r.is_active()) {
                return Err(invalid(format!(
                    "VPC connector with the provided name already exists: {name}."
                )));
            }
            if all.iter().filter(|r| r.is_active()).count() >= CONNECTORS_MAX {
                return Err(quota_exceeded(format!(
                    "The limit of {CONNECTORS_MAX} VPC connectors is reached."
                )));
            }
            // The revision is always 1: a name that was deleted begins again with another id.
            all.retain(|r| r.name != name);
            let made = revision(&engine, name, 1, tags, content);
            all.push(made.clone());
            Ok(made)
        };
        let made = self
            .engine
            .store
            .configurations_change(VPC_CONNECTOR, change)
            .await;
        Ok(json!({ "VpcConnector": self.connector_output(&made.map_err(store_failed)??) }))
    }

    pub(super) async fn connector_describe(
        &self,
        input: ByConnectorArn,
    ) -> Result<Value, ApiError> {
        let all: All = self
            .engine
            .store
            .configurations(VPC_CONNECTOR)
            .await
            .map_err(store_failed)?;
        let index = self.connector_index(&all, &input.vpc_connector_arn)?;
        Ok(json!({ "VpcConnector": self.connector_output(&all[index]) }))
    }

    pub(super) async fn connector_list(&self, input: ListConnectors) -> Result<Value, ApiError> {
        let mut all: All = self
            .engine
            .store
            .configurations(VPC_CONNECTOR)
            .await
            .map_err(store_failed)?;
        all.retain(Revision::is_active);
        let key = |r: &Revision<VpcConnector>| (r.created_at, r.id.clone());
        let (listed, next) = page::cut(all, key, input.next_token.as_deref(), input.max_results)?;
        let connectors: Vec<_> = listed.iter().map(|r| self.connector_output(r)).collect();
        Ok(json!({ "VpcConnectors": connectors, "NextToken": next }))
    }

    pub(super) async fn connector_delete(&self, input: ByConnectorArn) -> Result<Value, ApiError> {
        let (arn, now) = (input.vpc_connector_arn, self.engine.clock.now());
        let change = |all: &mut All| {
            let index = self.connector_index(all, &arn)?;
            if !all[index].is_active() {
                return Err(invalid("The VPC connector you specified has been deleted."));
            }
            all[index].deleted_at = Some(now);
            Ok(all[index].clone())
        };
        let gone = self
            .engine
            .store
            .configurations_change(VPC_CONNECTOR, change)
            .await;
        Ok(json!({ "VpcConnector": self.connector_output(&gone.map_err(store_failed)??) }))
    }
}

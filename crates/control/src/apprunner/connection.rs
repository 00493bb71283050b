//! Connections to providers of source code. Their handshake is completed by the operator's API.

use super::tags::{Tag, Tagged, checked};
use super::{AppRunner, invalid, not_found, page, quota_exceeded, store_failed};
use crate::configurations::{CONNECTION, arn_of, revision, select};
use crate::source::credentials::{CONNECTION_SECRETS, WEBHOOK_SECRETS};
use apron_aws::ApiError;
use apron_domain::Service;
use apron_domain::configuration::{Connection, Revision, find};
use serde::Deserialize;
use serde_json::{Value, json};

/// Connections an account may have (service quotas, L-1BDBAAB6).
const CONNECTIONS_MAX: usize = 10;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateConnection {
    connection_name: String,
    provider_type: String,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ByConnectionArn {
    connection_arn: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListConnections {
    connection_name: Option<String>,
    next_token: Option<String>,
    max_results: Option<usize>,
}

type All = Vec<Revision<Connection>>;

impl AppRunner {
    /// The account's connections.
    pub(super) async fn connections(&self) -> Result<All, ApiError> {
        let all = self.engine.store.configurations(CONNECTION).await;
        all.map_err(store_failed)
    }

    fn connection_output(&self, item: &Revision<Connection>) -> Value {
        let status = match (item.is_active(), item.content.available) {
            (false, _) => "DELETED",
            (true, true) => "AVAILABLE",
            (true, false) => "PENDING_HANDSHAKE",
        };
        json!({
            "ConnectionName": item.name,
            "ConnectionArn": arn_of(&self.engine.settings, CONNECTION, item),
            "ProviderType": item.content.provider,
            "Status": status,
            "CreatedAt": item.created_at.as_seconds(),
        })
    }

    pub(super) async fn connection_create(
        &self,
        input: CreateConnection,
    ) -> Result<Value, ApiError> {
        let (name, tags) = (
            input.connection_name,
            checked(Tagged::Connection, input.tags, Default::default())?,
        );
        let content = Connection {
            provider: input.provider_type,
            available: false,
            host: None,
        };
        let engine = self.engine.clone();
        let change = move |all: &mut All| {
            if all.iter().any(|r| r.name == name) {
                return Err(invalid(format!(
                    "Connection with the provided name already exists: {name}."
                )));
            }
            if all.len() >= CONNECTIONS_MAX {
                return Err(quota_exceeded(format!(
                    "The limit of {CONNECTIONS_MAX} connections is reached."
                )));
            }
            let made = revision(&engine, name, 1, tags, content);
            all.push(made.clone());
            Ok(made)
        };
        let made = self
            .engine
            .store
            .configurations_change(CONNECTION, change)
            .await
            .map_err(store_failed)??;
        Ok(json!({ "Connection": self.connection_output(&made) }))
    }

    pub(super) async fn connection_list(&self, input: ListConnections) -> Result<Value, ApiError> {
        let mut all = self.connections().await?;
        all.retain(|r| {
            input
                .connection_name
                .as_ref()
                .is_none_or(|name| *name == r.name)
        });
        let key = |r: &Revision<Connection>| (r.created_at, r.id.clone());
        let (listed, next) = page::cut(all, key, input.next_token.as_deref(), input.max_results)?;
        let summaries: Vec<_> = listed.iter().map(|r| self.connection_output(r)).collect();
        Ok(json!({ "ConnectionSummaryList": summaries, "NextToken": next }))
    }

    pub(super) async fn connection_delete(
        &self,
        input: ByConnectionArn,
    ) -> Result<Value, ApiError> {
        let (arn, now) = (input.connection_arn, self.engine.clock.now());
        // No service comes to use it meanwhile.
        let _order = self.engine.configurations.write().await;
        let services = self
            .engine
            .store
            .services_live()
            .await
            .map_err(store_failed)?;
        let settings = self.engine.settings.clone();
        let selector = select(&self.engine.settings, CONNECTION, &arn);
        let change = |all: &mut All| {
            let found = selector
                .as_ref()
                .and_then(|selector| find(all, selector))
                .map(|r| r.id.clone());
            let index = found.and_then(|id| all.iter().position(|r| r.id == id));
            let missing = || {
                not_found(format!(
                    "Connection with the provided ARN was not found: {arn}."
                ))
            };
            let index = index.ok_or_else(missing)?;
            let full = arn_of(&settings, CONNECTION, &all[index]);
            if let Some(user) = services.iter().find(|service| uses(service, &full)) {
                return Err(invalid(format!(
                    "Connection {arn} can't be deleted: it is used by the service {}.",
                    user.name
                )));
            }
            let mut gone = all.remove(index);
            gone.deleted_at = Some(now);
            Ok::<_, ApiError>(gone)
        };
        let gone = self
            .engine
            .store
            .configurations_change(CONNECTION, change)
            .await
            .map_err(store_failed)??;
        for kind in [CONNECTION_SECRETS, WEBHOOK_SECRETS] {
            let deleted = self.engine.store.secret_delete(kind, &gone.id).await;
            deleted.map_err(store_failed)?;
        }
        Ok(json!({ "Connection": self.connection_output(&gone) }))
    }
}

/// Whether a service reads its source by this connection, or would again after a rollback.
fn uses(service: &Service, arn: &str) -> bool {
    let deployed = service.deployed.iter().chain(&service.previous);
    let configs = deployed.map(|d| &d.config).chain([&service.config]);
    let mut arns = configs.filter_map(|c| c.code.as_ref()?.connection_arn.as_deref());
    arns.any(|used| used == arn)
}

//! From ARNs in requests to ids.

use super::{AppRunner, not_found, store_failed};
use apron_aws::{ApiError, Arn};
use apron_domain::{Service, ServiceId, ServiceStatus};
use std::sync::Arc;

impl AppRunner {
    /// The service an ARN names, deleted ones included while they are remembered.
    pub(crate) async fn service_by_arn(&self, arn: &str) -> Result<Arc<Service>, ApiError> {
        let missing = || {
            not_found(format!(
                "Service with the provided ARN was not found: {arn}."
            ))
        };
        let id = self.service_id(arn).ok_or_else(missing)?;
        let service = self
            .engine
            .store
            .service_look(&id)
            .await
            .map_err(store_failed)?
            .ok_or_else(missing)?;
        let own = self
            .engine
            .settings
            .service_arn(&service.name, service.id.as_str());
        if own == arn {
            Ok(service)
        } else {
            Err(missing())
        }
    }

    /// The same for calls that change the service: a deleted one is not found.
    pub(crate) async fn service_to_change(&self, arn: &str) -> Result<Service, ApiError> {
        let service = self.service_by_arn(arn).await?;
        if service.status == ServiceStatus::Deleted {
            return Err(not_found(format!(
                "Service with the provided ARN was deleted: {arn}."
            )));
        }
        Ok(Arc::unwrap_or_clone(service))
    }

    fn service_id(&self, arn: &str) -> Option<ServiceId> {
        let arn: Arn = arn.parse().ok()?;
        let mut parts = arn.resource.splitn(3, '/');
        let (Some("service"), Some(_), Some(id)) = (parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        ServiceId::parse(id).ok()
    }

    pub(super) fn arn_of(&self, service: &Service) -> String {
        self.engine
            .settings
            .service_arn(&service.name, service.id.as_str())
    }
}

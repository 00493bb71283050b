//! What goes into the services' log groups, named as App Runner names them.

use apron_domain::event::Lines;
use apron_domain::{InstanceId, Millis, Operation, OperationId, Service, ServiceId};
use apron_telemetry::{LogEvent, Logs};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Writes the log groups `/aws/apprunner/<name>/<id>/service` and `…/application`.
pub struct Chronicle {
    logs: Arc<Logs>,
    names: Mutex<BTreeMap<ServiceId, String>>,
}

impl Chronicle {
    /// A writer into these logs.
    pub fn new(logs: Arc<Logs>) -> Arc<Chronicle> {
        Arc::new(Chronicle {
            logs,
            names: Mutex::default(),
        })
    }

    /// The logs.
    pub fn logs(&self) -> &Arc<Logs> {
        &self.logs
    }

    /// Makes a service's name known, so that what its instances print finds its group.
    pub fn introduce(&self, service: &Service) {
        self.introduce_as(&service.id, &service.name);
    }

    /// The same of a service's id and name.
    pub fn introduce_as(&self, id: &ServiceId, name: &str) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(id.clone(), name.to_owned());
    }

    /// Forgets a service that was deleted; its log groups stay, as App Runner's do.
    pub fn forget(&self, service: &ServiceId) {
        self.names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(service);
    }

    fn name(&self, service: &ServiceId) -> Option<String> {
        self.names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(service)
            .cloned()
    }

    /// Writes what is said of an operation.
    pub async fn tell(&self, service: &Service, operation: &Operation, lines: Lines, now: Millis) {
        let group = format!("/aws/apprunner/{}/{}/service", service.name, service.id);
        self.write(&group, "events", lines.events, now).await;
        self.write(
            &group,
            &format!("deployment/{}", operation.id),
            lines.deployment,
            now,
        )
        .await;
    }

    /// Writes what a build said into the log of its deployment.
    pub async fn built(
        &self,
        service: &Service,
        operation: &OperationId,
        lines: Vec<(Millis, String)>,
    ) {
        let group = format!("/aws/apprunner/{}/{}/service", service.name, service.id);
        self.append(&group, &format!("deployment/{operation}"), events(lines))
            .await;
    }

    /// Writes a line into a service's `events` stream outside an operation.
    pub async fn note(&self, service: &Service, text: &str, now: Millis) {
        let group = format!("/aws/apprunner/{}/{}/service", service.name, service.id);
        self.write(&group, "events", vec![format!("[AppRunner] {text}")], now)
            .await;
    }

    /// Writes what an instance printed.
    pub async fn output(
        &self,
        service: Option<&ServiceId>,
        instance: &InstanceId,
        lines: Vec<(Millis, String)>,
    ) {
        let Some((id, name)) = service.and_then(|id| Some((id, self.name(id)?))) else {
            tracing::debug!(%instance, lines = lines.len(), "output of an instance that belongs to no known service");
            return;
        };
        let events = events(lines);
        self.append(
            &format!("/aws/apprunner/{name}/{id}/application"),
            &format!("instance/{instance}"),
            events,
        )
        .await;
    }

    /// Writes lines of a service's access log, all of one day (`yyyy-mm-dd`, UTC).
    pub async fn access(&self, id: &ServiceId, day: &str, lines: Vec<(Millis, String)>) {
        let Some(name) = self.name(id) else {
            tracing::debug!(service = %id, lines = lines.len(), "access log of no known service");
            return;
        };
        let group = format!("/aws/apprunner/{name}/{id}/service");
        self.append(&group, &format!("access/{day}"), events(lines))
            .await;
    }

    async fn write(&self, group: &str, stream: &str, lines: Vec<String>, now: Millis) {
        let event = |message| LogEvent {
            timestamp_ms: now.0,
            ingestion_ms: now.0,
            message,
        };
        self.append(group, stream, lines.into_iter().map(event).collect())
            .await;
    }

    /// A log that cannot be written must not stop what it is about: the failure goes to the platform's own log.
    async fn append(&self, group: &str, stream: &str, events: Vec<LogEvent>) {
        if events.is_empty() {
            return;
        }
        if let Err(error) = self.logs.append(group, stream, events).await {
            tracing::error!(%error, group, stream, "log events could not be kept");
        }
    }
}

fn events(lines: Vec<(Millis, String)>) -> Vec<LogEvent> {
    let event = |(at, message): (Millis, String)| LogEvent {
        timestamp_ms: at.0,
        ingestion_ms: at.0,
        message,
    };
    lines.into_iter().map(event).collect()
}

//! Following an operation to its end, with its log.

use super::GitDoor;
use super::deploy::{Reader, Refused};
use apron_domain::{Operation, OperationId, Service};
use apron_telemetry::{Position, ReadLimits, ReadRange};
use std::time::Duration;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Lines and bytes of the log read at once.
const LIMITS: ReadLimits = ReadLimits {
    events: 1_000,
    bytes: 1 << 20,
};

impl GitDoor {
    /// Shows the log of a deployment until it has ended; answers the operation as it ended.
    pub(super) async fn follow(
        &self,
        service: &Service,
        operation: &OperationId,
        reader: &Reader,
    ) -> Result<Operation, Refused> {
        let engine = &self.engine;
        let group = format!("/aws/apprunner/{}/{}/service", service.name, service.id);
        let stream = format!("deployment/{operation}");
        let mut from = Position::Head;
        loop {
            // First whether it has ended, then what it said: nothing is said after its end.
            let now = engine.store.operation_get(operation).await?;
            let now = now.ok_or_else(|| Refused("the operation is gone".to_owned()))?;
            let page =
                engine
                    .chronicle
                    .logs()
                    .read(&group, &stream, ReadRange::default(), from, LIMITS);
            // The stream is there once something was said.
            if let Ok(page) = page.await {
                for event in &page.events {
                    reader.say(&event.message).await;
                }
                from = match page.events.is_empty() {
                    true => from,
                    false => Position::After(page.next_forward),
                };
                if now.is_done() && page.events.is_empty() {
                    return Ok(now);
                }
                if !page.events.is_empty() {
                    continue;
                }
            } else if now.is_done() {
                return Ok(now);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

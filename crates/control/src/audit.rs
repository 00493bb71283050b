//! The audit trail: who called what, from where, by which permission, and what came of it; in the form of CloudTrail's records
//! (<https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html>).
//!
//! What changes something is on disk before it is done, and is not done when that fails. What only reads is written with what
//! comes next, within a second, and is not answered when it could not be taken.

mod hidden;
mod lookup;
mod record;
mod throttle;

pub use lookup::CloudTrail;
pub use record::Door;

use crate::authorizer::{Answered, Refusal, Surroundings};
use crate::clock::{Chance, random};
use crate::endpoint::Caller;
use apron_aws::policy::actions::{self, Access};
use apron_aws::{ApiError, Model};
use apron_domain::Millis;
use apron_telemetry::{Audit, AuditError, Record, RecordKind};
use record::DOORS;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};
use throttle::Throttle;

/// Least time between two records of requests that were not authentic at one door: strangers must not fill the disk. Those in
/// between are counted.
const STRANGERS_EVERY_MS: u64 = 1_000;

/// Something that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Deed<'a> {
    /// The id of the request.
    pub request_id: &'a str,
    /// Who asks.
    pub caller: &'a Caller,
    /// What surrounds it.
    pub surroundings: &'a Surroundings,
    /// Where it came in.
    pub door: Door<'a>,
    /// The questions to the policies and their answers.
    pub answered: &'a [Answered],
}

/// A deed that was allowed and is about to be done.
#[derive(Debug)]
#[must_use = "how it ended is to be recorded"]
pub struct Opened {
    id: String,
    /// For what only reads: the whole record but its end.
    event: Option<Value>,
}

/// Writes the audit trail.
pub struct Trail {
    audit: Audit,
    region: String,
    chance: Arc<dyn Chance>,
    strangers: Mutex<[Strangers; DOORS]>,
    throttle: Throttle,
}

#[derive(Default)]
struct Strangers {
    last: Millis,
    unrecorded: u64,
}

impl Trail {
    /// A trail into this file.
    pub fn new(audit: Audit, region: &str, chance: Arc<dyn Chance>) -> Trail {
        Trail {
            audit,
            region: region.to_owned(),
            chance,
            strangers: Mutex::default(),
            throttle: Throttle::default(),
        }
    }

    /// Records that something is about to be done. It must not be done when this fails.
    ///
    /// # Errors
    /// The record is not on disk.
    pub async fn open(&self, deed: &Deed<'_>) -> Result<Opened, ApiError> {
        let id = self.event_id();
        let event = record::event(deed, &self.region, &id);
        if deed.door.reads() {
            let event = Some(event);
            return Ok(Opened { id, event });
        }
        let body = event.to_string();
        let record = Record {
            kind: RecordKind::Begin,
            id: &id,
            at_ms: deed.surroundings.now.0,
            body: &body,
        };
        self.audit.append_durably(record).await.map_err(refused)?;
        Ok(Opened { id, event: None })
    }

    /// Records how it ended.
    ///
    /// # Errors
    /// What only reads could not be recorded, and must not be answered.
    pub fn close(
        &self,
        opened: Opened,
        door: Door<'_>,
        result: Result<&Value, &ApiError>,
        now: Millis,
    ) -> Result<(), ApiError> {
        let end = record::end(door, result);
        match opened.event {
            Some(event) => self.append(RecordKind::Event, &opened.id, now, &merged(event, end)),
            None => {
                // It is done. That its end is not recorded is told by the beginning, which stands alone.
                if let Err(error) = self.append(RecordKind::End, &opened.id, now, &end) {
                    tracing::error!(%error, event = opened.id, "the end of an audited call is not recorded");
                }
                Ok(())
            }
        }
    }

    /// Records what was refused to somebody who is known.
    ///
    /// # Errors
    /// It could not be recorded.
    pub fn refused(
        &self,
        deed: &Deed<'_>,
        refusal: &Refusal,
        error: &ApiError,
    ) -> Result<(), ApiError> {
        let id = self.event_id();
        let mut event = record::event(deed, &self.region, &id);
        if let Refusal::Denied { answered, .. } = refusal {
            event["additionalEventData"] = record::decisions(std::slice::from_ref(&**answered));
            event["resources"] = record::resources(std::slice::from_ref(&**answered));
        }
        let event = merged(event, record::end(deed.door, Err(error)));
        self.append(RecordKind::Event, &id, deed.surroundings.now, &event)
    }

    /// Records what the platform is told by somebody who is no identity of IAM, and who proved to be who it says.
    ///
    /// # Errors
    /// It could not be recorded; it is not to be acted upon.
    pub fn heard(&self, surroundings: &Surroundings, door: Door<'_>) -> Result<(), ApiError> {
        let id = self.event_id();
        let mut event = record::of_stranger("", surroundings, door, &self.region, &id);
        event["userIdentity"] = json!({"type": "AWSService", "invokedBy": "webhook"});
        self.append(RecordKind::Event, &id, surroundings.now, &event)
    }

    /// Refuses a request that was not authentic, at whatever door: recorded, and slower with each from the same address.
    /// Returns whether it is one too many to wait, and to be told that instead of anything else.
    pub async fn turn_away(
        &self,
        access_key_id: &str,
        surroundings: &Surroundings,
        door: Door<'_>,
        code: &str,
        text: &str,
    ) -> bool {
        self.stranger(access_key_id, surroundings, door, code, text);
        self.throttle
            .refused(surroundings.source, surroundings.now)
            .await
    }

    /// Records a request that was not authentic, not more often than once in a second at each door.
    pub fn stranger(
        &self,
        access_key_id: &str,
        surroundings: &Surroundings,
        door: Door<'_>,
        code: &str,
        text: &str,
    ) {
        let unrecorded = {
            let mut strangers = self
                .strangers
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let strangers = &mut strangers[door.number()];
            let since = surroundings.now.since(strangers.last);
            if since < STRANGERS_EVERY_MS && strangers.last != Millis(0) {
                strangers.unrecorded += 1;
                return;
            }
            strangers.last = surroundings.now;
            std::mem::take(&mut strangers.unrecorded)
        };
        let id = self.event_id();
        let mut event = record::of_stranger(access_key_id, surroundings, door, &self.region, &id);
        event["errorCode"] = json!(code);
        event["errorMessage"] = json!(text);
        event["additionalEventData"] = json!({"alikeAndNotRecorded": unrecorded});
        if let Err(error) = self.append(RecordKind::Event, &id, surroundings.now, &event) {
            tracing::error!(%error, "a request that is not authentic is not recorded");
        }
    }

    /// The file behind it.
    pub fn file(&self) -> &Audit {
        &self.audit
    }

    fn append(&self, kind: RecordKind, id: &str, at: Millis, body: &Value) -> Result<(), ApiError> {
        let body = body.to_string();
        let record = Record {
            kind,
            id,
            at_ms: at.0,
            body: &body,
        };
        self.audit.append(record).map(|_| ()).map_err(refused)
    }

    fn event_id(&self) -> String {
        crate::endpoint::request_id(random(&*self.chance))
    }
}

/// The answer to a call that cannot be recorded. A record that is too large is the caller's doing.
fn refused(error: AuditError) -> ApiError {
    tracing::error!(%error, "a call is refused because it cannot be audited");
    ApiError::service_unavailable(format!("The call is not performed: {error}"))
}

/// An event with how it ended.
fn merged(mut event: Value, end: Value) -> Value {
    if let (Some(event), Value::Object(end)) = (event.as_object_mut(), end) {
        event.extend(end);
    }
    event
}

/// Whether an operation only reads, by the kind of its action.
fn reads(model: &Model, operation: &str) -> bool {
    // Log events are data, not management; CloudTrail does not record them at all.
    if model.service == "logs" && operation == "PutLogEvents" {
        return true;
    }
    let action = actions::action(&format!("{}:{operation}", model.service));
    action.is_some_and(|action| matches!(action.access, Access::List | Access::Read))
}

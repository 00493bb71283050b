//! Instances as the control plane remembers them.

use crate::ids::{InstanceId, ServiceId};
use crate::time::Millis;
use serde::{Deserialize, Serialize};

/// What an instance is for at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InstanceRole {
    /// Belongs to a deployment that has not taken over traffic.
    Candidate,
    /// Part of what the service runs.
    Active,
    /// Takes no new requests; ends when its requests are answered or its time is up.
    Retiring,
}

/// One instance, written down before the backend is asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Its service.
    pub service: ServiceId,
    /// The revision it runs.
    pub revision: u32,
    /// What it is for.
    pub role: InstanceRole,
    /// It passed its health check and takes requests when `Active`. Survives restarts of the control plane.
    pub ready: bool,
    /// When it was written down.
    pub created_at: Millis,
    /// When it began to retire.
    pub retiring_since: Option<Millis>,
}

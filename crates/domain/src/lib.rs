//! What the platform is and how it decides: services, revisions, operations, instances, routes.
//!
//! Everything here is a pure function of state and `now`. Nothing reads a clock, a random source, a file or a
//! socket; ids and times come in as arguments. Types are serialisable because the stored form of a decision is the
//! decision itself (see `docs/decisions/0003-domain-types-are-stored.md`).

pub mod code;
pub mod configuration;
pub mod event;
pub mod extension;
pub mod failure;
pub mod ids;
pub mod instance;
pub mod operation;
pub mod scaling;
pub mod secret_reference;
pub mod service;
pub mod steady;
pub mod time;
pub mod trial;

pub use failure::{Failure, FailureKind};
pub use ids::{Digest, InstanceId, OperationId, ServiceId};
pub use instance::{Instance, InstanceRole};
pub use operation::{Operation, OperationKind, OperationStatus, Stage, Trigger};
pub use secret_reference::SecretReference;
pub use service::{Service, ServiceConfig, ServiceStatus};
pub use time::Millis;

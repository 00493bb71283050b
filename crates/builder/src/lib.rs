//! From source code to an image that a service can run.
//!
//! The control plane asks for a build through [`Build`] and knows nothing of how it is done.

pub mod detect;
mod dockerfile;
mod engine;
pub mod file;
pub mod git;
mod installs;
mod options;
mod plan;
pub mod request;
pub mod runtime;
mod source;

pub use detect::{Application, DetectError, Detected, detect};
pub use engine::{Builder, Chance, PIN_PREFIX, Parts};
pub use options::{BuildLimits, BuilderOptions};
pub use request::{ApiConfiguration, BuildRequest, Built, Configuration, Origin};

use apron_domain::{Failure, OperationId};
use apron_oci::Digest;
use async_trait::async_trait;
use std::collections::BTreeSet;

/// Takes what a build says, a line each, without the line's end. Lines are what the deployment log shows: the builder marks
/// its own with `[AppRunner]` and those of commands with `[Build]`.
pub trait BuildLog: Send + Sync {
    /// One line. Must not block for long: a build waits for it.
    fn line(&self, text: &str);
}

/// What a build is given besides its source, by who has it and knows who may have it.
#[async_trait]
pub trait Supplies: Send + Sync {
    /// Has an image that a source or the operator names in the content store, and gives the digest of its manifest or index.
    ///
    /// # Errors
    /// It cannot be had, with the reason.
    async fn image(&self, reference: &str) -> Result<Digest, Failure>;

    /// The value of a secret that a Dockerfile asks for by its name; `None` when the service has none of that name.
    ///
    /// # Errors
    /// It cannot be read, with the reason.
    async fn secret(&self, name: &str) -> Result<Option<String>, Failure>;
}

/// What builds.
#[async_trait]
pub trait Build: Send + Sync {
    /// Builds an image and keeps its content in the content store under the pin of the operation. Builds queue; a build that
    /// is dropped (its operation was cancelled) ends at once and leaves nothing behind. The same request again, also after
    /// the process was killed in the middle of it, starts over from what is cached.
    ///
    /// # Errors
    /// With the command that failed, its exit code and its last lines as evidence.
    async fn build(
        &self,
        request: &BuildRequest,
        supplies: &dyn Supplies,
        log: &dyn BuildLog,
    ) -> Result<Built, Failure>;

    /// Removes what builds of operations that are not `unfinished` any more have left behind, after a restart.
    async fn tidy(&self, unfinished: &BTreeSet<OperationId>);
}

//! Why the backend cannot work on this machine.

use std::path::PathBuf;

/// A failure to start or to clean up.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The machine lacks something instances need.
    #[error("this machine cannot run instances: {feature} is missing: {detail}")]
    Missing {
        /// What is missing.
        feature: &'static str,
        /// How that was found out, and what helps.
        detail: String,
    },
    /// The configuration cannot work.
    #[error("instance configuration: {0}")]
    Config(String),
    /// Another process works with the same directory.
    #[error("another process manages the instances of {}", .0.display())]
    Busy(PathBuf),
    /// A step failed.
    #[error("{what}: {detail}")]
    Step {
        /// What was being done.
        what: String,
        /// The system's answer.
        detail: String,
    },
}

impl NodeError {
    /// A failed step with the system's answer.
    pub fn step(what: impl Into<String>, detail: impl std::fmt::Display) -> NodeError {
        NodeError::Step {
            what: what.into(),
            detail: detail.to_string(),
        }
    }
}

/// Names the step that a system call belongs to.
pub(crate) trait Step<T> {
    /// Wraps the error with what was being done.
    fn step(self, what: impl Into<String>) -> Result<T, NodeError>;
}

impl<T, E: std::fmt::Display> Step<T> for Result<T, E> {
    fn step(self, what: impl Into<String>) -> Result<T, NodeError> {
        self.map_err(|error| NodeError::step(what, error))
    }
}

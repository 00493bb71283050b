//! Why an operation failed, with the evidence a person needs.

use serde::{Deserialize, Serialize};

/// What went wrong, by the part that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// The source code could not be had: the git server's answer, or no such branch.
    Source,
    /// The source code could not be built: the command, its exit code and its last lines, or the limit it met.
    Build,
    /// The image could not be had: the registry's answer, or no such image.
    ImagePull,
    /// The image is for another processor.
    Architecture,
    /// The image is damaged, too large or cannot be unpacked.
    ImageContent,
    /// The application could not be started or ended before it was healthy.
    ApplicationExit {
        /// Its exit code, if it ended by itself.
        code: Option<i32>,
    },
    /// The application did not become healthy in time.
    HealthCheck,
    /// The value of a variable could not be read from its secret or parameter.
    Secrets,
    /// The machine had no room.
    Capacity,
    /// The platform itself failed.
    Platform,
    /// The operator ended the operation.
    Cancelled,
}

/// A failure with its evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong.
    pub kind: FailureKind,
    /// One sentence for people: what failed, where, what the system answered.
    pub message: String,
    /// Further evidence, a line each: last output of the application, last probes.
    pub evidence: Vec<String>,
}

/// Lines of evidence kept with a failure.
pub const EVIDENCE_LINES_MAX: usize = 30;

impl Failure {
    /// A failure without further evidence.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Failure {
        Failure {
            kind,
            message: message.into(),
            evidence: Vec::new(),
        }
    }

    /// The same failure with evidence; the last [`EVIDENCE_LINES_MAX`] lines are kept.
    pub fn with_evidence(mut self, lines: impl IntoIterator<Item = String>) -> Failure {
        self.evidence.extend(lines);
        let surplus = self.evidence.len().saturating_sub(EVIDENCE_LINES_MAX);
        self.evidence.drain(..surplus);
        self
    }

    /// The reason in the words of App Runner's `Deployment with ID : … failed. Failure reason : …` event.
    pub fn reason(&self) -> &'static str {
        match self.kind {
            FailureKind::Source => "Failed to pull your application source code",
            FailureKind::Build => "Failed to build your application source code",
            FailureKind::ImagePull => "Failed to pull the application image",
            FailureKind::Architecture => "Failed to copy the image from ECR",
            FailureKind::ImageContent => "Failed to unpack the application image",
            FailureKind::ApplicationExit { .. } => "Your application stopped or failed to start",
            FailureKind::HealthCheck => "Health check failed",
            FailureKind::Secrets => "Failed to read the secrets of the service",
            FailureKind::Capacity => "No capacity on this machine",
            FailureKind::Platform => "Internal service error",
            FailureKind::Cancelled => "The operation was cancelled",
        }
    }
}

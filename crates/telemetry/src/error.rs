//! Everything that can go wrong with logs, in the words an operator needs.

use std::path::{Path, PathBuf};

/// Why a telemetry call failed.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log group does not exist.
    #[error("log group `{group}` does not exist")]
    GroupNotFound {
        /// The name asked for.
        group: String,
    },
    /// The log group exists already.
    #[error("log group `{group}` exists already")]
    GroupExists {
        /// The name asked for.
        group: String,
    },
    /// The log stream does not exist in its group.
    #[error("log stream `{stream}` does not exist in log group `{group}`")]
    StreamNotFound {
        /// The group.
        group: String,
        /// The name asked for.
        stream: String,
    },
    /// The log stream exists already.
    #[error("log stream `{stream}` exists already in log group `{group}`")]
    StreamExists {
        /// The group.
        group: String,
        /// The name asked for.
        stream: String,
    },
    /// A group or stream name is not of the accepted form.
    #[error("`{name}` is not a {kind} name: {reason}")]
    InvalidName {
        /// `log group` or `log stream`.
        kind: &'static str,
        /// What was given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A message is longer than one event may be.
    #[error("log event of {bytes} bytes is larger than {max} bytes")]
    MessageTooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// The bound in bytes.
        max: usize,
    },
    /// Events could not be written for so long that the memory set aside for them is used up. Nothing of the call was kept.
    #[error("{waiting} bytes of log events wait to be written, no more are taken: {cause}")]
    Backlog {
        /// Bytes waiting in memory.
        waiting: usize,
        /// Whether the disk is full.
        disk_full: bool,
        /// The last write error.
        cause: String,
    },
    /// A file operation failed.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file is not what this version wrote.
    #[error("log file `{}` is damaged: {detail}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The index database failed.
    #[error("log index: cannot {doing}: {reason}")]
    Index {
        /// What was tried.
        doing: &'static str,
        /// What the database said.
        reason: String,
    },
    /// A background task of the process was stopped while it worked for this call.
    #[error("the log worker was stopped")]
    Stopped,
}

impl TelemetryError {
    pub(crate) fn io(doing: &'static str, path: &Path, source: std::io::Error) -> TelemetryError {
        TelemetryError::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn damaged(path: &Path, detail: impl Into<String>) -> TelemetryError {
        TelemetryError::Damaged {
            path: path.to_owned(),
            detail: detail.into(),
        }
    }

    /// Whether the cause is a file system without free space or quota.
    pub fn is_disk_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match self {
            TelemetryError::Io { source, .. } => {
                matches!(source.kind(), StorageFull | QuotaExceeded)
            }
            TelemetryError::Backlog { disk_full, .. } => *disk_full,
            TelemetryError::Index { reason, .. } => reason.contains("database or disk is full"),
            _ => false,
        }
    }
}

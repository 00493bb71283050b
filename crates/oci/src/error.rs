//! What can go wrong with stored content.

use crate::Digest;
use std::io;

/// Why the content store could not do what was asked. The texts are for people and name what was being done.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// A file operation failed.
    #[error("could not {what}: {error}")]
    Io {
        /// What was being done, for example `write blob sha256:…`.
        what: String,
        /// The system's answer.
        error: io::Error,
    },
    /// The disk is full, or would fall below the reserve that is kept free for the platform.
    #[error("could not {what}: no space left on the disk that holds the images")]
    DiskFull {
        /// What was being done.
        what: String,
    },
    /// Text that is not a SHA-256 digest.
    #[error("`{0}` is not a sha256 digest")]
    InvalidDigest(String),
    /// Text that is not a repository name, a tag or an image name; says which rule it breaks.
    #[error("{0}")]
    InvalidName(String),
    /// Content that is not there (or not in that repository).
    #[error("blob {0} is unknown")]
    BlobUnknown(Digest),
    /// A manifest that is not there (or not in that repository).
    #[error("manifest {0} is unknown")]
    ManifestUnknown(String),
    /// A manifest that names content which is not in its repository.
    #[error("the manifest refers to {0}, which is not in the repository")]
    ManifestBlobUnknown(Digest),
    /// A manifest that is not one.
    #[error("the manifest is invalid: {0}")]
    ManifestInvalid(String),
    /// Content that is not what its digest says.
    #[error("content has digest {actual}, expected {expected}")]
    DigestMismatch {
        /// What the client or the manifest said.
        expected: Digest,
        /// What the bytes say.
        actual: Digest,
    },
    /// Content above a bound.
    #[error("{what} is larger than {bound} bytes")]
    TooLarge {
        /// What is too large.
        what: String,
        /// The bound in bytes.
        bound: u64,
    },
    /// The manifest or its configuration is not that of a runnable image.
    #[error("{digest} is not a runnable image: {reason}")]
    NotAnImage {
        /// The manifest.
        digest: Digest,
        /// What is wrong with it.
        reason: String,
    },
    /// An image for other machines.
    #[error("the image {digest} is not for linux/amd64, it is for {}", found.join(", "))]
    Architecture {
        /// The manifest or index.
        digest: Digest,
        /// The platforms it is for, `os/architecture`.
        found: Vec<String>,
    },
    /// An upload that does not exist (any more).
    #[error("upload {0} is unknown: it was finished, cancelled or has expired")]
    UploadUnknown(String),
    /// A chunk that does not start where the upload ends.
    #[error("the chunk starts at byte {start}, but the upload has {have} bytes")]
    UploadOffset {
        /// The chunk's first byte.
        start: u64,
        /// The length of the upload so far.
        have: u64,
    },
    /// The client stopped sending, sent too slowly or sent something else than it announced.
    #[error("the upload broke off: {0}")]
    UploadBroken(String),
    /// More uploads are open than allowed.
    #[error("{0} uploads are open already, finish or cancel one")]
    TooManyUploads(usize),
}

impl OciError {
    /// An [`OciError`] for a failed file operation; a full disk becomes [`OciError::DiskFull`].
    pub(crate) fn io(what: impl Into<String>, error: io::Error) -> OciError {
        let what = what.into();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                OciError::DiskFull { what }
            }
            _ => OciError::Io { what, error },
        }
    }
}

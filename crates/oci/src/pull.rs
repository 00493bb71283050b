//! The client of other registries.

use crate::{ContentStore, Digest, ImageName, OciError};
use std::fmt;

/// What a registry wants to know of its users.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password or token.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// How a [`Puller`] behaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullerOptions {
    /// Hosts (`host[:port]`) that are asked in plain HTTP. Loopback addresses fall back to it by themselves.
    pub plain_http: Vec<String>,
}

/// Why an image could not be pulled. The texts are for people.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry could not be reached.
    #[error("registry {host} cannot be reached: {reason}")]
    Unreachable {
        /// Its host.
        host: String,
        /// What the system or the TLS library said.
        reason: String,
    },
    /// The registry refused.
    #[error("registry {host} answered {status} to {request}: {answer}")]
    Refused {
        /// Its host.
        host: String,
        /// Method and path.
        request: String,
        /// HTTP status.
        status: u16,
        /// The start of its answer.
        answer: String,
    },
    /// The registry answered something that is not what the specification says, or other content than asked for.
    #[error("registry {host} gave a bad answer to {request}: {reason}")]
    BadAnswer {
        /// Its host.
        host: String,
        /// Method and path.
        request: String,
        /// What is wrong.
        reason: String,
    },
    /// The image cannot run here, or storing it failed.
    #[error(transparent)]
    Content(#[from] OciError),
}

/// Pulls images from registries.
pub struct Puller {
    options: PullerOptions,
}

impl Puller {
    /// A puller with the usual options.
    pub fn new() -> Puller {
        Puller::with_options(PullerOptions::default())
    }

    /// A puller with other options.
    pub fn with_options(options: PullerOptions) -> Puller {
        Puller { options }
    }

    /// Pulls the linux/amd64 image that `name` means into the store and returns its manifest's digest. Content that is
    /// stored already is not fetched again. Nothing is pinned: the caller pins before the grace time is over.
    /// `ca_pem` are certificates (PEM) to trust besides the system's.
    pub async fn pull(
        &self,
        store: &ContentStore,
        name: &ImageName,
        credentials: Option<Credentials>,
        ca_pem: &[String],
    ) -> Result<Digest, PullError> {
        let _ = (store, credentials, ca_pem, &self.options);
        Err(PullError::Unreachable {
            host: name.host.clone(),
            reason: "not yet".to_owned(),
        })
    }
}

impl Default for Puller {
    fn default() -> Puller {
        Puller::new()
    }
}

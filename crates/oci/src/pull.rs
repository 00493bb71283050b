//! The client of other registries (OCI distribution specification, pulling).

mod answer;
mod challenge;
mod connect;
mod download;
mod remote;
mod token;

use crate::image::{self, CONFIG_BYTES_MAX, INDEX_DEPTH_MAX};
use crate::manifest::{Body, Descriptor, MANIFEST_BYTES_MAX, MANIFEST_TYPES, Manifest};
use crate::{ContentStore, Digest, ImageName, OciError, Reference};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt};
use remote::{Get, Remote};
use std::fmt;

/// Layers fetched at the same time.
const DOWNLOADS_MAX: usize = 3;
/// Largest image in bytes, as its manifest counts them.
const IMAGE_BYTES_MAX: u64 = 20 * 1024 * 1024 * 1024;

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
    /// Hosts (`host[:port]`) that are asked in plain HTTP. Loopback addresses fall back to it by themselves when they
    /// do not speak TLS.
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
#[derive(Clone, Debug, Default)]
pub struct Puller {
    options: PullerOptions,
}

impl Puller {
    /// A puller with the usual options.
    pub fn new() -> Puller {
        Puller::default()
    }

    /// A puller with other options.
    pub fn with_options(options: PullerOptions) -> Puller {
        Puller { options }
    }

    /// Pulls the linux/amd64 image that `name` means into the store and returns its manifest's digest. Content that is
    /// stored already is not fetched again; downloads that break off are resumed. Nothing is pinned: the caller pins
    /// before the store's grace time is over. `ca_pem` are certificates (PEM) to trust besides the system's.
    pub async fn pull(
        &self,
        store: &ContentStore,
        name: &ImageName,
        credentials: Option<Credentials>,
        ca_pem: &[String],
    ) -> Result<Digest, PullError> {
        let remote = Remote::open(&self.options, name, credentials, ca_pem).await?;
        let found = remote.platform_manifest(name).await?;
        let Body::Image { config, layers } = &found.manifest.body else {
            return Err(image::not_an_image(&found.digest, "it is an index of images").into());
        };
        let total = found.manifest.image_bytes(found.bytes.len() as u64);
        if total > IMAGE_BYTES_MAX {
            let what = format!("image {name}");
            return Err(OciError::TooLarge {
                what,
                bound: IMAGE_BYTES_MAX,
            }
            .into());
        }
        if config.size > CONFIG_BYTES_MAX {
            let what = format!("the configuration of {name}");
            return Err(OciError::TooLarge {
                what,
                bound: CONFIG_BYTES_MAX,
            }
            .into());
        }
        remote.download(store, config).await?;
        // Before the layers are fetched: an image for other machines costs two small requests.
        store
            .check_runnable(&found.digest, &found.manifest, &config.digest)
            .await?;
        // Named and boxed: the compiler cannot prove a closure's futures `Send` for every lifetime.
        let mut downloads: Vec<BoxFuture<'_, Result<(), PullError>>> = Vec::new();
        for layer in layers {
            downloads.push(Box::pin(remote.download(store, layer)));
        }
        futures_util::stream::iter(downloads)
            .buffer_unordered(DOWNLOADS_MAX)
            .try_collect::<Vec<()>>()
            .await?;
        store.store_manifest(&found.digest, found.bytes).await?;
        Ok(found.digest)
    }
}

/// A manifest as a registry gave it.
struct Found {
    digest: Digest,
    manifest: Manifest,
    bytes: Bytes,
}

impl Remote {
    /// Follows indexes to this platform's manifest.
    async fn platform_manifest(&self, name: &ImageName) -> Result<Found, PullError> {
        let mut found = self.manifest(&name.reference()).await?;
        let root = found.digest.clone();
        for _ in 0..INDEX_DEPTH_MAX {
            let Body::Index { manifests } = &found.manifest.body else {
                return Ok(found);
            };
            let chosen: &Descriptor = image::select(&root, manifests)?;
            found = self
                .manifest(&Reference::Digest(chosen.digest.clone()))
                .await?;
        }
        Err(image::not_an_image(&root, "its indexes are nested too deeply").into())
    }

    async fn manifest(&self, reference: &Reference) -> Result<Found, PullError> {
        let path = format!("manifests/{reference}");
        let get = Get {
            path: &path,
            accept: &MANIFEST_TYPES.join(", "),
            first_byte: 0,
        };
        let answer = self.get(&get).await?;
        let media_type = answer.header("content-type");
        let stated = answer.header("docker-content-digest");
        let bytes = answer.read(MANIFEST_BYTES_MAX).await?;
        let digest = Digest::of(&bytes);
        let expected = match reference {
            Reference::Digest(digest) => Some(digest.clone()),
            Reference::Tag(_) => stated.and_then(|text| Digest::parse(&text).ok()),
        };
        if let Some(expected) = expected.filter(|expected| *expected != digest) {
            return Err(self.bad_answer(&path, format!("its digest is {digest}, not {expected}")));
        }
        let manifest = Manifest::parse(&bytes, media_type.as_deref())
            .or_else(|_| Manifest::parse(&bytes, None))
            .map_err(|error| self.bad_answer(&path, error.to_string()))?;
        Ok(Found {
            digest,
            manifest,
            bytes,
        })
    }
}

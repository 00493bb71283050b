//! From an image identifier to content on this machine.

use crate::settings::Settings;
use apron_domain::{Digest, Failure, FailureKind, OperationId};
use apron_oci::{ContentStore, Credentials, ImageName, OciError, PullError, Puller, Reference};
use apron_store::Store;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The kind under which credentials of other registries are sealed in the store.
pub const REGISTRY_SECRETS: &str = "registry";

/// What the pins begin with that the builder makes for its base images and caches, and removes itself.
const PINS_OF_BUILDS: &str = "build-";

/// Finds images: in the platform's own registry, or in another one by its name.
pub struct Images {
    settings: Arc<Settings>,
    store: Store,
    content: Arc<ContentStore>,
    puller: Puller,
    /// Certificates of authorities that other registries may be signed by, besides the system's.
    authorities: Vec<String>,
}

/// Where an identifier points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A repository of ours.
    Own {
        /// Its name.
        repository: String,
        /// The tag, or the digest when one is given.
        reference: Reference,
    },
    /// Somebody else's registry.
    Other(ImageName),
}

impl Images {
    /// Images over this content.
    pub fn new(
        settings: Arc<Settings>,
        store: Store,
        content: Arc<ContentStore>,
        puller: Puller,
        authorities: Vec<String>,
    ) -> Images {
        Images {
            settings,
            store,
            content,
            puller,
            authorities,
        }
    }

    /// Where an identifier points; the text of the error says what is wrong with it.
    pub fn place(&self, identifier: &str) -> Result<Place, OciError> {
        let name = ImageName::parse(identifier)?;
        if self.settings.is_own_host(&name.host) {
            let reference = name.reference();
            return Ok(Place::Own {
                repository: name.repository,
                reference,
            });
        }
        Ok(Place::Other(name))
    }

    /// Finds the image, has its content on this machine, keeps it there for this operation, and answers the manifest
    /// that runs on this machine.
    pub async fn resolve(
        &self,
        operation: &OperationId,
        identifier: &str,
    ) -> Result<Digest, Failure> {
        let found = self.fetch(identifier).await?;
        let image = self
            .content
            .image(found.as_str())
            .await
            .map_err(|e| failure(identifier, &e))?;
        let digest = domain_digest(image.manifest_digest.as_str())?;
        let pinned = self.content.pin(&pin_of(operation), digest.as_str()).await;
        pinned.map_err(|e| failure(identifier, &e))?;
        Ok(digest)
    }

    /// Finds the image and has its content on this machine, which nothing keeps there yet; answers its manifest or index.
    pub async fn fetch(&self, identifier: &str) -> Result<apron_oci::Digest, Failure> {
        let place = self.place(identifier);
        match place.map_err(|e| failure(identifier, &e))? {
            Place::Own {
                repository,
                reference,
            } => self.find(identifier, &repository, &reference).await,
            Place::Other(name) => self.pull(&name).await,
        }
    }

    async fn find(
        &self,
        identifier: &str,
        repository: &str,
        reference: &Reference,
    ) -> Result<apron_oci::Digest, Failure> {
        let found = self
            .content
            .resolve(repository, reference)
            .await
            .map_err(|e| failure(identifier, &e))?;
        if let Some(digest) = found {
            return Ok(digest);
        }
        let known = self
            .store
            .repository_get(repository)
            .await
            .map_err(|e| platform(&e))?;
        let what = match known {
            Some(_) => format!("repository {repository} has no image {reference}"),
            None => format!("repository {repository} does not exist in this registry"),
        };
        Err(Failure::new(
            FailureKind::ImagePull,
            format!("image {identifier} was not found: {what}"),
        ))
    }

    async fn pull(&self, name: &ImageName) -> Result<apron_oci::Digest, Failure> {
        let credentials = self.credentials(&name.host).await?;
        let pulled = self
            .puller
            .pull(&self.content, name, credentials, &self.authorities)
            .await;
        pulled.map_err(|e| {
            let kind = match &e {
                PullError::Content(error) => kind_of(error),
                _ => FailureKind::ImagePull,
            };
            Failure::new(kind, e.to_string())
        })
    }

    async fn credentials(&self, host: &str) -> Result<Option<Credentials>, Failure> {
        let sealed = self
            .store
            .secret_get(REGISTRY_SECRETS, host)
            .await
            .map_err(|e| platform(&e))?;
        let Some(text) = sealed.and_then(|bytes| String::from_utf8(bytes).ok()) else {
            return Ok(None);
        };
        Ok(text.split_once(':').map(|(user, password)| Credentials {
            username: user.to_owned(),
            password: password.to_owned(),
        }))
    }

    /// Keeps the content of exactly these images, whatever becomes of their repositories, each by the name of its pin.
    /// `pins` are those there were before anything else was looked at; those named in `untouched`, and those of the builder,
    /// are left as they are.
    pub async fn retain(
        &self,
        pins: Vec<(String, apron_oci::Digest)>,
        images: &BTreeMap<String, Digest>,
        untouched: &[String],
    ) -> Result<(), OciError> {
        for (name, digest) in images {
            if !pins.iter().any(|(pinned, _)| pinned == name) {
                self.content.pin(name, digest.as_str()).await?;
            }
        }
        for (name, _) in pins {
            let of_builds = name.starts_with(PINS_OF_BUILDS);
            if !of_builds && !images.contains_key(&name) && !untouched.contains(&name) {
                self.content.unpin(&name).await?;
            }
        }
        Ok(())
    }

    /// The content store.
    pub fn content(&self) -> &Arc<ContentStore> {
        &self.content
    }
}

/// The name of the pin that keeps an operation's image.
pub fn pin_of(operation: &OperationId) -> String {
    format!("operation-{operation}")
}

fn domain_digest(text: &str) -> Result<Digest, Failure> {
    Digest::parse(text).map_err(|e| Failure::new(FailureKind::ImageContent, e.to_string()))
}

fn platform(error: &apron_store::StoreError) -> Failure {
    Failure::new(
        FailureKind::Platform,
        format!("stored state cannot be read: {error}"),
    )
}

fn kind_of(error: &OciError) -> FailureKind {
    match error {
        OciError::Architecture { .. } => FailureKind::Architecture,
        OciError::InvalidName(_) => FailureKind::ImagePull,
        OciError::DiskFull { .. } => FailureKind::Capacity,
        _ => FailureKind::ImageContent,
    }
}

fn failure(identifier: &str, error: &OciError) -> Failure {
    Failure::new(kind_of(error), format!("image {identifier}: {error}"))
}

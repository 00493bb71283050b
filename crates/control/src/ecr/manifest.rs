//! What the API tells of a manifest, read from its bytes.

use apron_oci::{DOCKER_LIST, OCI_INDEX};
use serde::Deserialize;

/// The parts of an image manifest or index that the API tells about (OCI image specification).
#[derive(Debug, Default, Deserialize)]
pub(super) struct Manifest {
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    subject: Option<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Descriptor {
    #[serde(default, rename = "mediaType")]
    media_type: String,
    digest: String,
    #[serde(default)]
    size: u64,
}

impl Manifest {
    /// Reads a stored manifest. One that is neither image nor index tells nothing.
    pub(super) fn read(bytes: &[u8]) -> Manifest {
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    /// Bytes of the image as stored: configuration and compressed layers. An index has none of its own.
    pub(super) fn size(&self) -> u64 {
        self.config
            .iter()
            .chain(&self.layers)
            .fold(0, |sum, part| sum.saturating_add(part.size))
    }

    /// What kind of thing it is: the type of its configuration.
    pub(super) fn artifact_type(&self) -> Option<&str> {
        self.config
            .as_ref()
            .map(|config| config.media_type.as_str())
            .filter(|text| !text.is_empty())
    }

    /// The manifest this one is about.
    pub(super) fn subject(&self) -> Option<&str> {
        self.subject.as_ref().map(|subject| subject.digest.as_str())
    }

    /// Whether this is an index that lists the manifest with that digest.
    pub(super) fn lists(&self, digest: &str) -> bool {
        self.manifests.iter().any(|listed| listed.digest == digest)
    }
}

/// Whether manifests of that type list others.
pub(super) fn is_index(media_type: &str) -> bool {
    media_type == OCI_INDEX || media_type == DOCKER_LIST
}

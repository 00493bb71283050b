//! Manifests and indexes: reading them, and what they refer to.
//!
//! The four forms of the OCI image specification and Docker's "image manifest version 2, schema 2". Older Docker
//! manifests (schema 1) are refused: no current client pushes them.

use crate::{Digest, OciError};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Largest manifest in bytes (OCI distribution specification, pushing manifests: "at least 4 megabytes").
pub const MANIFEST_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Most descriptors in one manifest; an image of more layers cannot be mounted anyway.
const DESCRIPTORS_MAX: usize = 4096;

/// Media type of an OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of Docker's image manifest, version 2, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Media type of Docker's manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Every manifest media type that is understood.
pub const MANIFEST_TYPES: [&str; 4] = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];

/// A reference to content (OCI image specification, descriptors).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// Where the content may be fetched from instead; such content need not be in the registry.
    pub(crate) external: bool,
    pub(crate) platform: Option<Platform>,
}

/// What machine a manifest of an index is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Platform {
    pub(crate) architecture: String,
    pub(crate) os: String,
    pub(crate) variant: Option<String>,
}

/// A manifest, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) media_type: String,
    pub(crate) artifact_type: Option<String>,
    pub(crate) subject: Option<Descriptor>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) body: Body,
}

/// The two kinds of manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// One image or artifact.
    Image {
        config: Descriptor,
        layers: Vec<Descriptor>,
    },
    /// A list of manifests.
    Index { manifests: Vec<Descriptor> },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: Option<String>,
    digest: String,
    size: i64,
    #[serde(default)]
    urls: Vec<String>,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawManifest {
    schema_version: i64,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
    subject: Option<RawDescriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

impl Manifest {
    /// Reads a manifest. `declared` is the media type it came with (`Content-Type`), which must agree with what the
    /// manifest says of itself; a manifest that says nothing is an OCI one, by its shape.
    pub(crate) fn parse(bytes: &[u8], declared: Option<&str>) -> Result<Manifest, OciError> {
        if bytes.len() as u64 > MANIFEST_BYTES_MAX {
            return Err(OciError::TooLarge {
                what: "the manifest".to_owned(),
                bound: MANIFEST_BYTES_MAX,
            });
        }
        let raw: RawManifest = serde_json::from_slice(bytes)
            .map_err(|e| invalid(format!("it is not a JSON manifest: {e}")))?;
        if raw.schema_version != 2 {
            let version = raw.schema_version;
            return Err(invalid(format!(
                "schema version {version} is not supported, only 2"
            )));
        }
        let media_type = media_type_of(&raw, declared)?;
        let body = match media_type.as_str() {
            OCI_INDEX | DOCKER_LIST => index_body(raw.manifests)?,
            _ => image_body(raw.config, raw.layers)?,
        };
        Ok(Manifest {
            media_type,
            artifact_type: raw.artifact_type.filter(|text| !text.is_empty()),
            subject: raw.subject.map(descriptor).transpose()?,
            annotations: raw.annotations.unwrap_or_default(),
            body,
        })
    }

    /// Everything that must stay while this manifest stays (a subject need not exist: it is not among them).
    pub(crate) fn references(&self) -> Vec<&Descriptor> {
        match &self.body {
            Body::Image { config, layers } => std::iter::once(config).chain(layers).collect(),
            Body::Index { manifests } => manifests.iter().collect(),
        }
    }

    /// What the referrers API calls the artifact type: the manifest's own, or its configuration's media type.
    pub(crate) fn effective_artifact_type(&self) -> Option<String> {
        match (&self.artifact_type, &self.body) {
            (Some(own), _) => Some(own.clone()),
            (None, Body::Image { config, .. }) => Some(config.media_type.clone()),
            (None, Body::Index { .. }) => None,
        }
    }

    /// The size of the image as ECR counts it: the manifest, its configuration and its (compressed) layers. Of an
    /// index it is the index alone, for its images count for themselves.
    pub(crate) fn image_bytes(&self, manifest_bytes: u64) -> u64 {
        match &self.body {
            Body::Image { .. } => self
                .references()
                .iter()
                .fold(manifest_bytes, |sum, part| sum.saturating_add(part.size)),
            Body::Index { .. } => manifest_bytes,
        }
    }
}

/// Whether content of this media type is a manifest.
pub(crate) fn is_manifest_type(media_type: &str) -> bool {
    MANIFEST_TYPES.contains(&media_type)
}

fn invalid(reason: impl Into<String>) -> OciError {
    OciError::ManifestInvalid(reason.into())
}

fn media_type_of(raw: &RawManifest, declared: Option<&str>) -> Result<String, OciError> {
    let declared = declared
        .map(|text| text.split(';').next().unwrap_or(text).trim())
        .filter(|text| !text.is_empty() && *text != "application/json");
    let by_shape = match raw.manifests.is_some() {
        true => OCI_INDEX,
        false => OCI_MANIFEST,
    };
    let own = raw
        .media_type
        .as_deref()
        .filter(|text| !text.is_empty())
        .unwrap_or(by_shape);
    if let Some(declared) = declared.filter(|declared| *declared != own) {
        return Err(invalid(format!(
            "it was sent as `{declared}` but is `{own}`"
        )));
    }
    match is_manifest_type(own) {
        true => Ok(own.to_owned()),
        false => Err(invalid(format!("media type `{own}` is not supported"))),
    }
}

fn image_body(
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
) -> Result<Body, OciError> {
    let config = config.ok_or_else(|| invalid("it has no config"))?;
    let layers = layers.ok_or_else(|| invalid("it has no layers"))?;
    Ok(Body::Image {
        config: descriptor(config)?,
        layers: descriptors(layers)?,
    })
}

fn index_body(manifests: Option<Vec<RawDescriptor>>) -> Result<Body, OciError> {
    let manifests = manifests.ok_or_else(|| invalid("it has no manifests"))?;
    Ok(Body::Index {
        manifests: descriptors(manifests)?,
    })
}

fn descriptors(raw: Vec<RawDescriptor>) -> Result<Vec<Descriptor>, OciError> {
    if raw.len() > DESCRIPTORS_MAX {
        return Err(invalid(format!(
            "it refers to more than {DESCRIPTORS_MAX} parts"
        )));
    }
    raw.into_iter().map(descriptor).collect()
}

fn descriptor(raw: RawDescriptor) -> Result<Descriptor, OciError> {
    Ok(Descriptor {
        media_type: raw.media_type.unwrap_or_default(),
        digest: Digest::parse(&raw.digest).map_err(|e| invalid(e.to_string()))?,
        size: u64::try_from(raw.size).map_err(|_| invalid("a size in it is negative"))?,
        external: !raw.urls.is_empty(),
        platform: raw.platform,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn image(media_type: Option<&str>) -> String {
        let own = media_type
            .map(|m| format!(r#""mediaType":"{m}","#))
            .unwrap_or_default();
        format!(
            r#"{{"schemaVersion":2,{own}"config":{{"mediaType":"c","digest":"sha256:{HEX}","size":3}},
               "layers":[{{"mediaType":"l","digest":"sha256:{HEX}","size":4}}]}}"#
        )
    }

    #[test]
    fn the_media_type_is_declared_or_by_shape() {
        let docker = image(Some(DOCKER_MANIFEST));
        for (text, declared, expect) in [
            (image(None), None, Some(OCI_MANIFEST)),
            (image(None), Some(OCI_MANIFEST), Some(OCI_MANIFEST)),
            (
                image(None),
                Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"),
                Some(OCI_MANIFEST),
            ),
            (image(None), Some(DOCKER_MANIFEST), None),
            (docker.clone(), Some(DOCKER_MANIFEST), Some(DOCKER_MANIFEST)),
            (docker.clone(), None, Some(DOCKER_MANIFEST)),
            (docker, Some(OCI_MANIFEST), None),
            (image(Some("text/plain")), None, None),
            (image(Some(OCI_INDEX)), None, None),
            (
                r#"{"schemaVersion":2,"manifests":[]}"#.to_owned(),
                None,
                Some(OCI_INDEX),
            ),
            (
                r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(),
                None,
                None,
            ),
            ("[]".to_owned(), None, None),
        ] {
            let found = Manifest::parse(text.as_bytes(), declared)
                .ok()
                .map(|m| m.media_type);
            assert_eq!(found.as_deref(), expect, "{text} {declared:?}");
        }
    }

    #[test]
    fn the_size_is_of_manifest_configuration_and_layers() {
        let manifest = Manifest::parse(image(None).as_bytes(), None).unwrap();
        assert_eq!(manifest.image_bytes(10), 17);
    }

    #[test]
    fn bad_descriptors_are_refused() {
        for bad in [
            image(None).replace(HEX, "zz"),
            image(None).replace("\"size\":3", "\"size\":-3"),
        ] {
            assert!(Manifest::parse(bad.as_bytes(), None).is_err(), "{bad}");
        }
    }
}

//! Images as something to run: the platform's manifest, its configuration, its layers in order.

use crate::manifest::{Body, Descriptor, Manifest};
use crate::{Digest, OciError};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The operating system and architecture that instances have.
pub(crate) const OS: &str = "linux";
/// See [`OS`].
pub(crate) const ARCHITECTURE: &str = "amd64";
/// Largest image configuration in bytes.
pub(crate) const CONFIG_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// How many indexes may be inside one another.
pub(crate) const INDEX_DEPTH_MAX: usize = 4;
/// Most layers of a runnable image; overlayfs takes 500.
const LAYERS_MAX: usize = 400;

/// A runnable image for this platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The manifest of the platform's image, never of an index.
    pub manifest_digest: Digest,
    /// How to run it.
    pub config: ImageConfig,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
}

/// How an image wants to be run (OCI image specification, image configuration).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// The start of the command line; replaced together with `cmd` by an override.
    pub entrypoint: Vec<String>,
    /// The rest of the command line, or all of it without an entry point.
    pub cmd: Vec<String>,
    /// `NAME=value` pairs in order.
    pub env: Vec<String>,
    /// Working directory; empty means `/`.
    pub working_dir: String,
    /// `user`, `uid`, `user:group` or `uid:gid`; empty means root.
    pub user: String,
    /// The signal that asks the application to end, `SIGTERM` or a number, when it is another than SIGTERM.
    pub stop_signal: Option<String>,
    /// Ports the image says it listens on, `8080/tcp`.
    pub exposed: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The shell of instructions that are written as a text, when it is another than `/bin/sh -c` (Docker's extension).
    pub shell: Vec<String>,
    /// Instructions for images that are built on this one (Docker's extension).
    pub on_build: Vec<String>,
}

/// One layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The digest of the stored, usually compressed, content.
    pub digest: Digest,
    /// The digest of the uncompressed archive: the layer's identity, equal however it was compressed.
    pub diff_id: Digest,
    /// The media type of the stored content.
    pub media_type: String,
    /// The size of the stored content in bytes.
    pub size: u64,
}

#[derive(Deserialize)]
struct RawImage {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    config: Option<RawConfig>,
    rootfs: Option<RawRootfs>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawConfig {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    stop_signal: Option<String>,
    exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    labels: Option<BTreeMap<String, String>>,
    shell: Option<Vec<String>>,
    on_build: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct RawRootfs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

/// Puts manifest and configuration together. Fails when the configuration is not that of an image for this platform.
pub(crate) fn assemble(
    digest: &Digest,
    manifest: &Manifest,
    config: &[u8],
) -> Result<Image, OciError> {
    let Body::Image { layers, .. } = &manifest.body else {
        return Err(not_an_image(digest, "it is an index of images"));
    };
    let raw: RawImage = serde_json::from_slice(config)
        .map_err(|e| not_an_image(digest, format!("its configuration cannot be read: {e}")))?;
    if raw.os != OS || raw.architecture != ARCHITECTURE {
        let found = match raw.os.is_empty() && raw.architecture.is_empty() {
            true => return Err(not_an_image(digest, "its configuration names no platform")),
            false => vec![format!("{}/{}", raw.os, raw.architecture)],
        };
        return Err(OciError::Architecture {
            digest: digest.clone(),
            found,
        });
    }
    let diff_ids = raw.rootfs.map(|rootfs| rootfs.diff_ids).unwrap_or_default();
    if diff_ids.len() != layers.len() || layers.len() > LAYERS_MAX {
        let (layers, ids) = (layers.len(), diff_ids.len());
        let reason = format!(
            "its manifest has {layers} layers (at most {LAYERS_MAX}), its configuration {ids}"
        );
        return Err(not_an_image(digest, reason));
    }
    let layers = layers
        .iter()
        .zip(&diff_ids)
        .map(|(layer, id)| layer_of(digest, layer, id));
    Ok(Image {
        manifest_digest: digest.clone(),
        config: run_config(raw.config.unwrap_or_default()),
        layers: layers.collect::<Result<_, _>>()?,
    })
}

fn layer_of(image: &Digest, layer: &Descriptor, diff_id: &str) -> Result<Layer, OciError> {
    let known = layer
        .media_type
        .starts_with("application/vnd.oci.image.layer.")
        || layer
            .media_type
            .starts_with("application/vnd.docker.image.rootfs.");
    if !known || layer.media_type.contains("encrypted") {
        let reason = format!("layers of type `{}` cannot be unpacked", layer.media_type);
        return Err(not_an_image(image, reason));
    }
    Ok(Layer {
        digest: layer.digest.clone(),
        diff_id: Digest::parse(diff_id)?,
        media_type: layer.media_type.clone(),
        size: layer.size,
    })
}

fn run_config(raw: RawConfig) -> ImageConfig {
    ImageConfig {
        entrypoint: raw.entrypoint.unwrap_or_default(),
        cmd: raw.cmd.unwrap_or_default(),
        env: raw.env.unwrap_or_default(),
        working_dir: raw.working_dir.unwrap_or_default(),
        user: raw.user.unwrap_or_default(),
        stop_signal: raw.stop_signal.filter(|signal| !signal.is_empty()),
        exposed: raw.exposed_ports.unwrap_or_default().into_keys().collect(),
        labels: raw.labels.unwrap_or_default(),
        shell: raw.shell.unwrap_or_default(),
        on_build: raw.on_build.unwrap_or_default(),
    }
}

/// Chooses this platform's manifest in an index: the first without a variant, else the first of the lowest variant
/// that every processor here has (`v1`), else the first of any variant. An entry without a platform is taken when it
/// is the only one. The error lists the platforms there are; attestations (`unknown/unknown`) are no platforms.
pub(crate) fn select<'a>(
    digest: &Digest,
    manifests: &'a [Descriptor],
) -> Result<&'a Descriptor, OciError> {
    let rank =
        |entry: &&Descriptor| match entry.platform.as_ref().and_then(|p| p.variant.as_deref()) {
            None | Some("") => 0,
            Some("v1") => 1,
            Some(_) => 2,
        };
    let fitting = manifests.iter().filter(|entry| {
        entry
            .platform
            .as_ref()
            .is_some_and(|p| p.os == OS && p.architecture == ARCHITECTURE)
    });
    if let Some(entry) = fitting.min_by_key(rank) {
        return Ok(entry);
    }
    if let [only] = manifests
        && only.platform.is_none()
    {
        return Ok(only);
    }
    let found: Vec<String> = manifests
        .iter()
        .filter_map(|entry| entry.platform.as_ref())
        .filter(|platform| platform.os != "unknown")
        .map(platform_text)
        .collect();
    match found.is_empty() {
        true => Err(not_an_image(digest, "its index names no platforms")),
        false => Err(OciError::Architecture {
            digest: digest.clone(),
            found,
        }),
    }
}

fn platform_text(platform: &crate::manifest::Platform) -> String {
    match platform.variant.as_deref() {
        Some(variant) if !variant.is_empty() => {
            format!("{}/{}/{variant}", platform.os, platform.architecture)
        }
        _ => format!("{}/{}", platform.os, platform.architecture),
    }
}

pub(crate) fn not_an_image(digest: &Digest, reason: impl Into<String>) -> OciError {
    OciError::NotAnImage {
        digest: digest.clone(),
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Platform;

    fn entry(seed: &str, platform: Option<(&str, &str, Option<&str>)>) -> Descriptor {
        Descriptor {
            media_type: crate::manifest::OCI_MANIFEST.to_owned(),
            digest: Digest::of(seed.as_bytes()),
            size: 1,
            external: false,
            platform: platform.map(|(os, architecture, variant)| Platform {
                os: os.to_owned(),
                architecture: architecture.to_owned(),
                variant: variant.map(str::to_owned),
            }),
        }
    }

    #[test]
    fn the_plainest_entry_of_the_platform_is_chosen() {
        let index = [
            entry("a", Some(("linux", "arm64", Some("v8")))),
            entry("b", Some(("linux", "amd64", Some("v3")))),
            entry("c", Some(("linux", "amd64", None))),
            entry("d", Some(("unknown", "unknown", None))),
        ];
        assert_eq!(
            select(&Digest::of(b"i"), &index).unwrap().digest,
            Digest::of(b"c")
        );
        assert_eq!(
            select(&Digest::of(b"i"), &index[..2]).unwrap().digest,
            Digest::of(b"b")
        );
    }

    #[test]
    fn the_error_names_the_platforms() {
        let index = [
            entry("a", Some(("linux", "arm64", Some("v8")))),
            entry("d", Some(("unknown", "unknown", None))),
        ];
        let text = select(&Digest::of(b"i"), &index).unwrap_err().to_string();
        assert!(
            text.ends_with("is not for linux/amd64, it is for linux/arm64/v8"),
            "{text}"
        );
    }

    #[test]
    fn a_single_entry_without_a_platform_is_taken() {
        let index = [entry("a", None)];
        assert_eq!(
            select(&Digest::of(b"i"), &index).unwrap().digest,
            Digest::of(b"a")
        );
        assert!(select(&Digest::of(b"i"), &[entry("a", None), entry("b", None)]).is_err());
    }
}

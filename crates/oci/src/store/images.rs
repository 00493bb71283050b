//! Stored images as something to run.

use super::ContentStore;
use super::disk::Disk;
use crate::image::{self, CONFIG_BYTES_MAX, INDEX_DEPTH_MAX, Image};
use crate::manifest::{Body, Manifest};
use crate::{Digest, OciError};

impl ContentStore {
    /// The runnable image behind a manifest or an index: of an index it is the one for linux/amd64. Fails when there
    /// is none (the error names the platforms there are) or when a layer is missing.
    pub async fn image(&self, digest: &str) -> Result<Image, OciError> {
        let digest = Digest::parse(digest)?;
        self.run(move |disk| disk.image(&digest)).await
    }
}

impl Disk {
    fn image(&self, root: &Digest) -> Result<Image, OciError> {
        let (digest, manifest) = self.platform_manifest(root)?;
        let Body::Image { config, .. } = &manifest.body else {
            return Err(image::not_an_image(
                root,
                "its indexes are nested too deeply",
            ));
        };
        let bytes = self
            .blob_read(&config.digest, CONFIG_BYTES_MAX)?
            .ok_or_else(|| OciError::BlobUnknown(config.digest.clone()))?;
        let image = image::assemble(&digest, &manifest, &bytes)?;
        for layer in &image.layers {
            if self.blob_size(&layer.digest)?.is_none() {
                return Err(OciError::BlobUnknown(layer.digest.clone()));
            }
        }
        Ok(image)
    }

    fn platform_manifest(&self, root: &Digest) -> Result<(Digest, Manifest), OciError> {
        let mut digest = root.clone();
        for _ in 0..INDEX_DEPTH_MAX {
            let (manifest, _) = self
                .manifest_read(&digest)?
                .ok_or_else(|| OciError::ManifestUnknown(digest.to_string()))?;
            match &manifest.body {
                Body::Image { .. } => return Ok((digest, manifest)),
                Body::Index { manifests } => {
                    digest = image::select(root, manifests)?.digest.clone()
                }
            }
        }
        Err(image::not_an_image(
            root,
            "its indexes are nested too deeply",
        ))
    }
}

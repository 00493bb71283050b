//! Pins: manifests that stay although no repository has them, for images pulled from elsewhere and images that
//! instances run.

use super::ContentStore;
use super::disk::Disk;
use crate::{Digest, OciError};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::path::PathBuf;

/// Longest name of a pin in bytes; encoded it has to be a file name.
const NAME_BYTES_MAX: usize = 80;
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

impl ContentStore {
    /// Keeps a manifest and everything below it under a name of the caller's, at most 80 bytes. A name pins one
    /// manifest: pinning again moves it. Fails when the manifest is not stored.
    pub async fn pin(&self, name: &str, manifest_digest: &str) -> Result<(), OciError> {
        let (name, digest) = (name.to_owned(), Digest::parse(manifest_digest)?);
        self.run(move |disk| {
            let path = disk.pin_path(&name)?;
            let _kept = disk.rely();
            if disk.manifest_read(&digest)?.is_none() {
                return Err(OciError::ManifestUnknown(digest.to_string()));
            }
            disk.keep_tree(&digest)?;
            disk.write_durable(&path, digest.as_str().as_bytes())
        })
        .await
    }

    /// Removes a pin; one that does not exist is fine.
    pub async fn unpin(&self, name: &str) -> Result<(), OciError> {
        let name = name.to_owned();
        self.run(move |disk| disk.remove_durable(&disk.pin_path(&name)?).map(|_| ()))
            .await
    }

    /// All pins, names with their manifests, sorted by name.
    pub async fn pins(&self) -> Result<Vec<(String, Digest)>, OciError> {
        self.run(|disk| disk.pin_list()).await
    }
}

impl Disk {
    fn pin_path(&self, name: &str) -> Result<PathBuf, OciError> {
        match name.is_empty() || name.len() > NAME_BYTES_MAX {
            true => Err(OciError::InvalidName(format!(
                "a pin's name has 1 to {NAME_BYTES_MAX} bytes, not {}",
                name.len()
            ))),
            false => Ok(self
                .pins()
                .join(utf8_percent_encode(name, PLAIN).to_string())),
        }
    }

    pub(super) fn pin_list(&self) -> Result<Vec<(String, Digest)>, OciError> {
        let mut found = Vec::new();
        for file in self.names(&self.pins())? {
            if let Some(bytes) = self.read_small(&self.pins().join(&file))? {
                let digest = Digest::parse(&String::from_utf8_lossy(&bytes))?;
                found.push((
                    percent_decode_str(&file).decode_utf8_lossy().into_owned(),
                    digest,
                ));
            }
        }
        found.sort();
        Ok(found)
    }
}

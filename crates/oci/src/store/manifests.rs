//! Manifests and tags of repositories.

use super::ContentStore;
use super::disk::Disk;
use crate::manifest::{Body, Descriptor, MANIFEST_BYTES_MAX, Manifest, is_manifest_type};
use crate::reference::{check_repository, check_tag};
use crate::{Digest, OciError, Reference, clock};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A tag of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagEntry {
    /// The tag.
    pub tag: String,
    /// The manifest it points to.
    pub digest: Digest,
    /// When it was last pushed, in milliseconds since the Unix epoch.
    pub pushed_at_ms: u64,
}

/// A manifest of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestEntry {
    /// The manifest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its artifact type, or the media type of its configuration.
    pub artifact_type: Option<String>,
    /// Bytes of the manifest, its configuration and its compressed layers, as ECR's `imageSizeInBytes`.
    pub size: u64,
    /// When it was first pushed into the repository, in milliseconds since the Unix epoch.
    pub pushed_at_ms: u64,
    /// The tags that point to it, sorted.
    pub tags: Vec<String>,
}

/// What a stored manifest is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutManifest {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// The subject it refers to, when it has one.
    pub subject: Option<Digest>,
}

/// One answer of the referrers API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReferrerEntry {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    pub(crate) artifact_type: Option<String>,
    pub(crate) size: u64,
    pub(crate) annotations: BTreeMap<String, String>,
}

/// The content of `_manifests/<hex>`.
#[derive(Serialize, Deserialize)]
struct ManifestLink {
    media_type: String,
    artifact_type: Option<String>,
    size: u64,
    pushed_at_ms: u64,
    subject: Option<String>,
}

/// The content of `_tags/<tag>`.
#[derive(Serialize, Deserialize)]
struct TagLink {
    digest: String,
    pushed_at_ms: u64,
}

impl ContentStore {
    /// The manifest that a tag points to, or the digest itself when the repository has it.
    pub async fn resolve(
        &self,
        repository: &str,
        reference: &Reference,
    ) -> Result<Option<Digest>, OciError> {
        check_repository(repository)?;
        let (repository, reference) = (repository.to_owned(), reference.clone());
        self.run(move |disk| disk.resolve(&repository, &reference))
            .await
    }

    /// The tags of a repository, sorted by name; none when there is no such repository.
    pub async fn tags(&self, repository: &str) -> Result<Vec<TagEntry>, OciError> {
        check_repository(repository)?;
        let repository = repository.to_owned();
        self.run(move |disk| disk.tags(&repository)).await
    }

    /// The manifests of a repository, sorted by digest; none when there is no such repository.
    pub async fn manifests(&self, repository: &str) -> Result<Vec<ManifestEntry>, OciError> {
        check_repository(repository)?;
        let repository = repository.to_owned();
        self.run(move |disk| disk.manifests(&repository)).await
    }

    /// A stored manifest with its media type, whichever repository has it; `None` when it is not stored.
    pub async fn manifest_bytes(&self, digest: &str) -> Result<Option<(String, Bytes)>, OciError> {
        let digest = Digest::parse(digest)?;
        self.run(move |disk| {
            let read = disk.manifest_read(&digest)?;
            Ok(read.map(|(manifest, bytes)| (manifest.media_type, Bytes::from(bytes))))
        })
        .await
    }

    /// Stores a manifest in a repository, durably, and points the tag to it when one is given. Everything it refers
    /// to must be in the repository already, except layers with other places to fetch them from. `media_type` is what
    /// the client calls it. Storing it again is fine.
    pub async fn put_manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        media_type: Option<&str>,
        bytes: Bytes,
    ) -> Result<PutManifest, OciError> {
        check_repository(repository)?;
        tag.map(check_tag).transpose()?;
        let repository = repository.to_owned();
        let (tag, media_type) = (tag.map(str::to_owned), media_type.map(str::to_owned));
        self.run(move |disk| {
            disk.put_manifest(&repository, tag.as_deref(), media_type.as_deref(), &bytes)
        })
        .await
    }

    /// Takes a manifest and all tags that point to it out of a repository; false when it was not there.
    pub async fn delete_manifest(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<bool, OciError> {
        check_repository(repository)?;
        let (repository, digest) = (repository.to_owned(), digest.clone());
        self.run(move |disk| disk.delete_manifest(&repository, &digest))
            .await
    }

    /// Removes a tag; its manifest stays. False when it was not there.
    pub async fn delete_tag(&self, repository: &str, tag: &str) -> Result<bool, OciError> {
        check_repository(repository)?;
        check_tag(tag)?;
        let (repository, tag) = (repository.to_owned(), tag.to_owned());
        self.run(move |disk| {
            let _only = disk.lock_repository(&repository);
            disk.remove_durable(&disk.tag_link(&repository, &tag))
        })
        .await
    }

    /// Removes a repository with its manifests, tags and open uploads; those below it (`name/…`) stay. One that does
    /// not exist is fine. The content goes with the next collection.
    pub async fn delete_repository(&self, repository: &str) -> Result<(), OciError> {
        check_repository(repository)?;
        let repository = repository.to_owned();
        self.run(move |disk| disk.delete_repository(&repository))
            .await
    }

    /// The manifests of a repository whose subject is `digest`, sorted by digest.
    pub(crate) async fn referrers(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Vec<ReferrerEntry>, OciError> {
        check_repository(repository)?;
        let (repository, digest) = (repository.to_owned(), digest.clone());
        self.run(move |disk| disk.referrers(&repository, &digest))
            .await
    }
}

impl Disk {
    fn tag_link(&self, repository: &str, tag: &str) -> PathBuf {
        self.repository(repository, "_tags").join(tag)
    }

    fn manifest_link(&self, repository: &str, digest: &Digest) -> PathBuf {
        self.repository(repository, "_manifests").join(digest.hex())
    }

    fn referrers_of(&self, repository: &str, subject: &Digest) -> PathBuf {
        self.repository(repository, "_referrers")
            .join(subject.hex())
    }

    /// Reads a stored manifest.
    pub(super) fn manifest_read(
        &self,
        digest: &Digest,
    ) -> Result<Option<(Manifest, Vec<u8>)>, OciError> {
        let Some(bytes) = self.blob_read(digest, MANIFEST_BYTES_MAX)? else {
            return Ok(None);
        };
        Ok(Some((Manifest::parse(&bytes, None)?, bytes)))
    }

    fn resolve(&self, repository: &str, reference: &Reference) -> Result<Option<Digest>, OciError> {
        let digest = match reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Tag(tag) => match self.read_tag(repository, tag)? {
                Some(link) => Digest::parse(&link.digest)?,
                None => return Ok(None),
            },
        };
        Ok(self.read_link(repository, &digest)?.map(|_| digest))
    }

    fn read_tag(&self, repository: &str, tag: &str) -> Result<Option<TagLink>, OciError> {
        let path = self.tag_link(repository, tag);
        let bytes = self.read_small(&path)?;
        bytes.map(|bytes| self.decode(&path, &bytes)).transpose()
    }

    fn read_link(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Option<ManifestLink>, OciError> {
        let path = self.manifest_link(repository, digest);
        let bytes = self.read_small(&path)?;
        bytes.map(|bytes| self.decode(&path, &bytes)).transpose()
    }

    fn decode<T: for<'a> Deserialize<'a>>(
        &self,
        path: &std::path::Path,
        bytes: &[u8],
    ) -> Result<T, OciError> {
        serde_json::from_slice(bytes)
            .map_err(|e| OciError::io(format!("read {}", self.shown(path)), e.into()))
    }

    fn tags(&self, repository: &str) -> Result<Vec<TagEntry>, OciError> {
        let mut found = Vec::new();
        for tag in self.names(&self.repository(repository, "_tags"))? {
            if let Some(link) = self.read_tag(repository, &tag)? {
                let digest = Digest::parse(&link.digest)?;
                found.push(TagEntry {
                    tag,
                    digest,
                    pushed_at_ms: link.pushed_at_ms,
                });
            }
        }
        Ok(found)
    }

    fn manifests(&self, repository: &str) -> Result<Vec<ManifestEntry>, OciError> {
        let mut tags: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
        for entry in self.tags(repository)? {
            tags.entry(entry.digest).or_default().push(entry.tag);
        }
        let mut found = Vec::new();
        for digest in self.manifest_digests(repository)? {
            let Some(link) = self.read_link(repository, &digest)? else {
                continue;
            };
            found.push(ManifestEntry {
                tags: tags.remove(&digest).unwrap_or_default(),
                digest,
                media_type: link.media_type,
                artifact_type: link.artifact_type,
                size: link.size,
                pushed_at_ms: link.pushed_at_ms,
            });
        }
        Ok(found)
    }

    pub(super) fn manifest_digests(&self, repository: &str) -> Result<Vec<Digest>, OciError> {
        let names = self.names(&self.repository(repository, "_manifests"))?;
        names.iter().map(|hex| Digest::from_hex(hex)).collect()
    }

    fn put_manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        media_type: Option<&str>,
        bytes: &[u8],
    ) -> Result<PutManifest, OciError> {
        let manifest = Manifest::parse(bytes, media_type)?;
        let digest = Digest::of(bytes);
        let _only = self.lock_repository(repository);
        let _kept = self.rely();
        for part in manifest.references() {
            self.check_part(repository, part)?;
        }
        self.blob_write(&digest, bytes)?;
        let subject = manifest
            .subject
            .as_ref()
            .map(|subject| subject.digest.clone());
        if let Some(subject) = &subject {
            let link = self.referrers_of(repository, subject).join(digest.hex());
            self.write_durable(&link, b"")?;
        }
        let pushed_at_ms = clock::now_ms();
        if self.read_link(repository, &digest)?.is_none() {
            let link = ManifestLink {
                media_type: manifest.media_type.clone(),
                artifact_type: manifest.effective_artifact_type(),
                size: manifest.image_bytes(bytes.len() as u64),
                pushed_at_ms,
                subject: subject.as_ref().map(|subject| subject.as_str().to_owned()),
            };
            self.write_durable(&self.manifest_link(repository, &digest), &encode(&link))?;
        }
        if let Some(tag) = tag {
            let link = TagLink {
                digest: digest.as_str().to_owned(),
                pushed_at_ms,
            };
            self.write_durable(&self.tag_link(repository, tag), &encode(&link))?;
        }
        Ok(PutManifest {
            digest,
            media_type: manifest.media_type,
            subject,
        })
    }

    /// Checks that something a manifest refers to is in the repository, and keeps it from being collected.
    fn check_part(&self, repository: &str, part: &Descriptor) -> Result<(), OciError> {
        let present = match is_manifest_type(&part.media_type) {
            true => self.manifest_link(repository, &part.digest).exists(),
            false => self.is_linked(repository, &part.digest)?,
        };
        if !present || !self.refresh(&part.digest)? {
            return match part.external {
                true => Ok(()),
                false => Err(OciError::ManifestBlobUnknown(part.digest.clone())),
            };
        }
        let size = self.blob_size(&part.digest)?.unwrap_or(0);
        if size != part.size {
            let (digest, said) = (&part.digest, part.size);
            return Err(OciError::ManifestInvalid(format!(
                "it says that {digest} has {said} bytes, but it has {size}"
            )));
        }
        if is_manifest_type(&part.media_type) {
            self.keep_tree(&part.digest)?;
        }
        Ok(())
    }

    /// Keeps everything below a stored manifest from being collected. To be called under [`Disk::rely`].
    pub(super) fn keep_tree(&self, root: &Digest) -> Result<(), OciError> {
        let mut level = vec![root.clone()];
        for _ in 0..crate::image::INDEX_DEPTH_MAX {
            let mut below = Vec::new();
            for digest in &level {
                self.refresh(digest)?;
                let Some((manifest, _)) = self.manifest_read(digest)? else {
                    continue;
                };
                for part in manifest.references() {
                    self.refresh(&part.digest)?;
                }
                if let Body::Index { manifests } = &manifest.body {
                    let children = manifests
                        .iter()
                        .filter(|part| is_manifest_type(&part.media_type));
                    below.extend(children.map(|part| part.digest.clone()));
                }
            }
            level = below;
        }
        Ok(())
    }

    fn delete_manifest(&self, repository: &str, digest: &Digest) -> Result<bool, OciError> {
        let _only = self.lock_repository(repository);
        let Some(link) = self.read_link(repository, digest)? else {
            return Ok(false);
        };
        for entry in self.tags(repository)? {
            if entry.digest == *digest {
                self.remove_durable(&self.tag_link(repository, &entry.tag))?;
            }
        }
        self.remove_durable(&self.manifest_link(repository, digest))?;
        if let Some(subject) = link.subject.as_deref() {
            let subject = Digest::parse(subject)?;
            self.remove_durable(&self.referrers_of(repository, &subject).join(digest.hex()))?;
        }
        Ok(true)
    }

    fn delete_repository(&self, repository: &str) -> Result<(), OciError> {
        let _only = self.lock_repository(repository);
        for part in ["_tags", "_manifests", "_referrers", "_layers"] {
            self.discard_directory(&self.repository(repository, part))?;
        }
        self.discard_uploads(repository)?;
        let mut name = repository;
        // A directory with other repositories below it is not empty and stays, with those above it.
        while std::fs::remove_dir(self.repositories().join(name)).is_ok() {
            match name.rsplit_once('/') {
                Some((parent, _)) => name = parent,
                None => break,
            }
        }
        super::disk::sync_directory(&self.repositories())
            .map_err(|e| OciError::io(format!("remove repository {repository}"), e))
    }

    fn referrers(
        &self,
        repository: &str,
        subject: &Digest,
    ) -> Result<Vec<ReferrerEntry>, OciError> {
        let mut found = Vec::new();
        for hex in self.names(&self.referrers_of(repository, subject))? {
            let digest = Digest::from_hex(&hex)?;
            if self.read_link(repository, &digest)?.is_none() {
                continue;
            }
            if let Some((manifest, bytes)) = self.manifest_read(&digest)? {
                found.push(ReferrerEntry {
                    digest,
                    artifact_type: manifest.effective_artifact_type(),
                    media_type: manifest.media_type,
                    size: bytes.len() as u64,
                    annotations: manifest.annotations,
                });
            }
        }
        Ok(found)
    }
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain structs of strings and numbers are always JSON")
}

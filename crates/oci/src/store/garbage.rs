//! Garbage collection: content that no repository and no pin refers to goes away after a grace time.
//!
//! It runs beside pushes. Marking reads repositories and pins without stopping anybody; whoever comes to rely on
//! content meanwhile (a manifest that refers to it, a client told that it exists, a mount, a pin) refreshes its time
//! and notes it under a shared lock, and each removal checks both under the exclusive lock.

use super::ContentStore;
use super::disk::{Disk, is_absent, lock};
use crate::manifest::is_manifest_type;
use crate::{Digest, OciError, clock};
use std::collections::HashSet;
use std::fs;
use std::path::Path;

/// What a collection removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Number of blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl ContentStore {
    /// Removes content that nothing refers to and that rested for the grace time, expired uploads, and rubbish that a
    /// crash left. `now_ms` is the time in milliseconds since the Unix epoch. Collections run one at a time: while
    /// one runs, another does nothing.
    pub async fn collect_garbage(&self, now_ms: u64) -> Result<Collected, OciError> {
        self.run(move |disk| disk.collect(now_ms)).await
    }
}

impl ContentStore {
    /// The names of all repositories that have any content, sorted.
    pub async fn repositories(&self) -> Result<Vec<String>, OciError> {
        self.run(|disk| disk.repository_names()).await
    }
}

/// Ends the noting of relied-on content, however the collection ends.
struct Noting<'a>(&'a Disk);

impl Drop for Noting<'_> {
    fn drop(&mut self) {
        *lock(&self.0.relied_on) = None;
    }
}

impl Disk {
    fn collect(&self, now_ms: u64) -> Result<Collected, OciError> {
        {
            // Alone for a moment: who relied on content before has its links in place when marking begins, and who
            // does from now on is noted.
            let _alone = self.sweep_one();
            let mut relied_on = lock(&self.relied_on);
            if relied_on.is_some() {
                return Ok(Collected::default());
            }
            *relied_on = Some(HashSet::new());
        }
        let _noting = Noting(self);
        self.expire_uploads(now_ms)?;
        self.remove_rubbish(now_ms)?;
        let mut marked = HashSet::new();
        for (_, digest) in self.pin_list()? {
            self.mark(&digest, &mut marked)?;
        }
        for repository in self.repository_names()? {
            let mut own = HashSet::new();
            for digest in self.manifest_digests(&repository)? {
                self.mark(&digest, &mut own)?;
            }
            self.unlink_layers(&repository, &own, now_ms)?;
            marked.extend(own);
        }
        self.sweep(&marked, now_ms)
    }

    /// The names of all repositories with at least one manifest, tag or layer, sorted.
    pub(super) fn repository_names(&self) -> Result<Vec<String>, OciError> {
        let mut found = Vec::new();
        let mut open = vec![String::new()];
        while let Some(prefix) = open.pop() {
            let mut is_repository = false;
            for name in self.names(&self.repositories().join(&prefix))? {
                match (name.starts_with('_'), prefix.is_empty()) {
                    (true, _) => is_repository = true,
                    (false, true) => open.push(name),
                    (false, false) => open.push(format!("{prefix}/{name}")),
                }
            }
            if is_repository {
                found.push(prefix);
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Marks a manifest and everything below it. A manifest that is missing or no longer readable marks only itself;
    /// a failing disk ends the collection.
    fn mark(&self, root: &Digest, marked: &mut HashSet<Digest>) -> Result<(), OciError> {
        let mut open = vec![root.clone()];
        while let Some(digest) = open.pop() {
            if !marked.insert(digest.clone()) {
                continue;
            }
            let manifest = match self.manifest_read(&digest) {
                Ok(Some((manifest, _))) => manifest,
                Ok(None) => continue,
                Err(error @ OciError::Io { .. }) => return Err(error),
                Err(error) => {
                    tracing::warn!(%digest, %error, "a stored manifest cannot be read");
                    continue;
                }
            };
            for part in manifest.references() {
                match is_manifest_type(&part.media_type) {
                    true => open.push(part.digest.clone()),
                    false => {
                        marked.insert(part.digest.clone());
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes content out of a repository that none of its manifests refers to and that rested for the grace time.
    fn unlink_layers(
        &self,
        repository: &str,
        marked: &HashSet<Digest>,
        now_ms: u64,
    ) -> Result<(), OciError> {
        for hex in self.names(&self.repository(repository, "_layers"))? {
            let digest = Digest::from_hex(&hex)?;
            if marked.contains(&digest) {
                continue;
            }
            let _alone = self.sweep_one();
            let link = self.layer_link(repository, &digest);
            if self.rested(&link, now_ms)?
                && self.rested(&self.blob(&digest), now_ms)?
                && !self.is_relied_on(&digest)
            {
                self.remove_durable(&link)?;
            }
        }
        Ok(())
    }

    fn sweep(&self, marked: &HashSet<Digest>, now_ms: u64) -> Result<Collected, OciError> {
        let mut collected = Collected::default();
        for hex in self.names(&self.blobs())? {
            let Ok(digest) = Digest::from_hex(&hex) else {
                continue;
            };
            if marked.contains(&digest) {
                continue;
            }
            let _alone = self.sweep_one();
            let path = self.blob(&digest);
            if self.is_relied_on(&digest) || !self.rested(&path, now_ms)? {
                continue;
            }
            let bytes = self.blob_size(&digest)?.unwrap_or(0);
            match fs::remove_file(&path) {
                Ok(()) => {
                    collected.blobs += 1;
                    collected.bytes += bytes;
                }
                Err(e) if is_absent(&e) => {}
                Err(e) => return Err(OciError::io(format!("remove blob {digest}"), e)),
            }
        }
        Ok(collected)
    }

    fn is_relied_on(&self, digest: &Digest) -> bool {
        lock(&self.relied_on)
            .as_ref()
            .is_some_and(|set| set.contains(digest))
    }

    /// Whether a file was left alone for the grace time; one that is gone was.
    fn rested(&self, path: &Path, now_ms: u64) -> Result<bool, OciError> {
        match fs::metadata(path).and_then(|metadata| metadata.modified()) {
            Ok(modified) => {
                Ok(now_ms.saturating_sub(clock::to_ms(modified)) >= self.bounds.grace_ms)
            }
            Err(e) if is_absent(&e) => Ok(true),
            Err(e) => Err(OciError::io(format!("look at {}", self.shown(path)), e)),
        }
    }

    /// Removes what a crash left in `tmp/`: nothing is written there for as long as an upload may rest.
    fn remove_rubbish(&self, now_ms: u64) -> Result<(), OciError> {
        for entry in self.entries(&self.tmp())? {
            let path = entry.path();
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let old = modified.is_ok_and(|at| {
                now_ms.saturating_sub(clock::to_ms(at)) >= self.bounds.upload_age_ms
            });
            if old {
                let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
                let removed = match is_directory {
                    true => fs::remove_dir_all(&path),
                    false => fs::remove_file(&path),
                };
                match removed {
                    Err(e) if !is_absent(&e) => {
                        return Err(OciError::io(format!("remove {}", self.shown(&path)), e));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

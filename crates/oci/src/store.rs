//! The content store: image content as files on disk.
//!
//! ```text
//! blobs/sha256/<hex>                       content, manifests included; a file here is complete and synced
//! repositories/<name>/_manifests/<hex>     a manifest of the repository, with facts about it
//!                     _tags/<tag>          where a tag points
//!                     _layers/<hex>        content that was pushed or mounted into the repository
//!                     _referrers/<hex>/<hex>   manifests whose subject is the first digest
//! uploads/<id>/{repository,data}           open uploads
//! pins/<name>                              manifests that stay although no repository has them
//! tmp/                                     files being written; what is here after a crash is rubbish
//! ```
//!
//! Components of repository names never start with `_`, so `a` and `a/b` can both exist. Every visible change is one
//! rename of a synced file, so a crash at any moment leaves the state before or after it. One process at a time
//! writes to a store.

mod blobs;
mod compose;
mod disk;
mod garbage;
mod images;
mod manifests;
mod moved;
mod pins;
mod uploads;

pub use compose::{LayerWriter, NewImage};
pub use garbage::Collected;
pub use manifests::{ManifestEntry, PutManifest, TagEntry};

pub(crate) use blobs::Ingest;
pub(crate) use manifests::ReferrerEntry;
pub(crate) use uploads::Writer;

use crate::{Digest, OciError, disk_work};
use disk::Disk;
use std::path::Path;
use std::sync::Arc;

/// Bounds of a content store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreBounds {
    /// How long content that nothing refers to is kept, in milliseconds since it was last written, checked for or
    /// mounted: a client pushes layers long before the manifest that refers to them.
    pub grace_ms: u64,
    /// How long an upload may rest before it expires, in milliseconds since its last byte.
    pub upload_age_ms: u64,
    /// Most uploads open at once.
    pub uploads_max: usize,
    /// Bytes of the disk that pushes leave free, so that the rest of the platform can still write.
    pub disk_reserve_bytes: u64,
}

impl Default for StoreBounds {
    fn default() -> StoreBounds {
        StoreBounds {
            grace_ms: 2 * 60 * 60 * 1000,
            upload_age_ms: 24 * 60 * 60 * 1000,
            uploads_max: 512,
            disk_reserve_bytes: 128 * 1024 * 1024,
        }
    }
}

/// Image content on disk, by digest, with the repositories that it is in.
pub struct ContentStore {
    disk: Arc<Disk>,
}

impl ContentStore {
    /// Opens the store in the directory `root` with the usual bounds, making what is not there. Nothing is removed:
    /// uploads that a former process left can be resumed, rubbish goes with the next garbage collection.
    pub fn open(root: &Path) -> Result<Arc<ContentStore>, OciError> {
        ContentStore::open_bounded(root, StoreBounds::default())
    }

    /// [`ContentStore::open`] with other bounds.
    pub fn open_bounded(root: &Path, bounds: StoreBounds) -> Result<Arc<ContentStore>, OciError> {
        let disk = Disk::open(root, bounds)?;
        Ok(Arc::new(ContentStore {
            disk: Arc::new(disk),
        }))
    }

    /// Whether content is stored, and how many bytes it has.
    pub fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, OciError> {
        self.disk.blob_size(digest)
    }

    /// Runs disk work where it may block. It is finished even when the caller goes away meanwhile.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Disk>) -> Result<T, OciError> + Send + 'static,
    ) -> Result<T, OciError> {
        let disk = Arc::clone(&self.disk);
        disk_work::run(move || work(&disk)).await?
    }
}

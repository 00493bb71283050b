//! Unpacking layers into directories for overlayfs.
//!
//! Layers are hostile input: anybody's image is unpacked by a privileged process. What keeps them in:
//!
//! * Paths are cleaned first, and every parent directory is opened with `openat2(2)` and `RESOLVE_IN_ROOT |
//!   RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV`, so that the kernel itself treats the layer's directory as `/` for
//!   symbolic links and `..`. The last component is only ever used with calls that do not follow links, relative to
//!   that descriptor, and files are created with `O_EXCL`.
//! * Bytes, files, path depth, the size of headers and the length of the decompressed stream are bounded, so neither
//!   the disk nor memory is exhausted by a small layer.
//! * Device nodes are left out: instances get their devices from the platform, and layers are mounted without devices.
//!   Of the extended attributes only `user.*`, `security.capability` and POSIX ACLs are taken; `trusted.overlay.*` and
//!   `user.overlay.*` would speak to overlayfs in the platform's name.
//!
//! This runs in the calling process on a blocking thread rather than in a restricted child: nothing here interprets
//! the layer as code, the parsers are memory-safe, and the file system rules above are enforced by the kernel per
//! call, as a chroot of a child would. A child would have to keep the same privileges (ownership, capabilities,
//! whiteouts need root) and would cost a process per layer on the way to an instance's start.
//!
//! The content's digest is checked against the image's diff id while it streams by, in a thread of its own, and a layer
//! appears under its final name, synced, only after that.

mod archive;
mod names;
mod pax;
mod remove;
mod sparse;
mod staging;
mod stream;
mod tree;

pub use remove::remove_tree;
pub(crate) use stream::decoder;

use crate::{ContentStore, Digest, Layer, OciError, disk_work};
use archive::{Archive, Entry, Kind};
use staging::Staging;
use std::fs::File;
use std::io;
use std::path::Path;
use tree::Tree;

/// Bounds of one unpacked layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnpackBounds {
    /// Most bytes of file content, holes included.
    pub bytes: u64,
    /// Most files, directories and links.
    pub inodes: u64,
    /// Most components of a path.
    pub depth: usize,
}

impl Default for UnpackBounds {
    fn default() -> UnpackBounds {
        UnpackBounds {
            bytes: 10 * 1024 * 1024 * 1024,
            inodes: 1_000_000,
            depth: 128,
        }
    }
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnpackReport {
    /// The directory was there already, complete; nothing was done and the other figures are zero.
    pub present: bool,
    /// Bytes of file content.
    pub bytes: u64,
    /// Files, directories and links made.
    pub inodes: u64,
    /// Device nodes and extended attributes that were left out.
    pub left_out: u64,
}

/// Why a layer could not be unpacked. The texts are for people.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The layer is not stored.
    #[error("layer {0} is not in the store")]
    Missing(Digest),
    /// The archive is damaged, hostile or of an unknown form.
    #[error("layer {layer} cannot be unpacked: {reason}")]
    Invalid {
        /// The layer.
        layer: Digest,
        /// What is wrong, with the entry's path.
        reason: String,
    },
    /// The layer exceeds a bound.
    #[error("layer {layer} cannot be unpacked: it has more than {bound}")]
    TooLarge {
        /// The layer.
        layer: Digest,
        /// The bound with its unit.
        bound: String,
    },
    /// The uncompressed content is not what the image says.
    #[error("layer {layer} unpacks to content with digest {actual}, the image says {expected}")]
    DiffId {
        /// The layer.
        layer: Digest,
        /// The image's diff id.
        expected: Digest,
        /// The digest of what came out.
        actual: Digest,
    },
    /// The stored layer is not what its digest says: the disk or somebody else changed it. It was taken out of the
    /// store, so that pushing or pulling the image again brings it back.
    #[error(
        "layer {layer} was damaged on this machine's disk and removed, push or pull the image again"
    )]
    Damaged {
        /// The layer.
        layer: Digest,
    },
    /// The disk is full.
    #[error("layer {layer} cannot be unpacked: no space left on the disk")]
    DiskFull {
        /// The layer.
        layer: Digest,
    },
    /// A file operation failed.
    #[error("layer {layer} cannot be unpacked: could not {what}: {error}")]
    Io {
        /// The layer.
        layer: Digest,
        /// What was being done.
        what: String,
        /// The system's answer.
        error: io::Error,
    },
    /// The stored layer could not be read.
    #[error(transparent)]
    Store(#[from] OciError),
}

/// Why unpacking stopped, before the layer's name is put to it.
#[derive(Debug)]
enum Stop {
    Invalid(String),
    TooLarge(String),
    DiffId { actual: Digest },
    Io { what: String, error: io::Error },
}

impl Stop {
    fn io(what: impl Into<String>, error: impl Into<io::Error>) -> Stop {
        Stop::Io {
            what: what.into(),
            error: error.into(),
        }
    }

    fn named(self, layer: &Layer) -> UnpackError {
        let digest = layer.digest.clone();
        match self {
            Stop::Invalid(reason) => UnpackError::Invalid {
                layer: digest,
                reason,
            },
            Stop::TooLarge(bound) => UnpackError::TooLarge {
                layer: digest,
                bound,
            },
            Stop::DiffId { actual } => UnpackError::DiffId {
                layer: digest,
                expected: layer.diff_id.clone(),
                actual,
            },
            Stop::Io { what, error } => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    UnpackError::DiskFull { layer: digest }
                }
                _ => UnpackError::Io {
                    layer: digest,
                    what,
                    error,
                },
            },
        }
    }
}

/// When a layer counts as unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Durability {
    Synced,
    Complete,
}

/// Unpacks one layer into the directory `destination`, which appears complete and synced or not at all; when it exists
/// already nothing is done. Whiteouts become what overlayfs wants: character devices 0:0 and `trusted.overlay.opaque`.
///
/// Owners, set-user-id bits and capabilities are the image's, so the directory above `destination` has to be closed to
/// other users of the machine. Needs root. The work goes on to its end even when the future is dropped.
pub async fn unpack(
    store: &ContentStore,
    layer: &Layer,
    destination: &Path,
    bounds: &UnpackBounds,
) -> Result<UnpackReport, UnpackError> {
    unpack_as(store, layer, destination, bounds, Durability::Synced).await
}

/// [`unpack`] without waiting for the disk: the directory is complete and survives the end of this process, but after a
/// power loss its files may be empty. The caller syncs the file system later, and does not trust a directory of an
/// earlier boot before that. On the way to an instance's start this saves the time that the disk takes.
pub async fn unpack_unsynced(
    store: &ContentStore,
    layer: &Layer,
    destination: &Path,
    bounds: &UnpackBounds,
) -> Result<UnpackReport, UnpackError> {
    unpack_as(store, layer, destination, bounds, Durability::Complete).await
}

async fn unpack_as(
    store: &ContentStore,
    layer: &Layer,
    destination: &Path,
    bounds: &UnpackBounds,
    durability: Durability,
) -> Result<UnpackReport, UnpackError> {
    let (layer, destination) = (layer.clone(), destination.to_owned());
    let bounds = bounds.clone();
    let Some((blob, _)) = store.blob_open(&layer.digest)? else {
        return Err(UnpackError::Missing(layer.digest));
    };
    let diff_id = layer.diff_id.clone();
    let work = move || unpack_blob(blob, &diff_id, &destination, &bounds, durability);
    let stop = match disk_work::run(work).await? {
        Ok(report) => return Ok(report),
        Err(stop) => stop,
    };
    let by_content = matches!(
        stop,
        Stop::Invalid(_) | Stop::TooLarge(_) | Stop::DiffId { .. }
    );
    if by_content && store.blob_removed_if_damaged(&layer.digest).await? {
        return Err(UnpackError::Damaged {
            layer: layer.digest,
        });
    }
    Err(stop.named(&layer))
}

fn unpack_blob(
    blob: File,
    diff_id: &Digest,
    destination: &Path,
    bounds: &UnpackBounds,
    durability: Durability,
) -> Result<UnpackReport, Stop> {
    let Some(staging) = Staging::begin(destination)? else {
        return Ok(UnpackReport {
            present: true,
            ..UnpackReport::default()
        });
    };
    let report = stream::pump(blob, diff_id, bounds, |input| {
        let mut archive = Archive::new(input, bounds.bytes);
        let mut tree = Tree::new(staging.directory(), bounds.clone())?;
        while let Some(entry) = archive.next_entry()? {
            place(&mut tree, &mut archive, entry)?;
        }
        archive.drain()?;
        tree.finish()
    })?;
    staging.publish(destination, durability)?;
    Ok(report)
}

/// Puts one entry of the archive into the tree.
fn place(tree: &mut Tree, archive: &mut Archive, entry: Entry) -> Result<(), Stop> {
    let Some(target) = names::target(&entry.path)? else {
        return archive.skip_content(&entry);
    };
    let placed = match (target, &entry.kind) {
        (names::Target::Opaque(directory), _) => tree.make_opaque(&directory),
        (names::Target::Whiteout(path), _) => tree.whiteout(&path),
        (names::Target::Path(path), Kind::File(_)) => return tree.file(&path, &entry, archive),
        (names::Target::Path(path), Kind::Directory) => tree.directory(&path, &entry),
        (names::Target::Path(path), Kind::Symlink(to)) => tree.symlink(&path, &entry, to),
        (names::Target::Path(path), Kind::Hardlink(to)) => {
            let to = names::clean(to)?;
            tree.hardlink(&path, &to)
        }
        (names::Target::Path(path), Kind::Fifo) => tree.fifo(&path, &entry),
        (names::Target::Path(_), Kind::Device) => {
            tree.leave_out();
            Ok(())
        }
    };
    placed.and_then(|()| archive.skip_content(&entry))
}

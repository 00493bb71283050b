//! Where things are on disk, and durable changes to small files.

use super::StoreBounds;
use super::uploads::Session;
use crate::{Digest, OciError};
use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use std::collections::{HashMap, HashSet};
use std::fs::{self, DirBuilder, DirEntry, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Repositories are locked in groups, this many.
const REPOSITORY_LOCKS: usize = 64;
/// How often a durable write starts again because its directory was removed under it.
const DIRECTORY_RETRIES: usize = 4;

pub(crate) struct Disk {
    root: PathBuf,
    pub(super) bounds: StoreBounds,
    /// Held shared while somebody relies on content being there, exclusively while one blob is swept.
    sweep: RwLock<()>,
    /// Content that somebody came to rely on during the running collection; `None` when none runs.
    pub(super) relied_on: Mutex<Option<HashSet<Digest>>>,
    pub(super) sessions: Mutex<HashMap<String, Arc<Session>>>,
    repositories: Vec<Mutex<()>>,
}

impl Disk {
    pub(super) fn open(root: &Path, bounds: StoreBounds) -> Result<Disk, OciError> {
        // Images may be private: nobody else on the machine reads them.
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for part in ["blobs/sha256", "repositories", "uploads", "pins", "tmp"] {
            let path = root.join(part);
            builder
                .create(&path)
                .map_err(|e| OciError::io(format!("create {}", path.display()), e))?;
        }
        Ok(Disk {
            root: root.to_owned(),
            bounds,
            sweep: RwLock::new(()),
            relied_on: Mutex::new(None),
            sessions: Mutex::new(HashMap::new()),
            repositories: (0..REPOSITORY_LOCKS).map(|_| Mutex::new(())).collect(),
        })
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    pub(super) fn repositories(&self) -> PathBuf {
        self.root.join("repositories")
    }

    /// A directory of a repository, `_tags` for example. The name has been checked.
    pub(super) fn repository(&self, name: &str, part: &str) -> PathBuf {
        self.root.join("repositories").join(name).join(part)
    }

    pub(super) fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    pub(super) fn pins(&self) -> PathBuf {
        self.root.join("pins")
    }

    pub(super) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// A name in `tmp/` that nobody else has.
    pub(super) fn tmp_file(&self) -> Result<PathBuf, OciError> {
        Ok(self.tmp().join(random_id()?))
    }

    /// Changes to one repository happen one after the other.
    pub(super) fn lock_repository(&self, name: &str) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % REPOSITORY_LOCKS as u64).unwrap_or(0);
        self.repositories[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// While this is held, no content goes away.
    pub(super) fn rely(&self) -> RwLockReadGuard<'_, ()> {
        self.sweep.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sweep_one(&self) -> RwLockWriteGuard<'_, ()> {
        self.sweep.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that somebody relies on content from now on; false when it is not there. To be called under
    /// [`Disk::rely`].
    pub(super) fn refresh(&self, digest: &Digest) -> Result<bool, OciError> {
        let now = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_NOW,
            },
        };
        let path = self.blob(digest);
        match rustix::fs::utimensat(rustix::fs::CWD, &path, &now, AtFlags::empty()) {
            Ok(()) => {
                let mut relied_on = lock(&self.relied_on);
                if let Some(set) = relied_on.as_mut() {
                    set.insert(digest.clone());
                }
                Ok(true)
            }
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(e) => Err(OciError::io(format!("touch blob {digest}"), e.into())),
        }
    }

    /// Fails when writing `more` bytes would leave less than the reserve.
    pub(super) fn check_space(&self, more: u64, what: &str) -> Result<(), OciError> {
        let stat = rustix::fs::statvfs(&self.root)
            .map_err(|e| OciError::io("ask for free disk space", e.into()))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        match free < self.bounds.disk_reserve_bytes.saturating_add(more) {
            true => Err(OciError::DiskFull {
                what: what.to_owned(),
            }),
            false => Ok(()),
        }
    }

    /// Writes a file so that after a crash it is there whole or not at all, and after this returns it is there.
    pub(super) fn write_durable(&self, path: &Path, bytes: &[u8]) -> Result<(), OciError> {
        let what = || format!("write {}", self.shown(path));
        let staged = self.tmp_file()?;
        let written = stage(&staged, bytes).and_then(|()| self.publish(&staged, path));
        if let Err(e) = written {
            // The write has failed already; a file left in tmp is rubbish that the next collection removes.
            let _ = fs::remove_file(&staged);
            return Err(OciError::io(what(), e));
        }
        Ok(())
    }

    /// Moves a synced file to its place, making directories as needed, and syncs the directories that changed.
    pub(super) fn publish(&self, staged: &Path, path: &Path) -> io::Result<()> {
        let parent = path.parent().unwrap_or(&self.root);
        for _ in 0..DIRECTORY_RETRIES {
            match fs::rename(staged, path) {
                Ok(()) => return sync_directory(parent),
                Err(e) if e.kind() == io::ErrorKind::NotFound => self.create_directory(parent)?,
                Err(e) => return Err(e),
            }
        }
        fs::rename(staged, path)?;
        sync_directory(parent)
    }

    /// Makes a directory and those above it; each one made is synced into its parent.
    pub(super) fn create_directory(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Ok(()) => sync_directory(path.parent().unwrap_or(&self.root)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound && path.starts_with(&self.root) => {
                match path.parent() {
                    Some(parent) => self.create_directory(parent)?,
                    None => return Err(e),
                }
                match fs::create_dir(path) {
                    Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
                    _ => sync_directory(path.parent().unwrap_or(&self.root)),
                }
            }
            Err(e) => Err(e),
        }
    }

    /// Removes a file durably; false when it was not there.
    pub(super) fn remove_durable(&self, path: &Path) -> Result<bool, OciError> {
        let removed = match fs::remove_file(path) {
            Ok(()) => path.parent().map_or(Ok(()), sync_directory).map(|()| true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        };
        removed.map_err(|e| OciError::io(format!("remove {}", self.shown(path)), e))
    }

    /// Reads a small file; `None` when it is not there.
    pub(super) fn read_small(&self, path: &Path) -> Result<Option<Vec<u8>>, OciError> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(OciError::io(format!("read {}", self.shown(path)), e)),
        }
    }

    /// The entries of a directory; none when it is not there.
    pub(super) fn entries(&self, path: &Path) -> Result<Vec<DirEntry>, OciError> {
        let list = match fs::read_dir(path) {
            Ok(list) => list.collect::<io::Result<Vec<_>>>(),
            Err(e) if is_absent(&e) => Ok(Vec::new()),
            Err(e) => Err(e),
        };
        list.map_err(|e| OciError::io(format!("list {}", self.shown(path)), e))
    }

    /// The names in a directory, sorted; none when it is not there.
    pub(super) fn names(&self, path: &Path) -> Result<Vec<String>, OciError> {
        let entries = self.entries(path)?;
        let mut names: Vec<String> = entries
            .iter()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    /// A path as messages show it: relative to the store.
    pub(super) fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root)
            .unwrap_or(path)
            .display()
            .to_string()
    }
}

/// Locks a mutex whose holders never leave it half changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Syncs a directory, so that names in it survive a power loss. One that is gone needs none.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    match File::open(path) {
        Ok(directory) => directory.sync_all(),
        Err(e) if is_absent(&e) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Whether an error says that a path does not exist: a component may be missing or be a file.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// 32 random hexadecimal digits.
pub(super) fn random_id() -> Result<String, OciError> {
    let mut bytes = [0u8; 16];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| OciError::io("get random bytes", io::Error::other("the generator failed")))?;
    Ok(hex::encode(bytes))
}

fn stage(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

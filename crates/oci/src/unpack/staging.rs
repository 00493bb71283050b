//! The directory a layer is unpacked into before it gets its name.

use super::remove::remove_tree;
use super::{Durability, Stop};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How often a directory is made again that somebody else removed at once.
const MAKE_RETRIES: usize = 4;

/// A directory beside the destination. It is locked while it is in use, so that one which a killed process left is told
/// from one that is being filled. Dropped before it is published, it is removed.
pub(super) struct Staging {
    path: PathBuf,
    directory: OwnedFd,
    published: bool,
}

impl Staging {
    /// Begins; `None` when the destination exists already. Removes what killed processes left for this destination.
    pub(super) fn begin(destination: &Path) -> Result<Option<Staging>, Stop> {
        if is_present(destination)? {
            return Ok(None);
        }
        let (Some(parent), Some(name)) = (destination.parent(), destination.file_name()) else {
            return Err(Stop::io(
                "unpack a layer to a path without a name",
                Errno::INVAL,
            ));
        };
        fs::create_dir_all(parent)
            .map_err(|e| Stop::io(format!("create {}", parent.display()), e))?;
        let prefix = format!(".unpacking-{}-", name.to_string_lossy());
        remove_stale(parent, &prefix)?;
        let (path, directory) = make_locked(parent, &prefix)?;
        let staging = Staging {
            path,
            directory,
            published: false,
        };
        rustix::fs::fchmod(&staging.directory, Mode::from_raw_mode(0o755))
            .map_err(|e| Stop::io("set the mode of the layer's directory", e))?;
        Ok(Some(staging))
    }

    /// The directory to fill.
    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Gives the directory its name, after waiting for the disk when that is wanted. When somebody else was faster,
    /// theirs stays.
    pub(super) fn publish(
        mut self,
        destination: &Path,
        durability: Durability,
    ) -> Result<(), Stop> {
        let failed = |e| Stop::io(format!("publish {}", destination.display()), e);
        let synced = durability == Durability::Synced;
        if synced {
            rustix::fs::syncfs(&self.directory).map_err(|e| failed(e.into()))?;
        }
        match rustix::fs::renameat_with(CWD, &self.path, CWD, destination, RenameFlags::NOREPLACE) {
            Ok(()) => self.published = true,
            Err(Errno::EXIST) => return Ok(()),
            Err(e) => return Err(failed(e.into())),
        }
        match destination.parent() {
            Some(parent) if synced => fs::File::open(parent)
                .and_then(|directory| directory.sync_all())
                .map_err(failed),
            _ => Ok(()),
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = remove_tree(&self.path)
        {
            let path = self.path.display();
            tracing::warn!(%path, %error, "an unfinished layer could not be removed");
        }
    }
}

fn is_present(destination: &Path) -> Result<bool, Stop> {
    match fs::symlink_metadata(destination) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Stop::io(format!("look for {}", destination.display()), e)),
    }
}

/// Makes a directory of a random name and locks it. Between the two somebody else may take it for a stale one.
fn make_locked(parent: &Path, prefix: &str) -> Result<(PathBuf, OwnedFd), Stop> {
    let mut last = Errno::AGAIN;
    for _ in 0..MAKE_RETRIES {
        let mut random = [0u8; 8];
        aws_lc_rs::rand::fill(&mut random)
            .map_err(|_| Stop::io("get random bytes", io::Error::other("the generator failed")))?;
        let path = parent.join(format!("{prefix}{}", hex::encode(random)));
        let made = rustix::fs::mkdir(&path, Mode::from_raw_mode(0o700));
        match made.and_then(|()| open_locked(&path)) {
            Ok(directory) => return Ok((path, directory)),
            Err(e @ (Errno::NOENT | Errno::AGAIN)) => last = e,
            Err(e) => return Err(Stop::io(format!("create {}", path.display()), e)),
        }
    }
    Err(Stop::io(
        format!("create a directory in {}", parent.display()),
        last,
    ))
}

fn open_locked(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty())?;
    rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
    Ok(directory)
}

/// Removes directories of this prefix that nobody has locked.
fn remove_stale(parent: &Path, prefix: &str) -> Result<(), Stop> {
    let failed = |e| Stop::io(format!("list {}", parent.display()), e);
    for entry in fs::read_dir(parent).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().to_string_lossy().starts_with(prefix) {
            continue;
        }
        if let Ok(_locked) = open_locked(&entry.path()) {
            remove_tree(&entry.path())
                .map_err(|e| Stop::io(format!("remove {}", entry.path().display()), e))?;
        }
    }
    Ok(())
}

//! Removing trees that a layer made.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Removes a file or a directory with everything in it; one that does not exist is fine. Symbolic links are not
/// followed. It needs two descriptors however deep the tree is: a layer may be deeper than there are descriptors or
/// stack, which the standard library's removal uses one of per level.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = match parent.as_os_str().is_empty() {
        true => Path::new("."),
        false => parent,
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::open(parent, flags, Mode::empty()) {
        Ok(parent) => Ok(remove_at(parent.as_fd(), name.as_bytes())?),
        Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Removes `name` in the directory `parent`, see [`remove_tree`]. Nobody else may move directories in it meanwhile.
pub(super) fn remove_at(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(Errno::NOENT) => return Ok(()),
        result => return result,
    }
    let mut current = open_below(parent, name)?;
    // The names on the way down from `parent`; the last is that of `current`.
    let mut names = vec![name.to_owned()];
    loop {
        match empty_files(&current)? {
            Some(below) => {
                let next = open_below(current.as_fd(), &below)?;
                names.push(below);
                current = next;
            }
            None => {
                let Some(done) = names.pop() else {
                    return Ok(());
                };
                if names.is_empty() {
                    return rustix::fs::unlinkat(parent, &done[..], AtFlags::REMOVEDIR);
                }
                let above = open_below(current.as_fd(), b"..")?;
                rustix::fs::unlinkat(&above, &done[..], AtFlags::REMOVEDIR)?;
                current = above;
            }
        }
    }
}

fn open_below(directory: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}

/// Removes everything in a directory up to the first directory in it, and tells that one's name.
fn empty_files(directory: &OwnedFd) -> rustix::io::Result<Option<Vec<u8>>> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => return Ok(Some(name.to_owned())),
            Err(Errno::NOENT) | Ok(()) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_removed_and_links_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let outside = directory.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("kept"), b"").unwrap();
        let tree = directory.path().join("tree");
        for part in ["a/b/c", "d", "e/f"] {
            std::fs::create_dir_all(tree.join(part)).unwrap();
            for file in 0..40 {
                std::fs::write(tree.join(part).join(file.to_string()), b"x").unwrap();
            }
        }
        std::os::unix::fs::symlink(&outside, tree.join("a/link")).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert!(outside.join("kept").exists());
        remove_tree(&tree).unwrap();
        remove_tree(&outside.join("kept")).unwrap();
        assert!(!outside.join("kept").exists());
    }

    #[test]
    fn a_tree_deeper_than_there_are_descriptors_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut current = rustix::fs::open(directory.path(), flags, Mode::empty()).unwrap();
        for _ in 0..5000 {
            rustix::fs::mkdirat(&current, "d", Mode::from_raw_mode(0o755)).unwrap();
            current = open_below(current.as_fd(), b"d").unwrap();
        }
        drop(current);
        remove_tree(&directory.path().join("d")).unwrap();
        assert!(!directory.path().join("d").exists());
    }
}

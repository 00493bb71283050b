//! The layer's directory being filled.

use super::archive::{Archive, Entry};
use super::names::{CleanPath, joined, shown};
use super::remove::remove_at;
use super::{Stop, UnpackBounds, UnpackReport};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT, Uid,
};
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

/// How often the kernel is asked again when it could not tell whether a path stays inside (openat2(2), EAGAIN).
const OPEN_RETRIES: usize = 16;
/// Directories that everybody may write to wherever they are made without being in the archive.
const SHARED: [&[u8]; 2] = [b"tmp", b"var/tmp"];
const OPAQUE_XATTR: &str = "trusted.overlay.opaque";

/// A directory that is filled with a layer's entries.
pub(super) struct Tree<'a> {
    root: BorrowedFd<'a>,
    bounds: UnpackBounds,
    report: UnpackReport,
    /// The directory that the last entry was in; entries of one directory mostly follow each other.
    parent: Option<(Vec<u8>, Rc<OwnedFd>)>,
    /// Times of directories, set at the end because filling them changes them.
    times: Vec<(CleanPath, Timestamps)>,
    own_ids: (u32, u32),
}

impl<'a> Tree<'a> {
    pub(super) fn new(root: BorrowedFd<'a>, bounds: UnpackBounds) -> Result<Tree<'a>, Stop> {
        let own_ids = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let report = UnpackReport::default();
        Ok(Tree {
            root,
            bounds,
            report,
            parent: None,
            times: Vec::new(),
            own_ids,
        })
    }

    /// Sets the times of directories and tells what was made.
    pub(super) fn finish(mut self) -> Result<UnpackReport, Stop> {
        for (path, times) in std::mem::take(&mut self.times).into_iter().rev() {
            // A directory that a later entry replaced has no times to be set.
            if let Ok(directory) = self.open_directory(&joined(&path)) {
                rustix::fs::futimens(&directory, &times)
                    .map_err(|e| at("set the times of", &path, e))?;
            }
        }
        Ok(self.report)
    }

    /// Counts something that is left out.
    pub(super) fn leave_out(&mut self) {
        self.report.left_out += 1;
    }

    /// Makes a file and writes its content.
    pub(super) fn file(
        &mut self,
        path: &CleanPath,
        entry: &Entry,
        archive: &mut Archive,
    ) -> Result<(), Stop> {
        let super::Kind::File(map) = &entry.kind else {
            return Err(Stop::Invalid(format!(
                "`{}` is no file",
                shown(&joined(path))
            )));
        };
        self.count_bytes(map.size)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = self.make(path, |parent, name| {
            rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))
        })?;
        let file = File::from(file);
        let mut written = 0;
        for region in &map.regions {
            let mut offset = region.offset;
            let end = region.offset + region.length;
            while let Some(piece) = archive.content(end - offset)? {
                file.write_all_at(&piece, offset)
                    .map_err(|e| at("write", path, e))?;
                offset += piece.len() as u64;
                written = offset;
            }
        }
        if written < map.size {
            // What follows the last region is a hole.
            file.set_len(map.size).map_err(|e| at("extend", path, e))?;
        }
        self.finish_open(file.as_fd(), path, entry)?;
        rustix::fs::futimens(&file, &times_of(entry)).map_err(|e| at("set the times of", path, e))
    }

    /// Makes a directory, or gives one that is there the entry's owner and mode.
    pub(super) fn directory(&mut self, path: &CleanPath, entry: &Entry) -> Result<(), Stop> {
        if !path.is_empty() {
            let name = path
                .last()
                .expect("a path that is not empty has a last component");
            let above = self.parent_of(path)?;
            match self.kind_of(&above, name, path)? {
                Some(Present::Directory) => self.count_inode()?,
                _ => self.make(path, |parent, name| {
                    rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700))
                })?,
            }
        }
        let directory = self
            .open_directory(&joined(path))
            .map_err(|e| at("open", path, e))?;
        self.finish_open(directory.as_fd(), path, entry)?;
        self.times.push((path.clone(), times_of(entry)));
        Ok(())
    }

    pub(super) fn symlink(
        &mut self,
        path: &CleanPath,
        entry: &Entry,
        to: &[u8],
    ) -> Result<(), Stop> {
        self.make(path, |parent, name| rustix::fs::symlinkat(to, parent, name))?;
        self.finish_named(path, entry)
    }

    pub(super) fn fifo(&mut self, path: &CleanPath, entry: &Entry) -> Result<(), Stop> {
        self.make(path, |parent, name| {
            rustix::fs::mknodat(parent, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
        })?;
        self.finish_named(path, entry)?;
        let name = last_of(path)?;
        let parent = self.parent_of(path)?;
        // The name was made a moment ago in a directory that nobody else writes to: it is no link.
        rustix::fs::chmodat(
            &parent,
            name,
            Mode::from_raw_mode(entry.mode),
            AtFlags::empty(),
        )
        .map_err(|e| at("set the mode of", path, e))
    }

    /// Makes a further name of a file of this layer.
    pub(super) fn hardlink(&mut self, path: &CleanPath, to: &CleanPath) -> Result<(), Stop> {
        if path == to {
            return Ok(());
        }
        let target = last_of(to)?.to_owned();
        let from = self
            .open_directory(&joined(&to[..to.len() - 1]))
            .map_err(|e| link_failed(path, to, e))?;
        let made = self.make(path, |parent, name| {
            rustix::fs::linkat(&from, &target[..], parent, name, AtFlags::empty())
        });
        made.map_err(|stop| match stop {
            Stop::Io { error, .. } if error.kind() == std::io::ErrorKind::NotFound => {
                link_failed(path, to, Errno::NOENT)
            }
            Stop::Io { error, .. } if error.kind() == std::io::ErrorKind::PermissionDenied => {
                link_failed(path, to, Errno::PERM)
            }
            other => other,
        })
    }

    /// Hides everything that lower layers have in a directory.
    pub(super) fn make_opaque(&mut self, path: &CleanPath) -> Result<(), Stop> {
        self.check_depth(path)?;
        let directory = self.ensure_directory(path)?;
        set_opaque(&directory, path)
    }

    /// Removes a path of lower layers. Something of that name in this layer stays, but hides what is below it.
    pub(super) fn whiteout(&mut self, path: &CleanPath) -> Result<(), Stop> {
        let name = last_of(path)?;
        let parent = self.parent_of(path)?;
        match self.kind_of(&parent, name, path)? {
            Some(Present::Directory) => {
                let directory = self
                    .open_directory(&joined(path))
                    .map_err(|e| at("open", path, e))?;
                set_opaque(&directory, path)
            }
            Some(_) => Ok(()),
            None => self.make(path, |parent, name| {
                rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0)
            }),
        }
    }

    /// Makes something under a new name, removing what has that name. `create` gets the directory and the name.
    fn make<T>(
        &mut self,
        path: &CleanPath,
        create: impl Fn(BorrowedFd<'_>, &[u8]) -> rustix::io::Result<T>,
    ) -> Result<T, Stop> {
        let name = last_of(path)?;
        self.count_inode()?;
        let parent = self.parent_of(path)?;
        match create(parent.as_fd(), name) {
            Err(Errno::EXIST) => {}
            result => return result.map_err(|e| at("make", path, e)),
        }
        let present = self.kind_of(&parent, name, path)?;
        // The directory that is remembered may be below what is removed.
        self.parent = None;
        remove_at(parent.as_fd(), name).map_err(|e| at("replace", path, e))?;
        let made = create(parent.as_fd(), name).map_err(|e| at("make", path, e))?;
        if present == Some(Present::Whiteout)
            && self.kind_of(&parent, name, path)? == Some(Present::Directory)
        {
            let directory = self
                .open_directory(&joined(path))
                .map_err(|e| at("open", path, e))?;
            set_opaque(&directory, path)?;
        }
        Ok(made)
    }

    /// Opens the directory an entry belongs in, making it when it is missing, and remembers it.
    fn parent_of(&mut self, path: &[Vec<u8>]) -> Result<Rc<OwnedFd>, Stop> {
        self.check_depth(path)?;
        let above = &path[..path.len().saturating_sub(1)];
        let key = joined(above);
        match &self.parent {
            Some((known, directory)) if *known == key => Ok(Rc::clone(directory)),
            _ => {
                let directory = Rc::new(self.ensure_directory(above)?);
                self.parent = Some((key, Rc::clone(&directory)));
                Ok(directory)
            }
        }
    }

    /// Opens a directory, making it and those above it when they are missing.
    fn ensure_directory(&mut self, path: &[Vec<u8>]) -> Result<OwnedFd, Stop> {
        match self.open_directory(&joined(path)) {
            Ok(directory) => return Ok(directory),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(e) => return Err(at("open", path, e)),
        }
        let mut parent = self.open_directory(b"").map_err(|e| at("open", path, e))?;
        for depth in 1..=path.len() {
            let (part, name) = (&path[..depth], &path[depth - 1]);
            let opened = self.open_directory(&joined(part));
            parent = match opened {
                Ok(directory) => directory,
                Err(Errno::NOENT) => self.make_implicit(&parent, name, part)?,
                Err(Errno::NOTDIR)
                    if self.kind_of(&parent, name, part)? == Some(Present::Whiteout) =>
                {
                    rustix::fs::unlinkat(&parent, &name[..], AtFlags::empty())
                        .map_err(|e| at("replace", part, e))?;
                    let directory = self.make_implicit(&parent, name, part)?;
                    set_opaque(&directory, part)?;
                    directory
                }
                Err(e) => return Err(at("open", part, e)),
            };
        }
        Ok(parent)
    }

    /// Makes a directory that the archive only implies. Lower layers mostly have it too; its mode here is what counts,
    /// so the usual one is taken.
    fn make_implicit(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        path: &[Vec<u8>],
    ) -> Result<OwnedFd, Stop> {
        self.count_inode()?;
        match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let shown = shown(&joined(path));
                return Err(Stop::Invalid(format!(
                    "`{shown}` is a link that leads nowhere"
                )));
            }
            Err(e) => return Err(at("make", path, e)),
        }
        let directory = self
            .open_directory(&joined(path))
            .map_err(|e| at("open", path, e))?;
        let mode = match SHARED.contains(&joined(path).as_slice()) {
            true => 0o1777,
            false => 0o755,
        };
        rustix::fs::fchmod(&directory, Mode::from_raw_mode(mode))
            .map_err(|e| at("set the mode of", path, e))?;
        Ok(directory)
    }

    /// Opens a directory of the layer as if the layer were `/`.
    fn open_directory(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let path = match path {
            b"" => b".",
            path => path,
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let mut result = Err(Errno::AGAIN);
        for _ in 0..OPEN_RETRIES {
            result = rustix::fs::openat2(self.root, path, flags, Mode::empty(), resolve);
            if !matches!(result, Err(Errno::AGAIN | Errno::INTR)) {
                break;
            }
        }
        result
    }

    fn kind_of(
        &self,
        parent: &OwnedFd,
        name: &[u8],
        path: &[Vec<u8>],
    ) -> Result<Option<Present>, Stop> {
        let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(at("look at", path, e)),
        };
        Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Present::Directory,
            FileType::CharacterDevice if stat.st_rdev == 0 => Present::Whiteout,
            _ => Present::Other,
        }))
    }

    /// Owner, mode and attributes of an open file or directory; in this order, for a change of owner clears
    /// set-user-id bits and capabilities.
    fn finish_open(
        &mut self,
        file: BorrowedFd<'_>,
        path: &CleanPath,
        entry: &Entry,
    ) -> Result<(), Stop> {
        if (entry.uid, entry.gid) != self.own_ids {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            rustix::fs::fchown(file, Some(uid), Some(gid))
                .map_err(|e| at("set the owner of", path, e))?;
        }
        rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode))
            .map_err(|e| at("set the mode of", path, e))?;
        for (name, value) in &entry.xattrs {
            if !is_taken(name) {
                self.report.left_out += 1;
                continue;
            }
            match rustix::fs::fsetxattr(file, &name[..], value, rustix::fs::XattrFlags::empty()) {
                Ok(()) => {}
                Err(Errno::NOTSUP) => self.report.left_out += 1,
                Err(e) => return Err(at("set an attribute of", path, e)),
            }
        }
        Ok(())
    }

    /// Owner and times of something that is not opened: a link or a pipe. Their attributes are left out.
    fn finish_named(&mut self, path: &CleanPath, entry: &Entry) -> Result<(), Stop> {
        self.report.left_out += entry.xattrs.len() as u64;
        let name = last_of(path)?;
        let parent = self.parent_of(path)?;
        if (entry.uid, entry.gid) != self.own_ids {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            rustix::fs::chownat(
                &parent,
                name,
                Some(uid),
                Some(gid),
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .map_err(|e| at("set the owner of", path, e))?;
        }
        rustix::fs::utimensat(&parent, name, &times_of(entry), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| at("set the times of", path, e))
    }

    fn check_depth(&self, path: &[Vec<u8>]) -> Result<(), Stop> {
        match path.len() > self.bounds.depth {
            true => Err(Stop::TooLarge(format!(
                "{} components in a path",
                self.bounds.depth
            ))),
            false => Ok(()),
        }
    }

    fn count_inode(&mut self) -> Result<(), Stop> {
        self.report.inodes += 1;
        match self.report.inodes > self.bounds.inodes {
            true => Err(Stop::TooLarge(format!("{} files", self.bounds.inodes))),
            false => Ok(()),
        }
    }

    fn count_bytes(&mut self, more: u64) -> Result<(), Stop> {
        self.report.bytes = self.report.bytes.saturating_add(more);
        match self.report.bytes > self.bounds.bytes {
            true => Err(Stop::TooLarge(format!(
                "{} bytes of files",
                self.bounds.bytes
            ))),
            false => Ok(()),
        }
    }
}

/// What has a name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Present {
    Directory,
    Whiteout,
    Other,
}

fn last_of(path: &CleanPath) -> Result<&[u8], Stop> {
    match path.last() {
        Some(name) => Ok(name),
        None => Err(Stop::Invalid(
            "the root of the layer is not a directory in it".to_owned(),
        )),
    }
}

fn set_opaque(directory: &OwnedFd, path: &[Vec<u8>]) -> Result<(), Stop> {
    rustix::fs::fsetxattr(
        directory,
        OPAQUE_XATTR,
        b"y",
        rustix::fs::XattrFlags::empty(),
    )
    .map_err(|e| at("hide what is below", path, e))
}

/// Whether an extended attribute is taken over.
fn is_taken(name: &[u8]) -> bool {
    let user = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
    user || matches!(
        name,
        b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default"
    )
}

fn times_of(entry: &Entry) -> Timestamps {
    let (seconds, nanos) = entry.mtime;
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: seconds,
            tv_nsec: nanos.into(),
        },
    }
}

/// A failed call about a path of the layer. What only the layer can have caused is its fault, not the system's.
fn at(what: &str, path: &[Vec<u8>], error: impl Into<std::io::Error>) -> Stop {
    let error = error.into();
    let shown = shown(&joined(path));
    let of_layer = [
        Errno::NAMETOOLONG,
        Errno::LOOP,
        Errno::NOTDIR,
        Errno::XDEV,
        Errno::ISDIR,
        Errno::INVAL,
    ];
    match error
        .raw_os_error()
        .is_some_and(|raw| of_layer.iter().any(|e| e.raw_os_error() == raw))
    {
        true => Stop::Invalid(format!("could not {what} `{shown}`: {error}")),
        false => Stop::io(format!("{what} `{shown}`"), error),
    }
}

fn link_failed(path: &CleanPath, to: &CleanPath, error: Errno) -> Stop {
    let (path, to) = (shown(&joined(path)), shown(&joined(to)));
    Stop::Invalid(format!(
        "`{path}` is a hard link to `{to}`, which this layer does not have as a file: {error}"
    ))
}

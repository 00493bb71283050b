//! The way through the directory.

use super::{Owners, PackError, PackOptions, Packed, Source};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// What marks a removed name, and a directory that hides what is below it (OCI image specification, layers).
const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

/// Longest extended attribute that is read, in bytes.
const ATTRIBUTE_BYTES_MAX: usize = 64 << 10;

/// The attribute that carries the rights of a program's file (capabilities(7)).
const CAPABILITY: &str = "security.capability";

pub fn pack(
    directory: BorrowedFd<'_>,
    options: &PackOptions,
    into: impl Write,
) -> Result<Packed, PackError> {
    let mut builder = Builder::new(into);
    builder.mode(tar::HeaderMode::Complete);
    let mut walk = Walk {
        options,
        builder,
        packed: Packed::default(),
        links: BTreeMap::new(),
    };
    walk.children(directory, Path::new(""))?;
    walk.builder
        .finish()
        .map_err(|error| PackError::io("write the archive", error))?;
    Ok(walk.packed)
}

struct Walk<'a, W: Write> {
    options: &'a PackOptions,
    builder: Builder<W>,
    packed: Packed,
    /// Files with several names, by device and inode, and the first of those.
    links: BTreeMap<(u64, u64), PathBuf>,
}

/// One name in a directory.
struct Item<'a> {
    parent: BorrowedFd<'a>,
    name: &'a OsStr,
    /// Its path in the directory that is packed.
    path: PathBuf,
    status: Stat,
}

impl<W: Write> Walk<'_, W> {
    /// Packs a directory that is open: itself, then what is in it, in order.
    fn children(&mut self, directory: BorrowedFd<'_>, path: &Path) -> Result<(), PackError> {
        if path.as_os_str().is_empty() && self.is_wanted(path) && !self.options.prefix.is_empty() {
            let status = rustix::fs::fstat(directory)
                .map_err(|error| PackError::io("look at the directory", error))?;
            self.directory_entry(directory, path, &status)?;
        }
        if path.components().count() >= self.options.depth_max {
            let what = format!("{} directories inside one another", self.options.depth_max);
            return Err(PackError::TooLarge(what));
        }
        for name in self.names(directory, path)? {
            let child = path.join(&name);
            if !self.is_on_the_way(&child)
                || (self.is_left_out(&child) && !self.may_take_in_below(&child))
            {
                continue;
            }
            let status = rustix::fs::statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| PackError::io(format!("look at {}", child.display()), error))?;
            let item = Item {
                parent: directory,
                name: &name,
                path: child,
                status,
            };
            self.item(&item)?;
        }
        Ok(())
    }

    fn names(&self, directory: BorrowedFd<'_>, path: &Path) -> Result<Vec<OsString>, PackError> {
        let failed = |error: Errno| PackError::io(format!("list {}", shown(path)), error);
        let mut names = Vec::new();
        for entry in Dir::read_from(directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            if names.len() as u64 > self.options.entries_max {
                return Err(self.too_many());
            }
            names.push(OsStr::from_bytes(name).to_owned());
        }
        names.sort();
        Ok(names)
    }

    fn item(&mut self, item: &Item<'_>) -> Result<(), PackError> {
        let wanted = self.is_wanted(&item.path) && !self.is_left_out(&item.path);
        match FileType::from_raw_mode(item.status.st_mode) {
            FileType::Directory => {
                let opened = open(item, OFlags::DIRECTORY)?;
                if wanted {
                    self.directory_entry(opened.as_fd(), &item.path, &item.status)?;
                }
                self.children(opened.as_fd(), &item.path)
            }
            _ if !wanted => Ok(()),
            FileType::RegularFile => self.file(item),
            FileType::Symlink => self.symlink(item),
            FileType::CharacterDevice
                if self.options.source == Source::Overlay && item.status.st_rdev == 0 =>
            {
                self.whiteout(&item.path)
            }
            FileType::Fifo if self.options.source == Source::Overlay => {
                let mut header = self.header(&item.path, &item.status, EntryType::Fifo);
                self.append(&mut header, &item.path, std::io::empty())
            }
            kind => self.special(&item.path, kind),
        }
    }

    /// What a layer has no place for: of a build it is left out, as instances get their devices from the platform.
    fn special(&self, path: &Path, kind: FileType) -> Result<(), PackError> {
        if self.options.source == Source::Overlay {
            return Ok(());
        }
        Err(PackError::Special {
            path: shown(path),
            kind: match kind {
                FileType::Socket => "a socket",
                FileType::Fifo => "a pipe",
                _ => "a device",
            },
        })
    }

    fn directory_entry(
        &mut self,
        directory: BorrowedFd<'_>,
        path: &Path,
        status: &Stat,
    ) -> Result<(), PackError> {
        let mut header = self.header(path, status, EntryType::Directory);
        let mut name = path.to_owned();
        name.push("");
        self.append(&mut header, &name, std::io::empty())?;
        if self.options.source == Source::Plain {
            return Ok(());
        }
        if attribute(directory, "trusted.overlay.redirect", path)?.is_some() {
            let reason = "it was moved as a whole, which this kernel does not write down as a copy";
            return Err(unpackable(path, reason));
        }
        if attribute(directory, "trusted.overlay.opaque", path)?.is_some_and(|v| v == b"y") {
            let marker = path.join(OPAQUE);
            let mut header = self.marker();
            self.append(&mut header, &marker, std::io::empty())?;
        }
        Ok(())
    }

    fn file(&mut self, item: &Item<'_>) -> Result<(), PackError> {
        let name = item.name.as_bytes();
        if name.starts_with(WHITEOUT.as_bytes()) {
            return Err(unpackable(
                &item.path,
                "its name means a removal in a layer",
            ));
        }
        let key = (item.status.st_dev, item.status.st_ino);
        if item.status.st_nlink > 1 {
            if let Some(first) = self.links.get(&key).cloned() {
                return self.hard_link(item, &first);
            }
            self.links.insert(key, item.path.clone());
        }
        // Not blocking: what was a file a moment ago may be a pipe now.
        let mut file = File::from(open(item, OFlags::NONBLOCK)?);
        // Of the descriptor: a name can come to mean something else in between.
        let status = rustix::fs::fstat(&file)
            .map_err(|error| PackError::io(format!("look at {}", shown(&item.path)), error))?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return Err(unpackable(&item.path, "it changes while it is read"));
        }
        let size = status.st_size.unsigned_abs();
        self.packed.bytes = self.packed.bytes.saturating_add(size);
        if self.packed.bytes > self.options.bytes_max {
            let what = format!("{} bytes of files", self.options.bytes_max);
            return Err(PackError::TooLarge(what));
        }
        if self.options.source == Source::Overlay {
            self.capabilities(&file, &item.path)?;
        }
        let mut header = self.header(&item.path, &status, EntryType::Regular);
        header.set_size(size);
        let mut content = (&mut file).take(size);
        self.append(&mut header, &item.path, &mut content)?;
        match content.limit() {
            0 => Ok(()),
            _ => Err(unpackable(&item.path, "it changes while it is read")),
        }
    }

    /// Writes down the rights a program's file has, as other builders do.
    fn capabilities(&mut self, file: &File, path: &Path) -> Result<(), PackError> {
        match attribute(file.as_fd(), CAPABILITY, path)? {
            Some(value) => self
                .builder
                .append_pax_extensions([(
                    format!("SCHILY.xattr.{CAPABILITY}").as_str(),
                    value.as_slice(),
                )])
                .map_err(|error| PackError::io("write the archive", error)),
            None => Ok(()),
        }
    }

    fn hard_link(&mut self, item: &Item<'_>, first: &Path) -> Result<(), PackError> {
        let mut header = self.header(&item.path, &item.status, EntryType::Link);
        self.count()?;
        let (path, first) = (self.in_archive(&item.path), self.in_archive(first));
        self.builder
            .append_link(&mut header, path, first)
            .map_err(|error| PackError::io(format!("pack {}", shown(&item.path)), error))
    }

    fn symlink(&mut self, item: &Item<'_>) -> Result<(), PackError> {
        let target = rustix::fs::readlinkat(item.parent, item.name, Vec::new())
            .map_err(|error| PackError::io(format!("read {}", shown(&item.path)), error))?;
        let target = PathBuf::from(OsStr::from_bytes(target.to_bytes()));
        if self.options.source == Source::Plain && leads_out(&item.path, &target) {
            return Err(PackError::LinkOut {
                path: shown(&item.path),
                target: target.display().to_string(),
            });
        }
        let mut header = self.header(&item.path, &item.status, EntryType::Symlink);
        header.set_mode(0o777);
        self.count()?;
        self.builder
            .append_link(&mut header, self.in_archive(&item.path), target)
            .map_err(|error| PackError::io(format!("pack {}", shown(&item.path)), error))
    }

    fn whiteout(&mut self, path: &Path) -> Result<(), PackError> {
        let mut name = OsString::from(WHITEOUT);
        name.push(path.file_name().unwrap_or_default());
        let mut header = self.marker();
        self.append(&mut header, &path.with_file_name(name), std::io::empty())
    }

    fn append(
        &mut self,
        header: &mut Header,
        path: &Path,
        content: impl Read,
    ) -> Result<(), PackError> {
        self.count()?;
        self.builder
            .append_data(header, self.in_archive(path), content)
            .map_err(|error| PackError::io(format!("pack {}", shown(path)), error))
    }

    fn count(&mut self) -> Result<(), PackError> {
        self.packed.entries += 1;
        match self.packed.entries > self.options.entries_max {
            true => Err(self.too_many()),
            false => Ok(()),
        }
    }

    fn too_many(&self) -> PackError {
        PackError::TooLarge(format!(
            "{} files and directories",
            self.options.entries_max
        ))
    }

    fn in_archive(&self, path: &Path) -> PathBuf {
        Path::new(&self.options.prefix).join(path)
    }

    fn header(&self, path: &Path, status: &Stat, kind: EntryType) -> Header {
        let mut header = self.marker();
        header.set_entry_type(kind);
        let executable = status.st_mode & 0o111 != 0 || kind == EntryType::Directory;
        match self.options.owners {
            Owners::Kept => {
                header.set_uid(status.st_uid.into());
                header.set_gid(status.st_gid.into());
                header.set_mode(status.st_mode & 0o7777);
            }
            Owners::Mapped { first, count } => {
                let inside = |id: u32| id.checked_sub(first).filter(|id| *id < count);
                header.set_uid(inside(status.st_uid).unwrap_or(0).into());
                header.set_gid(inside(status.st_gid).unwrap_or(0).into());
                header.set_mode(status.st_mode & 0o7777);
            }
            Owners::Root => header.set_mode(if executable { 0o755 } else { 0o644 }),
        }
        tracing::trace!(path = %path.display(), "packed");
        header
    }

    /// The header of an empty file.
    fn marker(&self) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mode(0o644);
        header.set_size(0);
        header.set_mtime(self.options.time);
        header
    }

    fn is_wanted(&self, path: &Path) -> bool {
        self.options.below.iter().any(|root| path.starts_with(root))
    }

    /// Whether a path is wanted or leads to one that is.
    fn is_on_the_way(&self, path: &Path) -> bool {
        let below = &self.options.below;
        below
            .iter()
            .any(|root| path.starts_with(root) || Path::new(root).starts_with(path))
    }

    fn is_left_out(&self, path: &Path) -> bool {
        let stands_for = |pattern: &str| match pattern.contains(['*', '?', '[', '\\']) {
            true => fits(pattern, &path.to_string_lossy()),
            false => path.starts_with(pattern),
        };
        let mut words = self.options.without.iter().rev();
        let last = words.find(|word| stands_for(word.strip_prefix('!').unwrap_or(word)));
        last.is_some_and(|word| !word.starts_with('!'))
    }

    /// Whether an exception can stand for something in a directory that is left out.
    fn may_take_in_below(&self, directory: &Path) -> bool {
        let exceptions = self.options.without.iter();
        exceptions
            .filter_map(|word| word.strip_prefix('!'))
            .any(|pattern| may_fit_below(pattern, &directory.to_string_lossy()))
    }
}

/// Whether a pattern can stand for something below a directory.
fn may_fit_below(pattern: &str, directory: &str) -> bool {
    let mut names = directory.split('/');
    for word in pattern.split('/') {
        match names.next() {
            Some(_) if word == "**" => return true,
            Some(name) if name_fits(word.as_bytes(), name.as_bytes()) => {}
            Some(_) => return false,
            None => return true,
        }
    }
    false
}

/// Whether a pattern stands for a path or a directory above it: `*`, `?` and classes (`[a-z]`, `[^a]`) within a name, `**` for
/// any names, a backslash before what is to be itself.
fn fits(pattern: &str, path: &str) -> bool {
    fn names(pattern: &[&str], path: &[&str]) -> bool {
        match pattern.split_first() {
            None => true,
            Some((&"**", rest)) => (0..path.len()).any(|skipped| names(rest, &path[skipped..])),
            Some((first, rest)) => path.split_first().is_some_and(|(name, below)| {
                name_fits(first.as_bytes(), name.as_bytes()) && names(rest, below)
            }),
        }
    }
    let pattern: Vec<&str> = pattern.split('/').collect();
    names(&pattern, &path.split('/').collect::<Vec<_>>())
}

/// One name; going back to the last star only, which is enough and takes no more than the product of the lengths.
fn name_fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut of, mut star) = (0, 0, None);
    while of < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, of));
                at += 1;
            }
            _ => match (one_fits(&pattern[at..], name[of]), star) {
                (Some(length), _) => {
                    at += length;
                    of += 1;
                }
                (None, Some((position, taken))) => {
                    star = Some((position, taken + 1));
                    at = position + 1;
                    of = taken + 1;
                }
                (None, None) => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// How much of a pattern stands for one byte, when it does.
fn one_fits(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [b'[', class @ ..] => {
            let end = class.iter().skip(1).position(|it| *it == b']')? + 1;
            let (is_not, members) = match class[..end].split_first() {
                Some((b'^' | b'!', members)) => (true, members),
                _ => (false, &class[..end]),
            };
            (is_member(members, byte) != is_not).then_some(end + 2)
        }
        [first, ..] => (*first == byte).then_some(1),
        [] => None,
    }
}

/// Whether a byte is in a class: single ones and ranges.
fn is_member(mut members: &[u8], byte: u8) -> bool {
    loop {
        members = match members {
            [from, b'-', to, rest @ ..] => match (*from..=*to).contains(&byte) {
                true => return true,
                false => rest,
            },
            [b'\\', only, rest @ ..] | [only, rest @ ..] => match *only == byte {
                true => return true,
                false => rest,
            },
            [] => return false,
        }
    }
}

fn open(item: &Item<'_>, flags: OFlags) -> Result<OwnedFd, PackError> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(item.parent, item.name, flags, Mode::empty())
        .map_err(|error| PackError::io(format!("open {}", shown(&item.path)), error))
}

/// An extended attribute; `None` when there is none or the file system has no attributes.
fn attribute(file: BorrowedFd<'_>, name: &str, path: &Path) -> Result<Option<Vec<u8>>, PackError> {
    let mut value = vec![0; ATTRIBUTE_BYTES_MAX];
    match rustix::fs::fgetxattr(file, name, &mut value) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(error) => {
            let what = format!("read the attribute {name} of {}", shown(path));
            Err(PackError::io(what, error))
        }
    }
}

/// Whether a link at `path` leads out of the directory that is packed, by the words of it: links on its way are not looked
/// at. Nothing here follows links; this tells the author of one that the file it means will not be there.
fn leads_out(path: &Path, target: &Path) -> bool {
    let mut depth = path.components().count().saturating_sub(1);
    for component in target.components() {
        match component {
            Component::RootDir | Component::Prefix(_) => return true,
            Component::ParentDir if depth == 0 => return true,
            Component::ParentDir => depth -= 1,
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
        }
    }
    false
}

fn unpackable(path: &Path, reason: impl Into<String>) -> PackError {
    PackError::Unpackable {
        path: shown(path),
        reason: reason.into(),
    }
}

fn shown(path: &Path) -> String {
    match path.as_os_str().is_empty() {
        true => "the directory".to_owned(),
        false => path.display().to_string(),
    }
}

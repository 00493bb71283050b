//! The files of a commit. Names, links and sizes in them are whatever somebody's repository holds.

use crate::options::BuildLimits;
use crate::plan::APP;
use apron_oci::{ContentStore, Digest, Layer, Owners, PackError, PackOptions, Source, pack};
use aws_lc_rs::digest::{Context, SHA256};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// Most components of a path.
const DEPTH_MAX: usize = 64;

/// The first and the number of the times that sources get: 2001-09-09, and some 27 years.
const TIME_FIRST: u64 = 1_000_000_000;
const TIME_RANGE: u64 = 850_000_000;

/// A source as a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLayer {
    /// The layer, with the files under `/app`.
    pub layer: Layer,
    /// The time of its files and of what is made of them, in seconds since the Unix epoch. It follows from the content: the
    /// same source is the same layer, and another source is not taken for it by those who compare sizes and times, as web
    /// servers do for what browsers have stored.
    pub time: u64,
}

/// A directory with a source.
pub struct SourceTree {
    directory: OwnedFd,
    /// What is no part of it.
    without: Vec<String>,
}

impl SourceTree {
    /// Opens it.
    pub fn open(path: &Path) -> io::Result<SourceTree> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(SourceTree {
            directory,
            without: vec![".git".to_owned()],
        })
    }

    /// Leaves out more, as [`PackOptions::without`] says it. What is never part of a source is not taken in again.
    pub fn leave_out(&mut self, paths: impl IntoIterator<Item = String>) {
        self.without.splice(0..0, paths);
    }

    /// Reads a file of bounded size. Symbolic links are not followed: a source could point to anything on this machine.
    /// `None` when there is no such file.
    pub fn read(&self, path: &str, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        let path = path.trim_matches('/');
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let file = match rustix::fs::openat2(&self.directory, path, flags, Mode::empty(), resolve) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(Errno::LOOP) => {
                return Err(io::Error::other(format!(
                    "`{path}` is a symbolic link, which is not followed"
                )));
            }
            Err(errno) => return Err(errno.into()),
        };
        let status = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return Err(io::Error::other(format!("`{path}` is not a file")));
        }
        let mut bytes = Vec::new();
        File::from(file)
            .take(bytes_max + 1)
            .read_to_end(&mut bytes)?;
        match bytes.len() as u64 > bytes_max {
            true => Err(io::Error::other(format!(
                "`{path}` has more than {bytes_max} bytes"
            ))),
            false => Ok(Some(bytes)),
        }
    }

    /// Whether something of the name is there.
    pub fn has(&self, path: &str) -> bool {
        let path = path.trim_matches('/');
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let path = if path.is_empty() { "." } else { path };
        rustix::fs::openat2(&self.directory, path, flags, Mode::empty(), resolve).is_ok()
    }

    /// Makes the layer, under `/app`. Blocks.
    pub fn layer(
        &self,
        store: &ContentStore,
        limits: &BuildLimits,
    ) -> Result<SourceLayer, PackError> {
        self.layer_at(store, limits, APP)
    }

    /// Makes the layer, under another directory. Blocks.
    pub fn layer_at(
        &self,
        store: &ContentStore,
        limits: &BuildLimits,
        at: &str,
    ) -> Result<SourceLayer, PackError> {
        let digest = self.digest(limits, vec![String::new()])?;
        let digits = digest.hex().bytes().take(16);
        let number = digits.fold(0_u64, |all, digit| (all << 4) | u64::from(digit & 0xf));
        let time = TIME_FIRST + number % TIME_RANGE;
        let failed = |error: apron_oci::OciError| PackError::Io {
            what: "store the source".to_owned(),
            error: io::Error::other(error.to_string()),
        };
        let mut writer = store.layer_writer().map_err(failed)?;
        let options = self.options(limits, at, time);
        pack(self.directory.as_fd(), &options, &mut writer)?;
        let layer = writer.finish().map_err(failed)?;
        Ok(SourceLayer { layer, time })
    }

    /// A digest of what is below some paths. Blocks.
    pub fn digest(&self, limits: &BuildLimits, below: Vec<String>) -> Result<Digest, PackError> {
        let mut hasher = Hasher(Context::new(&SHA256));
        let mut options = self.options(limits, APP, 0);
        options.below = below;
        pack(self.directory.as_fd(), &options, &mut hasher)?;
        Ok(digest_of(&[hasher.0.finish().as_ref()]))
    }

    fn options(&self, limits: &BuildLimits, at: &str, time: u64) -> PackOptions {
        PackOptions {
            source: Source::Plain,
            owners: Owners::Root,
            prefix: at.trim_start_matches('/').to_owned(),
            below: vec![String::new()],
            without: self.without.clone(),
            time,
            bytes_max: limits.source_bytes,
            entries_max: limits.source_entries,
            depth_max: DEPTH_MAX,
        }
    }
}

/// The digest of a text's parts, each told apart from the next.
pub fn digest_of(parts: &[&[u8]]) -> Digest {
    let mut all = Vec::new();
    for part in parts {
        all.extend((part.len() as u64).to_be_bytes());
        all.extend(*part);
    }
    Digest::of(&all)
}

struct Hasher(Context);

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_are_read_within_the_source_and_its_bounds() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "root:x:0").unwrap();
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("sub")).unwrap();
        fs::write(root.path().join("sub/apprunner.yaml"), "version: 1.0").unwrap();
        let link = root.path().join("apprunner.yaml");
        std::os::unix::fs::symlink(outside.path().join("secret"), link).unwrap();
        let tree = SourceTree::open(root.path()).unwrap();
        assert_eq!(
            tree.read("/sub/apprunner.yaml", 100).unwrap().unwrap(),
            b"version: 1.0"
        );
        assert_eq!(tree.read("nothing", 100).unwrap(), None);
        for (path, bound, expected) in [
            ("apprunner.yaml", 100, "symbolic link"),
            ("sub", 100, "not a file"),
            ("sub/apprunner.yaml", 3, "more than 3 bytes"),
            ("../x", 100, ""),
        ] {
            let error = tree.read(path, bound).expect_err(path).to_string();
            assert!(error.contains(expected), "{path}: {error}");
        }
    }

    #[test]
    fn the_time_follows_from_the_content() {
        let store_directory = tempfile::tempdir().unwrap();
        let store = ContentStore::open(store_directory.path()).unwrap();
        let layer = |content: &str| {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir(root.path().join(".git")).unwrap();
            fs::write(
                root.path().join(".git/config"),
                store_directory.path().to_str().unwrap(),
            )
            .unwrap();
            fs::write(root.path().join("app.py"), content).unwrap();
            let tree = SourceTree::open(root.path()).unwrap();
            tree.layer(&store, &BuildLimits::default()).unwrap()
        };
        let (one, again, other) = (layer("a"), layer("a"), layer("b"));
        assert_eq!(one, again);
        assert!(one.time != other.time && one.layer.digest != other.layer.digest);
    }
}

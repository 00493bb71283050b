//! Packing a directory as a layer: the same content is the same bytes, whenever and by whomever it was written.
//!
//! Entries come in the order of their paths, every time is the one given, and names that an archive's plain header cannot
//! hold are written the same way each time. The directory is as hostile as a layer: it may be somebody's repository or what
//! a build left. Nothing in it is followed: every name is opened relative to its parent's descriptor, without links.

mod walk;

use rustix::fd::BorrowedFd;
use std::io::{self, Write};

/// Whose the packed files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// As they are on the disk.
    Kept,
    /// As a container has them whose user and group 0 are this id on the disk, and which has as many as this of them. What is
    /// nobody's there is root's.
    Mapped {
        /// The first id.
        first: u32,
        /// How many ids.
        count: u32,
    },
    /// Root's, with modes reduced to what repositories know: executable or not. Owners and modes of a checkout are those of
    /// whoever made it.
    Root,
}

/// What the directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Files as they are. Symbolic links that lead out of the directory, and what is no file, directory or link, are refused.
    Plain,
    /// The upper directory of an overlay (kernel documentation, filesystems/overlayfs): its removals become whiteouts.
    Overlay,
}

/// How to pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackOptions {
    /// What the directory is.
    pub source: Source,
    /// Whose the files are.
    pub owners: Owners,
    /// Where the directory is in the archive, without slashes around it; empty for its root.
    pub prefix: String,
    /// Paths in the directory that are packed, without slashes around them; an empty path is everything.
    pub below: Vec<String>,
    /// Paths in the directory that are left out, with what is below them. `*` and `?` stand for any part and any character of
    /// a name, `**` for any names. One that begins with `!` takes in again what it stands for; of several that stand for a path
    /// the last one counts.
    pub without: Vec<String>,
    /// The time of every entry, in seconds since the Unix epoch.
    pub time: u64,
    /// Most bytes of file content.
    pub bytes_max: u64,
    /// Most entries.
    pub entries_max: u64,
    /// Most components of a path.
    pub depth_max: usize,
}

/// What was packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Bytes of file content.
    pub bytes: u64,
    /// Entries, removals included.
    pub entries: u64,
}

/// Why a directory cannot be packed. The texts are for people.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A link leads out of the directory.
    #[error("the symbolic link `{path}` leads out of the source, to `{target}`")]
    LinkOut {
        /// The link.
        path: String,
        /// Where it leads.
        target: String,
    },
    /// A device, socket or pipe.
    #[error("`{path}` is {kind}, which a source cannot have")]
    Special {
        /// Its path.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// A name or an attribute that cannot stand in a layer.
    #[error("`{path}` cannot be packed: {reason}")]
    Unpackable {
        /// Its path.
        path: String,
        /// Why.
        reason: String,
    },
    /// A bound is exceeded.
    #[error("there is more than {0}")]
    TooLarge(String),
    /// A file operation failed.
    #[error("{what}: {error}")]
    Io {
        /// What was being done.
        what: String,
        /// The system's answer.
        error: io::Error,
    },
}

impl PackError {
    fn io(what: impl Into<String>, error: impl Into<io::Error>) -> PackError {
        PackError::Io {
            what: what.into(),
            error: error.into(),
        }
    }
}

/// Writes what is in a directory as an archive. Blocks.
///
/// # Errors
/// What was written until then is of no use.
pub fn pack(
    directory: BorrowedFd<'_>,
    options: &PackOptions,
    into: impl Write,
) -> Result<Packed, PackError> {
    walk::pack(directory, options, into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsFd;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    fn options() -> PackOptions {
        PackOptions {
            source: Source::Plain,
            owners: Owners::Root,
            prefix: "app".to_owned(),
            below: vec![String::new()],
            without: Vec::new(),
            time: 1_000_000_000,
            bytes_max: 1 << 20,
            entries_max: 100,
            depth_max: 8,
        }
    }

    fn packed(directory: &Path, options: &PackOptions) -> Result<Vec<u8>, PackError> {
        let opened = fs::File::open(directory).unwrap();
        let mut bytes = Vec::new();
        pack(opened.as_fd(), options, &mut bytes).map(|_| bytes)
    }

    fn listed(bytes: &[u8]) -> Vec<String> {
        let mut archive = tar::Archive::new(bytes);
        let entries = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            format!(
                "{} {:o} {} {}",
                entry.path().unwrap().display(),
                header.mode().unwrap(),
                header.uid().unwrap(),
                header.mtime().unwrap()
            )
        });
        entries.collect()
    }

    #[test]
    fn the_same_files_are_the_same_bytes_in_the_order_of_their_paths() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (root, names) in [
            (one.path(), ["b/x", "a", "b.txt"]),
            (two.path(), ["b.txt", "a", "b/x"]),
        ] {
            fs::create_dir(root.join("b")).unwrap();
            for name in names {
                fs::write(root.join(name), name).unwrap();
            }
            fs::set_permissions(root.join("a"), fs::Permissions::from_mode(0o700)).unwrap();
            std::os::unix::fs::symlink("a", root.join("link")).unwrap();
        }
        fs::set_permissions(two.path().join("a"), fs::Permissions::from_mode(0o755)).unwrap();
        let first = packed(one.path(), &options()).unwrap();
        assert_eq!(first, packed(two.path(), &options()).unwrap());
        assert_eq!(
            listed(&first),
            [
                "app/ 755 0 1000000000",
                "app/a 755 0 1000000000",
                "app/b/ 755 0 1000000000",
                "app/b/x 644 0 1000000000",
                "app/b.txt 644 0 1000000000",
                "app/link 777 0 1000000000",
            ]
        );
    }

    #[test]
    fn links_out_of_the_source_and_what_is_no_file_are_refused() {
        for (target, fine) in [
            ("/etc/passwd", false),
            ("../../etc/passwd", false),
            ("../a", true),
            ("../sub/../a", true),
            ("../../app", false),
            ("nowhere", true),
        ] {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir(root.path().join("sub")).unwrap();
            std::os::unix::fs::symlink(target, root.path().join("sub/link")).unwrap();
            let result = packed(root.path(), &options());
            assert_eq!(result.is_ok(), fine, "{target}: {result:?}");
            if let Err(error) = result {
                let text = error.to_string();
                assert!(
                    text.contains("`sub/link`") && text.contains(target),
                    "{text}"
                );
            }
        }
        let root = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.path().join("s")).unwrap();
        let text = packed(root.path(), &options()).unwrap_err().to_string();
        assert!(text.contains("`s` is a socket"), "{text}");
    }

    #[test]
    fn bounds_are_kept() {
        let root = tempfile::tempdir().unwrap();
        let file = fs::File::create(root.path().join("hole")).unwrap();
        file.set_len(100 << 30).unwrap();
        let text = packed(root.path(), &options()).unwrap_err().to_string();
        assert_eq!(text, "there is more than 1048576 bytes of files");
        fs::remove_file(root.path().join("hole")).unwrap();
        for number in 0..101 {
            fs::write(root.path().join(number.to_string()), "").unwrap();
        }
        let text = packed(root.path(), &options()).unwrap_err().to_string();
        assert_eq!(text, "there is more than 100 files and directories");
    }

    #[test]
    fn patterns_leave_out_what_they_stand_for() {
        let root = tempfile::tempdir().unwrap();
        for name in [
            "a.pyc",
            "a.py",
            "sub/b.pyc",
            "sub/deep/__pycache__/c",
            "sub/deep/d",
            ".env.local",
        ] {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let mut options = options();
        options.without = ["*.pyc", "**/__pycache__", ".env*"]
            .map(str::to_owned)
            .into();
        let names: Vec<String> = listed(&packed(root.path(), &options).unwrap())
            .iter()
            .filter_map(|line| line.split(' ').next())
            .filter(|name| !name.ends_with('/'))
            .map(str::to_owned)
            .collect();
        assert_eq!(names, ["app/a.py", "app/sub/b.pyc", "app/sub/deep/d"]);
    }

    #[test]
    fn classes_and_escapes_stand_for_single_characters() {
        let root = tempfile::tempdir().unwrap();
        for name in [
            "a.pyc", "a.pyo", "a.py", "Bin", "bin", "cin", "x[1]", "x1", "é",
        ] {
            fs::write(root.path().join(name), "").unwrap();
        }
        for (without, gone) in [
            ("*.py[cod]", &["a.pyc", "a.pyo"][..]),
            ("[Bb]in", &["Bin", "bin"]),
            ("[^Bb]in", &["cin"]),
            ("[a-b]in", &["bin"]),
            ("x\\[1]", &["x[1]"]),
            ("x[1]", &["x1"]),
            ("x[", &[]),
        ] {
            let mut options = options();
            options.without = vec![without.to_owned()];
            let listed = listed(&packed(root.path(), &options).unwrap());
            let is_there = |name: &&&str| {
                let start = format!("app/{name} ");
                listed.iter().any(|line| line.starts_with(&start))
            };
            assert_eq!(gone.iter().filter(is_there).count(), 0, "{without}");
            assert_eq!(listed.len(), 1 + 9 - gone.len(), "{without}: {listed:?}");
        }
    }

    #[test]
    fn exceptions_take_in_again_and_the_last_word_counts() {
        let root = tempfile::tempdir().unwrap();
        for name in ["app.py", "src/a/x.c", "src/a/x.o", "src/b/y.c", "docs/z"] {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        for (without, expected) in [
            (&["*", "!app.py"][..], &["app/", "app/app.py"][..]),
            (&["*", "!src/**/*.c", "src/b"], &["app/", "app/src/a/x.c"]),
            (
                &["src", "!src/a", "**/*.o", "docs"],
                &["app/", "app/app.py", "app/src/a/", "app/src/a/x.c"],
            ),
            (&["!docs", "docs", "src"], &["app/", "app/app.py"]),
        ] {
            let mut options = options();
            options.without = without.iter().map(|it| (*it).to_owned()).collect();
            let listed = listed(&packed(root.path(), &options).unwrap());
            let names: Vec<&str> = listed
                .iter()
                .filter_map(|line| line.split(' ').next())
                .collect();
            assert_eq!(names, expected, "{without:?}");
        }
    }

    #[test]
    fn only_what_is_asked_for_is_packed() {
        let root = tempfile::tempdir().unwrap();
        for name in ["app/a", "app/cache/x", "usr/lib/y", "application"] {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let mut options = options();
        options.prefix = String::new();
        options.below = vec!["app".to_owned()];
        options.without = vec!["app/cache".to_owned()];
        let names: Vec<String> = listed(&packed(root.path(), &options).unwrap())
            .iter()
            .filter_map(|line| line.split(' ').next())
            .map(str::to_owned)
            .collect();
        assert_eq!(names, ["app/", "app/a"]);
    }
}

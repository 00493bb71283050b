//! What is in a commit, before and after its files are written: how much, and what cannot be built.

use super::error::GitError;
use super::process::{Group, git};
use super::{FETCH_WITHIN, FILES_MAX, REPOSITORY_BYTES_MAX};
use std::path::Path;
use tokio::io::AsyncReadExt;

/// Longest entry of a listing, bytes: a path of the kernel's longest with what stands before it.
const ENTRY_BYTES_MAX: usize = 8 << 10;

/// The mode of a submodule.
const SUBMODULE: &str = "160000";

/// Largest file that can be a pointer of Git LFS, bytes (Git LFS specification: pointers are smaller than 1024 bytes).
const POINTER_BYTES_MAX: u64 = 1024;

/// What a pointer of Git LFS begins with.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Largest `.gitattributes` that is looked into, bytes.
const ATTRIBUTES_BYTES_MAX: u64 = 1 << 20;

/// What a commit holds, as far as it matters before its files are written.
#[derive(Debug, Default)]
pub(super) struct Listing {
    files: usize,
    bytes: u64,
    attributes: Vec<String>,
    small: Vec<String>,
}

impl Listing {
    /// Reads the list of a commit's files, refusing what it must not have as soon as it is seen.
    pub(super) async fn read(repository: &Path, commit: &str) -> Result<Listing, GitError> {
        let mut command = git();
        command.env("GIT_DIR", repository).args([
            "ls-tree",
            "-r",
            "-l",
            "-z",
            "--full-tree",
            commit,
        ]);
        let mut group = Group::start(command)?;
        let mut output = group.child.stdout.take();
        let work = async {
            let mut listing = Listing::default();
            let mut pending: Vec<u8> = Vec::new();
            let mut buffer = vec![0; 64 << 10];
            while let Some(output) = &mut output {
                let count = output.read(&mut buffer).await;
                let count = count.map_err(|cause| GitError::io("list the commit", cause))?;
                if count == 0 {
                    break;
                }
                pending.extend_from_slice(&buffer[..count]);
                let mut rest = pending.as_slice();
                while let Some(end) = rest.iter().position(|byte| *byte == 0) {
                    listing.add(&rest[..end])?;
                    rest = &rest[end + 1..];
                }
                pending = rest.to_vec();
                if pending.len() > ENTRY_BYTES_MAX {
                    return Err(GitError::TooManyFiles);
                }
            }
            let status = group.child.wait().await;
            let status = status.map_err(|cause| GitError::io("list the commit", cause))?;
            match status.success() {
                true => Ok(listing),
                false => Err(GitError::Failed {
                    doing: "list the commit",
                    answer: String::new(),
                }),
            }
        };
        let listed = tokio::time::timeout(FETCH_WITHIN, work).await;
        listed.unwrap_or(Err(GitError::TooSlow {
            seconds: FETCH_WITHIN.as_secs(),
        }))
    }

    /// One entry: `<mode> <type> <object> <size>\t<path>`.
    fn add(&mut self, entry: &[u8]) -> Result<(), GitError> {
        let text = String::from_utf8_lossy(entry);
        let (head, path) = text.split_once('\t').unwrap_or((&text, ""));
        let mut words = head.split_ascii_whitespace();
        if words.next() == Some(SUBMODULE) {
            return Err(GitError::Submodule {
                path: path.to_owned(),
            });
        }
        let size = words.nth(2).and_then(|text| text.parse::<u64>().ok());
        let size = size.unwrap_or(0);
        self.files += 1;
        self.bytes = self.bytes.saturating_add(size);
        if self.files > FILES_MAX {
            return Err(GitError::TooManyFiles);
        }
        if self.bytes > REPOSITORY_BYTES_MAX {
            return Err(GitError::FilesTooLarge);
        }
        if path == ".gitattributes" || path.ends_with("/.gitattributes") {
            self.attributes.push(path.to_owned());
        } else if (POINTER.len() as u64..POINTER_BYTES_MAX).contains(&size) {
            self.small.push(path.to_owned());
        }
        Ok(())
    }

    /// Refuses files that Git LFS keeps elsewhere: where attributes hand files to it, and a file is a pointer.
    pub(super) async fn refuse_lfs(self, files: &Path) -> Result<(), GitError> {
        let files = files.to_owned();
        let found = tokio::task::spawn_blocking(move || {
            let uses = |path: &String| uses_lfs(&files.join(path));
            if !self.attributes.iter().any(uses) {
                return None;
            }
            let is_pointer = |path: &String| is_pointer(&files.join(path));
            self.small.iter().find(|path| is_pointer(path)).cloned()
        });
        let found = found
            .await
            .map_err(|cause| GitError::io("look for pointers", std::io::Error::other(cause)))?;
        match found {
            Some(path) => Err(GitError::Lfs { path }),
            None => Ok(()),
        }
    }
}

/// Reads a file of the commit; links and what is too large are none.
fn read_small(path: &Path, bytes_max: u64) -> Option<Vec<u8>> {
    let found = std::fs::symlink_metadata(path).ok()?;
    let usable = found.is_file() && found.len() <= bytes_max;
    usable.then(|| std::fs::read(path).ok()).flatten()
}

fn uses_lfs(path: &Path) -> bool {
    let text = read_small(path, ATTRIBUTES_BYTES_MAX).unwrap_or_default();
    String::from_utf8_lossy(&text).contains("filter=lfs")
}

fn is_pointer(path: &Path) -> bool {
    read_small(path, POINTER_BYTES_MAX).is_some_and(|bytes| bytes.starts_with(POINTER))
}

//! Source code from git repositories: the head of a branch and its files, fetched by the installed `git`.
//!
//! Nothing of the machine's or a user's git configuration takes part, no hook and no filter runs, nothing asks on a
//! terminal, and only the protocols of [`GitUrl`] are spoken. Credentials reach `git` in its environment and by files that
//! only their owner can read and that are gone afterwards, never by an argument. One commit is fetched, without history;
//! what it brings is bounded in bytes, files and time while it comes.

mod access;
mod contents;
mod error;
mod process;
mod repository;
mod url;

pub use access::Access;
pub use error::GitError;
pub use repository::{Repository, Service, Serving};
pub use url::{GitUrl, InvalidUrl, Transport, branch_problem};

use contents::Listing;
use process::{Finished, Watch};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

/// Bytes a repository may bring, and its files may have.
pub const REPOSITORY_BYTES_MAX: u64 = 2 << 30;

/// Files and links a commit may have.
pub const FILES_MAX: usize = 200_000;

/// Time for a fetch.
pub const FETCH_WITHIN: Duration = Duration::from_secs(600);

/// Time to ask for the head of a branch.
pub const ASK_WITHIN: Duration = Duration::from_secs(60);

/// Where in the directory of a fetch the files are.
const FILES: &str = "files";

/// Where in the directory of a fetch git keeps its own, until the files are there.
const REPOSITORY: &str = "repository";

/// The one reference of a repository that was fetched into.
const FETCHED: &str = "refs/heads/fetched";

/// A repository to read.
#[derive(Clone, Debug)]
pub struct Remote {
    place: Place,
    access: Option<Access>,
    keys: PathBuf,
}

#[derive(Clone, Debug)]
enum Place {
    Url(GitUrl),
    /// A bare repository on this machine, which people know by another name.
    Local(PathBuf, String),
}

/// What was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The commit, in full.
    pub commit: String,
    /// The id of the source directory's tree.
    pub tree: String,
    /// The files, without `.git`; below the directory that was given.
    pub files: PathBuf,
}

/// The head of a branch, without its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The commit, in full.
    pub commit: String,
    /// The id of the source directory's tree.
    pub tree: String,
}

impl Remote {
    /// A repository at a URL; key files are kept below `keys` while a command needs them. Credentials are refused where
    /// anybody on the way could read them.
    ///
    /// # Errors
    /// When the credentials are not of the URL's kind.
    pub fn new(url: GitUrl, access: Option<Access>, keys: PathBuf) -> Result<Remote, GitError> {
        if let Some(access) = &access {
            access.check(&url)?;
        }
        Ok(Remote {
            place: Place::Url(url),
            access,
            keys,
        })
    }

    /// A bare repository on this machine; `name` is what messages call it.
    pub fn local(path: PathBuf, name: impl Into<String>) -> Remote {
        Remote {
            place: Place::Local(path, name.into()),
            access: None,
            keys: PathBuf::new(),
        }
    }

    fn name(&self) -> String {
        match &self.place {
            Place::Url(url) => url.to_string(),
            Place::Local(_, name) => name.clone(),
        }
    }

    fn argument(&self) -> String {
        match &self.place {
            Place::Url(url) => url.to_string(),
            Place::Local(path, _) => format!("file://{}", path.display()),
        }
    }

    fn protocols(&self) -> &'static str {
        match &self.place {
            Place::Url(_) => "https:http:ssh",
            Place::Local(..) => "file",
        }
    }
}

/// The head of a branch; what there is instead when it is not there.
///
/// # Errors
/// [`GitError::Empty`], [`GitError::Branch`], or why the repository cannot be read.
pub async fn head(remote: &Remote, branch: &str) -> Result<String, GitError> {
    let wanted = format!("refs/heads/{branch}");
    let mut command = process::git();
    command
        .args(["ls-remote", "--quiet", "--"])
        .arg(remote.argument());
    command.args([wanted.as_str(), "HEAD"]);
    let done = talk(remote, command, None, ASK_WITHIN).await?;
    if !done.success {
        return Err(error::classify(&remote.name(), branch, &done));
    }
    let text = String::from_utf8_lossy(&done.stdout);
    let named = |name: &str| {
        let of_name = |line: &&str| line.split('\t').nth(1) == Some(name);
        let line = text.lines().find(of_name)?;
        line.split('\t').next().map(str::to_owned)
    };
    match (named(&wanted), text.trim().is_empty()) {
        (Some(commit), _) => Ok(commit),
        (None, true) => Err(GitError::Empty {
            repository: remote.name(),
        }),
        (None, false) => Err(GitError::Branch {
            repository: remote.name(),
            branch: branch.to_owned(),
        }),
    }
}

/// The head of a branch and its source directory's tree, without the files where the server can leave them out. What is
/// needed meanwhile is kept in `dir`, which is replaced and gone afterwards.
///
/// # Errors
/// As [`fetch`].
pub async fn peek(
    remote: &Remote,
    branch: &str,
    directory: &str,
    dir: &Path,
) -> Result<Head, GitError> {
    let fetched = bring(remote, branch, dir, true).await;
    let head = match fetched {
        Ok(commit) => {
            let tree = tree_of(dir, &commit, branch, directory).await;
            tree.map(|tree| Head { commit, tree })
        }
        Err(error) => Err(error),
    };
    remove(dir).await?;
    head
}

/// Fetches the head of a branch into `dir`, which is replaced: its files are below it afterwards, and nothing else.
///
/// # Errors
/// What could not be had and why; what was refused: submodules, Git LFS, too much.
pub async fn fetch(
    remote: &Remote,
    branch: &str,
    directory: &str,
    dir: &Path,
) -> Result<Fetched, GitError> {
    let commit = bring(remote, branch, dir, false).await?;
    let tree = tree_of(dir, &commit, branch, directory).await?;
    let repository = dir.join(REPOSITORY);
    let listing = Listing::read(&repository, &commit).await?;
    let files = dir.join(FILES);
    tokio::fs::create_dir_all(&files)
        .await
        .map_err(|cause| GitError::io("make the directory of the files", cause))?;
    for arguments in [
        ["read-tree", commit.as_str()].as_slice(),
        ["checkout-index", "--all", "--quiet", "--force"].as_slice(),
    ] {
        let mut command = process::git();
        command
            .env("GIT_DIR", &repository)
            .env("GIT_WORK_TREE", &files)
            .current_dir(&files)
            .args(arguments);
        let watch = Watch {
            dir: files.clone(),
            bytes_max: REPOSITORY_BYTES_MAX,
        };
        process::run(command, Some(&watch), FETCH_WITHIN)
            .await?
            .expect("write the files of the commit")?;
    }
    listing.refuse_lfs(&files).await?;
    remove(&repository).await?;
    Ok(Fetched {
        commit,
        tree,
        files,
    })
}

/// Where the files of an earlier fetch into `dir` are, whole or not at all.
pub fn fetched_files(dir: &Path) -> PathBuf {
    dir.join(FILES)
}

/// Fetches the commit at a branch's head into a repository below `dir`.
async fn bring(
    remote: &Remote,
    branch: &str,
    dir: &Path,
    only_trees: bool,
) -> Result<String, GitError> {
    remove(dir).await?;
    let repository = dir.join(REPOSITORY);
    tokio::fs::create_dir_all(dir)
        .await
        .map_err(|cause| GitError::io("make the directory of the fetch", cause))?;
    let mut command = process::git();
    command
        .args(["init", "--quiet", "--bare", "--template="])
        .arg(&repository);
    process::run(command, None, ASK_WITHIN)
        .await?
        .expect("make the repository to fetch into")?;
    let mut command = process::git();
    command.env("GIT_DIR", &repository).args([
        "fetch",
        "--quiet",
        "--no-tags",
        "--depth=1",
        "--no-recurse-submodules",
        "--no-auto-maintenance",
    ]);
    if only_trees {
        command.arg("--filter=blob:none");
    }
    if let Place::Local(..) = remote.place {
        let program = process::upload_pack();
        command.arg(format!("--upload-pack={program}"));
    }
    command
        .arg("--")
        .arg(remote.argument())
        .arg(format!("+refs/heads/{branch}:{FETCHED}"));
    let watch = Watch {
        dir: repository.clone(),
        bytes_max: REPOSITORY_BYTES_MAX,
    };
    let done = talk(remote, command, Some(&watch), FETCH_WITHIN).await?;
    if !done.success {
        let failed = error::classify(&remote.name(), branch, &done);
        // Only the server knows whether it is the branch that is missing, or everything.
        return Err(match failed {
            GitError::Branch { .. } => head(remote, branch).await.err().unwrap_or(failed),
            failed => failed,
        });
    }
    let commit = object(&repository, &format!("{FETCHED}^{{commit}}")).await?;
    commit.ok_or_else(|| GitError::Branch {
        repository: remote.name(),
        branch: branch.to_owned(),
    })
}

/// The tree of the source directory.
async fn tree_of(
    dir: &Path,
    commit: &str,
    branch: &str,
    directory: &str,
) -> Result<String, GitError> {
    let path = directory.trim_matches('/');
    let name = match path.is_empty() {
        true => format!("{commit}^{{tree}}"),
        false => format!("{commit}:{path}"),
    };
    let repository = dir.join(REPOSITORY);
    let missing = || GitError::Directory {
        directory: directory.to_owned(),
        branch: branch.to_owned(),
    };
    let found = object(&repository, &name).await?.ok_or_else(missing)?;
    match kind(&repository, &found).await? == "tree" {
        true => Ok(found),
        false => Err(missing()),
    }
}

/// The id of the object of a name, if there is one.
async fn object(repository: &Path, name: &str) -> Result<Option<String>, GitError> {
    let mut command = process::git();
    command.env("GIT_DIR", repository).args([
        "rev-parse",
        "--quiet",
        "--verify",
        "--end-of-options",
        name,
    ]);
    let done = process::run(command, None, ASK_WITHIN).await?;
    Ok(done.success.then(|| done.text()))
}

async fn kind(repository: &Path, object: &str) -> Result<String, GitError> {
    let mut command = process::git();
    command
        .env("GIT_DIR", repository)
        .args(["cat-file", "-t", object]);
    let done = process::run(command, None, ASK_WITHIN).await?;
    done.expect("read the commit").map(|done| done.text())
}

/// Runs a command that speaks to the remote, with its credentials for as long as it runs.
async fn talk(
    remote: &Remote,
    mut command: Command,
    watch: Option<&Watch>,
    within: Duration,
) -> Result<Finished, GitError> {
    command.env("GIT_ALLOW_PROTOCOL", remote.protocols());
    let kept = match (&remote.access, &remote.place) {
        (Some(access), Place::Url(url)) => Some(access.lend(&mut command, url, &remote.keys)?),
        _ => None,
    };
    let done = process::run(command, watch, within).await;
    drop(kept);
    done
}

async fn remove(dir: &Path) -> Result<(), GitError> {
    match tokio::fs::remove_dir_all(dir).await {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(GitError::io("remove a directory of a fetch", cause))
        }
        _ => Ok(()),
    }
}

//! Why a repository could not be read, from what `git` says.

use super::process::Finished;
use super::{FILES_MAX, REPOSITORY_BYTES_MAX};
use apron_domain::{Failure, FailureKind};

/// Why source code could not be had. The texts name the repository and what to do next, never a credential.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no `git` on this machine.
    #[error("git is not installed on this machine: install the package git")]
    NotInstalled,
    /// The server knows no such repository, or does not say so to strangers.
    #[error(
        "repository {repository} was not found: it does not exist, or it is private and its connection may not read it"
    )]
    NotFound {
        /// The URL.
        repository: String,
        /// What git said.
        answer: String,
    },
    /// The server wants other credentials, or any.
    #[error(
        "the server refused to let repository {repository} be read: its connection has no credentials, or they are wrong or \
         have expired; `apron connect` sets them"
    )]
    Refused {
        /// The URL.
        repository: String,
        /// What git said.
        answer: String,
    },
    /// The credentials cannot be used for the URL.
    #[error("repository {repository} cannot be read: {reason}")]
    Access {
        /// The URL.
        repository: String,
        /// What does not fit.
        reason: &'static str,
    },
    /// The host does not have the key that it should have.
    #[error(
        "the host of repository {repository} has no key that the connection's known hosts name; `apron connect` sets them"
    )]
    HostKey {
        /// The URL.
        repository: String,
        /// What git said.
        answer: String,
    },
    /// There is no such branch.
    #[error("repository {repository} has no branch {branch}")]
    Branch {
        /// The URL.
        repository: String,
        /// The branch.
        branch: String,
    },
    /// Nothing was ever pushed.
    #[error("repository {repository} is empty: it has no branch and no commit yet")]
    Empty {
        /// The URL.
        repository: String,
    },
    /// The source directory is not in the commit.
    #[error("branch {branch} has no directory {directory}")]
    Directory {
        /// The source directory.
        directory: String,
        /// The branch.
        branch: String,
    },
    /// The host does not answer.
    #[error("the host of repository {repository} cannot be reached")]
    Unreachable {
        /// The URL.
        repository: String,
        /// What git said.
        answer: String,
    },
    /// The repository brings too much.
    #[error("the repository is larger than {} MB", bytes_max >> 20)]
    TooLarge {
        /// The bound that was passed, bytes.
        bytes_max: u64,
    },
    /// The commit has too many files.
    #[error("the commit has more than {FILES_MAX} files")]
    TooManyFiles,
    /// The files are too large together.
    #[error("the files of the commit are larger than {} MB", REPOSITORY_BYTES_MAX >> 20)]
    FilesTooLarge,
    /// It took too long.
    #[error("the repository did not arrive within {seconds} seconds")]
    TooSlow {
        /// The time it was given.
        seconds: u64,
    },
    /// The commit has a submodule.
    #[error(
        "the commit has a submodule at {path}: submodules are not fetched. Add its files to the repository, or install the \
         dependency with the build command"
    )]
    Submodule {
        /// Where.
        path: String,
    },
    /// A file is a pointer of Git LFS.
    #[error(
        "{path} is a pointer of Git LFS: files kept by Git LFS are not fetched. Add the file itself to the repository, or \
         fetch it with the build command"
    )]
    Lfs {
        /// Which file.
        path: String,
    },
    /// Something else that git could not do.
    #[error("git could not {doing}")]
    Failed {
        /// What.
        doing: &'static str,
        /// What git said.
        answer: String,
    },
    /// This machine could not.
    #[error("cannot {doing}: {cause}")]
    Io {
        /// What.
        doing: &'static str,
        /// Why.
        cause: std::io::Error,
    },
}

impl GitError {
    pub(super) fn io(doing: &'static str, cause: std::io::Error) -> GitError {
        GitError::Io { doing, cause }
    }

    /// What git itself said, where that helps.
    fn answer(&self) -> &str {
        match self {
            GitError::NotFound { answer, .. }
            | GitError::Refused { answer, .. }
            | GitError::HostKey { answer, .. }
            | GitError::Unreachable { answer, .. }
            | GitError::Failed { answer, .. } => answer,
            _ => "",
        }
    }
}

impl From<GitError> for Failure {
    fn from(error: GitError) -> Failure {
        let kind = match &error {
            GitError::Io { .. } | GitError::NotInstalled => FailureKind::Platform,
            _ => FailureKind::Source,
        };
        let lines = error.answer().lines().map(|line| format!("git: {line}"));
        Failure::new(kind, error.to_string()).with_evidence(lines)
    }
}

/// What git's complaint means. Its words are those of git 2.x and OpenSSH with `LC_ALL=C`, in lower case.
const REFUSED: [&str; 6] = [
    "could not read username",
    "could not read password",
    "authentication failed",
    "permission denied",
    "returned error: 401",
    "returned error: 403",
];
const NOT_FOUND: [&str; 5] = [
    "not found",
    "does not exist",
    "does not appear to be a git repository",
    "returned error: 404",
    "no such file or directory",
];
const HOST_KEY: [&str; 2] = [
    "host key verification failed",
    "host identification has changed",
];
const NO_BRANCH: [&str; 2] = ["couldn't find remote ref", "could not find remote ref"];
const UNREACHABLE: [&str; 10] = [
    "could not resolve host",
    "failed to connect",
    "connection refused",
    "connection timed out",
    "connection reset",
    "no route to host",
    "unable to access",
    "returned error: 5",
    "network is unreachable",
    "operation too slow",
];

/// The error of a command that spoke to a server and failed.
pub(super) fn classify(repository: &str, branch: &str, done: &Finished) -> GitError {
    let said = done.stderr.to_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| said.contains(phrase));
    let (repository, answer) = (repository.to_owned(), done.stderr.clone());
    match () {
        () if says(&NO_BRANCH) => GitError::Branch {
            repository,
            branch: branch.to_owned(),
        },
        () if says(&HOST_KEY) => GitError::HostKey { repository, answer },
        () if says(&REFUSED) => GitError::Refused { repository, answer },
        () if says(&NOT_FOUND) => GitError::NotFound { repository, answer },
        () if says(&UNREACHABLE) => GitError::Unreachable { repository, answer },
        () => GitError::Failed {
            doing: "read the repository",
            answer,
        },
    }
}

//! Source code: where a service's repository is, with which credentials it is read, and what of it is on this machine.

pub mod choice;
pub mod credentials;
mod scribe;

pub use scribe::Scribe;

use crate::executor::StepError;
use crate::settings::Settings;
use apron_builder::git::{self, Fetched, GitUrl, Head, Remote};
use apron_domain::code::CodeSource;
use apron_domain::{Failure, FailureKind, Millis, Operation, OperationId, Stage};
use apron_store::Store;
use credentials::CredentialsError;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The path below which the platform's own repositories are served.
pub const OWN_PATH: &str = "git/";

/// How the names of directories begin that looks at commits use.
const LOOK: &str = "look-";

/// What stands in events for the host of the platform's own repositories.
pub const OWN_PROVIDER: &str = "APRON";

/// What sources need of the machine.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// The files of commits while they are built.
    pub work: PathBuf,
    /// The platform's own repositories.
    pub repositories: PathBuf,
    /// Key files while `git` runs; in memory where possible.
    pub keys: PathBuf,
    /// Services may be created with runtimes past their end of support.
    pub retired_runtimes: bool,
    /// Time between two questions for the head of a service's branch, where no webhook tells of pushes.
    pub ask_every: Duration,
}

/// Reads repositories for services.
pub struct Sources {
    settings: Arc<Settings>,
    store: Store,
    options: SourceSettings,
    /// Looks at heads so far: each has a directory of its own.
    looks: AtomicU64,
}

/// Where a service's repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// One of the platform's own, by its name.
    Own(String),
    /// Somebody else's.
    Other(GitUrl),
}

impl Sources {
    /// Sources in these directories.
    pub fn new(settings: Arc<Settings>, store: Store, options: SourceSettings) -> Sources {
        Sources {
            settings,
            store,
            options,
            looks: AtomicU64::new(0),
        }
    }

    /// What the operator set.
    pub fn options(&self) -> &SourceSettings {
        &self.options
    }

    /// The bare repository of that name among the platform's own.
    pub fn own_repository(&self, name: &str) -> PathBuf {
        self.options.repositories.join(format!("{name}.git"))
    }

    /// Whether a source is one of the platform's own repositories.
    pub fn is_own(&self, code: &CodeSource) -> bool {
        matches!(place(&self.settings, &code.repository), Ok(Place::Own(_)))
    }

    /// The files of the commit that an operation builds; what it resolved to is remembered beside them.
    fn work_of(&self, operation: &OperationId) -> PathBuf {
        self.options.work.join(operation.as_str())
    }

    /// Fetches the branch's head for an operation.
    ///
    /// # Errors
    /// Why it cannot be had, for the people who read the deployment's log.
    pub async fn fetch(
        &self,
        operation: &OperationId,
        code: &CodeSource,
    ) -> Result<Fetched, Failure> {
        let remote = self.remote(code).await?;
        let dir = self.work_of(operation);
        let fetched = git::fetch(&remote, &code.branch, &code.directory, &dir).await?;
        let note = format!("{} {}", fetched.commit, fetched.tree);
        tokio::fs::write(dir.join("fetched"), note)
            .await
            .map_err(|error| platform("keep the source code", &error))?;
        Ok(fetched)
    }

    /// What was fetched for an operation, if it is still this commit and all there.
    pub async fn fetched(&self, operation: &OperationId, commit: &str) -> Option<Fetched> {
        let dir = self.work_of(operation);
        let note = tokio::fs::read_to_string(dir.join("fetched")).await.ok()?;
        let (found, tree) = note.split_once(' ')?;
        (found == commit).then(|| Fetched {
            commit: found.to_owned(),
            tree: tree.to_owned(),
            files: git::fetched_files(&dir),
        })
    }

    /// The commit at the head of a service's branch.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub async fn head(&self, code: &CodeSource) -> Result<String, Failure> {
        let remote = self.remote(code).await?;
        Ok(git::head(&remote, &code.branch).await?)
    }

    /// The head with its source directory's tree.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub async fn peek(&self, code: &CodeSource) -> Result<Head, Failure> {
        let remote = self.remote(code).await?;
        let dir = self.new_look();
        Ok(git::peek(&remote, &code.branch, &code.directory, &dir).await?)
    }

    /// A directory for a look at a commit that nobody builds; whoever looks removes it.
    pub fn new_look(&self) -> PathBuf {
        let number = self.looks.fetch_add(1, Ordering::Relaxed);
        self.options.work.join(format!("{LOOK}{number}"))
    }

    async fn remote(&self, code: &CodeSource) -> Result<Remote, Failure> {
        let url = match place(&self.settings, &code.repository) {
            Ok(Place::Own(name)) => {
                return Ok(Remote::local(self.own_repository(&name), &code.repository));
            }
            Ok(Place::Other(url)) => url,
            Err(error) => {
                let text = format!("repository {} cannot be read: {error}", code.repository);
                return Err(Failure::new(FailureKind::Source, text));
            }
        };
        let access = match &code.connection_arn {
            Some(arn) => credentials::of_connection(&self.store, &self.settings, arn, &url)
                .await
                .map_err(|error| connection_failure(&error))?,
            None => None,
        };
        Ok(Remote::new(url, access, self.options.keys.clone())?)
    }

    /// Removes the files of commits that no operation is building, and repositories of ours that no service of their name
    /// has needed since `before`.
    ///
    /// # Errors
    /// The state or a directory cannot be read.
    pub async fn tidy(&self, before: Millis) -> Result<(), StepError> {
        // In this order: what an operation keeps files for is stored before the files are there.
        let kept = entries(&self.options.work).await?;
        let unfinished = self.store.operations_unfinished().await?;
        let builds = |o: &&Operation| matches!(o.stage, Stage::Resolve | Stage::Build);
        let building: BTreeSet<&str> = unfinished
            .iter()
            .filter(builds)
            .map(|operation| operation.id.as_str())
            .collect();
        for (name, path) in kept {
            if !building.contains(name.as_str()) && !name.starts_with(LOOK) {
                tokio::fs::remove_dir_all(path).await?;
            }
        }
        let repositories = entries(&self.options.repositories).await?;
        let services = self.store.services_live().await?;
        let names: BTreeSet<String> = services.iter().map(|s| format!("{}.git", s.name)).collect();
        for (name, path) in repositories {
            if !names.contains(&name) && changed(&path).await < before {
                tracing::info!(name, "a repository without a service is removed");
                tokio::fs::remove_dir_all(path).await?;
            }
        }
        Ok(())
    }

    /// Removes what a former run left that nothing can use: key files, and looks at heads.
    ///
    /// # Errors
    /// A directory cannot be read or emptied.
    pub async fn clear(&self) -> io::Result<()> {
        for (_, path) in entries(&self.options.keys).await? {
            tokio::fs::remove_dir_all(path).await?;
        }
        for (name, path) in entries(&self.options.work).await? {
            if name.starts_with(LOOK) {
                tokio::fs::remove_dir_all(path).await?;
            }
        }
        Ok(())
    }
}

/// When something was last put into a repository.
async fn changed(repository: &Path) -> Millis {
    let mut newest = Millis(0);
    for part in ["", "refs/heads", "objects", "objects/pack"] {
        let found = tokio::fs::metadata(repository.join(part)).await;
        let modified = found.and_then(|found| found.modified()).ok();
        let since = modified.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let at = since.and_then(|since| u64::try_from(since.as_millis()).ok());
        newest = newest.max(Millis(at.unwrap_or(0)));
    }
    newest
}

async fn entries(dir: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut listing = match tokio::fs::read_dir(dir).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing?,
    };
    let mut found = Vec::new();
    while let Some(entry) = listing.next_entry().await? {
        found.push((
            entry.file_name().to_string_lossy().into_owned(),
            entry.path(),
        ));
    }
    Ok(found)
}

/// Where a repository's URL points: the platform's own by its own hosts and [`OWN_PATH`].
///
/// # Errors
/// What is wrong with the URL.
pub fn place(settings: &Settings, repository: &str) -> Result<Place, git::InvalidUrl> {
    let url = GitUrl::parse(repository)?;
    if settings.is_own_host(&url.host)
        && let Some(name) = url.path().strip_prefix(OWN_PATH)
        && is_repository_name(name)
    {
        return Ok(Place::Own(name.to_owned()));
    }
    Ok(Place::Other(url))
}

/// Whether one of the platform's own repositories can have this name: that of a service (App Runner API, `ServiceName`).
pub fn is_repository_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (4..=40).contains(&name.len())
        && name.as_bytes().iter().all(|b| inner(*b))
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// The URL of one of the platform's own repositories.
pub fn own_url(settings: &Settings, name: &str) -> String {
    format!("https://{}/{OWN_PATH}{name}.git", settings.registry_host)
}

fn platform(doing: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Platform, format!("cannot {doing}: {error}"))
}

fn connection_failure(error: &CredentialsError) -> Failure {
    let kind = match error {
        CredentialsError::Store(_) => FailureKind::Platform,
        _ => FailureKind::Source,
    };
    Failure::new(kind, error.to_string())
}

#[cfg(test)]
mod tests;

//! The platform's own bare repositories: made, served to git's smart HTTP clients, and looked into.

use super::error::GitError;
use super::process::{Group, add_config, git, run};
use super::{ASK_WITHIN, REPOSITORY_BYTES_MAX};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};

/// What a client wants of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// `git-upload-pack`: to fetch.
    Upload,
    /// `git-receive-pack`: to push.
    Receive,
}

impl Service {
    /// The name in URLs and content types.
    pub fn name(self) -> &'static str {
        match self {
            Service::Upload => "git-upload-pack",
            Service::Receive => "git-receive-pack",
        }
    }

    /// The service of that name.
    pub fn of(name: &str) -> Option<Service> {
        [Service::Upload, Service::Receive]
            .into_iter()
            .find(|service| service.name() == name)
    }
}

/// One of the platform's own repositories.
#[derive(Clone, Debug)]
pub struct Repository {
    path: PathBuf,
}

/// A command that answers a client; it ends when this is dropped.
pub struct Serving {
    group: Group,
    /// What the client sends goes here.
    pub request: ChildStdin,
    /// What the client is answered comes from here.
    pub answer: ChildStdout,
    /// Complaints.
    pub complaints: ChildStderr,
}

impl Serving {
    /// Waits for the command's end; whether it succeeded.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub async fn ended(&mut self) -> Result<bool, GitError> {
        let status = self.group.child.wait().await;
        status
            .map(|status| status.success())
            .map_err(|cause| GitError::io("wait for git", cause))
    }
}

impl Repository {
    /// The repository at this place, which need not be there.
    pub fn at(path: PathBuf) -> Repository {
        Repository { path }
    }

    /// Whether it is there.
    pub fn exists(&self) -> bool {
        self.path.join("HEAD").is_file()
    }

    /// Makes it, if it is not there; its head is the branch `main`.
    ///
    /// # Errors
    /// git is missing, or the disk refuses.
    pub async fn make(&self) -> Result<(), GitError> {
        if self.exists() {
            return Ok(());
        }
        if let Some(parent) = self.path.parent() {
            tokio::fs::create_dir_all(parent)
                .await
                .map_err(|cause| GitError::io("make the directory of repositories", cause))?;
        }
        let mut command = git();
        command.args(["init", "--quiet", "--bare", "--template=", "-b", "main"]);
        command.arg("--").arg(&self.path);
        run(command, None, ASK_WITHIN)
            .await?
            .expect("make the repository")
            .map(drop)
    }

    fn command(&self) -> Command {
        let mut command = git();
        command.env("GIT_DIR", &self.path);
        command
    }

    /// What a client is told first: the references, in git's form. `protocol` is the client's `Git-Protocol` header.
    ///
    /// # Errors
    /// git does not answer.
    pub async fn advertise(
        &self,
        service: Service,
        protocol: Option<&str>,
    ) -> Result<Serving, GitError> {
        self.start(service, protocol, &["--http-backend-info-refs"])
    }

    /// Answers a request of the client.
    ///
    /// # Errors
    /// git cannot be started.
    pub fn serve(&self, service: Service, protocol: Option<&str>) -> Result<Serving, GitError> {
        self.start(service, protocol, &[])
    }

    fn start(
        &self,
        service: Service,
        protocol: Option<&str>,
        options: &[&str],
    ) -> Result<Serving, GitError> {
        let mut command = git();
        let bytes_max = REPOSITORY_BYTES_MAX.to_string();
        add_config(
            &mut command,
            &[
                ("receive.maxInputSize", bytes_max.as_str()),
                // Pushes are kept as packs: a fetch hands on what is in one as it is, and packs single objects anew.
                ("receive.unpackLimit", "1"),
                ("receive.denyDeletes", "false"),
                ("receive.denyNonFastForwards", "false"),
                ("receive.autogc", "false"),
                ("uploadpack.allowFilter", "true"),
            ],
        );
        if let Some(protocol) = protocol {
            command.env("GIT_PROTOCOL", protocol);
        }
        command
            .arg(service.name().trim_start_matches("git-"))
            .arg("--stateless-rpc")
            .args(options)
            .arg("--")
            .arg(&self.path)
            .stdin(Stdio::piped());
        let mut group = Group::start_with(command)?;
        let child = &mut group.child;
        let parts = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(request), Some(answer), Some(complaints)) = parts else {
            return Err(GitError::io(
                "talk to git",
                std::io::Error::other("a pipe is missing"),
            ));
        };
        Ok(Serving {
            group,
            request,
            answer,
            complaints,
        })
    }

    /// The branches and their commits.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub async fn branches(&self) -> Result<BTreeMap<String, String>, GitError> {
        let mut command = self.command();
        command.args([
            "for-each-ref",
            "--format=%(objectname) %(refname:lstrip=2)",
            "refs/heads/",
        ]);
        let done = run(command, None, ASK_WITHIN).await?;
        let done = done.expect("list the branches")?;
        let text = done.text();
        let entry = |line: &str| {
            let (commit, name) = line.split_once(' ')?;
            Some((name.to_owned(), commit.to_owned()))
        };
        Ok(text.lines().filter_map(entry).collect())
    }

    /// Sets a branch back to where it was, if it is still at `from`; without `to` it goes.
    ///
    /// # Errors
    /// It has moved meanwhile, or the repository cannot be written.
    pub async fn set_back(
        &self,
        branch: &str,
        from: &str,
        to: Option<&str>,
    ) -> Result<(), GitError> {
        let name = format!("refs/heads/{branch}");
        let mut command = self.command();
        match to {
            Some(to) => command.args(["update-ref", "--", name.as_str(), to, from]),
            None => command.args(["update-ref", "-d", "--", name.as_str(), from]),
        };
        run(command, None, ASK_WITHIN)
            .await?
            .expect("set the branch back")
            .map(drop)
    }

    /// Packs what many pushes have left, if it is worth it.
    ///
    /// # Errors
    /// The repository cannot be written.
    pub async fn pack(&self) -> Result<(), GitError> {
        let mut command = self.command();
        add_config(
            &mut command,
            &[
                ("gc.auto", "2000"),
                ("gc.autoPackLimit", "50"),
                ("gc.autoDetach", "false"),
                // Large packs are not written anew for the sake of small ones.
                ("gc.bigPackThreshold", "256m"),
            ],
        );
        command.args(["gc", "--auto", "--quiet"]);
        run(command, None, super::FETCH_WITHIN)
            .await?
            .expect("pack the repository")
            .map(drop)
    }
}

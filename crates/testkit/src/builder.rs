//! A builder that builds nothing: the image of a commit is pushed as if it had been built, unless the source says otherwise.

use crate::image;
use apron_builder::{Build, BuildLog, BuildRequest, Built, Supplies};
use apron_domain::{Failure, FailureKind, OperationId};
use apron_oci::ContentStore;
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

/// What the file `plan` of a source tells [`FakeBuilder`] to do, in place of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Builds; the application listens there.
    Port(u16),
    /// Fails.
    Fail,
    /// Never ends.
    Hang,
}

/// The builder of tests.
pub struct FakeBuilder {
    content: Arc<ContentStore>,
    requests: Mutex<Vec<BuildRequest>>,
}

impl FakeBuilder {
    pub(crate) fn new(content: Arc<ContentStore>) -> FakeBuilder {
        FakeBuilder {
            content,
            requests: Mutex::default(),
        }
    }

    /// Every build that was asked for.
    pub fn requests(&self) -> Vec<BuildRequest> {
        let requests = self.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the source's file `plan` says; port 8080 without one.
fn plan(request: &BuildRequest) -> Plan {
    let dir = request.source.join(request.directory.trim_matches('/'));
    match std::fs::read_to_string(dir.join("plan"))
        .unwrap_or_default()
        .trim()
    {
        "fail" => Plan::Fail,
        "hang" => Plan::Hang,
        text => Plan::Port(text.parse().unwrap_or(8080)),
    }
}

/// What the source's file `secrets` says, `NAME=reference` in each line, in place of `run.secrets` of an `apprunner.yaml`.
fn secrets(request: &BuildRequest) -> BTreeMap<String, String> {
    let dir = request.source.join(request.directory.trim_matches('/'));
    let text = std::fs::read_to_string(dir.join("secrets")).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, from)| (name.to_owned(), from.to_owned()))
        .collect()
}

#[async_trait]
impl Build for FakeBuilder {
    async fn build(
        &self,
        request: &BuildRequest,
        _supplies: &dyn Supplies,
        log: &dyn BuildLog,
    ) -> Result<Built, Failure> {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(request.clone());
        assert!(
            request.source.is_dir(),
            "the files of the commit are not there"
        );
        log.line("[Build] make");
        let port = match plan(request) {
            Plan::Port(port) => port,
            Plan::Fail => {
                let failure =
                    Failure::new(FailureKind::Build, "command `make` ended with exit code 2");
                return Err(failure.with_evidence(["no rule to make target".to_owned()]));
            }
            Plan::Hang => std::future::pending().await,
        };
        let name = format!("built/{}", request.service);
        let image = image::push(
            &self.content,
            &name,
            "built",
            &request.origin.commit,
            "amd64",
        )
        .await;
        let pin = format!("operation-{}", request.operation);
        self.content.pin(&pin, image.as_str()).await.unwrap();
        Ok(Built {
            image,
            start_command: Some("serve".to_owned()),
            port: Some(port),
            port_variable: None,
            environment: BTreeMap::from([("FROM".to_owned(), "the file".to_owned())]),
            secrets: secrets(request),
        })
    }

    async fn tidy(&self, _unfinished: &BTreeSet<OperationId>) {}
}

fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
        .args(arguments)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A commit more on the branch `main` of a bare repository, made where there is none.
pub(crate) fn commit(repositories: &Path, name: &str, path: &str, text: &str) -> String {
    let bare = repositories.join(format!("{name}.git"));
    if !bare.exists() {
        std::fs::create_dir_all(&bare).unwrap();
        git(&bare, &["init", "-q", "--bare", "-b", "main"]);
    }
    let work = tempfile::tempdir().unwrap();
    let dir = work.path();
    git(dir, &["init", "-q", "-b", "main"]);
    let url = bare.display().to_string();
    let has_main = !git(&bare, &["for-each-ref"]).is_empty();
    if has_main {
        git(dir, &["pull", "-q", &url, "main"]);
    }
    let file = dir.join(path);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
    git(dir, &["add", "-A"]);
    git(dir, &["commit", "-q", "--allow-empty", "-m", "change"]);
    git(dir, &["push", "-q", &url, "main"]);
    git(dir, &["rev-parse", "HEAD"])
}

//! The files of a directory as a commit in a repository beside it, and its push. What `.gitignore` names is left out; the
//! directory need not be a git repository, and if it is one, that is not touched.

use super::{BRANCH, Project};
use crate::credentials::Credentials;
use anyhow::{Context, Result, bail};
use aws_lc_rs::digest::{SHA256, digest};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Commits the files as they are and pushes the commit.
pub(super) fn push(project: &Project<'_>) -> Result<()> {
    let repository = repository_of(&project.directory)?;
    let git = |arguments: &[&str]| run(git(project, &repository).args(arguments));
    if !repository.join("HEAD").is_file() {
        git(&["init", "--quiet", "--template=", "-b", BRANCH])?;
    }
    git(&["add", "--all", "--", "."])?;
    let tree = git(&["write-tree"])?;
    if git(&["ls-tree", "--name-only", &tree])?.is_empty() {
        bail!("{} has no files to deploy", project.directory.display());
    }
    let head = git(&["rev-parse", "--quiet", "--verify", "HEAD"]).ok();
    let mut commit = vec!["commit-tree", &tree, "-m", "apron deploy"];
    if let Some(head) = &head {
        commit.extend(["-p", head]);
    }
    let commit = git(&commit)?;
    git(&["update-ref", "HEAD", &commit])?;
    send(project, &repository, &commit)
}

/// Pushes without having the push deployed: that is asked for by the API.
fn send(project: &Project<'_>, repository: &Path, commit: &str) -> Result<()> {
    let helper = r#"!f() { test "$1" = get && printf 'username=%s\npassword=%s\n' "$APRON_GIT_USER" "$APRON_GIT_TOKEN"; }; f"#;
    let mut command = git(project, repository);
    command
        .env("APRON_GIT_USER", user_name(&project.credentials))
        .env("APRON_GIT_TOKEN", &project.credentials.secret_access_key)
        // Over the variable, which somebody may have set, no configuration counts.
        .env("GIT_SSL_CAINFO", project.paths.ca())
        .args(["-c", "http.extraHeader=Apron-Deploy: off"])
        .args(["-c", "credential.helper="])
        .args(["-c", &format!("credential.helper={helper}")])
        .args(["push", "--quiet", "--force", "--"])
        .arg(project.repository())
        .arg(format!("{commit}:refs/heads/{BRANCH}"));
    run(&mut command).map(drop).context("cannot send the files")
}

/// Who signs in: temporary credentials have their token in the name (decision 0040).
fn user_name(credentials: &Credentials) -> String {
    match &credentials.session_token {
        Some(token) => format!("{}%{token}", credentials.access_key_id),
        None => credentials.access_key_id.clone(),
    }
}

/// Where the commits of a directory are kept, so that the next deployment sends only what changed.
fn repository_of(directory: &Path) -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = match (variable("XDG_CACHE_HOME"), variable("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => PathBuf::from(home).join(".cache"),
        (None, None) => bail!("set HOME: the state of deployments is kept in its .cache/apron"),
    };
    let hash = digest(&SHA256, directory.as_os_str().as_encoded_bytes());
    let mut name = String::new();
    for byte in &hash.as_ref()[..16] {
        write!(name, "{byte:02x}")?;
    }
    let repository = cache.join("apron/deploy").join(name);
    std::fs::create_dir_all(&repository)
        .with_context(|| format!("cannot make {}", repository.display()))?;
    Ok(repository)
}

/// `git` on the repository aside, without the settings of anybody.
fn git(project: &Project<'_>, repository: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(&project.directory)
        .env("GIT_DIR", repository)
        .env("GIT_WORK_TREE", &project.directory)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_AUTHOR_NAME", "apron")
        .env("GIT_AUTHOR_EMAIL", "apron@localhost")
        .env("GIT_COMMITTER_NAME", "apron")
        .env("GIT_COMMITTER_EMAIL", "apron@localhost")
        .env_remove("GIT_INDEX_FILE")
        .env_remove("GIT_OBJECT_DIRECTORY")
        .args(["-c", "core.bare=false", "-c", "core.hooksPath=/dev/null"])
        .args(["-c", "core.autocrlf=false", "-c", "core.safecrlf=false"])
        .args([
            "-c",
            "gc.autoDetach=false",
            "-c",
            "advice.addEmbeddedRepo=false",
        ]);
    command
}

fn run(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .context("cannot run git: install the package git")?;
    if !output.status.success() {
        bail!("git: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

//! `apron deploy`: the files of a directory become a running service. They are committed aside, pushed to the platform's own
//! git endpoint, and built there; everything else is the public API.

mod service;
mod tree;
mod watch;

use crate::config::Config;
use crate::credentials::{self, Credentials};
use crate::identity::Identity;
use crate::paths::Paths;
use anyhow::{Context, Result, anyhow, bail};
use apron_control::source::choice::{Choice, choose};
use apron_control::source::is_repository_name;
use clap::Args;
use std::path::{Path, PathBuf};

/// The branch that deployments of directories are kept on.
const BRANCH: &str = "main";

/// Letters of a service's name (App Runner API, `ServiceName`).
const NAME_CHARS_MAX: usize = 40;

/// What is deployed, and as what.
#[derive(Args)]
pub struct Deploy {
    /// The directory.
    #[arg(default_value = ".")]
    directory: PathBuf,
    /// The service's name; by default that of the directory.
    #[arg(long)]
    name: Option<String>,
    /// Write what was found out about the directory into its apprunner.yaml, and deploy that.
    #[arg(long)]
    write: bool,
}

/// One deployment.
struct Project<'a> {
    paths: &'a Paths,
    config: Config,
    identity: Identity,
    credentials: Credentials,
    directory: PathBuf,
    name: String,
    choice: Choice,
}

impl Project<'_> {
    /// The repository of the service among the platform's own.
    fn repository(&self) -> String {
        let host = self.config.registry_host(&self.identity.account_id);
        format!("https://{host}/git/{}.git", self.name)
    }
}

/// Deploys a directory.
pub fn deploy(paths: &Paths, arguments: Deploy) -> Result<()> {
    let directory = &arguments.directory;
    let directory = directory
        .canonicalize()
        .with_context(|| format!("cannot find {}", directory.display()))?;
    if !directory.is_dir() {
        bail!("{} is not a directory", directory.display());
    }
    let name = match arguments.name {
        Some(name) if is_repository_name(&name) => name,
        Some(name) => bail!(
            "`{name}` is not a service's name: it has 4 to {NAME_CHARS_MAX} letters, digits, hyphens and underscores and begins \
             with a letter or digit"
        ),
        None => name_of(&directory),
    };
    let choice = choice(&directory, arguments.write)?;
    let config = Config::read(paths)?;
    let project = Project {
        paths,
        credentials: credentials::find(paths, &config)?,
        config,
        identity: Identity::read(paths)?,
        directory,
        name,
        choice,
    };
    println!(
        "Deploying {} as {}.",
        project.directory.display(),
        project.name
    );
    tree::push(&project)?;
    let begun = service::begin(&project)?;
    watch::to_the_end(&project, &begun)
}

/// How the directory is built, which is said and, if wanted, written down.
fn choice(directory: &Path, write: bool) -> Result<Choice> {
    let mut found = choose(directory).map_err(|missing| {
        anyhow!(
            "cannot tell how {} is built: {missing}",
            directory.display()
        )
    })?;
    for line in &found.said {
        println!("{line}");
    }
    if !write {
        return Ok(found);
    }
    let Some(yaml) = found.yaml.take() else {
        bail!("--write has nothing to write: the directory says itself how it is built");
    };
    let file = directory.join("apprunner.yaml");
    std::fs::write(&file, yaml).with_context(|| format!("cannot write {}", file.display()))?;
    println!("Wrote {}.", file.display());
    choose(directory).map_err(|missing| anyhow!(missing))
}

/// A service's name from a directory's: what cannot be in it becomes a hyphen.
fn name_of(directory: &Path) -> String {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let plain = |c: char| match c {
        c if c.is_ascii_alphanumeric() || c == '_' => c,
        _ => '-',
    };
    let name: String = name.to_lowercase().chars().map(plain).collect();
    let name = name.trim_matches(['-', '_']);
    let name: String = name.chars().take(NAME_CHARS_MAX).collect();
    match name.len() {
        0 => "application".to_owned(),
        1..4 => format!("{name}-app"),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directory_has_a_name_that_a_service_can_have() {
        for (directory, expected) in [
            ("/src/hello", "hello"),
            ("/src/My App!", "my-app"),
            ("/src/a", "a-app"),
            ("/", "application"),
            ("/src/--", "application"),
        ] {
            assert_eq!(name_of(Path::new(directory)), expected);
        }
        for name in ["x".repeat(100), "ü".to_owned(), "-a-".to_owned()] {
            assert!(is_repository_name(&name_of(Path::new(&name))), "{name}");
        }
    }
}

//! Things made once and kept under the build directory: real clients, the Python base image, the test application.
//!
//! Each is made under a temporary name and renamed when it is complete, so a run that was cut leaves nothing that
//! looks finished. The end-to-end tests only read them.

pub mod aws_cli;
mod echo;
mod javascript;
mod peers;
pub mod python_base;
mod registry;
mod wire;

use crate::packages;
use crate::process::say;
use crate::workspace;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Makes everything the end-to-end tests need.
pub fn prepare_all() -> Result<()> {
    packages::install_missing(&[
        packages::BUILD,
        packages::RUNTIME,
        packages::SAMPLE,
        packages::TESTS,
    ])?;
    aws_cli::prepare()?;
    javascript::prepare()?;
    echo::prepare()?;
    registry::prepare()?;
    python_base::prepare()?;
    wire::prepare()?;
    javascript::prepare_browser()?;
    Ok(())
}

/// Makes the peers of the data plane that are not installed as packages.
pub fn prepare_peers() -> Result<()> {
    peers::caddy()?;
    peers::envoy()?;
    Ok(())
}

/// The place of an asset, made by `make` if it is not there. `what` is said before it is made.
fn once(name: &str, what: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let finished = workspace::assets().join(name);
    if finished.exists() {
        return Ok(finished);
    }
    say(what);
    let partial = workspace::assets().join(format!("{name}.partial"));
    remove(&partial)?;
    std::fs::create_dir_all(workspace::assets())
        .with_context(|| format!("could not make {}", workspace::assets().display()))?;
    make(&partial)?;
    std::fs::rename(&partial, &finished).with_context(|| {
        format!(
            "could not rename {} to {}",
            partial.display(),
            finished.display()
        )
    })?;
    Ok(finished)
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() {
        std::fs::remove_dir_all(path)
    } else {
        std::fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("could not remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

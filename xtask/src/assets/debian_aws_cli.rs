//! The AWS command line of version 2, as the distribution packages it.

use crate::process::{self, say};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

/// Where the distribution's package puts it; another `aws` may come first on the path.
const PROGRAM: &str = "/usr/bin/aws";

/// Installs the package if it is missing.
pub fn prepare() -> Result<()> {
    if Path::new(PROGRAM).exists() {
        return Ok(());
    }
    say("installing awscli (real client: AWS command line, version 2)");
    let install = || {
        process::capture(
            Command::new("apt-get")
                .env("DEBIAN_FRONTEND", "noninteractive")
                .args(["install", "-y", "-qq", "--no-install-recommends", "awscli"]),
        )
    };
    if install().is_err() {
        process::capture(Command::new("apt-get").args(["update", "-qq"]))?;
        install().context("the package awscli could not be installed")?;
    }
    if !Path::new(PROGRAM).exists() {
        bail!("the package awscli is installed but {PROGRAM} is not there");
    }
    Ok(())
}

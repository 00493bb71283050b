//! The AWS command line of version 1 and boto3, newest from PyPI, in a virtual environment of their own.

use super::once;
use crate::{packages, process};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

/// Makes the environment and returns the path of its `aws`.
pub fn prepare() -> Result<PathBuf> {
    // Scripts in a virtual environment hold its absolute path, so it is made in place and a marker says it is complete.
    let home = crate::workspace::assets().join("aws-v1");
    once(
        "aws-v1.complete",
        "installing the AWS command line and boto3 into a virtual environment",
        |marker| {
            super::remove(&home)?;
            let make = || process::capture(Command::new("python3").args(["-m", "venv"]).arg(&home));
            if make().is_err() {
                packages::install(&[&packages::VIRTUAL_ENVIRONMENTS])?;
                super::remove(&home)?;
                make().context("no virtual environment could be made")?;
            }
            process::capture(
                Command::new(home.join("bin/pip")).args(["install", "--quiet", "awscli", "boto3"]),
            )
            .context(
                "awscli and boto3 could not be installed from PyPI; is the network reachable?",
            )?;
            std::fs::write(marker, "").context("the marker could not be written")
        },
    )?;
    Ok(home.join("bin/aws"))
}

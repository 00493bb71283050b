//! `cargo xtask up`: from a checkout to a running sample application.

mod environment;
mod sample;

use crate::process::{self, say};
use crate::{machine, packages, workspace};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

/// Checks, installs, builds, starts and deploys; each step is quick when there is nothing to do.
pub fn run() -> Result<()> {
    say("checking this machine");
    machine::root_user()?;
    packages::install_missing(&[packages::BUILD, packages::RUNTIME, packages::SAMPLE])?;
    machine::check()?;
    let apron = build()?;
    say("starting Apron");
    process::show(Command::new(&apron).arg("up"))
        .context("Apron did not start; `apron status` and the log it names say more")?;
    let environment = environment::read(&apron)?;
    sample::deploy(&environment)?;
    say(format!(
        "to use it from this shell: eval \"$({} env)\"",
        apron.display()
    ));
    Ok(())
}

/// Builds the three programs for real use and returns the path of `apron`.
pub fn build() -> Result<PathBuf> {
    say("building (some minutes the first time)");
    process::show(workspace::cargo().args([
        "build",
        "--release",
        "-p",
        "apron",
        "-p",
        "apron-proxy",
        "-p",
        "apron-shim",
    ]))?;
    Ok(workspace::target().join("release/apron"))
}

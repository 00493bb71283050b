//! gRPC and WebSockets for Python, newest from PyPI: for clients in a virtual environment, and for the Python of the base
//! image as a directory of packages.

use super::once;
use crate::{packages, process};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

/// What is installed.
const PACKAGES: [&str; 2] = ["grpcio", "websockets"];

/// The Python of the base image's Debian release.
const IMAGE_PYTHON: &str = "3.11";

/// Makes both and returns the path of the clients' Python.
pub fn prepare() -> Result<PathBuf> {
    for_image()?;
    // Scripts in a virtual environment hold its absolute path, so it is made in place and a marker says it is complete.
    let home = crate::workspace::assets().join("wire-clients");
    once(
        "wire-clients.complete",
        "installing gRPC and WebSockets into a virtual environment",
        |marker| {
            super::remove(&home)?;
            let make = || process::capture(Command::new("python3").args(["-m", "venv"]).arg(&home));
            if make().is_err() {
                packages::install(&[&packages::VIRTUAL_ENVIRONMENTS])?;
                super::remove(&home)?;
                make().context("no virtual environment could be made")?;
            }
            let mut pip = Command::new(home.join("bin/pip"));
            process::capture(pip.args(["install", "--quiet"]).args(PACKAGES)).context(
                "grpcio and websockets could not be installed from PyPI; is the network reachable?",
            )?;
            std::fs::write(marker, "").context("the marker could not be written")
        },
    )?;
    Ok(home.join("bin/python3"))
}

fn for_image() -> Result<PathBuf> {
    once(
        "wire-packages",
        "fetching gRPC and WebSockets for the Python of the base image",
        |dir| {
            let machine = std::env::consts::ARCH;
            let mut pip = Command::new("python3");
            pip.args(["-m", "pip", "install", "--quiet", "--no-compile"]);
            pip.args(["--only-binary=:all:", "--implementation", "cp"]);
            pip.args(["--python-version", IMAGE_PYTHON]);
            for libc in ["manylinux_2_28", "manylinux_2_17", "manylinux2014"] {
                pip.args(["--platform", &format!("{libc}_{machine}")]);
            }
            pip.arg("--target").arg(dir).args(PACKAGES);
            process::capture(&mut pip).context(
                "the packages could not be fetched from PyPI; is the network reachable?",
            )?;
            Ok(())
        },
    )
}

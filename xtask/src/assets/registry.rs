//! A second registry for tests: the distribution's reference registry, unpacked, never installed as a service.

use super::once;
use crate::packages;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;

/// Unpacks the registry and returns its directory; the program is `usr/bin/docker-registry` in it.
pub fn prepare() -> Result<PathBuf> {
    once(
        "registry",
        "downloading a second registry for tests",
        |dir| {
            std::fs::create_dir_all(dir).context("its directory could not be made")?;
            packages::unpack_into("docker-registry", dir)?;
            if !dir.join("usr/bin/docker-registry").exists() {
                bail!("the package docker-registry does not hold usr/bin/docker-registry");
            }
            Ok(())
        },
    )
}

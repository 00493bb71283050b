//! What `cargo xtask prepare` made: clients, base image, test application.

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// Cargo's profile directory that holds the running test or benchmark, and with it the programs under test.
pub fn programs() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let mut dir = own.parent();
    while let Some(found) = dir {
        if found.join("apron").is_file()
            && found.join("apron-proxy").is_file()
            && found.join("apron-shim").is_file()
        {
            return Ok(found.to_owned());
        }
        dir = found.parent();
    }
    bail!("the programs apron, apron-proxy and apron-shim are not built; run `cargo xtask test`")
}

/// One asset by its name.
pub fn find(name: &str) -> Result<PathBuf> {
    let programs = programs()?;
    let path = programs
        .parent()
        .unwrap_or(Path::new("/"))
        .join("assets")
        .join(name);
    if !path.exists() {
        bail!("{} is not there; run `cargo xtask prepare`", path.display());
    }
    Ok(path)
}

/// The AWS command line of version 1, newest.
pub fn aws_v1() -> Result<PathBuf> {
    find("aws-v1/bin/aws")
}

/// The AWS command line of version 2, as the distribution packages it.
pub fn aws_v2() -> PathBuf {
    PathBuf::from("/usr/bin/aws")
}

/// Python with boto3.
pub fn python() -> Result<PathBuf> {
    find("aws-v1/bin/python3")
}

/// The checkout.
pub fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies one level below the root of the workspace")
}

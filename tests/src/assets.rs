//! What `cargo xtask prepare` made: clients, base image, test application.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The nearest directory above the running test or benchmark for which `holds` is true.
fn above(holds: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    own.ancestors().find(|dir| holds(dir)).map(Path::to_owned)
}

/// Cargo's profile directory, with the programs under test.
pub fn programs() -> Result<PathBuf> {
    above(|dir| {
        ["apron", "apron-proxy", "apron-shim"]
            .iter()
            .all(|name| dir.join(name).is_file())
    })
    .context("the programs apron, apron-proxy and apron-shim are not built; run `cargo xtask test`")
}

/// One asset by its name.
pub fn find(name: &str) -> Result<PathBuf> {
    let dir = above(|dir| dir.join("assets").join(name).exists())
        .with_context(|| format!("the asset {name} is not there; run `cargo xtask prepare`"))?;
    Ok(dir.join("assets").join(name))
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

/// Python with the clients of gRPC and WebSocket.
pub fn wire_python() -> Result<PathBuf> {
    find("wire-clients/bin/python3")
}

/// The browser, as the distribution packages it.
pub fn chromium() -> PathBuf {
    PathBuf::from("/usr/bin/chromium")
}

/// The checkout.
pub fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies one level below the root of the workspace")
}

//! Packages from npm, newest: the AWS SDK for JavaScript, and what steers a browser.

use super::once;
use crate::process;
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

/// Installs the App Runner client and returns the directory that holds `node_modules`.
pub fn prepare() -> Result<PathBuf> {
    install(
        "javascript",
        "the AWS SDK for JavaScript",
        "@aws-sdk/client-apprunner",
    )
}

/// Installs what steers Chromium and returns the directory that holds `node_modules`.
pub fn prepare_browser() -> Result<PathBuf> {
    install("browser", "what steers a browser", "puppeteer-core")
}

fn install(name: &str, what: &str, package: &str) -> Result<PathBuf> {
    once(name, &format!("installing {what}"), |dir| {
        std::fs::create_dir_all(dir).context("its directory could not be made")?;
        process::capture(
            Command::new("npm")
                .args(["install", "--silent", "--no-audit", "--no-fund", package])
                .current_dir(dir),
        )
        .with_context(|| {
            format!("{package} could not be installed with npm; is the network reachable?")
        })?;
        Ok(())
    })
}

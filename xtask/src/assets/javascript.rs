//! The AWS SDK for JavaScript, newest from npm.

use super::once;
use crate::process;
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

/// Installs the App Runner client and returns the directory that holds `node_modules`.
pub fn prepare() -> Result<PathBuf> {
    once(
        "javascript",
        "installing the AWS SDK for JavaScript",
        |dir| {
            std::fs::create_dir_all(dir).context("its directory could not be made")?;
            process::capture(
                Command::new("npm")
                    .args([
                        "install",
                        "--silent",
                        "--no-audit",
                        "--no-fund",
                        "@aws-sdk/client-apprunner",
                    ])
                    .current_dir(dir),
            )
            .context("the SDK could not be installed with npm; is the network reachable?")?;
            Ok(())
        },
    )
}

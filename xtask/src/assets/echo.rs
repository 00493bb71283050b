//! The test application: one static binary, so that its image is one file and unpacking it costs nothing.

use crate::{process, workspace};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

/// Compiles the application when its source is newer than the binary, and returns the binary's path.
pub fn prepare() -> Result<PathBuf> {
    let source = workspace::root().join("tests/apps/echo.rs");
    let binary = workspace::assets().join("echo");
    let modified = |path: &PathBuf| std::fs::metadata(path).and_then(|meta| meta.modified());
    if let (Ok(made), Ok(written)) = (modified(&binary), modified(&source))
        && made > written
    {
        return Ok(binary);
    }
    process::say("compiling the test application");
    std::fs::create_dir_all(workspace::assets())
        .context("the asset directory could not be made")?;
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    process::capture(
        Command::new(rustc)
            .args([
                "--edition",
                "2024",
                "-O",
                "-D",
                "warnings",
                "-C",
                "target-feature=+crt-static",
                "-C",
                "strip=symbols",
            ])
            .arg("-o")
            .arg(&binary)
            .arg(&source),
    )
    .context(
        "the test application does not compile; a static C library (package libc6-dev) is needed",
    )?;
    Ok(binary)
}

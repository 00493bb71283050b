//! The files of the repository, as git knows them.

use crate::{process, workspace};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

/// One tracked text file.
pub struct File {
    /// Its path from the root of the checkout, with slashes.
    pub path: String,
    /// Its content.
    pub text: String,
}

/// Tracked files, and new ones that are not ignored, whose paths end in one of `endings`.
pub fn read(endings: &[&str]) -> Result<Vec<File>> {
    let listing = process::capture(
        Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .current_dir(workspace::root()),
    )
    .context("the files of the repository could not be listed")?;
    let mut files = Vec::new();
    for path in listing
        .lines()
        .filter(|path| endings.iter().any(|ending| path.ends_with(ending)))
    {
        let absolute: PathBuf = workspace::root().join(path);
        // A file that is tracked and deleted in the work tree is listed too.
        if let Ok(text) = std::fs::read_to_string(&absolute) {
            files.push(File {
                path: path.to_owned(),
                text,
            });
        }
    }
    Ok(files)
}

//! Where things are in the checkout, and cargo in it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies one level below the root of the workspace")
}

/// Cargo's build directory: `CARGO_TARGET_DIR` when set, `target` otherwise.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => std::path::absolute(&dir).unwrap_or_else(|_| PathBuf::from(dir)),
        None => root().join("target"),
    }
}

/// Where things made once for tests and samples are kept: clients, base image, test application.
pub fn assets() -> PathBuf {
    target().join("assets")
}

/// Cargo in the checkout, with the environment of whoever called this program: cargo describes this package to it in
/// variables that build scripts of dependencies look at, and what is built with them would be built anew without them.
pub fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

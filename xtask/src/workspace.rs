//! Where things are in the checkout.

use std::path::{Path, PathBuf};

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

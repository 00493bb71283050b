//! The data plane next to its peers.

mod application;
pub mod instructions;
#[expect(
    dead_code,
    reason = "the comparison with peers, which comes next, uses all of it"
)]
mod load;
#[expect(
    dead_code,
    reason = "the comparison with peers, which comes next, uses all of it"
)]
mod rig;

use anyhow::{Context as _, Result, ensure};
use std::path::PathBuf;

/// A program that was built for release, whatever the profile of the measurements themselves.
pub fn built(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.parent().and_then(|profile| profile.parent());
    let program = target
        .context("the measurements are not in a directory of cargo's")?
        .join("release")
        .join(name);
    ensure!(
        program.is_file(),
        "{} is not there; build it with `cargo build --release -p apron-proxy --bins --examples`",
        program.display()
    );
    Ok(program)
}

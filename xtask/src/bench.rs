//! `cargo xtask bench`: Apron next to its peers, in one run.

use crate::process::{self, say};
use crate::{assets, machine, packages, up, workspace};
use anyhow::Result;
use std::process::Command;

/// What to measure.
#[derive(clap::Args)]
pub struct Options {
    /// Repetitions of each measurement.
    #[arg(long, default_value_t = 20)]
    runs: u32,
    /// Only this measurement: update, start, unpack or memory.
    #[arg(long)]
    only: Option<String>,
}

/// Builds for release, makes what the measurements need and runs them.
pub fn run(options: &Options) -> Result<()> {
    machine::root_user()?;
    packages::install_missing(&[
        packages::BUILD,
        packages::RUNTIME,
        packages::SAMPLE,
        packages::TESTS,
        packages::PEERS,
    ])?;
    machine::check()?;
    up::build()?;
    say("building the measurements");
    process::show(
        Command::new(env!("CARGO"))
            .current_dir(workspace::root())
            .args([
                "build",
                "--release",
                "--quiet",
                "-p",
                "apron-bench",
                "-p",
                "apron-node",
                "-p",
                "apron-oci",
                "--bins",
                "--examples",
            ]),
    )?;
    assets::prepare_all()?;
    let mut command = Command::new(workspace::target().join("release/apron-bench"));
    command
        .arg("--runs")
        .arg(options.runs.to_string())
        .current_dir(workspace::root());
    if let Some(only) = &options.only {
        command.arg("--only").arg(only);
    }
    process::show(&mut command)
}

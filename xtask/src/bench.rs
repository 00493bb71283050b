//! `cargo xtask bench`: Apron next to its peers, in one run.

use crate::process::{self, say};
use crate::tuned::{self, Compiler};
use crate::{assets, machine, packages, up, workspace};
use anyhow::Result;
use std::path::PathBuf;
use std::process::Command;

/// What to measure.
#[derive(clap::Args)]
pub struct Options {
    /// Repetitions of each measurement.
    #[arg(long, default_value_t = 20)]
    runs: u32,
    /// Only this measurement: update, start, thaw, unpack, build, memory, scaling, api, instructions or data-plane.
    #[arg(long)]
    only: Option<String>,
    /// Measure the proxy as `cargo build` makes it, and not as it is shipped, optimised by profile.
    #[arg(long)]
    unprofiled: bool,
    /// Only count the data plane's instructions and compare them with `bench/instructions.json`; needs no root.
    #[arg(long)]
    ratchet: bool,
    /// With `--ratchet`: keep what is counted now.
    #[arg(long, requires = "ratchet")]
    keep: bool,
    /// With `--ratchet`: leave the profiles, for `callgrind_annotate`, in this directory.
    #[arg(long, requires = "ratchet")]
    profiles: Option<PathBuf>,
}

/// Builds for release, makes what the measurements need and runs them.
pub fn run(options: &Options) -> Result<()> {
    if options.ratchet {
        return ratchet(options);
    }
    if matches!(options.only.as_deref(), Some("data-plane" | "instructions")) {
        return data_plane(options);
    }
    machine::root_user()?;
    packages::install_missing(&[
        packages::BUILD,
        packages::RUNTIME,
        packages::SAMPLE,
        packages::TESTS,
        packages::PEERS,
        packages::LOAD,
        packages::DATA_PLANE_PEERS,
    ])?;
    machine::check()?;
    up::build()?;
    build()?;
    assets::prepare_all()?;
    assets::prepare_peers()?;
    measure(options)
}

/// The data plane needs nothing of the rest of the platform, and no root.
fn data_plane(options: &Options) -> Result<()> {
    packages::install_missing(&[packages::BUILD, packages::LOAD, packages::DATA_PLANE_PEERS])?;
    assets::prepare_peers()?;
    build()?;
    measure(options)
}

/// Builds the measurements for release. All of them at once, whichever is asked for: a choice of packages is a choice of their
/// dependencies' features, and another one would build the dependencies anew.
pub fn build() -> Result<()> {
    say("building the measurements");
    let mut build = workspace::cargo();
    build
        .args(["build", "--release", "--quiet", "--locked"])
        .args(["-p", "apron-bench", "-p", "apron-builder"])
        .args(["-p", "apron-node", "-p", "apron-oci"])
        .args(["-p", "apron-proxy", "-p", "apron-testkit"])
        .args(["--bins", "--examples"]);
    process::show(&mut build)
}

fn measure(options: &Options) -> Result<()> {
    let mut command = Command::new(workspace::target().join("release/apron-bench"));
    command
        .arg("--runs")
        .arg(options.runs.to_string())
        .current_dir(workspace::root());
    let only = options.only.as_deref();
    if matches!(only, None | Some("data-plane")) && !options.unprofiled {
        let proxy = tuned::build(&Compiler::ask()?)?;
        command.arg("--proxy").arg(proxy);
    }
    if let Some(only) = only {
        command.arg("--only").arg(only);
    }
    process::show(&mut command)
}

/// Builds the proxy for release and counts its instructions.
pub fn count(arguments: &[&str]) -> Result<()> {
    let mut build = workspace::cargo();
    build.args([
        "build",
        "--release",
        "--quiet",
        "--locked",
        "-p",
        "apron-proxy",
        "--example",
        "count",
    ]);
    process::show(&mut build)?;
    // With everything, as the tests build it: alone it would have other features and build its dependencies once more.
    let mut build = workspace::cargo();
    build.args([
        "build",
        "--quiet",
        "--locked",
        "--workspace",
        "--all-targets",
    ]);
    process::show(&mut build)?;
    let mut command = Command::new(workspace::target().join("debug/apron-bench"));
    command
        .current_dir(workspace::root())
        .arg("--ratchet")
        .args(arguments);
    process::show(&mut command)
}

fn ratchet(options: &Options) -> Result<()> {
    let mut arguments = Vec::new();
    if options.keep {
        arguments.push("--keep");
    }
    let directory = options.profiles.as_ref().and_then(|it| it.to_str());
    if let Some(directory) = directory {
        arguments.extend(["--profiles", directory]);
    }
    count(&arguments)
}

//! Apron next to its peers, on this machine, in one run: `cargo xtask bench`. Absolute times depend on the machine;
//! the ratios are the result.

mod data_plane;
mod examples;
mod memory;
mod table;
mod update;

use anyhow::{Context, Result};
use apron_e2e::assets;
use clap::Parser;
use std::fs;
use table::Table;

/// Measure and write `bench/results.md`.
#[derive(Parser)]
struct Arguments {
    /// Repetitions of each measurement.
    #[arg(long, default_value_t = 20)]
    runs: u32,
    /// Only this measurement: update, start, unpack, memory or instructions. The results are then printed and not
    /// written.
    #[arg(long)]
    only: Option<String>,
    /// Only count the data plane's instructions, and fail if a request takes more than `bench/instructions.json` keeps.
    #[arg(long)]
    ratchet: bool,
    /// With `--ratchet`: keep what is counted now in `bench/instructions.json`.
    #[arg(long, requires = "ratchet")]
    keep: bool,
    /// With `--ratchet`: leave the profiles, for `callgrind_annotate`, in this directory.
    #[arg(long, requires = "ratchet")]
    profiles: Option<std::path::PathBuf>,
}

/// One measurement.
type Measurement = (&'static str, fn(u32) -> Result<Table>);

const MEASUREMENTS: [Measurement; 5] = [
    ("update", update::measure),
    ("start", examples::start),
    ("unpack", examples::unpack),
    ("memory", memory::measure),
    ("instructions", data_plane::instructions::measure),
];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.ratchet {
        return data_plane::instructions::ratchet(arguments.keep, arguments.profiles.as_deref());
    }
    let wanted = |name: &str| arguments.only.as_deref().is_none_or(|only| only == name);
    let mut text = String::from(
        "# Measurements\n\nMade by `cargo xtask bench`, everything in one run on one machine.\n",
    );
    text.push_str(&machine());
    for (name, measure) in MEASUREMENTS.into_iter().filter(|(name, _)| wanted(name)) {
        println!("==> measuring {name}");
        let table =
            measure(arguments.runs).with_context(|| format!("the measurement {name} failed"))?;
        let rendered = table.render();
        println!("{rendered}");
        text.push_str(&rendered);
    }
    if arguments.only.is_none() {
        let file = assets::checkout().join("bench/results.md");
        fs::write(&file, text).with_context(|| format!("could not write {}", file.display()))?;
        println!("written to {}", file.display());
    }
    Ok(())
}

/// What the machine is, as far as it matters for the figures.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("unknown");
    let cores = cpu
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "\nMachine: {cores} × {}, Linux {}.\n",
        model.trim_start_matches([' ', '\t', ':']),
        kernel.trim()
    )
}

//! Measurements that belong to one crate and are examples of it: container start and unpacking. Each prints its result
//! as JSON in its last line.

use crate::table::{PERCENTILES, Row, Table};
use anyhow::{Context, Result};
use apron_e2e::{assets, run};
use serde::Deserialize;
use std::fs;
use std::process::Command;
use std::time::Instant;

/// Runs of the unpacking measurement: each leaves 200 MB per participant until the end.
const UNPACK_RUNS_MAX: u32 = 7;

/// What an example prints.
#[derive(Deserialize)]
struct Printed {
    rows: Vec<PrintedRow>,
}

/// One row of it.
#[derive(Deserialize)]
struct PrintedRow {
    who: String,
    p50_ms: f64,
    p95_ms: f64,
}

fn example(name: &str, arguments: &[&str]) -> Result<Vec<Row>> {
    let program = assets::programs()?.join("examples").join(name);
    let text = run::ok(Command::new(&program).args(arguments))?;
    let last = text
        .lines()
        .last()
        .with_context(|| format!("{name} printed nothing"))?;
    let printed: Printed =
        serde_json::from_str(last).with_context(|| format!("{name} printed {last}"))?;
    Ok(printed
        .rows
        .into_iter()
        .map(|row| Row {
            who: row.who,
            p50: row.p50_ms,
            p95: row.p95_ms,
        })
        .collect())
}

/// Container start by the shim alone, next to other runtimes.
pub fn start(runs: u32) -> Result<Table> {
    Ok(Table {
        title: "Container start: from the request to the application's first instruction"
            .to_owned(),
        unit: "ms",
        columns: PERCENTILES,
        rows: example("start_speed", &["--runs", &runs.to_string()])?,
        notes: Vec::new(),
    })
}

/// An idle instance that gets its processor back.
pub fn thaw(runs: u32) -> Result<Table> {
    Ok(Table {
        title: "Thaw: from the release of an idle instance's brake to its next instruction"
            .to_owned(),
        unit: "ms",
        columns: PERCENTILES,
        rows: example("thaw", &["--runs", &runs.to_string()])?,
        notes: Vec::new(),
    })
}

/// Unpacking the Python base image, next to skopeo and umoci.
pub fn unpack(runs: u32) -> Result<Table> {
    let runs = runs.min(UNPACK_RUNS_MAX);
    let layout = assets::find("python-base-2")?;
    let work = layout.with_file_name("unpack.work");
    fs::remove_dir_all(&work).ok();
    fs::create_dir_all(work.join("ours"))?;
    let ours = work.join("ours").display().to_string();
    let source = layout.display().to_string();
    // What was unpacked is removed at the end only: ext4 without a journal makes files slowly for a while after many were
    // removed, and whoever comes second would pay for it.
    let mut theirs = Vec::new();
    for run in 0..runs {
        theirs.push(peer(&source, &work.join(format!("peer{run}")))?);
    }
    let mut rows = example(
        "unpack_image",
        &[&source, "3", &ours, "--runs", &runs.to_string()],
    )?;
    rows.push(Row::of("skopeo copy + umoci unpack", &theirs));
    fs::remove_dir_all(&work).context("the work directory could not be removed")?;
    Ok(Table {
        title: "Unpacking the Python base image (about 150 MB unpacked)".to_owned(),
        unit: "ms",
        columns: PERCENTILES,
        rows,
        notes: vec![format!(
            "{runs} runs, page cache warm, into the same file system."
        )],
    })
}

fn peer(layout: &str, work: &std::path::Path) -> Result<f64> {
    fs::create_dir_all(work)?;
    let (copy, bundle) = (work.join("copy"), work.join("bundle"));
    let started = Instant::now();
    run::ok(
        Command::new("skopeo")
            .args(["copy", "--quiet"])
            .arg(format!("oci:{layout}:3"))
            .arg(format!("oci:{}:3", copy.display())),
    )?;
    run::ok(
        Command::new("umoci")
            .args(["unpack", "--image"])
            .arg(format!("{}:3", copy.display()))
            .arg(&bundle),
    )?;
    Ok(started.elapsed().as_secs_f64() * 1000.0)
}

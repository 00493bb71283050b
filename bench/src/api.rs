//! Reading through the API: how long it takes with few and with many services, and what it costs.

use crate::table::{Row, Table};
use anyhow::{Context, Result};
use apron_e2e::run;
use serde::Deserialize;
use std::fmt::Write as _;
use std::process::Command;

/// Seconds of each load.
const SECONDS: &str = "10";

/// What the example `api_reads` prints in its last line.
#[derive(Deserialize)]
struct Printed {
    rows: Vec<Read>,
    signature_us: f64,
}

/// One operation with one number of services.
#[derive(Deserialize)]
struct Read {
    who: String,
    p50_ms: f64,
    p99_ms: f64,
    per_second: f64,
    per_core_second: f64,
    processor_us: f64,
}

/// Both sections in Markdown.
pub fn measure() -> Result<String> {
    let program = crate::data_plane::built("examples/api_reads")?;
    let text = run::ok(Command::new(&program).args(["--seconds", SECONDS]))?;
    let last = text.lines().last().context("api_reads printed nothing")?;
    let printed: Printed =
        serde_json::from_str(last).with_context(|| format!("api_reads printed {last}"))?;
    Ok(times(&printed.rows).render() + &costs(&printed))
}

fn times(reads: &[Read]) -> Table {
    let row = |read: &Read| Row {
        who: read.who.clone(),
        p50: read.p50_ms,
        p95: read.p99_ms,
    };
    // The few services come first, then the same operations with the many.
    let (few, many) = reads.split_at(reads.len() / 2);
    let ratios = few.iter().zip(many).map(|(few, many)| {
        let ratio = many.p99_ms / few.p99_ms;
        format!(
            "{}: the p99 is {ratio:.2} times that of {}.",
            many.who, few.who
        )
    });
    let mut notes: Vec<String> = ratios.collect();
    notes.push(format!(
        "One kept-alive TLS connection through the control plane's listener, {SECONDS} s each, requests signed and verified, \
         another service or page each time; a page has 10 entries. Services are rows of paused services."
    ));
    Table {
        title: "Reading through the API with few and with many services".to_owned(),
        unit: "ms",
        columns: ["p50", "p99"],
        rows: reads.iter().map(row).collect(),
        notes,
    }
}

fn costs(printed: &Printed) -> String {
    let mut text = "\n## Signed reads per second and core\n\n\
        | | per second of one core | processor time each (µs) | of it the signature (µs) | per second, four connections |\n\
        |---|---|---|---|---|\n"
        .to_owned();
    for read in &printed.rows {
        let _ = writeln!(
            text,
            "| {} | {:.0} | {:.1} | {:.1} | {:.0} |",
            read.who,
            read.per_core_second,
            read.processor_us,
            printed.signature_us,
            read.per_second
        );
    }
    text + "\nThe first three columns count the processor time of the control plane alone, in user and kernel, TLS and \
            everything in the background included; the last is what came through while the client shared the machine.\n"
}

//! Memory of the platform with one idle service.

use crate::table::{Row, Table};
use anyhow::{Context, Result};
use apron_e2e::Platform;
use apron_e2e::images::EchoImage;
use apron_e2e::processes::{self, Role};
use std::fs;

/// Measures resident and proportional memory of each process.
pub fn measure(_runs: u32) -> Result<Table> {
    let platform = Platform::start()?;
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let service = platform.running_service("echo", &image)?;
    service.version(&platform)?;
    let (mut rows, mut total) = (Vec::new(), 0.0);
    for (role, name) in [
        (Role::Serve, "apron serve"),
        (Role::Proxy, "apron-proxy"),
        (Role::Shim, "apron-shim, per instance"),
    ] {
        let process = processes::of_role(&platform, role)?
            .pop()
            .with_context(|| format!("{name} does not run"))?;
        let (resident, proportional) = memory(process.pid)?;
        if role != Role::Shim {
            total += resident;
        }
        rows.push(Row {
            who: name.to_owned(),
            p50: resident,
            p95: proportional,
        });
    }
    rows.insert(
        0,
        Row {
            who: "apron serve + apron-proxy".to_owned(),
            p50: total,
            p95: rows[0].p95 + rows[1].p95,
        },
    );
    Ok(Table {
        title: "Idle memory with one service".to_owned(),
        unit: "MB",
        columns: ["resident", "proportional share"],
        rows,
        notes: Vec::new(),
    })
}

/// Resident and proportional memory in megabytes.
fn memory(pid: i32) -> Result<(f64, f64)> {
    let rollup =
        fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).context("the process ended")?;
    let field = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next())
            .and_then(|text| text.parse::<f64>().ok())
    };
    let read = |name: &str| {
        field(name)
            .map(|kilobytes| kilobytes / 1024.0)
            .with_context(|| format!("no {name}"))
    };
    Ok((read("Rss:")?, read("Pss:")?))
}

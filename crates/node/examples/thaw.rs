//! How long it takes from the word that an idle instance gets its processor back to its application's next instruction.
//!
//! `thaw --runs N [--shim PATH]`, as root. The application looks at the clock without pause, so that it is always at the end of
//! what a braked instance may use; after a gap it prints when it went on. Releases that fall outside of a gap count
//! for nothing and are made again. The last line printed is the result as JSON.

mod image;

use anyhow::{Context, Result, bail, ensure};
use apron_compute::{Brake, Compute, ComputeEvent, InstanceSpec};
use apron_domain::{Digest, InstanceId, Millis, ServiceId};
use apron_node::{Node, NodeConfig};
use apron_oci::ContentStore;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::Receiver;

/// Whenever more than ten milliseconds have passed since it looked last, prints when that was and the time, in nanoseconds.
const PROGRAM: &str = "#include <stdio.h>\n#include <time.h>\nint main(void) { struct timespec t; long long now, last = 0;\n\
    for (;;) { clock_gettime(CLOCK_MONOTONIC, &t); now = t.tv_sec * 1000000000LL + t.tv_nsec;\n\
    if (now - last > 10000000) { printf(\"%lld %lld\\n\", last, now); fflush(stdout); } last = now; } }\n";

/// How long an instance is braked before it is released.
const BRAKED: Duration = Duration::from_millis(230);

/// How long the end of a gap is waited for.
const GAP_ENDS_WITHIN: Duration = Duration::from_millis(500);

/// Releases for each that has to count.
const ATTEMPTS: usize = 10;

#[tokio::main]
async fn main() -> Result<()> {
    let (runs, shim) = options()?;
    let directory = tempfile::tempdir()?;
    let mut config = NodeConfig::new(
        "thaw",
        directory.path().join("data"),
        directory.path().join("run"),
        shim,
    );
    config.instance_network = "10.211.0.0/16".parse()?;
    let outcome = measure(runs, directory.path(), &config).await;
    Node::purge(config).await?;
    report(outcome?)
}

fn options() -> Result<(usize, PathBuf)> {
    let beside = std::env::current_exe()?;
    let target = beside.ancestors().nth(2).context("the target directory")?;
    let (mut runs, mut shim) = (20, target.join("apron-shim"));
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments
            .next()
            .with_context(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--runs" => runs = value.parse().context("--runs takes a number")?,
            "--shim" => shim = value.into(),
            other => bail!("{other} is not known; --runs N, --shim PATH"),
        }
    }
    ensure!(shim.exists(), "{} is missing", shim.display());
    Ok((runs, shim))
}

async fn measure(runs: usize, directory: &Path, config: &NodeConfig) -> Result<Vec<f64>> {
    let program = image::compile(directory, "looks", PROGRAM)?;
    let images = directory.join("images");
    let store = ContentStore::open(&images)?;
    let image = image::put(&images, &program)?;
    let node = Node::start(config.clone(), store, clock()).await?;
    let mut events = node.subscribe();
    let spec = spec(image);
    node.prepare(&spec.image).await?;
    node.create(&spec).await?;
    let brake = node.brake(&spec.id).await?.context("there is a brake")?;
    let mut times = Vec::new();
    for _ in 0..runs * ATTEMPTS {
        times.extend(thaw(&brake, &mut events).await?);
        if times.len() == runs {
            break;
        }
    }
    node.remove(&spec.id).await?;
    ensure!(times.len() == runs, "only {} releases count", times.len());
    Ok(times)
}

/// Milliseconds from the release to the next instruction; none when the release was outside of a gap.
async fn thaw(brake: &Brake, events: &mut Receiver<ComputeEvent>) -> Result<Option<f64>> {
    brake.apply()?;
    tokio::time::sleep(BRAKED).await;
    let released = monotonic_ns();
    brake.release()?;
    loop {
        let event = match tokio::time::timeout(GAP_ENDS_WITHIN, events.recv()).await {
            Ok(event) => event.context("the stream of events goes on")?,
            Err(_) => return Ok(None),
        };
        match event {
            ComputeEvent::Output { line, .. } => {
                let (stopped, went_on) = line.split_once(' ').context("two times")?;
                let (stopped, went_on): (u64, u64) = (stopped.parse()?, went_on.parse()?);
                if went_on > released {
                    let thawed = (went_on - released) as f64 / 1e6;
                    return Ok((stopped < released).then_some(thawed));
                }
            }
            ComputeEvent::Exited { exit, .. } => bail!("the application ended: {exit:?}"),
            ComputeEvent::Started { .. } => {}
        }
    }
}

fn spec(image: Digest) -> InstanceSpec {
    InstanceSpec {
        id: InstanceId::from_random([1; 16]),
        service: ServiceId::from_random([1; 16]),
        service_name: "thaw".to_owned(),
        revision: 1,
        image,
        start_command: None,
        env: BTreeMap::new(),
        defaults: Default::default(),
        trusts_platform: false,
        identity_token: None,
        port: 8080,
        cpu_millis: 1000,
        memory_bytes: 512 << 20,
        pids_max: 64,
        disk_bytes: 1 << 30,
        class: apron_compute::InstanceClass::Service,
    }
}

fn report(mut times: Vec<f64>) -> Result<()> {
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times[((times.len() - 1) as f64 * part).round() as usize];
    println!("thaw p50 {:.3} ms   p95 {:.3} ms", at(0.5), at(0.95));
    let row = json!({"who": "thaw of an idle instance", "p50_ms": at(0.5), "p95_ms": at(0.95)});
    println!(
        "{}",
        json!({"measurement": "thaw", "runs": times.len(), "rows": [row]})
    );
    Ok(())
}

fn monotonic_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[allow(clippy::disallowed_methods, reason = "an example is an edge")]
fn clock() -> apron_node::Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Millis(since.map_or(0, |since| since.as_millis() as u64))
    })
}

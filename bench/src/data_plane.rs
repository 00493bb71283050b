//! The data plane next to its peers: processor time per request, latency, memory of idle connections.

mod application;
mod contender;
pub mod instructions;
mod load;
mod report;
mod rig;
pub mod training;
mod work;

use anyhow::{Context as _, Result, ensure};
use contender::Contender;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use work::{Sample, WORKS, Work};

/// Least number of runs of each work, and how many of the runs other measurements have one of these stands for: it
/// lasts seconds.
const RUNS_MIN: u32 = 5;
const RUNS_DIVISOR: u32 = 4;

/// How many times as many runs the fixed rate has: its percentiles of one run vary several times as much as the
/// processor times of the others.
const RUNS_FIXED_RATE: u32 = 4;

/// Idle connections that are held where so many files may be open, and how many of the files they may be: Apron's proxy
/// keeps as many descriptors as it takes connections for those to instances, and a share for their brakes.
const IDLE_MAX: u64 = 10_000;
const IDLE_OF_FILES: (u64, u64) = (7, 20);

/// How long memory may take to be given back after the last request.
const SETTLE: Duration = Duration::from_secs(3);

/// Apron's proxy among the programs.
const PROXY: &str = "apron-proxy";

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
        "{} is not there; `cargo xtask bench` builds it",
        program.display()
    );
    Ok(program)
}

/// All samples of one contender and one work.
struct Measured {
    who: String,
    work: Work,
    samples: Vec<Sample>,
}

/// Memory of one contender in KiB.
struct Idle {
    who: String,
    connections: usize,
    alone: f64,
    with: f64,
}

impl Idle {
    /// What one connection takes, in KiB.
    fn each_kib(&self) -> f64 {
        (self.with - self.alone) / self.connections as f64
    }
}

/// Measures everything and answers it in Markdown.
pub fn measure(runs: u32, proxy: Option<&Path>) -> Result<String> {
    let build = match proxy {
        Some(_) => report::SHIPPED,
        None => report::BUILT,
    };
    let proxy = proxy.map_or_else(|| built(PROXY), |named| Ok(named.to_owned()))?;
    let application = application::start()?;
    let runs = (runs / RUNS_DIVISOR).max(RUNS_MIN);
    let idle = idle_connections(&proxy, application)?;
    let names: Vec<_> = contender::names().collect();
    let (measured, logged) = loaded(&proxy, application, runs, &names, |_| true)?;
    Ok(report::render(&measured, &idle, runs, logged, build))
}

/// Measures the works whose title has this text, of these contenders only; for trying something out.
pub fn try_out(runs: u32, title: &str, contenders: &[String]) -> Result<String> {
    let application = application::start()?;
    let names: Option<Vec<_>> = contenders.iter().map(|it| known(it)).collect();
    let names = names.with_context(|| {
        let known = contender::names().collect::<Vec<_>>().join(", ");
        format!(
            "the contenders are {known} and the absolute path of another build of Apron's proxy"
        )
    })?;
    let (measured, _) = loaded(&built(PROXY)?, application, runs, &names, |it| {
        it.contains(title)
    })?;
    Ok(report::works(&measured))
}

/// The contender of this name, or the program at this path.
fn known(wanted: &str) -> Option<&str> {
    let program = Path::new(wanted).is_absolute().then_some(wanted);
    program.or_else(|| contender::names().find(|name| wanted.eq_ignore_ascii_case(name)))
}

/// Runs every work against every contender, in turns and in an order that differs from turn to turn; answers how many
/// lines Apron's access log got, too.
fn loaded(
    proxy: &Path,
    application: SocketAddr,
    runs: u32,
    names: &[&str],
    wanted: impl Fn(&str) -> bool,
) -> Result<(Vec<Measured>, u64)> {
    let contenders = names
        .iter()
        .map(|name| Contender::start(name, proxy, application))
        .collect::<Result<Vec<_>>>()?;
    let mut measured = Vec::new();
    let seed = std::hash::RandomState::new().build_hasher().finish();
    for (work, title, _) in WORKS.into_iter().filter(|(_, title, _)| wanted(title)) {
        println!("    {title}");
        let mut rows: Vec<_> = contenders
            .iter()
            .map(|contender| Measured {
                who: contender.name.clone(),
                work,
                samples: Vec::new(),
            })
            .collect();
        let mut direct = Measured {
            who: report::DIRECT.to_owned(),
            work,
            samples: Vec::new(),
        };
        for run in 0..runs_of(work, runs) {
            for index in order(contenders.len(), seed.wrapping_add(u64::from(run))) {
                rows[index]
                    .samples
                    .push(work::measure(work, &contenders[index])?);
            }
            if work == Work::FixedRate {
                direct.samples.push(work::direct(application)?);
            }
        }
        rows.push(direct);
        measured.extend(rows.into_iter().filter(|row| !row.samples.is_empty()));
    }
    let logged = contenders.iter().find_map(Contender::logged);
    Ok((measured, logged.unwrap_or(0)))
}

/// Runs of this work where most works have `runs`.
fn runs_of(work: Work, runs: u32) -> u32 {
    match work {
        Work::FixedRate => runs * RUNS_FIXED_RATE,
        _ => runs,
    }
}

/// The numbers below `count` in an order that depends on `seed`.
fn order(count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<_> = (0..count).collect();
    let mut state = seed;
    for last in (1..count).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        order.swap(last, (state >> 33) as usize % (last + 1));
    }
    order
}

/// Memory with many idle TLS connections, of each contender on its own.
fn idle_connections(proxy: &Path, application: SocketAddr) -> Result<Vec<Idle>> {
    let connections = idle_connections_max(raise_descriptors()?);
    println!("    {connections} idle TLS connections");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut rows = Vec::new();
    for name in contender::names() {
        let contender = Contender::start(name, proxy, application)?;
        let target = load::Target {
            address: contender.https,
            tls: Some(load::tls("http/1.1")?),
            path: "/",
        };
        // What is made with the first connection is not the connections'.
        drop(runtime.block_on(load::idle(&target, 1))?);
        let alone = settled(contender.pid())?;
        let open = runtime.block_on(load::idle(&target, connections))?;
        let with = settled(contender.pid())?;
        drop(open);
        let row = Idle {
            who: contender.name.clone(),
            connections,
            alone,
            with,
        };
        println!("    {name}: {:.1} KiB each", row.each_kib());
        rows.push(row);
    }
    Ok(rows)
}

/// Raises the bound of open files as far as allowed, for the peers as well; answers it.
fn raise_descriptors() -> Result<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("the bound of open files cannot be raised")?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

/// How many idle connections can be held where this many files may be open.
fn idle_connections_max(files: u64) -> usize {
    let (part, whole) = IDLE_OF_FILES;
    let most = (files / whole).saturating_mul(part).min(IDLE_MAX);
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// The least memory within the time a process has to give some back.
fn settled(pid: u32) -> Result<f64> {
    let (started, mut least) = (Instant::now(), f64::INFINITY);
    while started.elapsed() < SETTLE {
        least = least.min(contender::memory_kib(pid)?);
        apron_e2e::wait::pace(Duration::from_millis(200));
    }
    Ok(least)
}

#[cfg(test)]
mod tests {
    use super::{idle_connections_max, order};

    #[test]
    fn as_many_connections_are_held_as_files_allow() {
        let held = [20_000, 30_000, 1 << 20, u64::MAX].map(idle_connections_max);
        assert_eq!(held, [7_000, 10_000, 10_000, 10_000]);
    }

    #[test]
    fn an_order_has_everybody_once() {
        for seed in 0..20 {
            let mut numbers = order(5, seed);
            numbers.sort_unstable();
            assert_eq!(numbers, [0, 1, 2, 3, 4]);
        }
        assert!((0..20).any(|seed| order(5, seed) != order(5, seed + 1)));
    }
}

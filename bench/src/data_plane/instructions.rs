//! Instructions per request: a figure that does not depend on what else the machine does. Valgrind counts them on a
//! processor of its own, the same on every machine: it has AES and AVX2, but not the instructions for SHA-256, for long
//! carries and the wide ones for AES that real ones have, so figures with TLS are above those of a real machine: a
//! handshake's by about 0.35 million.
//!
//! `bench/instructions.json` keeps the figures: a change may make them smaller and not larger than the slack.

use super::rig::{Identity, Program, Rig, Setup};
use super::{application, load};
use crate::table::{Row, Table};
use anyhow::{Context as _, Result, bail};
use apron_e2e::assets;
use apron_link::proxy::UpstreamProtocol;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Services beside the one that is measured. Few: what is done for each service once a second would, at the counting
/// machine's speed, be more than the requests.
const OTHER_SERVICES: usize = 10;

/// Connections that are loaded at the same time.
const CONNECTIONS: usize = 32;

/// Connections and streams of HTTP/2.
const CONNECTIONS2: usize = 4;
const STREAMS: usize = 32;

/// Requests of each connection or stream before counting begins, and while it goes on.
const WARM_UP: usize = 8;
const COUNTED: usize = 64;

/// New connections that are made at the same time, and each one after the other.
const HANDSHAKES: (usize, usize) = (8, 16);

/// The figures that are kept.
#[derive(Deserialize, Serialize)]
struct Kept {
    /// How much more than `now` is taken for the same, in percent.
    slack_percent: f64,
    figures: BTreeMap<String, Figure>,
}

/// Instructions in user space for one request, or for one connection with its handshake and one request.
#[derive(Clone, Copy, Deserialize, Serialize)]
struct Figure {
    /// As of the last change that moved it.
    now: f64,
    /// Where it is to go.
    goal: f64,
}

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Plain,
    Tls,
    Http2,
    Handshake,
}

const WORKS: [(&str, Work); 4] = [
    ("HTTP/1.1", Work::Plain),
    ("HTTP/1.1 over TLS", Work::Tls),
    ("HTTP/2 over TLS", Work::Http2),
    ("new TLS connection", Work::Handshake),
];

/// Counts; `None` if this machine cannot. The profiles, for `callgrind_annotate`, are left in the directory `profiles`.
fn count_all(profiles: Option<&Path>) -> Result<Option<Vec<(&'static str, f64)>>> {
    for tool in ["valgrind", "vgdb"] {
        if Command::new(tool).arg("--version").output().is_err() {
            println!("instructions are not counted: there is no {tool} on this machine");
            return Ok(None);
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let application = application::start()?;
    let identity = Identity::make()?;
    let directory = tempfile::tempdir()?;
    let output = profiles.unwrap_or(directory.path()).join("profile");
    // What the two talk through goes with the directory: it is left behind by a process that is killed.
    let prefix = format!("--vgdb-prefix={}", directory.path().join("vgdb").display());
    let program = super::built("examples/count")?;
    let words = [
        "valgrind",
        "--quiet",
        "--tool=callgrind",
        "--instr-atstart=no",
        &format!("--callgrind-out-file={}", output.display()),
        &prefix,
        &program.display().to_string(),
    ]
    .map(str::to_owned);
    let setup = Setup {
        program: Program::Counted(&words),
        directory: directory.path(),
        workers: 1,
        other_services: OTHER_SERVICES,
        application,
        protocol: UpstreamProtocol::Http1,
    };
    let rig = Rig::start(&setup, &identity)?;
    let counter = Counter {
        pid: rig.pid(),
        prefix: prefix.clone(),
        output,
    };
    counter.command(&["instrumentation", "on"])?;
    let mut counted = Vec::new();
    for (number, (name, work)) in WORKS.into_iter().enumerate() {
        let (target, mut clients) = runtime.block_on(warm_up(work, &rig))?;
        counter.command(&["zero"])?;
        let requests = runtime.block_on(run(&target, clients.as_mut()))?;
        let instructions = counter.read(number + 1)?;
        counted.push((name, instructions / requests as f64));
    }
    Ok(Some(counted))
}

/// Opens the connections of a work and makes the first requests.
async fn warm_up(work: Work, rig: &Rig) -> Result<(load::Target, Option<load::Clients>)> {
    let tls = match work {
        Work::Plain => None,
        Work::Tls | Work::Handshake => Some(load::tls("http/1.1")?),
        Work::Http2 => Some(load::tls("h2")?),
    };
    let target = load::Target {
        address: if tls.is_some() { rig.https } else { rig.plain },
        tls,
        path: "/",
    };
    let mut clients = match work {
        Work::Plain | Work::Tls => load::Clients::http1(&target, CONNECTIONS).await?,
        Work::Http2 => load::Clients::http2(&target, CONNECTIONS2, STREAMS).await?,
        Work::Handshake => return Ok((target, None)),
    };
    clients.run(WARM_UP).await?;
    Ok((target, Some(clients)))
}

/// Does the work that is counted; answers how many requests or connections it was.
async fn run(target: &load::Target, clients: Option<&mut load::Clients>) -> Result<usize> {
    let Some(clients) = clients else {
        let (parallel, each) = HANDSHAKES;
        load::new_connections(target, parallel, each).await?;
        return Ok(parallel * each);
    };
    clients.run(COUNTED).await
}

/// The counting machine.
struct Counter {
    pid: u32,
    prefix: String,
    output: PathBuf,
}

impl Counter {
    fn command(&self, words: &[&str]) -> Result<()> {
        let mut command = Command::new("vgdb");
        command
            .arg(&self.prefix)
            .arg(format!("--pid={}", self.pid))
            .args(words);
        let output = command.output().context("vgdb could not be started")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("vgdb {words:?} ended with {}: {said}", output.status);
        }
        Ok(())
    }

    /// The instructions since the last reading; this is the `number`-th, from one.
    fn read(&self, number: usize) -> Result<f64> {
        self.command(&["dump"])?;
        let file = PathBuf::from(format!("{}.{number}", self.output.display()));
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("valgrind did not write {}", file.display()))?;
        let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
        let total = total.context("valgrind's file has no total")?;
        Ok(total.trim().parse()?)
    }
}

fn file() -> PathBuf {
    assets::checkout().join("bench/instructions.json")
}

fn kept() -> Result<Kept> {
    let text = std::fs::read_to_string(file()).context("bench/instructions.json is not there")?;
    serde_json::from_str(&text).context("bench/instructions.json is not understood")
}

/// Compares with what is kept, and fails if something takes more. With `keep`, what is counted now is kept.
pub fn ratchet(keep: bool, profiles: Option<&Path>) -> Result<()> {
    let Some(counted) = count_all(profiles)? else {
        return Ok(());
    };
    let mut kept = kept()?;
    let mut worse = Vec::new();
    for (name, instructions) in counted {
        let figure = kept.figures.get_mut(name);
        let figure = figure.with_context(|| format!("no figure is kept for {name}"))?;
        let verdict = verdict(*figure, instructions, kept.slack_percent);
        println!(
            "{name}: {instructions:.0} instructions, kept {:.0}, goal {:.0}: {verdict:?}",
            figure.now, figure.goal
        );
        if verdict == Verdict::Worse {
            worse.push(name);
        }
        if keep {
            figure.now = instructions.round();
        }
    }
    if keep {
        let text = serde_json::to_string_pretty(&kept)? + "\n";
        std::fs::write(file(), text).context("bench/instructions.json could not be written")?;
    } else if !worse.is_empty() {
        bail!(
            "{} takes more instructions than bench/instructions.json keeps; if that is worth it, keep the new figures \
             with `cargo xtask bench --ratchet --keep` and say why in the message of the commit",
            worse.join(", ")
        );
    }
    Ok(())
}

/// How a count compares with what is kept.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Worse,
    Same,
    /// To be kept, so that it stays so.
    Better,
}

fn verdict(figure: Figure, counted: f64, slack_percent: f64) -> Verdict {
    let slack = slack_percent / 100.0;
    if counted > figure.now * (1.0 + slack) {
        Verdict::Worse
    } else if counted < figure.now * (1.0 - slack) {
        Verdict::Better
    } else {
        Verdict::Same
    }
}

/// The counts next to their goals.
pub fn measure(_runs: u32) -> Result<Table> {
    let counted = count_all(None)?.context("instructions cannot be counted")?;
    let kept = kept()?;
    let rows = counted.into_iter().map(|(name, instructions)| Row {
        who: name.to_owned(),
        p50: instructions / 1e3,
        p95: kept.figures.get(name).map_or(0.0, |it| it.goal) / 1e3,
    });
    Ok(Table {
        title: "Data plane: instructions per request".to_owned(),
        unit: "thousand",
        columns: ["apron-proxy", "goal"],
        rows: rows.collect(),
        notes: vec![
            "In user space, counted by Valgrind, with metrics and access log. New TLS connection: a full handshake and one \
             request; Valgrind's processor has no instructions for SHA-256."
                .to_owned(),
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratchet_holds_one_way() {
        let figure = Figure {
            now: 1_000.0,
            goal: 900.0,
        };
        assert_eq!(verdict(figure, 1_031.0, 3.0), Verdict::Worse);
        assert_eq!(verdict(figure, 1_029.0, 3.0), Verdict::Same);
        assert_eq!(verdict(figure, 969.0, 3.0), Verdict::Better);
    }

    #[test]
    fn every_work_has_a_figure() {
        let kept = kept().unwrap();
        for (name, _) in WORKS {
            assert!(kept.figures.contains_key(name), "{name}");
        }
    }
}

//! The results of the data plane as tables.

use super::contender::APRON;
use super::work::{WORKS, Work};
use super::{Idle, Measured};
use std::fmt::Write as _;

/// The name of the application without a proxy.
pub const DIRECT: &str = "no proxy";

/// Most memory of one idle TLS connection, in KiB.
const IDLE_GOAL_KIB: f64 = 17.0;

/// Most time a request at the fixed rate may take on top of the application's, as a share of nginx's.
const ADDED_GOAL: f64 = 0.75;

/// How Apron's proxy was built.
pub const SHIPPED: &str =
    "is the one of `cargo xtask dist`, optimised by a profile of these works and of others";
pub const BUILT: &str = "is the one of `cargo build --release`";

/// Everything in Markdown; `build` says how Apron's proxy was built.
pub fn render(measured: &[Measured], idle: &[Idle], runs: u32, logged: u64, build: &str) -> String {
    let mut text = goals(measured, idle);
    let _ = write!(
        text,
        "\nApron's proxy {build}. Every contender routes 10,000 services, has two threads and the same application behind it. {runs} runs of each \
         work, {} at the fixed rate, in turns and in random order; medians. Ratios are medians, too, of the ratios within one turn: what \
         the machine did meanwhile is in both. Processor time is what the scheduler accounts to the proxy's \
         processes. Apron and nginx write their access logs (Apron's to its control plane, which got {logged} lines), the \
         others write none. Clients: wrk, h2load, and one of our own for new connections and the fixed rate. Load of the \
         machine at the end (1, 5, 15 minutes): {}.\n",
        super::runs_of(Work::FixedRate, runs),
        load()
    );
    text.push_str(&works(measured));
    text.push_str(&memory(idle));
    text
}

/// The works that were measured, a table for each.
pub fn works(measured: &[Measured]) -> String {
    let mut text = String::new();
    for (work, title, _) in WORKS {
        let rows: Vec<_> = measured.iter().filter(|row| row.work == work).collect();
        if rows.is_empty() {
            continue;
        }
        let _ = write!(
            text,
            "\n## Data plane: {title}\n\n| | CPU (µs/request) | min–max | of nginx's | of HAProxy's | requests/s | p50 (µs) \
             | p99 (µs) | p99.9 (µs) |\n|---|---|---|---|---|---|---|---|---|\n"
        );
        for row in rows {
            let cpu = median(row.samples.iter().map(|sample| sample.cpu_us));
            let [nginx, haproxy] = of_peers(measured, row);
            let all = row.samples.iter().map(|sample| sample.cpu_us);
            let (least, most) = (
                all.clone().fold(f64::NAN, f64::min),
                all.fold(f64::NAN, f64::max),
            );
            let [p50, p99, p999] = [0, 1, 2].map(|index| {
                number(
                    median(row.samples.iter().map(|it| it.percentiles[index])),
                    0,
                )
            });
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {p50} | {p99} | {p999} |",
                row.who,
                number(cpu, 1),
                range(least, most),
                number(nginx, 2),
                number(haproxy, 2),
                number(median(row.samples.iter().map(|it| it.rate)), 0),
            );
        }
    }
    text
}

/// How much else the machine did, or was asked to do.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let fields: Vec<_> = text.split_whitespace().take(3).collect();
    fields.join(", ")
}

/// What was to be reached and what was.
fn goals(measured: &[Measured], idle: &[Idle]) -> String {
    let mut text = "\n## Data plane: CPU per request next to nginx and HAProxy\n\n| | of nginx's | goal | of HAProxy's | \
                    goal |\n|---|---|---|---|---|\n"
        .to_owned();
    for (work, title, goals) in WORKS {
        if work == Work::FixedRate {
            continue;
        }
        let own = find(measured, work, APRON);
        let of_peers = own.map_or([f64::NAN; 2], |row| of_peers(measured, row));
        let [nginx, haproxy] = of_peers.map(|ratio| number(ratio, 2));
        let [to_nginx, to_haproxy] =
            goals.map(|goal| goal.map_or("–".into(), |it| number(it, 2)));
        let _ = writeln!(
            text,
            "| {title} | {nginx} | {to_nginx} | {haproxy} | {to_haproxy} |"
        );
    }
    let [p50, p50h] = ["nginx", "HAProxy"].map(|peer| number(latency(measured, peer, 0), 2));
    let [p99, p99h] = ["nginx", "HAProxy"].map(|peer| number(latency(measured, peer, 1), 2));
    let _ = writeln!(
        text,
        "| Added p50 at a fixed rate | {p50} | {ADDED_GOAL:.2} | {p50h} | – |\n\
         | p99 at a fixed rate | {p99} | 1.00 | {p99h} | – |"
    );
    if let Some(own) = idle.iter().find(|row| row.who == APRON) {
        let _ = writeln!(
            text,
            "\nAn idle TLS connection: {:.1} KiB (goal: {IDLE_GOAL_KIB:.0}).",
            own.each_kib()
        );
    }
    text
}

fn memory(idle: &[Idle]) -> String {
    let connections = idle.first().map_or(0, |row| row.connections);
    let mut text = format!(
        "\n## Data plane: memory of {connections} idle TLS connections that made one request each\n\n| | without (MiB) | with \
         (MiB) | of each (KiB) |\n|---|---|---|---|\n"
    );
    for row in idle {
        let (alone, with) = (row.alone / 1024.0, row.with / 1024.0);
        let each = row.each_kib();
        let _ = writeln!(text, "| {} | {alone:.1} | {with:.1} | {each:.1} |", row.who);
    }
    text.push_str("\nProportional share of all processes (PSS).\n");
    text
}

fn find<'m>(measured: &'m [Measured], work: Work, who: &str) -> Option<&'m Measured> {
    measured
        .iter()
        .find(|row| row.work == work && row.who == who)
}

/// Processor time next to nginx's and HAProxy's.
fn of_peers(measured: &[Measured], row: &Measured) -> [f64; 2] {
    ["nginx", "HAProxy"].map(|who| {
        let peer = find(measured, row.work, who);
        peer.map_or(f64::NAN, |peer| {
            let pairs = row.samples.iter().zip(&peer.samples);
            median(pairs.map(|(own, peer)| own.cpu_us / peer.cpu_us))
        })
    })
}

/// A percentile at the fixed rate next to a peer's: of the median (the first of a sample's percentiles) what the proxy
/// adds to the application's own time.
fn latency(measured: &[Measured], peer: &str, percentile: usize) -> f64 {
    let rows = [APRON, peer, DIRECT].map(|who| find(measured, Work::FixedRate, who));
    let [Some(own), Some(peer), Some(direct)] = rows else {
        return f64::NAN;
    };
    let turns = own.samples.iter().zip(&peer.samples).zip(&direct.samples);
    median(turns.map(|((own, peer), direct)| {
        let base = match percentile {
            0 => direct.percentiles[0],
            _ => 0.0,
        };
        (own.percentiles[percentile] - base) / (peer.percentiles[percentile] - base)
    }))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}

fn range(least: f64, most: f64) -> String {
    match least.is_nan() {
        true => "–".to_owned(),
        false => format!("{least:.1}–{most:.1}"),
    }
}

fn number(value: f64, decimals: usize) -> String {
    if value.is_nan() {
        "–".to_owned()
    } else {
        format!("{value:.decimals$}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::work::{Sample, title};
    use super::*;

    #[test]
    fn tables_say_how_apron_compares() {
        let row = |who: &str, cpu_us| Measured {
            who: who.to_owned(),
            work: Work::Plain,
            samples: vec![Sample {
                cpu_us,
                rate: 1.0,
                percentiles: [f64::NAN; 3],
            }],
        };
        let measured = [row(APRON, 10.0), row("nginx", 20.0), row("HAProxy", 40.0)];
        let text = render(&measured, &[], 1, 0, BUILT);
        let line = format!("| {} | 0.50 | 0.75 | 0.25 | 0.70 |", title(Work::Plain));
        assert!(text.contains(&line), "{text}");
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
    }
}

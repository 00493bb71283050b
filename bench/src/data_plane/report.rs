//! The results of the data plane as tables.

use super::contender::APRON;
use super::work::{Sample, WORKS, Work};
use super::{IDLE, Idle, Measured};
use std::fmt::Write as _;

/// The name of the application without a proxy.
pub const DIRECT: &str = "no proxy";

/// Most memory of one idle TLS connection, in KiB.
const IDLE_GOAL_KIB: f64 = 17.0;

/// Most time a request at the fixed rate may take on top of the application's, as a share of nginx's.
const ADDED_GOAL: f64 = 0.75;

/// Everything in Markdown.
pub fn render(measured: &[Measured], idle: &[Idle], runs: u32, logged: u64) -> String {
    let mut text = goals(measured, idle);
    let _ = write!(
        text,
        "\nEvery contender routes 10,000 services, has two threads and the same application behind it. {runs} runs of each \
         work, in turns and in random order; medians. Processor time is what the scheduler accounts to the proxy's \
         processes. Apron and nginx write their access logs (Apron's to its control plane, which got {logged} lines), the \
         others write none. Clients: wrk, h2load, and one of our own for new connections and the fixed rate. Load of the \
         machine at the end (1, 5, 15 minutes): {}.\n",
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
        let [nginx, haproxy] = peers(measured, work);
        for row in rows {
            let cpu = cpu(row);
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
                number(cpu / nginx, 2),
                number(cpu / haproxy, 2),
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
        let own = find(measured, work, APRON).map_or(f64::NAN, cpu);
        let [nginx, haproxy] = peers(measured, work).map(|peer| number(own / peer, 2));
        let [to_nginx, to_haproxy] =
            goals.map(|goal| goal.map_or("–".into(), |it| number(it, 2)));
        let _ = writeln!(
            text,
            "| {title} | {nginx} | {to_nginx} | {haproxy} | {to_haproxy} |"
        );
    }
    let added = |who: &str, index: usize| {
        let time = |who: &str| {
            find(measured, Work::FixedRate, who).map_or(f64::NAN, |row| {
                median(row.samples.iter().map(|it| it.percentiles[index]))
            })
        };
        time(who) - if index == 0 { time(DIRECT) } else { 0.0 }
    };
    let [p50, p99] = [0, 1].map(|index| number(added(APRON, index) / added("nginx", index), 2));
    let [p50h, p99h] = [0, 1].map(|index| number(added(APRON, index) / added("HAProxy", index), 2));
    let _ = writeln!(
        text,
        "| Added p50 at a fixed rate | {p50} | {ADDED_GOAL:.2} | {p50h} | – |\n\
         | p99 at a fixed rate | {p99} | 1.00 | {p99h} | – |"
    );
    if let Some(own) = idle.iter().find(|row| row.who == APRON) {
        let _ = writeln!(
            text,
            "\nAn idle TLS connection: {:.1} KiB (goal: {IDLE_GOAL_KIB:.0}).",
            each(own)
        );
    }
    text
}

fn each(row: &Idle) -> f64 {
    (row.with - row.alone) / IDLE as f64
}

fn memory(idle: &[Idle]) -> String {
    let mut text = format!(
        "\n## Data plane: memory of {IDLE} idle TLS connections that made one request each\n\n| | without (MiB) | with \
         (MiB) | of each (KiB) |\n|---|---|---|---|\n"
    );
    for row in idle {
        let (alone, with) = (row.alone / 1024.0, row.with / 1024.0);
        let each = each(row);
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

fn peers(measured: &[Measured], work: Work) -> [f64; 2] {
    ["nginx", "HAProxy"].map(|who| find(measured, work, who).map_or(f64::NAN, cpu))
}

fn cpu(row: &Measured) -> f64 {
    median(row.samples.iter().map(|sample: &Sample| sample.cpu_us))
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
    use super::super::work::title;
    use super::*;

    #[test]
    fn tables_say_how_apron_compares() {
        let row = |who, cpu_us| Measured {
            who,
            work: Work::Plain,
            samples: vec![Sample {
                cpu_us,
                rate: 1.0,
                percentiles: [f64::NAN; 3],
            }],
        };
        let measured = [row(APRON, 10.0), row("nginx", 20.0), row("HAProxy", 40.0)];
        let text = render(&measured, &[], 1, 0);
        let line = format!("| {} | 0.50 | 0.75 | 0.25 | 0.70 |", title(Work::Plain));
        assert!(text.contains(&line), "{text}");
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
    }
}

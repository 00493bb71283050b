//! Apron next to its peers, on this machine, in one run: `cargo xtask bench`. Absolute times depend on the machine;
//! the ratios are the result.

mod api;
mod build;
mod data_plane;
mod examples;
mod memory;
mod scaling;
mod table;
mod update;

use anyhow::{Context, Result};
use apron_e2e::assets;
use clap::Parser;
use std::fs;

/// Measure and write `bench/results.md`.
#[derive(Parser)]
struct Arguments {
    /// Repetitions of each measurement.
    #[arg(long, default_value_t = 20)]
    runs: u32,
    /// Only this measurement: update, start, thaw, unpack, build, neighbour, memory, scaling, api, instructions or data-plane. The
    /// other sections of the results stay as they are.
    #[arg(long)]
    only: Option<String>,
    /// Only count the data plane's instructions, and fail if a request takes more than `bench/instructions.json` keeps.
    #[arg(long)]
    ratchet: bool,
    /// With `--ratchet`: keep what is counted now in `bench/instructions.json`.
    #[arg(long, requires = "ratchet")]
    keep: bool,
    /// Only the works of the data plane whose title has this text, and their tables only printed: for trying something out.
    #[arg(long, conflicts_with_all = ["only", "ratchet"])]
    work: Option<String>,
    /// The build of Apron's proxy that the data plane is measured with; the one next to this program if none is named.
    #[arg(long, conflicts_with_all = ["ratchet", "work"])]
    proxy: Option<std::path::PathBuf>,
    /// Only train this build of Apron's proxy, which counts what it does and writes it down when it ends.
    #[arg(long, conflicts_with_all = ["only", "ratchet", "work"])]
    train: Option<std::path::PathBuf>,
    /// With `--work`: these contenders; the absolute path of a program is another build of Apron's proxy.
    #[arg(
        long,
        requires = "work",
        value_delimiter = ',',
        default_value = "apron-proxy,nginx"
    )]
    contenders: Vec<String>,
    /// With `--ratchet`: leave the profiles, for `callgrind_annotate`, in this directory.
    #[arg(long, requires = "ratchet")]
    profiles: Option<std::path::PathBuf>,
}

/// One measurement: its name, and what it answers in Markdown.
type Measurement = (&'static str, fn(&Arguments) -> Result<String>);

const MEASUREMENTS: [Measurement; 11] = [
    ("update", |it| Ok(update::measure(it.runs)?.render())),
    ("start", |it| Ok(examples::start(it.runs)?.render())),
    ("thaw", |it| Ok(examples::thaw(it.runs)?.render())),
    ("unpack", |it| Ok(examples::unpack(it.runs)?.render())),
    ("build", |it| Ok(build::measure(it.runs)?.render())),
    ("neighbour", |it| {
        Ok(build::measure_neighbour(it.runs)?.render())
    }),
    ("memory", |it| Ok(memory::measure(it.runs)?.render())),
    ("scaling", |it| scaling::measure(it.runs)),
    ("api", |_| api::measure()),
    ("instructions", |it| {
        Ok(data_plane::instructions::measure(it.runs)?.render())
    }),
    ("data-plane", |it| {
        data_plane::measure(it.runs, it.proxy.as_deref())
    }),
];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.ratchet {
        return data_plane::instructions::ratchet(arguments.keep, arguments.profiles.as_deref());
    }
    if let Some(program) = &arguments.train {
        return data_plane::training::train(program);
    }
    if let Some(work) = &arguments.work {
        let tables = data_plane::try_out(arguments.runs, work, &arguments.contenders)?;
        println!("{tables}");
        return Ok(());
    }
    let wanted = |name: &str| arguments.only.as_deref().is_none_or(|only| only == name);
    let file = assets::checkout().join("bench/results.md");
    let mut text = match &arguments.only {
        Some(_) => fs::read_to_string(&file)
            .with_context(|| format!("could not read {}", file.display()))?,
        None => {
            "# Measurements\n\nMade by `cargo xtask bench`, each section in one run on one machine.\n"
                .to_owned()
                + &machine()
        }
    };
    for (name, measure) in MEASUREMENTS.into_iter().filter(|(name, _)| wanted(name)) {
        println!("==> measuring {name}");
        let rendered =
            measure(&arguments).with_context(|| format!("the measurement {name} failed"))?;
        println!("{rendered}");
        text = with_sections(&text, &rendered);
    }
    fs::write(&file, text).with_context(|| format!("could not write {}", file.display()))?;
    println!("written to {}", file.display());
    Ok(())
}

/// The document with these sections: each in the place of one with the same title, or at the end.
fn with_sections(document: &str, sections: &str) -> String {
    let mut parts: Vec<&str> = split(document);
    for section in split(sections).into_iter().filter(|it| !it.is_empty()) {
        let title = section.lines().nth(1);
        match parts.iter_mut().find(|part| part.lines().nth(1) == title) {
            Some(part) => *part = section,
            None => parts.push(section),
        }
    }
    parts.concat()
}

/// The parts of a document, each but the first beginning with the empty line before its title.
fn split(document: &str) -> Vec<&str> {
    let mut starts: Vec<_> = document.match_indices("\n## ").map(|(at, _)| at).collect();
    starts.push(document.len());
    let mut parts = vec![&document[..starts[0]]];
    parts.extend(starts.windows(2).map(|pair| &document[pair[0]..pair[1]]));
    parts
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

#[cfg(test)]
mod tests {
    use super::with_sections;

    #[test]
    fn sections_are_replaced_or_added() {
        let document = "# M\n\nmachine\n\n## a\n\n1\n\n## b\n\n2\n";
        assert_eq!(
            with_sections(document, "\n## a\n\n3\n\n## c\n\n4\n"),
            "# M\n\nmachine\n\n## a\n\n3\n\n## b\n\n2\n\n## c\n\n4\n"
        );
    }
}

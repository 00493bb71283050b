//! Checks of the repository itself. They need no compiler and run as `cargo xtask tidy`, within `cargo xtask test` and
//! as ordinary tests of this crate.

mod arrows;
mod files;
mod functions;
mod graph;
mod licences;
mod links;
mod sizes;
mod words;

use crate::process::say;
use anyhow::{Result, bail};

/// Every check with its outcome.
pub fn all() -> Vec<(&'static str, Result<()>)> {
    let graph = graph::load();
    let with_graph = |check: fn(&graph::Graph) -> Vec<String>| match &graph {
        Ok(graph) => verdict(check(graph)),
        Err(error) => Err(anyhow::anyhow!("{error:#}")),
    };
    vec![
        ("imports between crates", with_graph(arrows::check)),
        ("licences of dependencies", with_graph(licences::check)),
        (
            "crates that must not be in the graph",
            with_graph(licences::check_banned),
        ),
        ("file and function sizes", sizes::check().and_then(verdict)),
        ("words", words::check().and_then(verdict)),
        ("links in documents", links::check().and_then(verdict)),
    ]
}

/// Runs the checks and prints each.
pub fn run() -> Result<()> {
    let mut failed = 0;
    for (name, outcome) in all() {
        match outcome {
            Ok(()) => say(format!("{name}: passed")),
            Err(error) => {
                failed += 1;
                say(format!("{name}: FAILED: {error:#}"));
            }
        }
    }
    if failed > 0 {
        bail!("{failed} checks failed");
    }
    Ok(())
}

/// No complaint is success; complaints become one error with a line each.
fn verdict(complaints: Vec<String>) -> Result<()> {
    if complaints.is_empty() {
        return Ok(());
    }
    bail!("\n    {}", complaints.join("\n    "))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_repository_is_tidy() {
        let failed: Vec<String> = super::all()
            .into_iter()
            .filter_map(|(name, outcome)| outcome.err().map(|error| format!("{name}: {error:#}")))
            .collect();
        assert!(failed.is_empty(), "{}", failed.join("\n"));
    }
}

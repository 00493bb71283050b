//! The dependency graph: the workspace from `cargo metadata`, everything else from `cargo tree`, because only the latter
//! leaves out what no feature turns on.

use crate::{process, workspace};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::BTreeSet;

/// The platform the programs are for.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// Packages of the workspace and everything they pull in.
pub struct Graph {
    /// The workspace's own packages.
    pub members: Vec<Package>,
    /// Packages of others.
    pub foreign: BTreeSet<Foreign>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// One package of the workspace.
#[derive(Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// What its manifest asks for.
    pub dependencies: Vec<Dependency>,
}

/// One line of a manifest's dependencies.
#[derive(Deserialize)]
pub struct Dependency {
    /// The package's name.
    pub name: String,
    /// `dev`, `build` or nothing for an ordinary one.
    pub kind: Option<String>,
}

/// One package of somebody else.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub struct Foreign {
    /// Its name.
    pub name: String,
    /// Its version, as cargo prints it.
    pub version: String,
    /// Its licence as an SPDX expression; empty when it has none.
    pub licence: String,
}

/// Asks cargo.
pub fn load() -> Result<Graph> {
    let text = cargo(&["metadata", "--format-version", "1", "--no-deps", "--locked"])?;
    let metadata: Metadata =
        serde_json::from_str(&text).context("cargo metadata printed something unexpected")?;
    let edges = [
        "--workspace",
        "--locked",
        "--edges",
        "normal,build,dev",
        "--target",
        PLATFORM,
    ];
    let layout = ["--prefix", "none", "--no-dedupe", "--format", "{p}\t{l}"];
    let tree = cargo(&[&["tree"], &edges[..], &layout[..]].concat())?;
    Ok(Graph {
        members: metadata.packages,
        foreign: tree.lines().filter_map(foreign).collect(),
    })
}

fn cargo(arguments: &[&str]) -> Result<String> {
    process::capture(workspace::cargo().args(arguments))
        .context("the dependencies could not be listed; is Cargo.lock up to date?")
}

/// A line of the form `name v1.2.3 (proc-macro)<tab>licence`; nothing for a package of the workspace, which has a path.
fn foreign(line: &str) -> Option<Foreign> {
    let (package, licence) = line.split_once('\t')?;
    let mut words = package.split(' ');
    let (name, version) = (words.next()?, words.next()?);
    if words.any(|word| word.starts_with("(/")) {
        return None;
    }
    Some(Foreign {
        name: name.to_owned(),
        version: version.to_owned(),
        licence: licence.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::foreign;

    #[test]
    fn lines_of_the_tree_are_read() {
        let check = |line: &str, expect: Option<(&str, &str)>| {
            let found = foreign(line);
            let found = found
                .as_ref()
                .map(|package| (package.name.as_str(), package.licence.as_str()));
            assert_eq!(found, expect, "{line}");
        };
        check(
            "serde v1.0.229\tMIT OR Apache-2.0",
            Some(("serde", "MIT OR Apache-2.0")),
        );
        check(
            "serde_derive v1.0.229 (proc-macro)\tMIT",
            Some(("serde_derive", "MIT")),
        );
        check(
            "apron-link v0.1.0 (/home/me/apron/crates/link)\tApache-2.0",
            None,
        );
        check("", None);
    }
}

//! The dependency graph, from `cargo metadata`.

use crate::{process, workspace};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::process::Command;

/// Packages of the workspace and everything they pull in on Linux on x86-64.
#[derive(Deserialize)]
pub struct Graph {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
}

/// One package.
#[derive(Deserialize)]
pub struct Package {
    /// Cargo's id of it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence as an SPDX expression.
    pub license: Option<String>,
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

/// Asks cargo.
pub fn load() -> Result<Graph> {
    let text = process::capture(
        Command::new(env!("CARGO"))
            .args([
                "metadata",
                "--format-version",
                "1",
                "--locked",
                "--filter-platform",
                "x86_64-unknown-linux-gnu",
            ])
            .current_dir(workspace::root()),
    )
    .context("cargo metadata failed; is Cargo.lock up to date?")?;
    serde_json::from_str(&text).context("cargo metadata printed something unexpected")
}

impl Graph {
    /// The workspace's own packages.
    pub fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages
            .iter()
            .filter(|package| self.workspace_members.contains(&package.id))
    }

    /// Packages of others that are part of the graph.
    pub fn foreign(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| {
            !self.workspace_members.contains(&package.id)
                && self.resolve.nodes.iter().any(|node| node.id == package.id)
        })
    }
}

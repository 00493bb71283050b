//! The licence texts of everything that is linked into the programs, as their licences ask for.

use crate::{process, workspace};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Beginnings of the names of files with licences, in lower case.
const NAMES: [&str; 5] = ["licen", "copying", "notice", "unlicense", "copyright"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    manifest_path: PathBuf,
    source: Option<String>,
}

/// Every package with its licence, and every text with the packages it came with.
pub fn texts(platform: &str) -> Result<String> {
    let linked = linked(platform)?;
    let mut packages = metadata()?;
    packages.retain(|it| {
        it.source.is_some() && linked.contains(&format!("{} v{}", it.name, it.version))
    });
    ensure!(!packages.is_empty(), "no package is linked in");
    packages.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    let mut list = String::from("These packages are part of the programs:\n\n");
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in &packages {
        let who = format!("{} {}", package.name, package.version);
        let licence = package.license.as_deref().unwrap_or("see its text");
        let _ = writeln!(list, "{who}: {licence}");
        let directory = package
            .manifest_path
            .parent()
            .context("a manifest has a directory")?;
        for text in files(directory)? {
            texts.entry(text).or_default().push(who.clone());
        }
    }
    for (text, whose) in texts {
        let _ = write!(
            list,
            "\n{}\n{}\n\n{text}\n",
            "-".repeat(72),
            whose.join(", ")
        );
    }
    Ok(list)
}

/// Lines `name v1.2.3` of everything that is linked into the programs.
fn linked(platform: &str) -> Result<BTreeSet<String>> {
    let mut tree = workspace::cargo();
    tree.args(["tree", "--locked", "--edges", "normal", "--prefix", "none"])
        .args(["-p", "apron", "-p", "apron-proxy", "-p", "apron-shim"])
        .args(["--target", platform, "--format", "{p}"]);
    let text = process::capture(&mut tree)?;
    let first_two = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    Ok(text.lines().map(first_two).collect())
}

fn metadata() -> Result<Vec<Package>> {
    let mut metadata = workspace::cargo();
    metadata.args(["metadata", "--format-version", "1", "--locked"]);
    let text = process::capture(&mut metadata)?;
    let metadata: Metadata =
        serde_json::from_str(&text).context("cargo metadata printed something unexpected")?;
    Ok(metadata.packages)
}

/// The texts of a package's licence files, in the order of their names.
fn files(directory: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(directory)
        .with_context(|| format!("could not list {}", directory.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_lowercase();
        if entry.file_type()?.is_file() && NAMES.iter().any(|it| name.starts_with(it)) {
            found.push(entry.path());
        }
    }
    found.sort();
    let texts = found.iter().map(|path| {
        let bytes = fs::read(path).with_context(|| format!("could not read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_linked_in_has_its_texts() {
        let text = super::texts("x86_64-unknown-linux-gnu").unwrap();
        let (list, texts) = text.split_once("\n---").unwrap();
        assert!(
            list.lines().any(|line| line.starts_with("tokio 1.")),
            "{list}"
        );
        assert!(texts.contains("Tokio Contributors"));
        // Only the tests use it, and our own is not a third party's.
        assert!(
            !list.contains("proptest ") && !list.contains("apron"),
            "{list}"
        );
    }
}

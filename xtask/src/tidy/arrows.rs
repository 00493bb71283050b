//! Who may import whom. The table is the architecture; a new arrow is a decision and is made here first.

use super::graph::Graph;
use std::collections::{BTreeMap, BTreeSet};

/// Crate by crate, what it imports of the workspace.
const ARROWS: &[(&str, &[&str])] = &[
    ("apron-aws", &[]),
    ("apron-domain", &[]),
    ("apron-link", &[]),
    ("apron-oci", &[]),
    ("apron-compute", &["apron-domain"]),
    (
        "apron-builder",
        &["apron-compute", "apron-domain", "apron-oci"],
    ),
    ("apron-store", &["apron-domain"]),
    ("apron-telemetry", &[]),
    (
        "apron-node",
        &["apron-compute", "apron-domain", "apron-link", "apron-oci"],
    ),
    (
        "apron-control",
        &[
            "apron-aws",
            "apron-builder",
            "apron-compute",
            "apron-domain",
            "apron-link",
            "apron-oci",
            "apron-store",
            "apron-telemetry",
        ],
    ),
    (
        "apron",
        &[
            "apron-aws",
            "apron-builder",
            "apron-compute",
            "apron-control",
            "apron-domain",
            "apron-link",
            "apron-node",
            "apron-oci",
            "apron-store",
            "apron-telemetry",
        ],
    ),
    ("apron-proxy", &["apron-link"]),
    ("apron-shim", &["apron-link"]),
    (
        "apron-testkit",
        &[
            "apron-aws",
            "apron-builder",
            "apron-compute",
            "apron-control",
            "apron-domain",
            "apron-link",
            "apron-oci",
            "apron-store",
            "apron-telemetry",
        ],
    ),
    ("apron-e2e", &[]),
    ("apron-bench", &["apron-e2e", "apron-link", "apron-node"]),
    ("xtask", &[]),
];

/// Arrows that only tests may use.
const TEST_ARROWS: &[(&str, &[&str])] = &[
    ("apron-builder", &["apron-node"]),
    ("apron-control", &["apron-testkit"]),
];

/// Complaints about arrows that are not in the table, and about entries that no crate uses any more.
pub fn check(graph: &Graph) -> Vec<String> {
    let names: BTreeSet<&str> = graph
        .members
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let imports = |tests: bool| -> BTreeMap<&str, BTreeSet<&str>> {
        graph
            .members
            .iter()
            .map(|package| {
                let wanted = package
                    .dependencies
                    .iter()
                    .filter(|dependency| names.contains(dependency.name.as_str()))
                    .filter(|dependency| (dependency.kind.as_deref() == Some("dev")) == tests)
                    .map(|dependency| dependency.name.as_str())
                    .collect();
                (package.name.as_str(), wanted)
            })
            .collect()
    };
    let mut complaints = compare(&imports(false), ARROWS, "imports");
    complaints.extend(compare(&imports(true), TEST_ARROWS, "imports for tests"));
    complaints
}

fn compare(
    actual: &BTreeMap<&str, BTreeSet<&str>>,
    table: &[(&str, &[&str])],
    verb: &str,
) -> Vec<String> {
    let table: BTreeMap<&str, BTreeSet<&str>> = table
        .iter()
        .map(|(name, targets)| (*name, targets.iter().copied().collect()))
        .collect();
    let none = BTreeSet::new();
    let mut complaints = Vec::new();
    for (name, targets) in actual {
        let allowed = table.get(name).unwrap_or(&none);
        for target in targets.difference(allowed) {
            complaints.push(format!(
                "{name} {verb} {target}, which the table in xtask/src/tidy/arrows.rs does not allow"
            ));
        }
        for target in allowed.difference(targets) {
            complaints.push(format!(
                "{name} no longer {verb} {target}: take the entry out of xtask/src/tidy/arrows.rs"
            ));
        }
    }
    for name in table.keys().filter(|name| !actual.contains_key(*name)) {
        complaints.push(format!(
            "the table in xtask/src/tidy/arrows.rs names {name}, which does not exist"
        ));
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(
        pairs: &[(&'static str, &[&'static str])],
    ) -> BTreeMap<&'static str, BTreeSet<&'static str>> {
        pairs
            .iter()
            .map(|(name, targets)| (*name, targets.iter().copied().collect()))
            .collect()
    }

    #[test]
    fn new_stale_and_unknown_arrows_are_told_apart() {
        let table: &[(&str, &[&str])] = &[("a", &["b"]), ("gone", &[])];
        let complaints = compare(&graph(&[("a", &["c"]), ("b", &[])]), table, "imports");
        assert_eq!(complaints.len(), 3);
        assert!(complaints[0].starts_with("a imports c"));
        assert!(complaints[1].starts_with("a no longer imports b"));
        assert!(complaints[2].contains("gone"));
        assert!(compare(&graph(&[("a", &["b"])]), &[("a", &["b"])], "imports").is_empty());
    }
}

//! Licences of everything that is linked in, and crates that must not be. `deny.toml` says the same to cargo-deny.

use super::graph::Graph;

/// Licences a permissively licensed program may contain.
const ALLOWED: [&str; 15] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "MIT",
    "MIT-0",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "0BSD",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "Unlicense",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "BSL-1.0",
];

/// Crates that must not be in the graph, with the reason.
const BANNED: [(&str, &str); 5] = [
    ("openssl", "TLS is rustls"),
    ("openssl-sys", "TLS is rustls"),
    ("native-tls", "TLS is rustls"),
    ("serde_yaml", "archived"),
    ("chrono", "the time crate is used"),
];

/// Crates that no crate of ours may ask for itself, and why; others bring them.
const NOT_OURS: [(&str, &str); 1] = [(
    "ring",
    "aws-lc-rs is the cryptography library; rustls has ring for the proxy's record ciphers",
)];

/// Complaints about licences.
pub fn check(graph: &Graph) -> Vec<String> {
    let bad = graph
        .foreign
        .iter()
        .filter(|package| !permits(&package.licence));
    bad.map(|package| {
        format!(
            "{} {}: `{}` is not among the allowed licences",
            package.name, package.version, package.licence
        )
    })
    .collect()
}

/// Complaints about banned crates, and about manifests that ask for what is not theirs to use.
pub fn check_banned(graph: &Graph) -> Vec<String> {
    let foreign = graph.foreign.iter().filter_map(|package| {
        let reason = reason_in(&BANNED, &package.name)?;
        let (name, version) = (&package.name, &package.version);
        Some(format!("{name} {version} is in the graph: {reason}"))
    });
    let asked = graph.members.iter().flat_map(|member| {
        member.dependencies.iter().filter_map(|dependency| {
            let reason = reason_in(&NOT_OURS, &dependency.name)?;
            let (own, name) = (&member.name, &dependency.name);
            Some(format!("{own} depends on {name}: {reason}"))
        })
    });
    foreign.chain(asked).collect()
}

fn reason_in(list: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    let found = list.iter().find(|(listed, _)| *listed == name);
    found.map(|(_, reason)| *reason)
}

/// Whether one may use something under this SPDX expression with allowed licences only. Nested expressions are read as
/// `AND` of the parts in parentheses, which is how crates write them; an old `/` stands for `OR`.
fn permits(expression: &str) -> bool {
    if let Some(parts) = split(expression, " AND ") {
        return parts.iter().all(|part| permits(part));
    }
    if let Some(parts) = split(expression, " OR ").or_else(|| split(expression, "/")) {
        return parts.iter().any(|part| permits(part));
    }
    let plain = expression.trim();
    match plain
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
    {
        Some(inner) => permits(inner),
        None => ALLOWED.contains(&plain),
    }
}

/// Splits at a separator that stands outside parentheses; nothing when it does not occur.
fn split<'e>(expression: &'e str, separator: &str) -> Option<Vec<&'e str>> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (at, letter) in expression.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && at >= start && expression[at..].starts_with(separator) {
            parts.push(&expression[start..at]);
            start = at + separator.len();
        }
    }
    parts.push(&expression[start..]);
    (parts.len() > 1).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::permits;

    #[test]
    fn expressions_are_understood() {
        let check = |expression: &str, expect: bool| {
            assert_eq!(permits(expression), expect, "{expression}")
        };
        check("MIT", true);
        check("GPL-3.0-only", false);
        check("MIT OR GPL-3.0-only", true);
        check("MIT AND GPL-3.0-only", false);
        check("MIT/Apache-2.0", true);
        check("(MIT OR Apache-2.0) AND Unicode-3.0", true);
        check("(MIT OR Apache-2.0) AND GPL-2.0-only", false);
        check("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", true);
        check("MIT AND (GPL-2.0-only OR ISC)", true);
    }
}

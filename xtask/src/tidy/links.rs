//! Links between documents: every relative link in a Markdown file leads to something.

use super::files::{self, File};
use crate::workspace;
use anyhow::Result;
use std::path::Path;

/// Complaints about links that lead nowhere.
pub fn check() -> Result<Vec<String>> {
    let documents = files::read(&[".md"])?;
    Ok(documents
        .iter()
        .flat_map(|file| dead(file, workspace::root()))
        .collect())
}

fn dead(file: &File, root: &Path) -> Vec<String> {
    let home = root
        .join(&file.path)
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default();
    targets(&file.text)
        .into_iter()
        .filter(|target| {
            !target.contains("://") && !target.starts_with('#') && !target.starts_with("mailto:")
        })
        .filter(|target| {
            !home
                .join(target.split('#').next().unwrap_or_default())
                .exists()
        })
        .map(|target| format!("{}: the link to {target} leads nowhere", file.path))
        .collect()
}

/// The targets of inline links outside code blocks.
fn targets(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        let mut rest = line;
        while let Some((_, after)) = rest.split_once("](") {
            let Some((target, next)) = after.split_once(')') else {
                break;
            };
            found.push(target);
            rest = next;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_outside_code_are_found() {
        let text =
            "see [a](b.md) and [c](d/e.md#f)\n```\n[no](code.md)\n```\n[g](https://example.com)\n";
        assert_eq!(targets(text), ["b.md", "d/e.md#f", "https://example.com"]);
    }

    #[test]
    fn a_dead_link_is_named() {
        let file = File {
            path: "README.md".to_owned(),
            text: "[x](no-such-file.md) [y](Cargo.toml)".to_owned(),
        };
        assert_eq!(
            dead(&file, workspace::root()),
            ["README.md: the link to no-such-file.md leads nowhere"]
        );
    }
}

//! Files and functions stay small enough to be read in one go.

use super::files::{self, File};
use super::functions;
use anyhow::Result;
use std::collections::BTreeSet;

/// Lines a source file may have.
const FILE_LINES_MAX: usize = 700;
/// Lines a function may have, from its signature to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// What is over a bound and known: `path` for a file, `path::function` for a function. The list may only get shorter.
const EXEMPT: &[&str] = &[];

/// Complaints about what is too long, and about exemptions nothing needs any more.
pub fn check() -> Result<Vec<String>> {
    let sources = files::read(&[".rs"])?;
    Ok(complaints(&sources, EXEMPT))
}

fn complaints(sources: &[File], exempt: &[&str]) -> Vec<String> {
    let mut unused: BTreeSet<&str> = exempt.iter().copied().collect();
    let mut found = Vec::new();
    let mut report = |key: String, text: String| {
        if !unused.remove(key.as_str()) {
            found.push(text);
        }
    };
    for file in sources {
        let lines = file.text.lines().count();
        if lines > FILE_LINES_MAX {
            report(
                file.path.clone(),
                format!("{} has {lines} lines, over {FILE_LINES_MAX}", file.path),
            );
        }
        for function in functions::find(&file.text) {
            if function.lines > FUNCTION_LINES_MAX {
                let key = format!("{}::{}", file.path, function.name);
                let text = format!(
                    "{key} has {} lines, over {FUNCTION_LINES_MAX}",
                    function.lines
                );
                report(key, text);
            }
        }
    }
    found.extend(
        unused
            .iter()
            .map(|key| format!("{key} is exempt in xtask/src/tidy/sizes.rs and need not be")),
    );
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(lines: usize) -> File {
        let body = "    work();\n".repeat(lines - 2);
        File {
            path: "a.rs".to_owned(),
            text: format!("fn long() {{\n{body}}}\n"),
        }
    }

    #[test]
    fn long_functions_and_files_are_named() {
        assert!(complaints(&[file(70)], &[]).is_empty());
        assert_eq!(
            complaints(&[file(71)], &[]),
            ["a.rs::long has 71 lines, over 70"]
        );
        assert_eq!(
            complaints(&[file(701)], &["a.rs::long"]),
            ["a.rs has 701 lines, over 700"]
        );
    }

    #[test]
    fn exemptions_only_shrink() {
        assert_eq!(complaints(&[file(3)], &["a.rs::long"]).len(), 1);
    }
}

//! Words that must not be in the repository, each with its reason. The patterns are put together from parts so that
//! this file does not contain them.

use super::files::{self, File};
use anyhow::Result;

/// One forbidden word.
struct Rule {
    word: String,
    reason: &'static str,
    /// Only in files whose paths end so.
    endings: &'static [&'static str],
    /// Files that may contain it, by the start of their path.
    except: &'static [&'static str],
}

fn rule(parts: &[&str], reason: &'static str, endings: &'static [&'static str]) -> Rule {
    Rule {
        word: parts.concat(),
        reason,
        endings,
        except: &[],
    }
}

const RUST: &[&str] = &[".rs"];
const ALL: &[&str] = &[
    ".rs",
    ".md",
    ".toml",
    ".py",
    ".sh",
    "Dockerfile",
    ".service",
    ".js",
    ".mjs",
    ".ci/run",
];

fn rules() -> Vec<Rule> {
    vec![
        rule(&["to", "do!("], "unfinished code", RUST),
        rule(&["unimpl", "emented!("], "unfinished code", RUST),
        rule(
            &["FIX", "ME"],
            "unfinished code; say what is missing in the documents",
            ALL,
        ),
        rule(
            &["XX", "X:"],
            "unfinished code; say what is missing in the documents",
            ALL,
        ),
        rule(
            &["#[ign", "ore"],
            "a test that does not run proves nothing",
            RUST,
        ),
        rule(
            &["#[should_", "panic"],
            "a test names the error it expects",
            RUST,
        ),
        rule(&["assert!(", "true)"], "a test that cannot fail", RUST),
        rule(&["/wo", "rk/"], "a path of one machine", ALL),
        rule(&["/tmp/", "apron"], "a path of one machine", ALL),
        rule(&["crates", ".io"], "the name of a registry host", ALL),
        rule(&["pypi", ".org"], "the name of a registry host", ALL),
        rule(&["npmjs", ".org"], "the name of a registry host", ALL),
        rule(&["deb.deb", "ian"], "the name of a registry host", ALL),
        Rule {
            word: ["thread::", "sleep"].concat(),
            reason: "wait for something that happens, with a deadline",
            endings: RUST,
            // Polling with a deadline what gives no event, and an application that is slow on purpose.
            except: &[
                "tests/src/wait.rs",
                "tests/apps/",
                "xtask/src/up/sample.rs",
                "crates/apron/src/deploy/watch.rs",
                "crates/apron/src/process.rs",
                "crates/apron/src/proxy.rs",
                "crates/apron/src/root_key.rs",
                "crates/apron/src/up.rs",
                "crates/node/src/cgroup.rs",
                "crates/proxy/tests/proxy/rig.rs",
            ],
        },
    ]
}

/// Complaints about forbidden words.
pub fn check() -> Result<Vec<String>> {
    let rules = rules();
    let texts = files::read(ALL)?;
    Ok(texts
        .iter()
        .flat_map(|file| complaints(file, &rules))
        .collect())
}

fn complaints(file: &File, rules: &[Rule]) -> Vec<String> {
    let applicable: Vec<&Rule> = rules
        .iter()
        .filter(|rule| {
            rule.endings
                .iter()
                .any(|ending| file.path.ends_with(ending))
        })
        .filter(|rule| !rule.except.iter().any(|start| file.path.starts_with(start)))
        .collect();
    let mut found = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for rule in applicable.iter().filter(|rule| line.contains(&rule.word)) {
            found.push(format!(
                "{}:{}: `{}`: {}",
                file.path,
                number + 1,
                rule.word,
                rule.reason
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_where_they_are_forbidden() {
        let text = ["let x = ", "to", "do!(", ");\n"].concat();
        let check = |path: &str, expect: usize| {
            let file = File {
                path: path.to_owned(),
                text: text.clone(),
            };
            assert_eq!(complaints(&file, &rules()).len(), expect, "{path}");
        };
        check("crates/a/src/lib.rs", 1);
        check("README.md", 0);
    }

    #[test]
    fn polling_may_wait() {
        let text = ["thread::", "sleep", "(x)"].concat();
        let wait = File {
            path: "tests/src/wait.rs".to_owned(),
            text: text.clone(),
        };
        assert!(complaints(&wait, &rules()).is_empty());
        let other = File {
            path: "crates/a/src/b.rs".to_owned(),
            text,
        };
        assert_eq!(complaints(&other, &rules()).len(), 1);
    }
}

//! What `apron env` says about the running platform.

use crate::process;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The environment that clients of the running platform need.
pub struct Environment {
    variables: BTreeMap<String, String>,
}

/// Asks the running platform.
pub fn read(apron: &Path) -> Result<Environment> {
    let text = process::capture(Command::new(apron).arg("env"))?;
    Ok(Environment {
        variables: parse(&text),
    })
}

impl Environment {
    /// One variable; the error names it.
    pub fn get(&self, name: &str) -> Result<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .with_context(|| format!("`apron env` does not print {name}"))
    }

    /// A command with the variables set, and without a profile of the user's that would win over them.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .envs(&self.variables)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_PAGER", "");
        command
            .env_remove("AWS_PROFILE")
            .env_remove("AWS_SESSION_TOKEN");
        command
    }

    /// A directory with the authority's certificate as `ca.crt`, the form registry clients want.
    pub fn certificate_dir(&self, dir: &Path) -> Result<PathBuf> {
        std::fs::create_dir_all(dir)
            .with_context(|| format!("could not make {}", dir.display()))?;
        let from = self.get("APRON_CA_BUNDLE")?;
        std::fs::copy(from, dir.join("ca.crt"))
            .with_context(|| format!("could not copy {from}"))?;
        Ok(dir.to_owned())
    }
}

/// Reads lines of the form `export NAME=value`, the value plain or in quotes.
fn parse(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("export "))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), unquote(value).to_owned()))
        .collect()
}

fn unquote(value: &str) -> &str {
    for quote in ['\'', '"'] {
        if let Some(inner) = value
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
        {
            return inner;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_are_read_plain_and_quoted() {
        let variables = parse("# note\nexport A=b\nexport C='d e'\nexport F=\"g\"\nunrelated=1\n");
        assert_eq!(variables.get("A").map(String::as_str), Some("b"));
        assert_eq!(variables.get("C").map(String::as_str), Some("d e"));
        assert_eq!(variables.get("F").map(String::as_str), Some("g"));
        assert_eq!(variables.len(), 3);
    }
}

//! Guessing how a directory is built and run, for those who have not written it down. Manifests and lock files decide, and
//! every guess comes with its reason.

mod compiled;
mod node;
mod python;
mod scripting;

use crate::file;
use crate::source::SourceTree;
use std::fmt::Write;
use std::path::Path;

/// Largest file that is looked into, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The port that applications are told when nothing names another.
const PORT: u16 = 8080;

/// What a directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detected {
    /// It says itself: it has an `apprunner.yaml`.
    File,
    /// It has a Dockerfile.
    Dockerfile,
    /// A program for a managed runtime.
    Application(Application),
}

/// A program for a managed runtime, and how it is built and run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// The runtime's name in the API.
    pub runtime: &'static str,
    /// Commands of the build.
    pub build: Vec<String>,
    /// Commands of `pre-run`; only for runtimes of the revised build.
    pub pre_run: Vec<String>,
    /// How it is started.
    pub start: String,
    /// The port it is asked to listen on.
    pub port: u16,
    /// Variables it needs.
    pub env: Vec<(String, String)>,
    /// What was chosen and why, a sentence each.
    pub reasons: Vec<String>,
}

/// Why nothing could be guessed, for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DetectError(pub String);

/// Looks at a directory.
///
/// # Errors
/// When it is nothing that is known, or when how it is started cannot be told; with what to do.
pub fn detect(directory: &Path) -> Result<Detected, DetectError> {
    let tree = SourceTree::open(directory)
        .map_err(|error| DetectError(format!("{} cannot be read: {error}", directory.display())))?;
    if tree.has(file::NAME) {
        return Ok(Detected::File);
    }
    if tree.has("Dockerfile") {
        return Ok(Detected::Dockerfile);
    }
    let look = Look(&tree);
    let guesses = [
        python::guess,
        node::guess,
        compiled::go,
        compiled::java,
        scripting::ruby,
        scripting::php,
    ];
    for guess in guesses {
        if let Some(found) = guess(&look)? {
            return Ok(Detected::Application(found));
        }
    }
    Err(DetectError(format!(
        "{} has none of the files that say what it is (requirements.txt, pyproject.toml, Pipfile, package.json, go.mod, pom.xml, \
         build.gradle, Gemfile, composer.json, index.php, Dockerfile); write an apprunner.yaml",
        directory.display()
    )))
}

impl Application {
    /// The same as an `apprunner.yaml`.
    pub fn to_yaml(&self) -> String {
        let yaml =
            crate::runtime::runtime(self.runtime).map_or(self.runtime, |found| found.yaml.as_str());
        let mut text = format!("version: 1.0\nruntime: {yaml}\nbuild:\n  commands:\n    build:");
        if self.build.is_empty() {
            text.push_str(" []");
        }
        list(&mut text, "      ", &self.build);
        text.push_str("\nrun:\n");
        if !self.pre_run.is_empty() {
            text.push_str("  pre-run:");
            list(&mut text, "    ", &self.pre_run);
            text.push('\n');
        }
        let _ = write!(
            text,
            "  command: {}\n  network:\n    port: {}\n",
            quoted(&self.start),
            self.port
        );
        if !self.env.is_empty() {
            text.push_str("  env:\n");
            for (name, value) in &self.env {
                let _ = writeln!(
                    text,
                    "    - name: {}\n      value: {}",
                    quoted(name),
                    quoted(value)
                );
            }
        }
        text
    }
}

fn list(text: &mut String, indent: &str, commands: &[String]) {
    for command in commands {
        let _ = write!(text, "\n{indent}- {}", quoted(command));
    }
}

/// A text as YAML takes it for the same text: a JSON string is one in YAML (YAML 1.2.2, 1.3).
fn quoted(text: &str) -> String {
    let plain = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || " -_./=:,+".contains(c))
        && !text.contains(": ")
        && !text.ends_with(':')
        && !matches!(
            text.to_lowercase().as_str(),
            "true" | "false" | "yes" | "no" | "on" | "off" | "null" | "y" | "n"
        );
    match plain {
        true => text.to_owned(),
        false => serde_json::Value::from(text).to_string(),
    }
}

/// A directory as guesses see it.
struct Look<'a>(&'a SourceTree);

impl Look<'_> {
    fn has(&self, path: &str) -> bool {
        self.0.has(path)
    }

    /// The first of these that is there.
    fn first<'a>(&self, paths: &[&'a str]) -> Option<&'a str> {
        paths.iter().copied().find(|path| self.has(path))
    }

    /// The text of a file; nothing when it is not there, not text, or too large to look into.
    fn text(&self, path: &str) -> Option<String> {
        let bytes = self.0.read(path, FILE_BYTES_MAX).ok()??;
        String::from_utf8(bytes).ok()
    }

    /// `web:` of a Procfile, which says how an application is started whatever it is.
    fn procfile(&self) -> Option<String> {
        let text = self.text("Procfile")?;
        let mut lines = text.lines();
        let command = lines.find_map(|line| line.trim().strip_prefix("web:"))?;
        Some(command.trim().to_owned())
    }
}

/// What every guess begins with.
fn application(runtime: &'static str, reason: String) -> Application {
    Application {
        runtime,
        build: Vec::new(),
        pre_run: Vec::new(),
        start: String::new(),
        port: PORT,
        env: Vec::new(),
        reasons: vec![reason],
    }
}

#[cfg(test)]
mod tests;

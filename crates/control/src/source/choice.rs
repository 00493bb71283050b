//! How source code is built that nobody configured: by the file it brings, or by what its files say it is.

use apron_builder::{Detected, detect};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

/// The configuration file (App Runner developer guide, configuration file).
pub const FILE: &str = "apprunner.yaml";

/// How a source is built.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// By a Dockerfile: the tag `apron:build`.
    pub dockerfile: bool,
    /// What was chosen and why, a line each.
    pub said: Vec<String>,
    /// What was found out as an `apprunner.yaml`; none where a file says it.
    pub yaml: Option<String>,
}

impl Choice {
    /// `CodeConfiguration` of the API. What was found out goes by the file, too: the API has no words for all of it.
    pub fn configuration(&self) -> Value {
        json!({ "ConfigurationSource": "REPOSITORY" })
    }
}

/// Looks at a directory's files.
///
/// # Errors
/// What is missing, for people.
pub fn choose(files: &Path) -> Result<Choice, String> {
    let by_file = |dockerfile, said: &str| Choice {
        dockerfile,
        said: vec![said.to_owned()],
        yaml: None,
    };
    match detect(files).map_err(|error| error.to_string())? {
        Detected::File => Ok(by_file(false, "Building as apprunner.yaml says.")),
        Detected::Dockerfile => Ok(by_file(true, "Building as the Dockerfile says.")),
        Detected::Application(application) => Ok(Choice {
            dockerfile: false,
            yaml: Some(application.to_yaml()),
            said: application.reasons,
        }),
    }
}

/// Gives a source without a file the one that its other files stand for; what was chosen and why. Nothing where there is a
/// file, or nothing can be told: the build says then what is missing.
///
/// # Errors
/// The file cannot be written.
pub fn complete(files: &Path) -> std::io::Result<Vec<String>> {
    let Ok(Choice {
        yaml: Some(yaml),
        said,
        ..
    }) = choose(files)
    else {
        return Ok(Vec::new());
    };
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).open(files.join(FILE));
    match opened {
        // A link of that name: the builder says what it thinks of it.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(mut file) => file.write_all(yaml.as_bytes()).map(|()| said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_say_how_before_anything_is_guessed() {
        let dir = tempfile::tempdir().unwrap();
        assert!(choose(dir.path()).unwrap_err().contains("apprunner.yaml"));
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("requirements.txt", "flask\n");
        write("app.py", "from flask import Flask\napp = Flask(__name__)\n");
        let guessed = choose(dir.path()).unwrap();
        assert!(guessed.yaml.unwrap().contains("python311") && !guessed.said.is_empty());
        assert_eq!(complete(dir.path()).unwrap(), guessed.said);
        assert_eq!(choose(dir.path()).unwrap().yaml, None);
        std::fs::remove_file(dir.path().join(FILE)).unwrap();
        write("Dockerfile", "FROM scratch");
        assert!(choose(dir.path()).unwrap().dockerfile);
        assert!(complete(dir.path()).unwrap().is_empty() && !dir.path().join(FILE).exists());
    }
}

//! Source code as a service's source: where it is, how it is built, and what the last build of it gave.
//!
//! A service from source code has the user's words in [`CodeSource`]; the members of [`ImageSource`] that say how a
//! container runs (port, start command, variables) are made of these words and of the build by [`CodeSource::running`].

use crate::service::{ImageSource, RepositoryType};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The port of a service that names none (App Runner API, `CodeConfigurationValues.Port`).
pub const PORT_DEFAULT: u16 = 8080;

/// The directory of a service that names none: the repository's root.
pub const DIRECTORY_DEFAULT: &str = "/";

/// Characters of a commit id (SHA-1 or SHA-256 in hexadecimal).
const COMMIT_CHARS: [usize; 2] = [40, 64];

/// Who says how the source is built (App Runner API, `ConfigurationSource`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigurationSource {
    /// The file `apprunner.yaml` in the source directory.
    Repository,
    /// The values of the API.
    Api,
}

impl ConfigurationSource {
    /// The text on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ConfigurationSource::Repository => "REPOSITORY",
            ConfigurationSource::Api => "API",
        }
    }
}

/// `CodeConfigurationValues` of the API as the user gave them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeValues {
    /// The runtime's name in the API, for example `PYTHON_311`.
    pub runtime: String,
    /// `BuildCommand`.
    pub build_command: Option<String>,
    /// `StartCommand`.
    pub start_command: Option<String>,
    /// `Port`, if given.
    pub port: Option<u16>,
    /// `RuntimeEnvironmentVariables`.
    pub environment: BTreeMap<String, String>,
    /// `RuntimeEnvironmentSecrets`: names of variables, and where their values are.
    pub secrets: BTreeMap<String, String>,
}

/// What a build gave, as far as running it needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltCode {
    /// The commit it was built from, in full.
    pub commit: String,
    /// The id of the source directory's tree in that commit: another commit with the same one changes nothing.
    pub tree: String,
    /// Whether a Dockerfile was built (the tag `apron:build`).
    pub dockerfile: bool,
    /// The start command the build gave.
    pub start_command: Option<String>,
    /// The port the build gave.
    pub port: Option<u16>,
    /// A further variable that carries the port (`run.network.env` of the file).
    pub port_variable: Option<String>,
    /// Variables the file has for the application.
    pub environment: BTreeMap<String, String>,
    /// Secrets the file has for the application: names of variables, and where their values are.
    pub secrets: BTreeMap<String, String>,
}

/// The source code a service is built from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeSource {
    /// The repository's URL exactly as the user gave it; it never has credentials in it.
    pub repository: String,
    /// The tracked branch.
    pub branch: String,
    /// The source directory, absolute from the repository's root.
    pub directory: String,
    /// The connection whose credentials read the repository; none for public ones and for the platform's own.
    pub connection_arn: Option<String>,
    /// The host of repositories in the words of events: `GITHUB`, `BITBUCKET`, `GIT`.
    pub provider: String,
    /// Who says how it is built.
    pub configuration: ConfigurationSource,
    /// The API's values; not used where the file says it.
    pub values: Option<CodeValues>,
    /// What the build that is deployed gave; none until there is one.
    #[serde(default)]
    pub built: Option<BuiltCode>,
}

impl CodeSource {
    /// Whether a build of this source would do anything else than the build that `other` had: repository, branch,
    /// directory, runtime and build command. What only the running container needs is not part of it.
    pub fn builds_like(&self, other: &CodeSource) -> bool {
        let build = |code: &CodeSource| match code.configuration {
            ConfigurationSource::Repository => None,
            ConfigurationSource::Api => code
                .values
                .as_ref()
                .map(|values| (values.runtime.clone(), values.build_command.clone())),
        };
        self.repository == other.repository
            && self.branch == other.branch
            && self.directory == other.directory
            && self.configuration == other.configuration
            && build(self) == build(other)
    }

    /// How the container of the present build runs: the API's values, or those of the file, over what the build gave.
    pub fn running(&self) -> ImageSource {
        let values = match self.configuration {
            ConfigurationSource::Api => self.values.as_ref(),
            ConfigurationSource::Repository => None,
        };
        let built = self.built.as_ref();
        let port = values
            .and_then(|values| values.port)
            .or_else(|| built.and_then(|built| built.port))
            .unwrap_or(PORT_DEFAULT);
        let mut environment = built.map(|b| b.environment.clone()).unwrap_or_default();
        if let Some(name) = built.and_then(|built| built.port_variable.clone()) {
            environment.insert(name, port.to_string());
        }
        environment.extend(values.map(|v| v.environment.clone()).unwrap_or_default());
        let mut secrets = built.map(|b| b.secrets.clone()).unwrap_or_default();
        secrets.extend(values.map(|v| v.secrets.clone()).unwrap_or_default());
        ImageSource {
            identifier: String::new(),
            repository_type: RepositoryType::Ecr,
            access_role_arn: None,
            port,
            start_command: values
                .and_then(|values| values.start_command.clone())
                .or_else(|| built.and_then(|built| built.start_command.clone())),
            environment,
            secrets,
        }
    }

    /// The same source without what was built of it: the wish to build it anew.
    pub fn unbuilt(&self) -> CodeSource {
        CodeSource {
            built: None,
            ..self.clone()
        }
    }
}

/// Whether a text is a commit id in full: 40 or 64 lower-case hexadecimal digits.
pub fn is_commit(text: &str) -> bool {
    COMMIT_CHARS.contains(&text.len())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A source directory in its one form, absolute and without empty or dot parts; none when it would leave the repository.
pub fn directory(text: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => return None,
            _ if part.contains('\0') => return None,
            part => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(configuration: ConfigurationSource) -> CodeSource {
        CodeSource {
            repository: "https://git.example.com/app".to_owned(),
            branch: "main".to_owned(),
            directory: "/".to_owned(),
            connection_arn: None,
            provider: "GIT".to_owned(),
            configuration,
            values: Some(CodeValues {
                runtime: "PYTHON_311".to_owned(),
                build_command: Some("make".to_owned()),
                start_command: None,
                port: None,
                environment: BTreeMap::from([("A".to_owned(), "api".to_owned())]),
                secrets: BTreeMap::new(),
            }),
            built: Some(BuiltCode {
                commit: "0".repeat(40),
                tree: "1".repeat(40),
                dockerfile: false,
                start_command: Some("python app.py".to_owned()),
                port: Some(9000),
                port_variable: Some("APP_PORT".to_owned()),
                environment: BTreeMap::from([("A".to_owned(), "file".to_owned())]),
                secrets: BTreeMap::new(),
            }),
        }
    }

    #[test]
    fn the_file_says_all_or_the_api_says_it_over_the_build() {
        let file = source(ConfigurationSource::Repository).running();
        assert_eq!((file.port, file.environment["A"].as_str()), (9000, "file"));
        assert_eq!(file.environment["APP_PORT"], "9000");
        let mut code = source(ConfigurationSource::Api);
        let api = code.running();
        assert_eq!((api.port, api.environment["A"].as_str()), (9000, "api"));
        assert_eq!(api.start_command.as_deref(), Some("python app.py"));
        let values = code.values.as_mut().unwrap();
        (values.port, values.start_command) = (Some(7), Some("./run".to_owned()));
        let api = code.running();
        assert_eq!((api.port, api.start_command.as_deref()), (7, Some("./run")));
        assert_eq!(code.unbuilt().running().port, 7);
    }

    #[test]
    fn only_what_a_build_sees_makes_another_build() {
        let code = source(ConfigurationSource::Api);
        let with = |change: fn(&mut CodeSource)| {
            let mut other = code.clone();
            change(&mut other);
            other.builds_like(&code)
        };
        assert!(with(|c| c.values.as_mut().unwrap().port = Some(1)));
        assert!(with(|c| c.connection_arn = Some("arn".to_owned())));
        assert!(!with(|c| c.branch = "other".to_owned()));
        assert!(!with(|c| c.directory = "/app".to_owned()));
        assert!(!with(|c| c.values.as_mut().unwrap().build_command = None));
        assert!(!with(|c| c.configuration = ConfigurationSource::Repository));
    }

    #[test]
    fn directories_stay_in_the_repository() {
        for (text, expected) in [
            ("/", Some("/")),
            ("app", Some("/app")),
            ("//app/./x/", Some("/app/x")),
            ("../x", None),
            ("/a/..", None),
        ] {
            assert_eq!(directory(text).as_deref(), expected, "{text}");
        }
        assert!(is_commit(&"a".repeat(40)) && !is_commit(&"A".repeat(40)) && !is_commit("abc"));
    }
}

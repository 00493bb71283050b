//! `apprunner.yaml` (AWS App Runner developer guide, "App Runner configuration file reference").

use serde::{Deserialize, Deserializer};
use serde_saphyr::Options;

/// The file's name in the source directory.
pub const NAME: &str = "apprunner.yaml";

/// Largest file that is read, in bytes.
pub const BYTES_MAX: u64 = 64 << 10;

/// Most nodes that aliases of the file may stand for: more than any file of its size has without them is an attack.
const ALIASED_NODES_MAX: usize = 10_000;

/// Most commands of one list.
const COMMANDS_MAX: usize = 100;

/// Most variables or secrets of one list.
const VARIABLES_MAX: usize = 1000;

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppRunnerFile {
    /// `version`: 1.0.
    version: Scalar,
    /// `runtime`: its name in the file, for example `python311`.
    pub runtime: String,
    /// `build`.
    pub build: BuildSection,
    /// `run`.
    pub run: RunSection,
}

/// `build`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildSection {
    /// `commands`.
    pub commands: Commands,
    /// `env`: variables of the commands of `build` and of `pre-run`.
    #[serde(default, deserialize_with = "listed")]
    pub env: Vec<Variable>,
}

/// `build.commands`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Commands {
    /// `pre-build`.
    #[serde(default, deserialize_with = "listed")]
    pub pre_build: Vec<String>,
    /// `build`.
    #[serde(deserialize_with = "listed")]
    pub build: Vec<String>,
    /// `post-build`.
    #[serde(default, deserialize_with = "listed")]
    pub post_build: Vec<String>,
}

/// `run`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RunSection {
    /// `runtime-version`, as it is written: `3.10` is a version, not a number.
    #[serde(default)]
    pub runtime_version: Option<Scalar>,
    /// `pre-run`.
    #[serde(default, deserialize_with = "listed")]
    pub pre_run: Vec<String>,
    /// `command`.
    pub command: String,
    /// `network`.
    #[serde(default)]
    pub network: Option<NetworkSection>,
    /// `env`.
    #[serde(default, deserialize_with = "listed")]
    pub env: Vec<Variable>,
    /// `secrets`.
    #[serde(default, deserialize_with = "listed")]
    pub secrets: Vec<SecretReference>,
}

/// `run.network`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSection {
    /// `port`.
    #[serde(default)]
    pub port: Option<u16>,
    /// `env`: a further variable that carries the port.
    #[serde(default)]
    pub env: Option<String>,
}

/// One entry of `env`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// `name`.
    pub name: String,
    /// `value`.
    pub value: Scalar,
}

/// One entry of `secrets`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SecretReference {
    /// `name`.
    pub name: String,
    /// `value-from`.
    pub value_from: String,
}

/// A text, or a number or truth value as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Scalar(pub String);

/// Why a file cannot be used, for people, with where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FileError(pub String);

/// Lists that are written without entries are empty, and long ones are refused.
fn listed<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let list: Option<Vec<T>> = Option::deserialize(deserializer)?;
    let list = list.unwrap_or_default();
    let bound = COMMANDS_MAX.max(VARIABLES_MAX);
    match list.len() > bound {
        true => Err(serde::de::Error::custom(format!(
            "the list has more than {bound} entries"
        ))),
        false => Ok(list),
    }
}

impl AppRunnerFile {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// With line and column for what is not the file's format, and the key for what is not allowed.
    pub fn parse(text: &str) -> Result<AppRunnerFile, FileError> {
        let mut options = Options::default();
        options.alias_limits.max_total_replayed_events = ALIASED_NODES_MAX;
        let parsed: Result<AppRunnerFile, _> = serde_saphyr::from_str_with_options(text, options);
        let file = parsed.map_err(|error| {
            let place = error.location().map_or_else(String::new, |at| {
                format!(" line {}, column {}:", at.line(), at.column())
            });
            FileError(format!("{NAME}:{place} {}", reason(&error)))
        })?;
        file.check()?;
        Ok(file)
    }

    fn check(&self) -> Result<(), FileError> {
        let refuse = |text: String| Err(FileError(format!("{NAME}: {text}")));
        if !matches!(self.version.0.as_str(), "1.0" | "1") {
            let version = &self.version.0;
            return refuse(format!("version is {version}, the one there is is 1.0"));
        }
        let commands = &self.build.commands;
        for (key, list) in [
            ("build.commands.pre-build", &commands.pre_build),
            ("build.commands.build", &commands.build),
            ("build.commands.post-build", &commands.post_build),
            ("run.pre-run", &self.run.pre_run),
        ] {
            if list.len() > COMMANDS_MAX {
                return refuse(format!("{key} has more than {COMMANDS_MAX} commands"));
            }
            if list.iter().any(|command| command.trim().is_empty()) {
                return refuse(format!("{key} has an empty command"));
            }
        }
        if self.run.command.trim().is_empty() {
            return refuse("run.command is empty".to_owned());
        }
        for (key, list) in [("build.env", &self.build.env), ("run.env", &self.run.env)] {
            check_names(key, list.iter().map(|variable| variable.name.as_str()))?;
        }
        let secrets = self.run.secrets.iter().map(|secret| secret.name.as_str());
        check_names("run.secrets", secrets)?;
        let port = self.run.network.as_ref().and_then(|network| network.port);
        if port == Some(0) {
            return refuse("run.network.port is 0; ports are 1 to 65535".to_owned());
        }
        let name = self.run.network.as_ref().and_then(|n| n.env.as_deref());
        check_names(
            "run.network.env",
            name.into_iter().filter(|name| *name != "PORT"),
        )
    }
}

/// Names that a variable can have here (AWS App Runner developer guide, "Referencing environment variables").
fn check_names<'a>(key: &str, names: impl Iterator<Item = &'a str>) -> Result<(), FileError> {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        let why = if name.is_empty() || name.contains(['=', '\0']) {
            "is no name of a variable"
        } else if name == "PORT" {
            "is set by App Runner; use run.network.port"
        } else if name.starts_with("AWSAPPRUNNER") {
            "begins with AWSAPPRUNNER, which is reserved"
        } else if !seen.insert(name) {
            "is there twice"
        } else {
            continue;
        };
        return Err(FileError(format!("{NAME}: in {key}, `{name}` {why}")));
    }
    Ok(())
}

/// The first line of what the parser says, without the place, which stands before it already.
fn reason(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let line = text.lines().next().unwrap_or_default();
    let line = line.split(" at line ").next().unwrap_or(line);
    line.trim_end_matches(['.', ':']).to_owned()
}

#[cfg(test)]
mod tests;

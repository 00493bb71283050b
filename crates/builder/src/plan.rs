//! From a request and the source's own file to what a build does. Pure.

use crate::file::AppRunnerFile;
use crate::request::{ApiConfiguration, Configuration};
use crate::runtime::{Pipeline, Runtime, runtime};
use std::collections::BTreeMap;

/// Where the source is in the image.
pub const APP: &str = "/app";

/// A group of commands, by its key in `apprunner.yaml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// `pre-build`.
    PreBuild,
    /// `build`, or the API's `BuildCommand`.
    Build,
    /// `post-build`.
    PostBuild,
    /// `pre-run`.
    PreRun,
    /// `RUN` of a Dockerfile.
    Run,
    /// `COPY` of a Dockerfile.
    Copy,
    /// `ADD` of a Dockerfile.
    Add,
}

impl Phase {
    /// The key.
    pub fn key(self) -> &'static str {
        match self {
            Phase::PreBuild => "pre-build",
            Phase::Build => "build",
            Phase::PostBuild => "post-build",
            Phase::PreRun => "pre-run",
            Phase::Run => "RUN",
            Phase::Copy => "COPY",
            Phase::Add => "ADD",
        }
    }
}

/// A command and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its group.
    pub phase: Phase,
    /// Its text, for a shell.
    pub command: String,
    /// What people are shown in place of phase and command.
    pub title: Option<String>,
    /// What people are shown in place of the command.
    pub said: Option<String>,
}

impl Step {
    /// A command that is shown as it is.
    pub fn new(phase: Phase, command: impl Into<String>) -> Step {
        Step {
            phase,
            command: command.into(),
            title: None,
            said: None,
        }
    }

    /// What people are shown.
    pub fn shown(&self) -> &str {
        let instead = self.title.as_deref().or(self.said.as_deref());
        instead.unwrap_or(&self.command)
    }
}

/// What a build does, and how the result is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildPlan {
    /// The runtime.
    pub runtime: &'static Runtime,
    /// Versions of it that are allowed, as the beginning of a version.
    pub lock: Option<String>,
    /// The directory that commands run in, in the image.
    pub directory: String,
    /// What runs where the application is made.
    pub build: Vec<Step>,
    /// What runs in the image that is shipped.
    pub pre_run: Vec<Step>,
    /// What runs afterwards and changes nothing that is shipped.
    pub post_build: Vec<Step>,
    /// Variables of the commands.
    pub build_env: BTreeMap<String, String>,
    /// Only `/app` of what the build changed is shipped.
    pub ships_app_only: bool,
    /// How the application is started.
    pub start_command: Option<String>,
    /// The port the file names.
    pub port: Option<u16>,
    /// The further variable that carries the port.
    pub port_variable: Option<String>,
    /// Variables of the application.
    pub environment: BTreeMap<String, String>,
    /// Secrets of the application.
    pub secrets: BTreeMap<String, String>,
}

/// Makes the plan. `file` is the text of `apprunner.yaml`, if there is one and it is asked for.
///
/// # Errors
/// A sentence for people.
pub fn plan(
    configuration: &Configuration,
    directory: &str,
    file: Option<&str>,
) -> Result<BuildPlan, String> {
    let directory = working_directory(directory)?;
    match (configuration, file) {
        (Configuration::Api(api), _) => from_api(api, directory),
        (Configuration::Repository, Some(text)) => {
            let file = AppRunnerFile::parse(text).map_err(|error| error.to_string())?;
            from_file(file, directory)
        }
        (Configuration::Repository, None) => {
            Err("App Runner configuration file apprunner.yaml not found.".to_owned())
        }
        (Configuration::Dockerfile, _) => Err("a Dockerfile has no plan of commands".to_owned()),
    }
}

fn from_api(api: &ApiConfiguration, directory: String) -> Result<BuildPlan, String> {
    let runtime = known(&api.runtime)?;
    let command = api
        .build_command
        .iter()
        .filter(|text| !text.trim().is_empty());
    Ok(BuildPlan {
        runtime,
        lock: None,
        directory,
        build: command.map(|text| step(Phase::Build, text)).collect(),
        pre_run: Vec::new(),
        post_build: Vec::new(),
        build_env: BTreeMap::new(),
        // The API has no pre-run, so what a build command installs for the whole system would be lost with no way to have
        // it. Whatever works with less works with this.
        ships_app_only: false,
        start_command: api.start_command.clone(),
        port: None,
        port_variable: None,
        environment: BTreeMap::new(),
        secrets: BTreeMap::new(),
    })
}

fn from_file(file: AppRunnerFile, directory: String) -> Result<BuildPlan, String> {
    let runtime = known(&file.runtime)?;
    let AppRunnerFile { build, run, .. } = file;
    let lock = run.runtime_version.map(|version| version.0);
    if let Some(lock) = &lock
        && !runtime.can_be(lock)
    {
        return Err(format!(
            "run.runtime-version {lock} is an unsupported runtime version of {}: its versions begin with {}",
            runtime.yaml, runtime.major
        ));
    }
    let steps = |phase, list: &[String]| list.iter().map(move |text| step(phase, text)).collect();
    let mut commands: Vec<Step> = steps(Phase::PreBuild, &build.commands.pre_build);
    let main: Vec<Step> = steps(Phase::Build, &build.commands.build);
    commands.extend(main);
    if runtime.pipeline == Pipeline::Original && !run.pre_run.is_empty() {
        return Err(format!(
            "run.pre-run is for runtimes of the revised build, {} is not one of them",
            runtime.yaml
        ));
    }
    let variables = |list: Vec<crate::file::Variable>| {
        let pairs = list
            .into_iter()
            .map(|variable| (variable.name, variable.value.0));
        pairs.collect::<BTreeMap<_, _>>()
    };
    let network = run.network;
    Ok(BuildPlan {
        runtime,
        lock,
        directory,
        build: commands,
        pre_run: steps(Phase::PreRun, &run.pre_run),
        post_build: steps(Phase::PostBuild, &build.commands.post_build),
        build_env: variables(build.env),
        ships_app_only: runtime.pipeline == Pipeline::Revised,
        start_command: Some(run.command),
        port: network.as_ref().and_then(|network| network.port),
        port_variable: network.and_then(|network| network.env),
        environment: variables(run.env),
        secrets: run
            .secrets
            .into_iter()
            .map(|secret| (secret.name, secret.value_from))
            .collect(),
    })
}

fn step(phase: Phase, command: &str) -> Step {
    Step::new(phase, command.trim_end())
}

fn known(name: &str) -> Result<&'static Runtime, String> {
    runtime(name).ok_or_else(|| {
        let names: Vec<&str> = crate::runtime::runtimes()
            .iter()
            .map(|r| r.yaml.as_str())
            .collect();
        format!(
            "there is no runtime `{name}`; there are {}",
            names.join(", ")
        )
    })
}

/// The source directory in the image.
fn working_directory(directory: &str) -> Result<String, String> {
    let mut path = APP.to_owned();
    for part in directory
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
    {
        if part == ".." || part.contains('\0') {
            return Err(format!(
                "the source directory `{directory}` is not a directory of the repository"
            ));
        }
        path.push('/');
        path.push_str(part);
    }
    Ok(path)
}

/// A start command as the platform runs it, without a shell, unless its text needs one.
pub fn start_command(text: &str) -> String {
    let text = text.trim();
    let shell = text.contains([
        '$', '&', '|', ';', '<', '>', '(', ')', '`', '*', '?', '~', '\n', '#',
    ]);
    let words = shlex::split(text).unwrap_or_default();
    let first = words.first().map(String::as_str).unwrap_or_default();
    let builtin = first.contains('=') || matches!(first, "cd" | "export" | "source" | "." | "exec");
    match shell || builtin || words.is_empty() {
        // A single quotation keeps everything but itself.
        true => format!("/bin/sh -c '{}'", text.replace('\'', r"'\''")),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "version: 1.0\nruntime: python311\nbuild:\n  commands:\n    pre-build: [a]\n    build: [b]\n    \
         post-build: [c]\n  env: [{name: B, value: 1}]\nrun:\n  pre-run: [d]\n  command: python3 app.py\n";

    #[test]
    fn a_file_of_the_revised_build_ships_the_application_alone() {
        let plan = plan(&Configuration::Repository, "/sub/./dir/", Some(FILE)).unwrap();
        assert_eq!(plan.directory, "/app/sub/dir");
        let commands = |steps: &[Step]| {
            let texts = steps.iter().map(|step| step.command.clone());
            texts.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(commands(&plan.build), "a b");
        assert_eq!(
            (commands(&plan.pre_run), commands(&plan.post_build)),
            ("d".to_owned(), "c".to_owned())
        );
        assert!(plan.ships_app_only);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let run = |directory: &str, file: Option<&str>| {
            plan(&Configuration::Repository, directory, file).expect_err("it is refused")
        };
        assert!(run("/../etc", Some(FILE)).contains("`/../etc`"));
        assert_eq!(
            run("/", None),
            "App Runner configuration file apprunner.yaml not found."
        );
        assert!(run("/", Some(&FILE.replace("python311", "perl5"))).contains("no runtime `perl5`"));
        assert!(run("/", Some(&FILE.replace("python311", "go1"))).contains("revised build"));
        let locked = FILE.replace("  command:", "  runtime-version: 3.9\n  command:");
        assert!(run("/", Some(&locked)).contains("unsupported runtime version"));
    }

    #[test]
    fn start_commands_have_a_shell_where_they_need_one() {
        assert_eq!(start_command(" python3 app.py "), "python3 app.py");
        assert_eq!(start_command("gunicorn 'a b'"), "gunicorn 'a b'");
        for (text, words) in [
            ("node a.js --port $PORT", "node a.js --port $PORT"),
            ("A='x y' ./main", "A='x y' ./main"),
            ("cd sub", "cd sub"),
        ] {
            let split = shlex::split(&start_command(text)).unwrap();
            assert_eq!(split, ["/bin/sh", "-c", words]);
        }
    }
}

//! Instructions of a Dockerfile that change no files.

use super::state::State;
use crate::dockerfile::{Action, Form, SHELL, Scope, within_bounds};
use std::collections::BTreeMap;

/// What an image says about itself after such an instruction.
///
/// # Errors
/// With what is wrong in the instruction.
pub fn configure(state: &mut State, action: &Action, scope: &Scope<'_>) -> Result<(), String> {
    let config = &mut state.image.config;
    match action {
        Action::Env(list) => {
            for (name, value) in scope.pairs(list)? {
                let before = format!("{name}=");
                let entry = format!("{before}{value}");
                match config.env.iter_mut().find(|it| it.starts_with(&before)) {
                    Some(known) => *known = entry,
                    None => config.env.push(entry),
                }
            }
            within_bounds(config.env.iter().map(String::as_str))?;
        }
        Action::Workdir(path) => {
            config.working_dir = joined(&config.working_dir, &scope.word(path)?);
        }
        Action::User(user) => config.user = scope.word(user)?,
        Action::Expose(ports) => {
            let ports = scope.words(ports)?;
            let ports = ports.iter().flat_map(|ports| ports.split_whitespace());
            for port in ports {
                let port = match port.contains('/') {
                    true => port.to_owned(),
                    false => format!("{port}/tcp"),
                };
                if !config.exposed.contains(&port) {
                    config.exposed.push(port);
                }
            }
        }
        Action::Cmd(form) => {
            config.cmd = arguments(form, &config.shell);
            state.has_command = true;
        }
        Action::Entrypoint(form) => {
            config.entrypoint = arguments(form, &config.shell);
            // The command of the base image was meant for its own entry point (Docker's reference, "ENTRYPOINT").
            if !state.has_command {
                config.cmd.clear();
            }
        }
        Action::Label(list) => {
            config.labels.extend(scope.pairs(list)?);
            within_bounds(config.labels.values().map(String::as_str))?;
        }
        Action::StopSignal(signal) => config.stop_signal = Some(scope.word(signal)?),
        Action::Shell(words) => config.shell = words.clone(),
        Action::OnBuild(text) => config.on_build.push(text.clone()),
        Action::Arg(_) | Action::Run(_) | Action::Copy(_) => {}
    }
    Ok(())
}

/// The values of `ARG`s: their own, or what was said before the first `FROM`. What has neither stays without.
///
/// # Errors
/// With what is wrong in one.
pub fn declared(
    list: &[(String, Option<String>)],
    scope: &Scope<'_>,
    global: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, String> {
    let mut declared = BTreeMap::new();
    for (name, value) in list {
        let value = match value {
            Some(value) => Some(scope.word(value)?),
            None => global.get(name).cloned(),
        };
        declared.extend(value.map(|value| (name.clone(), value)));
    }
    Ok(declared)
}

/// A command line: a text is for the image's shell.
fn arguments(form: &Form, shell: &[String]) -> Vec<String> {
    match form {
        Form::Exec(words) => words.clone(),
        Form::Shell(text) => {
            let mut words = shell_of(shell);
            words.push(text.clone());
            words
        }
    }
}

/// The shell of what is written as a text.
pub fn shell_of(shell: &[String]) -> Vec<String> {
    match shell.is_empty() {
        true => SHELL.map(str::to_owned).into(),
        false => shell.to_vec(),
    }
}

/// A path of the image: absolute, or from its working directory.
pub fn joined(directory: &str, path: &str) -> String {
    let whole = match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("{directory}/{path}"),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The port an image names, when it is one.
pub fn port(exposed: &[String]) -> Option<u16> {
    match exposed {
        [only] => only.trim_end_matches("/tcp").parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::parse;

    fn tried(instructions: &str) -> Result<State, String> {
        let mut state = State::of(None);
        state.image.config.env = vec!["PATH=/usr/bin:/bin".to_owned()];
        state.image.config.cmd = vec!["of the base".to_owned()];
        let file = parse(&format!("FROM base\n{instructions}")).unwrap();
        for instruction in &file.stages[0].instructions {
            let env = state.image.config.env.clone();
            let none = BTreeMap::new();
            let scope = Scope::new(&env, &none, instruction.escape);
            configure(&mut state, &instruction.action, &scope)?;
        }
        Ok(state)
    }

    fn configured(instructions: &str) -> State {
        tried(instructions).unwrap()
    }

    #[test]
    fn variables_of_variables_do_not_grow_without_end() {
        let doubled = "ENV A=$A$A\n".repeat(100);
        let error = tried(&format!("ENV A=0123456789\n{doubled}"))
            .err()
            .unwrap();
        assert!(error.contains("bytes"), "{error}");
        let many = "EXPOSE ".to_owned() + &"$A ".repeat(20_000);
        let long = format!("ENV A={}\n{many}", "1".repeat(1000));
        assert!(tried(&long).is_err());
    }

    #[test]
    fn variables_of_the_base_image_are_seen() {
        let state = configured(
            "ENV PATH=\"/venv/bin:$PATH\" A=1\nENV A=2 B=$A\nWORKDIR /srv/$B\nWORKDIR x",
        );
        let config = state.image.config;
        assert_eq!(config.env, ["PATH=/venv/bin:/usr/bin:/bin", "A=2", "B=1"]);
        assert_eq!(config.working_dir, "/srv/1/x");
    }

    #[test]
    fn an_entry_point_takes_away_the_command_of_the_base_only() {
        let config = configured("ENTRYPOINT [\"run\"]").image.config;
        assert!(config.cmd.is_empty());
        let config = configured("CMD [\"own\"]\nSHELL [\"/bin/bash\", \"-c\"]\nENTRYPOINT run $A");
        let config = config.image.config;
        assert_eq!(config.cmd, ["own"]);
        assert_eq!(config.entrypoint, ["/bin/bash", "-c", "run $A"]);
    }

    #[test]
    fn paths_are_joined() {
        assert_eq!(joined("/app", "./x/../y/"), "/app/y");
        assert_eq!(joined("", "."), "/");
        assert_eq!(joined("/app", "/srv"), "/srv");
        assert_eq!(port(&["8000/tcp".to_owned()]), Some(8000));
    }
}

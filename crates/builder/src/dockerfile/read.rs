//! From a file's lines to its instructions.

use super::lines::{self, Line};
use super::words::{self, form, pairs, raw};
use super::{Action, Copy, Dockerfile, Form, Instruction, NAME, Run, Stage, Text, within_bounds};
use std::collections::BTreeMap;

/// Most instructions of a file.
const INSTRUCTIONS_MAX: usize = 500;

/// Most stages of a file.
const STAGES_MAX: usize = 100;

/// Variables that are set without being declared (Docker's reference, "Automatic platform ARGs").
const PLATFORM: &[(&str, &str)] = &[
    ("TARGETPLATFORM", "linux/amd64"),
    ("TARGETOS", "linux"),
    ("TARGETARCH", "amd64"),
    ("BUILDPLATFORM", "linux/amd64"),
    ("BUILDOS", "linux"),
    ("BUILDARCH", "amd64"),
];

/// Reads a file.
///
/// # Errors
/// With the line and what is wrong or not built here.
pub fn parse(text: &str) -> Result<Dockerfile, String> {
    let text = text.trim_start_matches('\u{feff}');
    let mut reader = Reader {
        escape: lines::escape(text),
        stages: Vec::new(),
        arguments: PLATFORM
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
    };
    let lines = lines::instructions(text, reader.escape).map_err(|why| format!("{NAME}: {why}"))?;
    if lines.len() > INSTRUCTIONS_MAX {
        return Err(format!(
            "{NAME}: it has more than {INSTRUCTIONS_MAX} instructions"
        ));
    }
    for line in lines {
        let read = reader.read(&line);
        read.map_err(|why| format!("{NAME}: line {}: {why}", line.number))?;
    }
    match reader.stages.is_empty() {
        true => Err(format!("{NAME}: it has no FROM")),
        false => Ok(Dockerfile {
            stages: reader.stages,
            arguments: reader.arguments,
        }),
    }
}

/// Reads an instruction that an image has for those built on it (`ONBUILD`).
///
/// # Errors
/// With what is wrong or not built here.
pub fn instruction(text: &str) -> Result<Option<Instruction>, String> {
    let escape = '\\';
    match lines::instructions(text, escape)?.as_slice() {
        [line] => {
            let (keyword, rest) = keyword(line)?;
            triggered(&keyword)?;
            let action = action(&keyword, rest, line, escape)?;
            Ok(action.map(|action| of(line, escape, action)))
        }
        _ => Err("it is not one instruction".to_owned()),
    }
}

struct Reader {
    escape: char,
    stages: Vec<Stage>,
    /// `ARG`s before the first `FROM`.
    arguments: BTreeMap<String, String>,
}

impl Reader {
    fn read(&mut self, line: &Line) -> Result<(), String> {
        let (keyword, rest) = keyword(line)?;
        if keyword == "FROM" {
            return self.from(rest);
        }
        let action = action(&keyword, rest, line, self.escape)?;
        let Some(stage) = self.stages.last_mut() else {
            return match action {
                Some(Action::Arg(list)) => self.global(list),
                _ => Err(format!("{keyword} stands before the first FROM")),
            };
        };
        stage
            .instructions
            .extend(action.map(|action| of(line, self.escape, action)));
        Ok(())
    }

    fn from(&mut self, rest: &str) -> Result<(), String> {
        let rest = self.filled(rest)?;
        let words: Vec<&str> = rest
            .split_whitespace()
            .filter(|word| !word.starts_with("--platform="))
            .collect();
        let (from, name) = match words.as_slice() {
            [from] => (*from, None),
            [from, keyword, name] if keyword.eq_ignore_ascii_case("as") => {
                (*from, Some(name.to_lowercase()))
            }
            _ => return Err("FROM is an image, and a name after AS".to_owned()),
        };
        if self.stages.len() == STAGES_MAX {
            return Err(format!("it has more than {STAGES_MAX} stages"));
        }
        self.stages.push(Stage {
            name,
            from: from.to_owned(),
            instructions: Vec::new(),
        });
        Ok(())
    }

    fn global(&mut self, list: Vec<(String, Option<String>)>) -> Result<(), String> {
        for (name, value) in list {
            let value = value.map(|value| self.filled(&value)).transpose()?;
            self.arguments.extend(value.map(|value| (name, value)));
        }
        within_bounds(self.arguments.values().map(String::as_str))
    }

    fn filled(&self, text: &str) -> Result<String, String> {
        words::word(text, self.escape, &|name| self.arguments.get(name).cloned())
    }
}

fn of(line: &Line, escape: char, action: Action) -> Instruction {
    Instruction {
        line: line.number,
        text: line.text.clone(),
        escape,
        action,
    }
}

fn keyword(line: &Line) -> Result<(String, &str), String> {
    let text = line.text.as_str();
    let (keyword, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let (keyword, rest) = (keyword.to_uppercase(), rest.trim());
    match rest.is_empty() {
        true => Err(format!("{keyword} says nothing")),
        false => Ok((keyword, rest)),
    }
}

/// What an instruction does; `None` when that is nothing here.
fn action(keyword: &str, rest: &str, line: &Line, escape: char) -> Result<Option<Action>, String> {
    let action = match keyword {
        "ARG" => Action::Arg(arguments(rest, escape)?),
        "RUN" => Action::Run(run(rest, line)?),
        "COPY" | "ADD" => Action::Copy(copy(keyword, rest, line, escape)?),
        "ENV" => Action::Env(pairs(rest, escape)?),
        "WORKDIR" => Action::Workdir(rest.to_owned()),
        "USER" => Action::User(rest.to_owned()),
        "EXPOSE" => Action::Expose(raw(rest, escape)?),
        "LABEL" => Action::Label(pairs(rest, escape)?),
        "STOPSIGNAL" => Action::StopSignal(rest.to_owned()),
        "CMD" => Action::Cmd(form(rest)?),
        "ENTRYPOINT" => Action::Entrypoint(form(rest)?),
        "SHELL" => match form(rest)? {
            Form::Exec(words) => Action::Shell(words),
            Form::Shell(_) => return Err("SHELL is a list, [\"/bin/bash\", \"-c\"]".to_owned()),
        },
        "ONBUILD" => {
            let word = rest.split_whitespace().next().unwrap_or_default();
            triggered(&word.to_uppercase())?;
            instruction(rest)?;
            Action::OnBuild(rest.to_owned())
        }
        // Instances have no volumes; App Runner's own health check is the one that counts.
        "VOLUME" | "HEALTHCHECK" | "MAINTAINER" => return Ok(None),
        _ => return Err(format!("{keyword} is not built here")),
    };
    Ok(Some(action))
}

/// Whether an instruction may be one of `ONBUILD` (Docker's reference, "ONBUILD limitations").
fn triggered(keyword: &str) -> Result<(), String> {
    match keyword {
        "ONBUILD" | "FROM" | "MAINTAINER" => Err(format!("ONBUILD {keyword} is not allowed")),
        _ => Ok(()),
    }
}

fn arguments(rest: &str, escape: char) -> Result<Vec<(String, Option<String>)>, String> {
    let words = raw(rest, escape)?.into_iter();
    let list = words.map(|word| match word.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (word, None),
    });
    Ok(list.collect())
}

/// Takes the flags in front: their names and values.
fn flags(mut rest: &str) -> (Vec<(&str, &str)>, &str) {
    let mut flags = Vec::new();
    while let Some(after) = rest.strip_prefix("--") {
        let (flag, after) = after.split_once(char::is_whitespace).unwrap_or((after, ""));
        flags.push(flag.split_once('=').unwrap_or((flag, "")));
        rest = after.trim_start();
    }
    (flags, rest)
}

fn run(rest: &str, line: &Line) -> Result<Run, String> {
    let (flags, rest) = flags(rest);
    let mut mounts = Vec::new();
    for (name, value) in flags {
        match (name, value) {
            ("mount", value) => {
                // What is wrong with it as it stands is told before anything is built.
                if !value.contains('$') {
                    super::mounts::mount(value)?;
                }
                mounts.push(value.to_owned());
            }
            ("network", "default") | ("security", "sandbox") => {}
            (name, value) => return Err(format!("RUN --{name}={value} is not built here")),
        }
    }
    if rest.is_empty() {
        return Err("RUN says nothing".to_owned());
    }
    let (mut program, command) = (
        None,
        match line.bodies.as_slice() {
            [] => form(rest)?,
            [body] if lines::is_mark(rest) => Form::Shell(body.text.clone()),
            // The shell reads the texts as they stand.
            bodies => {
                let raw = bodies.iter().map(|body| body.raw.as_str());
                Form::Shell(format!("{rest}\n{}", raw.collect::<String>()))
            }
        },
    );
    if let ([body], true) = (line.bodies.as_slice(), lines::is_mark(rest)) {
        program = Some(body.text.clone()).filter(|text| text.starts_with("#!"));
    }
    Ok(Run {
        command,
        program,
        mounts,
    })
}

fn copy(keyword: &str, rest: &str, line: &Line, escape: char) -> Result<Copy, String> {
    let (flags, rest) = flags(rest);
    let mut copy = Copy {
        is_add: keyword == "ADD",
        ..Copy::default()
    };
    for (name, value) in flags {
        let value = value.to_owned();
        match name {
            "from" if !copy.is_add => copy.from = Some(value),
            "chown" => copy.owner = Some(value),
            "chmod" => copy.mode = Some(value),
            "checksum" if copy.is_add => copy.checksum = Some(value),
            "link" => {}
            name => return Err(format!("{keyword} --{name} is not built here")),
        }
    }
    let mut paths = match form(rest)? {
        Form::Exec(words) => words,
        Form::Shell(text) => raw(&text, escape)?,
    };
    copy.target = paths.pop().unwrap_or_default();
    let mut bodies = line.bodies.iter();
    for path in paths {
        match bodies.len() > 0 && lines::is_mark(&path) {
            true => copy.texts.extend(bodies.next().map(|body| Text {
                name: body.name.clone(),
                content: body.text.clone(),
                expands: body.expands,
            })),
            false => copy.sources.push(path),
        }
    }
    if copy.sources.is_empty() && copy.texts.is_empty() {
        return Err(format!("{keyword} names what is copied, and where to"));
    }
    Ok(copy)
}

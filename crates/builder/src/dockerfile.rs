//! Dockerfiles, as far as they are built here (Docker's reference, "Dockerfile reference"). Pure: text in, stages out. What is
//! not built here is refused with its line, never passed over.

mod lines;
mod words;

use lines::Line;
use words::{Form, form, pairs, substitute};

use std::collections::BTreeMap;

/// The file's name in the source directory.
pub const NAME: &str = "Dockerfile";

/// The file that says what of the source is not for the build.
pub const IGNORE: &str = ".dockerignore";

/// Largest file that is read, in bytes.
pub const BYTES_MAX: u64 = 256 << 10;

/// The image with nothing in it.
pub const SCRATCH: &str = "scratch";

/// Most instructions of a file.
const INSTRUCTIONS_MAX: usize = 500;

/// Variables that are set without being declared (Docker's reference, "Automatic platform ARGs").
const PLATFORM: &[(&str, &str)] = &[
    ("TARGETPLATFORM", "linux/amd64"),
    ("TARGETOS", "linux"),
    ("TARGETARCH", "amd64"),
    ("BUILDPLATFORM", "linux/amd64"),
    ("BUILDOS", "linux"),
    ("BUILDARCH", "amd64"),
];

/// A stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Its name after `AS`.
    pub name: Option<String>,
    /// What it begins with: an image, or the name of a former stage.
    pub from: String,
    /// What is done.
    pub instructions: Vec<Instruction>,
}

/// One instruction, with its variables put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// A command, with the build arguments it sees.
    Run {
        /// For a shell.
        command: String,
        /// `ARG`s up to here.
        arguments: BTreeMap<String, String>,
    },
    /// Files of the source or of a stage.
    Copy(Copy),
    /// Variables.
    Env(Vec<(String, String)>),
    /// The working directory, as it is written.
    Workdir(String),
    /// The user.
    User(String),
    /// A port.
    Expose(Vec<String>),
    /// The command.
    Cmd(Vec<String>),
    /// The entry point.
    Entrypoint(Vec<String>),
    /// Labels.
    Label(Vec<(String, String)>),
    /// The signal that ends the application.
    StopSignal(String),
}

/// `COPY` or `ADD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// As it stands in the file, with its variables put in.
    pub text: String,
    /// The stage or image the files come from; the source without it.
    pub from: Option<String>,
    /// What is copied, relative to the source or to the stage's root.
    pub sources: Vec<String>,
    /// Where to.
    pub target: String,
    /// `--chown`.
    pub owner: Option<String>,
    /// `--chmod`.
    pub mode: Option<String>,
}

/// Reads a file.
///
/// # Errors
/// With the line and what is wrong or not built here.
pub fn parse(text: &str) -> Result<Vec<Stage>, String> {
    let mut reader = Reader {
        stages: Vec::new(),
        global: PLATFORM
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        arguments: BTreeMap::new(),
        env: BTreeMap::new(),
    };
    let lines = lines::instructions(text).map_err(|why| format!("{NAME}: {why}"))?;
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
        false => Ok(reader.stages),
    }
}

/// The patterns of a `.dockerignore`, exceptions (`!`) among them.
///
/// # Errors
/// For character classes, which are not understood here: passing them over would put into the image what was meant to be kept out.
pub fn ignored(text: &str) -> Result<Vec<String>, String> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let patterns = lines.filter_map(|line| {
        let (mark, pattern) = match line.strip_prefix('!') {
            Some(pattern) => ("!", pattern.trim_start()),
            None => ("", line),
        };
        let pattern = pattern.trim_start_matches("./").trim_matches('/');
        let not_understood = || {
            format!("{IGNORE}: `{line}` is not understood here: character classes and `\\` are not")
        };
        match pattern.contains(['[', '\\']) {
            true => Some(Err(not_understood())),
            false if pattern.trim_matches('.').is_empty() => None,
            false => Some(Ok(format!("{mark}{pattern}"))),
        }
    });
    patterns.collect()
}

struct Reader {
    stages: Vec<Stage>,
    /// `ARG`s before the first `FROM`, which only `FROM`s see.
    global: BTreeMap<String, String>,
    /// `ARG`s of the stage.
    arguments: BTreeMap<String, String>,
    /// `ENV`s of the stage.
    env: BTreeMap<String, String>,
}

impl Reader {
    fn read(&mut self, line: &Line) -> Result<(), String> {
        let text = line.text.as_str();
        let (keyword, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let (keyword, rest) = (keyword.to_uppercase(), rest.trim());
        if rest.is_empty() {
            return Err(format!("{keyword} says nothing"));
        }
        match keyword.as_str() {
            "FROM" => return self.from(rest),
            "ARG" => return self.arg(rest),
            _ if self.stages.is_empty() => {
                return Err(format!("{keyword} stands before the first FROM"));
            }
            _ => {}
        }
        let instruction = match keyword.as_str() {
            "RUN" => self.run(rest, line)?,
            "COPY" | "ADD" if !line.bodies.is_empty() => {
                return Err(format!(
                    "{keyword} of a text that follows (<<) is not built here; use RUN"
                ));
            }
            "COPY" | "ADD" => Instruction::Copy(self.copy(&keyword, rest)?),
            "ENV" => {
                let list = pairs(&self.filled(rest))?;
                self.env.extend(list.iter().cloned());
                Instruction::Env(list)
            }
            "WORKDIR" => Instruction::Workdir(words::unquoted(&self.filled(rest))),
            "USER" => Instruction::User(self.filled(rest)),
            "EXPOSE" => Instruction::Expose(
                self.filled(rest)
                    .split_whitespace()
                    .map(str::to_owned)
                    .collect(),
            ),
            "LABEL" => Instruction::Label(pairs(&self.filled(rest))?),
            "STOPSIGNAL" => Instruction::StopSignal(self.filled(rest)),
            "CMD" => Instruction::Cmd(arguments(form(rest)?)),
            "ENTRYPOINT" => Instruction::Entrypoint(arguments(form(rest)?)),
            // Instances have no volumes; App Runner's own health check is the one that counts.
            "VOLUME" | "HEALTHCHECK" | "MAINTAINER" => return Ok(()),
            _ => return Err(format!("{keyword} is not built here")),
        };
        if let Some(stage) = self.stages.last_mut() {
            stage.instructions.push(instruction);
        }
        Ok(())
    }

    fn from(&mut self, rest: &str) -> Result<(), String> {
        let rest = substitute(rest, &|name| self.global.get(name).cloned());
        let words: Vec<&str> = rest
            .split_whitespace()
            .filter(|word| !word.starts_with("--platform="))
            .collect();
        let (from, name) = match words.as_slice() {
            [from] => (*from, None),
            [from, keyword, name] if keyword.eq_ignore_ascii_case("as") => {
                (*from, Some((*name).to_owned()))
            }
            _ => return Err("FROM is an image, and a name after AS".to_owned()),
        };
        self.arguments.clear();
        self.env.clear();
        self.stages.push(Stage {
            name,
            from: from.to_owned(),
            instructions: Vec::new(),
        });
        Ok(())
    }

    fn arg(&mut self, rest: &str) -> Result<(), String> {
        let (name, value) = match rest.split_once('=') {
            Some((name, value)) => (name.trim(), Some(words::unquoted(&self.filled(value)))),
            None => (rest, None),
        };
        if name.contains(char::is_whitespace) {
            return Err("ARG is one name with one value".to_owned());
        }
        let value = value
            .or_else(|| self.global.get(name).cloned())
            .unwrap_or_default();
        let known = match self.stages.is_empty() {
            true => &mut self.global,
            false => &mut self.arguments,
        };
        known.insert(name.to_owned(), value);
        Ok(())
    }

    fn run(&self, rest: &str, line: &Line) -> Result<Instruction, String> {
        if self
            .stages
            .last()
            .is_some_and(|stage| stage.from == SCRATCH)
        {
            return Err(format!(
                "RUN has no shell after FROM {SCRATCH}; run it in a stage before and COPY what it made"
            ));
        }
        let mut rest = rest;
        while let Some(flag) = rest.strip_prefix("--") {
            let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
            // What a cache mount is for is kept from build to build anyway.
            if !flag.starts_with("mount=type=cache") {
                return Err(format!("RUN --{flag} is not built here"));
            }
            rest = after.trim_start();
        }
        let command = match line.bodies.as_slice() {
            [] => shell(form(rest)?),
            [body] if lines::is_mark(rest) => script(&body.text),
            // The shell reads the texts as they stand.
            bodies => {
                let raw = bodies.iter().map(|body| body.raw.as_str());
                format!("{rest}\n{}", raw.collect::<String>())
            }
        };
        Ok(Instruction::Run {
            command,
            arguments: self.arguments.clone(),
        })
    }

    fn copy(&self, keyword: &str, rest: &str) -> Result<Copy, String> {
        let filled = self.filled(rest);
        let mut rest = filled.as_str();
        let mut copy = Copy {
            text: format!("{keyword} {filled}"),
            from: None,
            sources: Vec::new(),
            target: String::new(),
            owner: None,
            mode: None,
        };
        while let Some(flag) = rest.strip_prefix("--") {
            let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
            match flag.split_once('=') {
                Some(("from", value)) => copy.from = Some(value.to_owned()),
                Some(("chown", value)) => copy.owner = Some(value.to_owned()),
                Some(("chmod", value)) => copy.mode = Some(value.to_owned()),
                _ if flag == "link" => {}
                _ => return Err(format!("{keyword} --{flag} is not built here")),
            }
            rest = after.trim_start();
        }
        let mut paths = match form(rest)? {
            Form::Exec(words) => words,
            Form::Shell(text) => shlex::split(&text).ok_or("a quotation has no end")?,
        };
        copy.target = paths.pop().unwrap_or_default();
        copy.sources = paths;
        if copy.sources.is_empty() {
            return Err(format!("{keyword} names what is copied, and where to"));
        }
        let unpacks =
            |path: &String| path.contains("://") || path.contains(".tar") || path.ends_with(".tgz");
        if copy
            .sources
            .iter()
            .any(|path| keyword == "ADD" && unpacks(path))
        {
            return Err(format!(
                "{keyword} of an address or an archive is not built here; use RUN"
            ));
        }
        if copy
            .sources
            .iter()
            .any(|path| path.split('/').any(|part| part == ".."))
        {
            return Err(format!(
                "{keyword} of a path with .. leads out of the source"
            ));
        }
        let named = copy.owner.as_deref().filter(|owner| {
            !owner
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b':')
        });
        match (self.stages.last(), named) {
            (Some(stage), Some(named)) if stage.from == SCRATCH => Err(format!(
                "{keyword} --chown={named} needs numbers after FROM {SCRATCH}, which knows no names"
            )),
            _ => Ok(copy),
        }
    }

    /// A text with the variables of the stage.
    fn filled(&self, text: &str) -> String {
        substitute(text, &|name| {
            let known = self.env.get(name).or_else(|| self.arguments.get(name));
            known.cloned()
        })
    }
}

/// A command for a shell.
fn shell(form: Form) -> String {
    match form {
        Form::Shell(text) => text,
        Form::Exec(words) => {
            let words: Vec<String> = words.iter().map(|word| words::quoted(word)).collect();
            words.join(" ")
        }
    }
}

/// The command that a text is: for the program it names in its first line, otherwise for the shell.
fn script(text: &str) -> String {
    match text.starts_with("#!") {
        true => format!(
            "t=$(mktemp) && printf %s {} > \"$t\" && chmod 700 \"$t\" && \"$t\"; c=$?; rm -f \"$t\"; exit $c",
            words::quoted(text)
        ),
        false => text.to_owned(),
    }
}

/// A command line: a text is for a shell.
fn arguments(form: Form) -> Vec<String> {
    match form {
        Form::Exec(words) => words,
        Form::Shell(text) => vec!["/bin/sh".to_owned(), "-c".to_owned(), text],
    }
}

#[cfg(test)]
mod tests;

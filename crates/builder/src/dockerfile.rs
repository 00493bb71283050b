//! Dockerfiles, as far as they are built here (Docker's reference, "Dockerfile reference"). Pure: text in, stages out. What is
//! not built here is refused with its line, never passed over.

mod words;

use words::{Form, form, pairs, substitute};

use std::collections::BTreeMap;

/// The file's name in the source directory.
pub const NAME: &str = "Dockerfile";

/// The file that says what of the source is not for the build.
pub const IGNORE: &str = ".dockerignore";

/// Largest file that is read, in bytes.
pub const BYTES_MAX: u64 = 256 << 10;

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
    let lines = logical_lines(text);
    if lines.len() > INSTRUCTIONS_MAX {
        return Err(format!(
            "{NAME}: it has more than {INSTRUCTIONS_MAX} instructions"
        ));
    }
    for (number, line) in lines {
        let read = reader.read(&line);
        read.map_err(|why| format!("{NAME}: line {number}: {why}"))?;
    }
    match reader.stages.is_empty() {
        true => Err(format!("{NAME}: it has no FROM")),
        false => Ok(reader.stages),
    }
}

/// The patterns of a `.dockerignore`.
///
/// # Errors
/// For exceptions (`!`), which are not built here: passing them over would put into the image what was meant to be kept out, or
/// the other way round.
pub fn ignored(text: &str) -> Result<Vec<String>, String> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines = lines.filter(|line| !line.trim_matches(['.', '/']).is_empty());
    let patterns = lines.map(|line| match line.starts_with(['!', '[']) || line.contains('\\') {
        true => Err(format!("{IGNORE}: `{line}` is not understood here: exceptions and character classes are not")),
        false => Ok(line.trim_start_matches("./").trim_matches('/').to_owned()),
    });
    patterns.collect()
}

/// Lines with their continuations, without comments, with the number of their first.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.starts_with('#') || (trimmed.is_empty() && open.is_none()) {
            continue;
        }
        let (number, mut whole) = open.take().unwrap_or((index + 1, String::new()));
        match line.trim_end().strip_suffix('\\') {
            Some(part) => {
                whole.push_str(part);
                whole.push(' ');
                open = Some((number, whole));
            }
            None => {
                whole.push_str(line);
                lines.push((number, whole.trim().to_owned()));
            }
        }
    }
    lines.extend(open);
    lines
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
    fn read(&mut self, line: &str) -> Result<(), String> {
        let (keyword, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
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
            "RUN" => self.run(rest)?,
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
        if from == "scratch" {
            return Err(
                "FROM scratch is not built here: files are copied by the image's own shell"
                    .to_owned(),
            );
        }
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

    fn run(&self, rest: &str) -> Result<Instruction, String> {
        let mut rest = rest;
        while let Some(flag) = rest.strip_prefix("--") {
            let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
            // What a cache mount is for is kept from build to build anyway.
            if !flag.starts_with("mount=type=cache") {
                return Err(format!("RUN --{flag} is not built here"));
            }
            rest = after.trim_start();
        }
        if rest.contains("<<") {
            return Err(
                "RUN with a text that follows (<<) is not built here; use && or a script"
                    .to_owned(),
            );
        }
        let command = match form(rest)? {
            Form::Shell(text) => text,
            Form::Exec(words) => words
                .iter()
                .map(|word| words::quoted(word))
                .collect::<Vec<_>>()
                .join(" "),
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
            .any(|path| path.starts_with("<<") || (keyword == "ADD" && unpacks(path)))
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
        Ok(copy)
    }

    /// A text with the variables of the stage.
    fn filled(&self, text: &str) -> String {
        substitute(text, &|name| {
            let known = self.env.get(name).or_else(|| self.arguments.get(name));
            known.cloned()
        })
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

//! Dockerfiles, as far as they are built here (Docker's reference, "Dockerfile reference"). Pure: text in, stages out, and words
//! with their variables put in once these are known. What is not built here is refused with its line, never passed over.

mod expand;
mod ignore;
mod lines;
mod mounts;
mod read;
mod words;

pub use expand::{Scope, is_address, within_bounds};
pub use ignore::ignored;
pub use mounts::{Bind, Mount, Secret};
pub use read::{instruction, parse};
pub use words::quoted;

use std::collections::BTreeMap;

/// The file's name in the source directory.
pub const NAME: &str = "Dockerfile";

/// The file that says what of the source is not for the build.
pub const IGNORE: &str = ".dockerignore";

/// Largest file that is read, in bytes.
pub const BYTES_MAX: u64 = 256 << 10;

/// The image with nothing in it.
pub const SCRATCH: &str = "scratch";

/// The shell of instructions that are written as a text, unless `SHELL` names another.
pub const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// Its stages, one at least.
    pub stages: Vec<Stage>,
    /// `ARG`s before the first `FROM`, with those that every platform sets: a stage sees those that it declares.
    pub arguments: BTreeMap<String, String>,
}

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

/// One instruction, its variables not yet put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The number of its line.
    pub line: usize,
    /// As it stands in the file.
    pub text: String,
    /// The character that escapes.
    pub escape: char,
    /// What is done.
    pub action: Action,
}

/// What an instruction does. Words are as they stand in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Variables of the build.
    Arg(Vec<(String, Option<String>)>),
    /// A command.
    Run(Run),
    /// Files of the source, of a stage, of the file itself or from an address.
    Copy(Copy),
    /// Variables.
    Env(Vec<(String, String)>),
    /// The working directory.
    Workdir(String),
    /// The user.
    User(String),
    /// Ports.
    Expose(Vec<String>),
    /// The command.
    Cmd(Form),
    /// The entry point.
    Entrypoint(Form),
    /// Labels.
    Label(Vec<(String, String)>),
    /// The signal that ends the application.
    StopSignal(String),
    /// The shell of what is written as a text.
    Shell(Vec<String>),
    /// An instruction for images that are built on this one.
    OnBuild(String),
}

/// How a command is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// For a shell.
    Shell(String),
    /// A JSON list of words.
    Exec(Vec<String>),
}

/// `RUN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What is run; with the texts that follow it, if it has any.
    pub command: Form,
    /// A text that is a program by its first line.
    pub program: Option<String>,
    /// `--mount`, as they stand.
    pub mounts: Vec<String>,
}

/// `COPY` or `ADD`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copy {
    /// `ADD`, which unpacks archives and takes addresses.
    pub is_add: bool,
    /// The stage or image the files come from; the source without it.
    pub from: Option<String>,
    /// What is copied, relative to the source or to the stage's root, or an address.
    pub sources: Vec<String>,
    /// Files whose content follows the instruction.
    pub texts: Vec<Text>,
    /// Where to.
    pub target: String,
    /// `--chown`.
    pub owner: Option<String>,
    /// `--chmod`.
    pub mode: Option<String>,
    /// `--checksum`.
    pub checksum: Option<String>,
}

/// A file whose content follows an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Its name.
    pub name: String,
    /// Its content.
    pub content: String,
    /// Whether variables are put in.
    pub expands: bool,
}

#[cfg(test)]
mod tests;

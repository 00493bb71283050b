//! The program of a build's instance: a shell script that runs the commands in order, and how its output is read.

use crate::plan::Step;

/// Where the platform's own files of a build are in its instance; never shipped.
pub const TOOLS: &str = "/.apron";

/// The script's name there.
pub const SCRIPT: &str = "run";

/// The exit code of a script whose directory does not exist, or which cannot go on for reasons of its own. Commands may have
/// the same, but then their mark has been printed.
const NO_DIRECTORY: i32 = 120;

/// Lines of a command kept as evidence.
const TAIL_LINES_MAX: usize = 25;

/// Longest line kept as evidence, in characters.
const TAIL_CHARS_MAX: usize = 500;

/// Makes the script. `mark` is a word that no command can know.
pub fn script(steps: &[Step], directory: &str, mark: &str) -> String {
    let directory = quoted(directory);
    let mut text = format!(
        "shell=/bin/sh\n[ -x /bin/bash ] && shell=/bin/bash\nexec 2>&1 </dev/null\n\
         cd {directory} || exit {NO_DIRECTORY}\n"
    );
    for (number, step) in steps.iter().enumerate() {
        let command = quoted(&step.command);
        // Each command in a shell of its own that begins in the directory, as each is an instruction of its own at App Runner.
        text.push_str(&format!(
            "echo '{mark} {number}'\n$shell -c {command}\ncode=$?\n[ $code -eq 0 ] || exit $code\n"
        ));
    }
    text.push_str(&format!("echo '{mark} {}'\nexit 0\n", steps.len()));
    text
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What a line of the script's output is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A command begins.
    Begins(usize),
    /// All commands have ended well.
    Done,
    /// A command said something.
    Line,
}

/// How far a script has come.
#[derive(Debug)]
pub struct Progress {
    mark: String,
    steps: usize,
    current: Option<usize>,
    done: bool,
    tail: std::collections::VecDeque<String>,
}

impl Progress {
    /// Of a script that has not begun.
    pub fn new(mark: &str, steps: usize) -> Progress {
        Progress {
            mark: mark.to_owned(),
            steps,
            current: None,
            done: false,
            tail: Default::default(),
        }
    }

    /// What a command said and a mark, each of which a line may have: what a command says last need not have an end.
    pub fn parts<'l>(&self, line: &'l str) -> impl Iterator<Item = &'l str> + use<'l> {
        let (said, mark) = match line.find(&self.mark) {
            Some(0) => (None, Some(line)),
            Some(at) => {
                let (said, mark) = line.split_at(at);
                (Some(said), Some(mark))
            }
            None => (Some(line), None),
        };
        said.into_iter().chain(mark)
    }

    /// Takes a part of a line in.
    pub fn take(&mut self, line: &str) -> Said {
        let number = line
            .strip_prefix(self.mark.as_str())
            .and_then(|rest| rest.strip_prefix(' '))
            .and_then(|rest| rest.parse::<usize>().ok());
        match number {
            Some(number) if number == self.steps => {
                self.done = true;
                Said::Done
            }
            Some(number) => {
                self.current = Some(number);
                self.tail.clear();
                Said::Begins(number)
            }
            None => {
                if self.tail.len() == TAIL_LINES_MAX {
                    self.tail.pop_front();
                }
                self.tail
                    .push_back(line.chars().take(TAIL_CHARS_MAX).collect());
                Said::Line
            }
        }
    }

    /// The command that began last.
    pub fn current(&self) -> Option<usize> {
        self.current
    }

    /// Whether every command ended well.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// The last lines of that command.
    pub fn tail(&self) -> Vec<String> {
        self.tail.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Phase;
    use std::process::Command;

    fn run(commands: &[&str], directory: &str) -> (Option<i32>, Progress) {
        let steps: Vec<Step> = commands
            .iter()
            .map(|command| Step::new(Phase::Build, *command))
            .collect();
        let output = Command::new("/bin/sh")
            .args(["-c", &script(&steps, directory, "m4rk")])
            .output()
            .unwrap();
        let mut progress = Progress::new("m4rk", steps.len());
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            for part in progress.parts(line).collect::<Vec<_>>() {
                progress.take(part);
            }
        }
        (output.status.code(), progress)
    }

    #[test]
    fn commands_run_in_order_each_in_the_directory_until_one_fails() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("it's here");
        std::fs::create_dir(&directory).unwrap();
        let at = directory.to_str().unwrap();
        let (code, progress) = run(&["cd / && pwd", "pwd; echo 'a \"b\"' > out", "cat out"], at);
        assert_eq!((code, progress.is_done()), (Some(0), true));
        assert_eq!(progress.tail(), ["a \"b\""]);
        let (code, progress) = run(&["echo one", "echo two >&2; exit 7", "echo three"], at);
        assert_eq!((code, progress.current()), (Some(7), Some(1)));
        assert!(!progress.is_done());
        assert_eq!(progress.tail(), ["two"]);
        let (code, progress) = run(&["printf one", "printf two"], at);
        assert_eq!((code, progress.is_done()), (Some(0), true));
        assert_eq!(progress.tail(), ["two"]);
        let (code, progress) = run(&["true"], "/nowhere/at/all");
        assert_eq!((code, progress.current()), (Some(NO_DIRECTORY), None));
    }

    #[test]
    fn a_tail_is_bounded() {
        let mut progress = Progress::new("m", 1);
        for number in 0..100 {
            progress.take(&format!("{number} {}", "x".repeat(10_000)));
        }
        assert_eq!(progress.tail().len(), TAIL_LINES_MAX);
        assert!(
            progress
                .tail()
                .iter()
                .all(|line| line.chars().count() == TAIL_CHARS_MAX)
        );
        assert_eq!(progress.take("m 7x"), Said::Line);
    }
}

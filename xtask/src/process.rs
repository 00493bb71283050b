//! Running other programs, with errors that carry what they said.

use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Last lines of a failed program's output that its error shows.
const EVIDENCE_LINES_MAX: usize = 40;

/// Prints one line of progress.
pub fn say(line: impl AsRef<str>) {
    println!("==> {}", line.as_ref());
    std::io::stdout().flush().ok();
}

/// Whether a program of this name is on the path.
pub fn exists(program: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else {
        return false;
    };
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Runs a program with its output shown, and fails when it does.
pub fn show(command: &mut Command) -> Result<()> {
    let text = describe(command);
    let status = command
        .status()
        .with_context(|| format!("could not start `{text}`"))?;
    if !status.success() {
        bail!("`{text}` ended with {status}; its output is above");
    }
    Ok(())
}

/// Runs a program and returns what it printed; on failure the error holds the end of its output.
pub fn capture(command: &mut Command) -> Result<String> {
    capture_with_input(command, None)
}

/// Like [`capture`], with `input` on standard input.
pub fn capture_with_input(command: &mut Command, input: Option<&str>) -> Result<String> {
    let text = describe(command);
    command.stdin(if input.is_some() {
        Stdio::piped()
    } else {
        Stdio::null()
    });
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start `{text}`"))?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        // A program that ends without reading its input says why on its own outputs.
        stdin.write_all(input.as_bytes()).ok();
    }
    let output = child
        .wait_with_output()
        .with_context(|| format!("could not wait for `{text}`"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    bail!(
        "`{text}` ended with {}:\n{}",
        output.status,
        last_lines(&format!("{stdout}{stderr}"))
    )
}

/// The end of a text, bounded by [`EVIDENCE_LINES_MAX`].
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let skipped = lines.len().saturating_sub(EVIDENCE_LINES_MAX);
    lines[skipped..]
        .iter()
        .fold(String::new(), |mut all, line| {
            let _ = writeln!(all, "    {line}");
            all
        })
}

/// The program and its arguments as one line.
fn describe(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_what_the_program_said() {
        let error = capture(Command::new("sh").args(["-c", "echo said this >&2; exit 3"]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("said this") && error.contains('3'),
            "{error}"
        );
    }

    #[test]
    fn input_reaches_the_program() {
        assert_eq!(
            capture_with_input(&mut Command::new("cat"), Some("abc")).unwrap(),
            "abc"
        );
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = format!(
            "{:#}",
            capture(&mut Command::new("no-such-program-here")).unwrap_err()
        );
        assert!(
            error.contains("could not start `no-such-program-here`"),
            "{error}"
        );
    }
}

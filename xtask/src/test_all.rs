//! `cargo xtask test`: every check and every test, from a clean checkout.

use crate::process::{self, say};
use crate::{assets, bench, machine, packages, tidy, workspace};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What to leave out, for people who work on one part.
#[derive(clap::Args)]
pub struct Options {
    /// Leave out the end-to-end tests.
    #[arg(long)]
    no_e2e: bool,
    /// Leave out clippy.
    #[arg(long)]
    no_clippy: bool,
}

/// Passed and failed checks and tests.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    /// Counts one check, saying why it failed.
    fn check(&mut self, name: &str, outcome: Result<()>) {
        match outcome {
            Ok(()) => {
                self.passed += 1;
                say(format!("{name}: passed"));
            }
            Err(error) => {
                self.failed += 1;
                say(format!("{name}: FAILED: {error:#}"));
            }
        }
    }

    /// Counts a run of tests.
    fn tests(&mut self, name: &str, outcome: Result<Tally>) {
        match outcome {
            Ok(run) => {
                say(format!(
                    "{name}: {} passed, {} failed",
                    run.passed, run.failed
                ));
                self.passed += run.passed;
                self.failed += run.failed;
            }
            Err(error) => self.check(name, Err(error)),
        }
    }
}

/// Runs everything; what fails does not keep the rest from running, except that nothing is tested that does not build.
pub fn run(options: &Options) -> Result<()> {
    let started = Instant::now();
    machine::root_user()?;
    say("checking this machine");
    packages::install_missing(&[
        packages::BUILD,
        packages::RUNTIME,
        packages::SAMPLE,
        packages::TESTS,
    ])?;
    machine::check()?;
    let mut tally = Tally::default();
    for (name, outcome) in tidy::all() {
        tally.check(&format!("tidy: {name}"), outcome);
    }
    tally.check("format", format());
    if !options.no_clippy {
        tally.check("clippy", clippy());
    }
    let built = build();
    let builds = built.is_ok();
    tally.check("build", built);
    if builds {
        tally.tests("unit tests", tests(Suite::Unit));
        say("counting the data plane's instructions");
        tally.check("instructions per request", bench::count(&[]));
        if !options.no_e2e {
            let prepared = assets::prepare_all();
            let ready = prepared.is_ok();
            tally.check("clients and images for the end-to-end tests", prepared);
            if ready {
                tally.tests("end-to-end tests", tests(Suite::EndToEnd));
            }
        }
    }
    say(format!("took {} s", started.elapsed().as_secs()));
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed > 0 {
        bail!(
            "{} checks or tests failed; each is named above",
            tally.failed
        );
    }
    Ok(())
}

fn format() -> Result<()> {
    process::capture(workspace::cargo().args(["fmt", "--all", "--check"]))
        .map(drop)
        .context("run `cargo fmt --all`")?;
    process::capture(
        Command::new("rustfmt")
            .args(["--edition", "2024", "--check", "tests/apps/echo.rs"])
            .current_dir(workspace::root()),
    )
    .map(drop)
}

fn clippy() -> Result<()> {
    say("clippy");
    process::show(workspace::cargo().args([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "--deny",
        "warnings",
    ]))
}

/// Builds programs, tests and examples in one go, so that every later step finds the same artefacts.
fn build() -> Result<()> {
    say("building programs and tests (some minutes the first time)");
    process::show(workspace::cargo().args([
        "build",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--locked",
    ]))
}

/// Which tests to run.
#[derive(Clone, Copy)]
enum Suite {
    /// Everything but the end-to-end tests.
    Unit,
    /// The end-to-end tests.
    EndToEnd,
}

/// Tests of the end-to-end suite that run at the same time; each has a platform of its own.
const END_TO_END_PARALLEL: &str = "3";

/// Runs a suite with cargo-nextest, or with the plain test runner where that is not installed.
fn tests(suite: Suite) -> Result<Tally> {
    let with_nextest = process::capture(workspace::cargo().args(["nextest", "--version"])).is_ok();
    let mut command = workspace::cargo();
    if with_nextest {
        command.args([
            "nextest",
            "run",
            "--workspace",
            "--all-targets",
            "--locked",
            "--no-fail-fast",
        ]);
        command.args([
            "--cargo-quiet",
            "--status-level",
            "slow",
            "--color",
            "never",
        ]);
        match suite {
            Suite::Unit => command.args(["--filterset", "not package(apron-e2e)"]),
            Suite::EndToEnd => {
                command.args(["--filterset", "package(apron-e2e)", "--profile", "e2e"])
            }
        };
        command.args([
            "--test-threads",
            if matches!(suite, Suite::EndToEnd) {
                END_TO_END_PARALLEL
            } else {
                "num-cpus"
            },
        ]);
    } else {
        command.args([
            "test",
            "--quiet",
            "--all-targets",
            "--locked",
            "--no-fail-fast",
        ]);
        match suite {
            Suite::Unit => command.args(["--workspace", "--exclude", "apron-e2e"]),
            Suite::EndToEnd => command.args([
                "--package",
                "apron-e2e",
                "--",
                "--test-threads",
                END_TO_END_PARALLEL,
            ]),
        };
    }
    // Errors of tests are values with a context; where they passed through is noise.
    command.env("RUST_LIB_BACKTRACE", "0");
    count(command)
}

/// Runs a test runner, shows what it says and counts the results in it.
fn count(mut command: Command) -> Result<Tally> {
    // Both runners' summaries reach the pipe in order: nextest writes to standard error, the plain one to output.
    let (reader, writer) = std::io::pipe().context("a pipe could not be made")?;
    let errors = writer.try_clone().context("a pipe could not be shared")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(errors)
        .spawn()
        .context("the test runner could not be started")?;
    // The command holds the writing end: without this the reader would never see the end.
    drop(command);
    let mut tally = Tally::default();
    for line in BufReader::new(reader).lines() {
        let line = line.context("the test runner's output could not be read")?;
        println!("    {line}");
        let Some((passed, failed)) = summary(&line) else {
            continue;
        };
        // nextest shows what a failed test's binary said, a summary among it, and its own summary at the end is of all.
        if line.trim_start().starts_with("Summary") {
            tally = Tally::default();
        }
        tally.passed += passed;
        tally.failed += failed;
    }
    let status = child
        .wait()
        .context("the test runner could not be waited for")?;
    if !status.success() && tally.failed == 0 {
        bail!(
            "the test runner ended with {status} before it reported a failed test; its output is above"
        );
    }
    if tally.passed + tally.failed == 0 {
        bail!("no test ran");
    }
    Ok(tally)
}

/// Passed and failed tests, if the line is a runner's summary.
///
/// nextest: `Summary [ 1.2s] 8 tests run: 6 passed (1 slow), 1 failed, 1 timed out, 0 skipped`;
/// plain: `test result: FAILED. 6 passed; 1 failed; 0 ignored; …`.
fn summary(line: &str) -> Option<(u64, u64)> {
    let rest = if let Some((head, rest)) = line
        .split_once("tests run:")
        .or_else(|| line.split_once("test run:"))
    {
        head.trim_start().starts_with("Summary").then_some(rest)?
    } else {
        line.trim_start().strip_prefix("test result:")?
    };
    let number_before = |words: &[&str]| -> u64 {
        rest.split([',', ';', '.', '('])
            .filter_map(|part| part.trim().split_once(' '))
            .filter(|(_, word)| {
                words
                    .iter()
                    .any(|wanted| word.trim_end().starts_with(wanted))
            })
            .filter_map(|(number, _)| number.parse::<u64>().ok())
            .sum()
    };
    Some((
        number_before(&["passed"]),
        number_before(&["failed", "timed out", "exec failed"]),
    ))
}

#[cfg(test)]
mod tests {
    use super::summary;

    #[test]
    fn both_runners_summaries_are_counted() {
        let check =
            |line: &str, expect: Option<(u64, u64)>| assert_eq!(summary(line), expect, "{line}");
        check(
            "     Summary [   0.012s] 8 tests run: 8 passed, 2 skipped",
            Some((8, 0)),
        );
        check(
            "     Summary [   1.2s] 8 tests run: 6 passed (1 slow), 1 failed, 1 timed out, 0 skipped",
            Some((6, 2)),
        );
        check(
            "     Summary [   0.1s] 1 test run: 1 passed, 0 skipped",
            Some((1, 0)),
        );
        check(
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
            Some((12, 0)),
        );
        check(
            "test result: FAILED. 1 passed; 3 failed; 0 ignored",
            Some((1, 3)),
        );
        check("running 3 tests", None);
        check("a log line: 3 passed, 4 failed", None);
    }
}

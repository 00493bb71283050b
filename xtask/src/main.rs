//! Setup, test driver and tidy checks: `cargo xtask <command>`.

mod assets;
mod bench;
mod dist;
mod machine;
mod packages;
mod process;
mod test_all;
mod tidy;
mod tuned;
mod up;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Setup, test driver and tidy checks of Apron.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check the machine, build, start Apron, deploy the sample application and print its address.
    Up,
    /// Run every check and every test, ending with the line `N passed, N failed`.
    Test(test_all::Options),
    /// Run the checks that need no compiler: imports, sizes, words, links, licences.
    Tidy,
    /// Build the programs for other machines, the proxy optimised by profile, and pack them into `target/dist`.
    Dist,
    /// Make what the end-to-end tests need: clients, base image, test application.
    Prepare,
    /// Measure Apron next to its peers and write `bench/results.md`.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Up => up::run(),
        Command::Test(options) => test_all::run(&options),
        Command::Tidy => tidy::run(),
        Command::Dist => dist::run(),
        Command::Prepare => assets::prepare_all(),
        Command::Bench(options) => bench::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

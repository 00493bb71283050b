//! `apron audit`: what was done here, and whether the records are what was written.

use crate::paths::Paths;
use anyhow::{Context, Result};
use clap::Subcommand;

/// What to do with the audit file.
#[derive(Subcommand)]
pub enum Command {
    /// Check that no record was changed, removed, added or moved.
    Verify,
}

/// Does it. The records are looked up with `aws cloudtrail lookup-events`.
pub fn audit(paths: &Paths, command: &Command) -> Result<()> {
    match command {
        Command::Verify => verify(paths),
    }
}

fn verify(paths: &Paths) -> Result<()> {
    let dir = paths.audit();
    let checked = apron_telemetry::verify_audit(&dir)
        .context("the audit records are not what was written")?;
    match checked.numbers {
        None => println!("There are no records."),
        Some((first, last)) => println!(
            "{} records, {first} to {last}, are what was written. The last hash is {}.",
            checked.records, checked.head
        ),
    }
    Ok(())
}

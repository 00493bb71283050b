//! `apron seal`: the key that seals secrets in the database.

use crate::client;
use crate::paths::Paths;
use anyhow::Result;
use apron_aws::model::apron;
use clap::Subcommand;
use serde_json::json;

/// What to do with the sealing key.
#[derive(Subcommand)]
pub enum Command {
    /// Replace the sealing key; the platform goes on meanwhile. Back up the key file with the database afterwards.
    Rotate,
}

/// Has the running platform do it.
pub fn seal(paths: &Paths, command: &Command) -> Result<()> {
    match command {
        Command::Rotate => rotate(paths),
    }
}

fn rotate(paths: &Paths) -> Result<()> {
    let answer = client::call(paths, apron(), "RotateSealingKey", &json!({}))?;
    let key = answer["KeyId"].as_str().unwrap_or_default();
    println!("Everything is sealed under the key {key} from now on.");
    match answer["FormerKeysRemoved"].as_bool() {
        Some(true) => println!("The former key is removed; backups from before need it."),
        _ => println!(
            "Remove the former key from where the keys come from; backups from before need it."
        ),
    }
    Ok(())
}

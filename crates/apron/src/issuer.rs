//! `apron issuer`: the keys with which the platform vouches for its instances.

use crate::client;
use crate::paths::Paths;
use anyhow::{Context, Result};
use apron_aws::model::apron;
use clap::Subcommand;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What to do with the issuer's keys.
#[derive(Subcommand)]
pub enum Command {
    /// Publish another key, which signs from tomorrow on. The former one is published until its last token has ended.
    Rotate {
        /// It signs at once: whoever keeps the issuer's keys may refuse its tokens until they read them again.
        #[arg(long)]
        at_once: bool,
        /// For a key that somebody else has: it signs at once, and tokens of all former keys are worth nothing.
        #[arg(long)]
        withdraw: bool,
    },
}

/// Has the running platform do it.
pub fn issuer(paths: &Paths, command: &Command) -> Result<()> {
    match command {
        Command::Rotate { at_once, withdraw } => rotate(paths, *at_once, *withdraw),
    }
}

fn rotate(paths: &Paths, at_once: bool, withdraw: bool) -> Result<()> {
    let input = json!({ "AtOnce": at_once, "WithdrawFormer": withdraw });
    let answer = client::call(paths, apron(), "RotateIssuerKey", &input)?;
    let text = |member: &str| answer[member].as_str().unwrap_or_default();
    println!(
        "The key {} is published, and signs from {} on.",
        text("KeyId"),
        moment(&answer["SignsFrom"])?
    );
    if withdraw {
        println!(
            "The former key {} is published no more, nor any other. Instances get new tokens at once; make copies of the \
             issuer's documents anew now.",
            text("FormerKeyId")
        );
        return Ok(());
    }
    println!(
        "The former key {} is published until {}.",
        text("FormerKeyId"),
        moment(&answer["FormerKeyPublishedUntil"])?
    );
    println!("Copies of the issuer's documents have to be made anew before the key signs.");
    Ok(())
}

fn moment(seconds: &Value) -> Result<String> {
    let seconds = seconds.as_f64().context("the answer names no time")?;
    let moment = OffsetDateTime::from_unix_timestamp(seconds as i64)?;
    Ok(moment.format(&Rfc3339)?)
}

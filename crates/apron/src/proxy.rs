//! `apron proxy`: the operator's hand on the data plane's process.

use crate::paths::Paths;
use crate::process::{running, sibling};
use crate::serve::require_root;
use anyhow::{Context, Result, bail};
use apron_control::dataplane::process::{Look, last_look};
use clap::Subcommand;
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

/// How long an installed proxy may take to take over; the control plane itself gives up sooner.
const UPGRADED_WITHIN: Duration = Duration::from_secs(40);

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Subcommand)]
pub enum Command {
    /// Put the installed proxy program into service; the one it replaces finishes what it has.
    Upgrade,
}

/// Does what is asked.
pub fn proxy(paths: &Paths, command: Command) -> Result<()> {
    match command {
        Command::Upgrade => upgrade(paths),
    }
}

fn upgrade(paths: &Paths) -> Result<()> {
    require_root()?;
    let program = sibling("apron-proxy")?;
    let Some(serve) = running(paths).and_then(Pid::from_raw) else {
        bail!("not running. Start it with `apron up`, which starts the installed proxy");
    };
    let look = || last_look(&paths.proxy_state(), &program);
    let before = look();
    if let Some(pid) = before.as_ref().and_then(|look| look.upgraded) {
        println!("The installed proxy serves already, as process {pid}.");
        return Ok(());
    }
    kill_process(serve, Signal::HUP).context("cannot ask the control plane")?;
    let deadline = Instant::now() + UPGRADED_WITHIN;
    while Instant::now() < deadline {
        let after = look().filter(|after| Some(after.number) != before.as_ref().map(|b| b.number));
        match after {
            Some(Look {
                upgraded: Some(pid),
                ..
            }) => {
                println!("The installed proxy serves, as process {pid}.");
                return Ok(());
            }
            Some(Look {
                refusal: Some(why), ..
            }) => bail!(
                "{} does not serve: {why}. The proxy that ran goes on",
                program.display()
            ),
            _ => std::thread::sleep(LOOK_EVERY),
        }
    }
    bail!(
        "the control plane has not put {} into service within {} seconds; see its log ({} or the journal of its unit)",
        program.display(),
        UPGRADED_WITHIN.as_secs(),
        paths.own_log().display()
    )
}

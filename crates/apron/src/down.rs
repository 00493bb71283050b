//! `apron down`: stop the platform and all instances; with `--purge` remove everything it has stored.

use crate::config::Config;
use crate::paths::Paths;
use crate::process;
use crate::serve::{node_config, require_root};
use crate::up::systemd;
use anyhow::{Context, Result};
use apron_control::dataplane::process::end_running;
use apron_node::{Node, NodeConfig, NodeError};
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the control plane may take to end.
const END_WITHIN: Duration = Duration::from_secs(10);
/// Pause before the instances' lock is tried again.
const BUSY_RETRY: Duration = Duration::from_millis(20);

/// Stops the platform.
pub fn down(paths: &Paths, purge: bool) -> Result<()> {
    require_root()?;
    let config = Config::read(paths)?;
    if systemd::is_in_charge(paths) {
        systemd::stop()?;
    }
    process::end(paths, END_WITHIN)?;
    end_running(&paths.proxy_state());
    let node = node_config(paths, &config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime
        .block_on(remove_instances(node))
        .context("some traces of instances could not be removed")?;
    if !purge {
        println!(
            "Apron is stopped. Its data is in {}.",
            paths.data().display()
        );
        return Ok(());
    }
    crate::trust::remove_if_installed(paths)?;
    for directory in [paths.run(), paths.data()] {
        empty(directory)?;
        match std::fs::remove_dir(directory) {
            // A mount point, or a directory that systemd gives back, stays; what was in it is gone.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ResourceBusy) => {
            }
            result => result.with_context(|| format!("cannot remove {}", directory.display()))?,
        }
    }
    println!("Apron is removed from this machine.");
    Ok(())
}

/// Ends and removes every instance. The control plane gives up its own lock a moment before its last thread ends, and with it the
/// lock on the instances.
async fn remove_instances(node: NodeConfig) -> Result<(), NodeError> {
    let deadline = Instant::now() + END_WITHIN;
    loop {
        match Node::purge(node.clone()).await {
            Err(NodeError::Busy(_)) if Instant::now() < deadline => {
                tokio::time::sleep(BUSY_RETRY).await
            }
            result => return result,
        }
    }
}

fn empty(directory: &Path) -> Result<()> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", directory.display()));
        }
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        let removed = match entry.file_type()?.is_dir() {
            true => std::fs::remove_dir_all(&path),
            false => std::fs::remove_file(&path),
        };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

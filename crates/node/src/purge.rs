//! Removing every trace of a platform's instances.

use crate::cgroup::{Cgroups, Priority};
use crate::config::NodeConfig;
use crate::error::{NodeError, Step};
use crate::instance::files::InstanceFiles;
use crate::instance::shim;
use crate::network;
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

/// Ends and removes everything; what is gone already is fine. `lock` is what keeps others out meanwhile, when there is
/// a directory for it. Blocks.
pub fn purge(config: &NodeConfig, lock: Option<File>) -> Result<(), NodeError> {
    if lock.is_some() {
        let files = InstanceFiles::open(&config.run_dir)?;
        for name in files.list()? {
            shim::end(&files.directory(&name))?;
        }
    }
    purge_kernel(config)?;
    for directory in [
        config.run_dir.join("instances"),
        config.data_dir.join("disks"),
        config.data_dir.join("layers"),
    ] {
        remove_directory(&directory)?;
    }
    let _ = std::fs::remove_file(config.run_dir.join("node.lock"));
    drop(lock);
    // Both may hold other things of the platform, which are not ours to remove.
    let _ = std::fs::remove_dir(&config.run_dir);
    let _ = std::fs::remove_dir(&config.data_dir);
    Ok(())
}

fn purge_kernel(config: &NodeConfig) -> Result<(), NodeError> {
    Cgroups::open(&config.scope(), Priority::Normal)?.purge()?;
    Cgroups::open(&config.build_scope(), config.build_priority())?.purge()?;
    network::purge(config)
}

fn remove_directory(directory: &Path) -> Result<(), NodeError> {
    match apron_oci::remove_tree(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.step(format!("remove {}", directory.display())),
    }
}

//! The one machine-wide setting that instances need: forwarding between interfaces.
//!
//! When it was off it is switched on and that is noted in [`NOTES`], one empty file per platform; the last platform
//! to be purged switches it off again. A machine that forwarded already is left as it is.

use super::firewall;
use crate::error::{NodeError, Step};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// Directory of notes by the platforms that rely on a setting Apron made, one directory per network namespace.
const NOTES: &str = "/run/apron-forwarding";

/// Makes the machine forward packets of instances.
pub fn enable_forwarding(platform: &str) -> Result<(), NodeError> {
    let current = std::fs::read_to_string(FORWARDING).step(format!("read {FORWARDING}"))?;
    let notes = notes()?;
    if current.trim() == "1" && !notes.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(&notes).step(format!("make {}", notes.display()))?;
    std::fs::write(notes.join(platform), "").step(format!("note in {}", notes.display()))?;
    if current.trim() == "1" {
        return Ok(());
    }
    tracing::info!("switching on net.ipv4.ip_forward, which instances need to reach the internet");
    std::fs::write(FORWARDING, "1").step(format!("write {FORWARDING}"))
}

/// Undoes [`enable_forwarding`] when no other platform relies on it.
pub fn restore_forwarding(platform: &str) -> Result<(), NodeError> {
    let notes = notes()?;
    match std::fs::remove_file(notes.join(platform)) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(NodeError::step(
                format!("remove a note in {}", notes.display()),
                error,
            ));
        }
    }
    forget_the_gone(&notes)?;
    match std::fs::remove_dir(&notes) {
        Ok(()) => {
            let _ = std::fs::remove_dir(NOTES);
            std::fs::write(FORWARDING, "0").step(format!("write {FORWARDING}"))
        }
        // Another platform relies on it, or is undoing it at the same moment.
        Err(_) => Ok(()),
    }
}

/// Removes notes of platforms whose firewall is not in force: they went without a purge, perhaps with their network
/// namespace, whose number another one has now.
fn forget_the_gone(notes: &Path) -> Result<(), NodeError> {
    let entries = std::fs::read_dir(notes).step(format!("read {}", notes.display()))?;
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        if !firewall::stands(&name.to_string_lossy())? {
            // Whoever else removes it at the same moment has the same reason.
            let _ = std::fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn notes() -> Result<PathBuf, NodeError> {
    let namespace =
        std::fs::metadata("/proc/thread-self/ns/net").step("look at the network namespace")?;
    Ok(PathBuf::from(NOTES).join(namespace.ino().to_string()))
}

//! Programs beside this one, and the running control plane.

use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The path of a program in this program's directory.
pub fn sibling(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find this program's path")?;
    // A program that was replaced while it runs has this after its name (proc(5), /proc/pid/exe).
    let own = own
        .to_string_lossy()
        .trim_end_matches(" (deleted)")
        .to_owned();
    let path = PathBuf::from(own).with_file_name(name);
    if !path.exists() {
        bail!(
            "{} is missing: it belongs beside the program apron",
            path.display()
        );
    }
    Ok(path)
}

/// The process id of the running control plane, if one runs.
pub fn running(paths: &Paths) -> Option<i32> {
    let file = std::fs::File::open(paths.lock()).ok()?;
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    std::fs::read_to_string(paths.lock())
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// Whether the running control plane was started from the file that is this program now.
pub fn is_this_program(pid: i32) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |path: &str| std::fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    identity(&format!("/proc/{pid}/exe")) == identity("/proc/self/exe")
}

/// Ends the running control plane and waits for it.
pub fn end(paths: &Paths, within: Duration) -> Result<()> {
    let Some(pid) = running(paths) else {
        return Ok(());
    };
    let process = Pid::from_raw(pid).context("the lock file has no process id")?;
    kill_process(process, Signal::TERM).with_context(|| format!("cannot end process {pid}"))?;
    let deadline = Instant::now() + within;
    while running(paths).is_some() {
        if Instant::now() > deadline {
            kill_process(process, Signal::KILL)
                .with_context(|| format!("cannot kill process {pid}"))?;
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

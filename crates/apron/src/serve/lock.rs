//! One control plane per run directory.

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Takes the lock and writes this process's id into it; held until the file is dropped.
pub fn take(path: &Path) -> Result<File> {
    let open = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path);
    let mut file = open.with_context(|| format!("cannot open {}", path.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let holder = std::fs::read_to_string(path).unwrap_or_default();
        bail!(
            "another control plane (process {}) uses these directories",
            holder.trim()
        );
    }
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}

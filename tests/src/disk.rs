//! A small disk of a test's own, to be filled up.

use crate::run;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in a file; unmounted when dropped.
pub struct Disk {
    mounted_at: PathBuf,
}

impl Disk {
    /// Makes a disk of `megabytes` as a file in `dir` and mounts it at `at`.
    pub fn mount(dir: &Path, at: &Path, megabytes: u32) -> Result<Disk> {
        let image = dir.join("disk.img");
        File::create(&image)?
            .set_len(u64::from(megabytes) << 20)
            .context("could not size the disk")?;
        run::ok(
            Command::new("mkfs.ext4")
                .args(["-q", "-m", "0"])
                .arg(&image),
        )?;
        run::ok(
            Command::new("mount")
                .args(["-o", "loop"])
                .arg(&image)
                .arg(at),
        )?;
        fs::remove_dir(at.join("lost+found")).ok();
        Ok(Disk {
            mounted_at: at.to_owned(),
        })
    }

    /// Whether this disk is mounted at `path`.
    pub fn is_mounted_at(&self, path: &Path) -> bool {
        self.mounted_at == path
    }

    /// Leaves at most `megabytes` free, by a file of the test's own.
    pub fn fill_except(&self, megabytes: u64) -> Result<()> {
        let free = free_bytes(&self.mounted_at)?;
        let size = free.saturating_sub(megabytes << 20);
        let filler = File::create(self.filler())?;
        rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), 0, size)
            .context("could not fill the disk")
    }

    /// Gives the space back.
    pub fn release(&self) -> Result<()> {
        fs::remove_file(self.filler()).context("could not remove the filler")
    }

    fn filler(&self) -> PathBuf {
        self.mounted_at.join("filler")
    }
}

/// Bytes an unprivileged writer could still write.
pub fn free_bytes(path: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(path).context("could not ask the file system")?;
    Ok(stat.f_bavail * stat.f_frsize)
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = run::ok(Command::new("umount").arg(&self.mounted_at)) {
            eprintln!("the test's disk could not be unmounted: {error:#}");
        }
    }
}

//! Instances' disks: each a file system of bounded size in a sparse file, so that an application meets "no space left"
//! at its own bound and the machine loses no more than that.
//!
//! The file is a copy of a formatted, empty template (a few hundred kilobytes; formatting anew costs fifty times as
//! much). It is mounted without being attached anywhere; the mount, and with it the loop device, lives as long as a
//! descriptor or a container has it.

mod loop_device;

use crate::error::{NodeError, Step};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, SeekFrom, seek};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

/// Smallest disk: below this ext4 has no room for itself, in bytes.
const DISK_BYTES_MIN: u64 = 4 << 20;

/// What has to remain free on the machine's file system, in bytes.
const HOST_FREE_BYTES_MIN: u64 = 64 << 20;

/// Where overlayfs keeps what an application writes; known to the shim as well.
pub const UPPER: &str = "upper";

/// Where overlayfs works.
const WORK: &str = "work";

/// A mounted disk that is attached nowhere.
#[derive(Debug)]
pub struct Disk {
    /// The file behind it.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// The mount.
    pub mount: OwnedFd,
}

/// The directory of disks.
#[derive(Debug)]
pub struct Disks {
    directory: PathBuf,
    count: AtomicU64,
}

impl Disks {
    /// Opens the directory, making it when necessary.
    pub fn open(directory: PathBuf) -> Result<Disks, NodeError> {
        std::fs::create_dir_all(&directory).step(format!("make {}", directory.display()))?;
        Ok(Disks {
            directory,
            count: AtomicU64::new(0),
        })
    }

    /// The size a disk is given for what was asked, in bytes.
    pub fn size(bytes: u64) -> u64 {
        bytes.max(DISK_BYTES_MIN).next_multiple_of(4096)
    }

    /// Makes a disk; blocks for some milliseconds, at the first of a size longer.
    pub fn create(&self, bytes: u64) -> Result<Disk, NodeError> {
        let bytes = Disks::size(bytes);
        self.check_room()?;
        let template = self.template(bytes)?;
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let path = self
            .directory
            .join(format!("free-{}-{number}.ext4", std::process::id()));
        let made = copy_sparse(&template, &path, bytes)
            .step(format!("copy {} to {}", template.display(), path.display()))
            .and_then(|file| mount(&file));
        match made {
            Ok(mount) => Ok(Disk { path, bytes, mount }),
            Err(error) => {
                let _ = std::fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Gives a disk to an instance.
    pub fn assign(&self, disk: &mut Disk, id: &str) -> Result<(), NodeError> {
        let path = self.of_instance(id);
        std::fs::rename(&disk.path, &path).step(format!("rename {}", disk.path.display()))?;
        disk.path = path;
        Ok(())
    }

    /// Removes an instance's disk. One that is gone is fine.
    pub fn remove(&self, id: &str) -> Result<(), NodeError> {
        remove_file(&self.of_instance(id))
    }

    /// Removes every disk that belongs to none of these instances, and templates that were not finished.
    pub fn remove_all_but(&self, kept: &[String]) -> Result<(), NodeError> {
        let kept: Vec<PathBuf> = kept.iter().map(|id| self.of_instance(id)).collect();
        let entries = std::fs::read_dir(&self.directory)
            .step(format!("list {}", self.directory.display()))?;
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let finished_template = name.starts_with("template-") && name.ends_with(".ext4");
            if !finished_template && !kept.contains(&path) {
                remove_file(&path)?;
            }
        }
        Ok(())
    }

    fn of_instance(&self, id: &str) -> PathBuf {
        self.directory.join(format!("{id}.ext4"))
    }

    fn check_room(&self) -> Result<(), NodeError> {
        let status = rustix::fs::statvfs(&self.directory).step("look at the free space")?;
        let free = status.f_bavail * status.f_frsize;
        match free < HOST_FREE_BYTES_MIN {
            true => Err(NodeError::step(
                "make a disk",
                format!(
                    "no space left: {free} bytes are free at {}",
                    self.directory.display()
                ),
            )),
            false => Ok(()),
        }
    }

    /// The empty file system of a size.
    fn template(&self, bytes: u64) -> Result<PathBuf, NodeError> {
        let path = self.directory.join(format!("template-{bytes}.ext4"));
        if path.exists() {
            return Ok(path);
        }
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let temporary = self
            .directory
            .join(format!("template-{bytes}-{number}.new"));
        format(&temporary, bytes)?;
        std::fs::rename(&temporary, &path).step(format!("rename {}", temporary.display()))?;
        Ok(path)
    }
}

/// Formats a sparse file. No journal: the disk is never mounted again after a crash. The tables of inodes are left as
/// holes, which read as zeros.
fn format(path: &Path, bytes: u64) -> Result<(), NodeError> {
    File::create(path)
        .and_then(|file| file.set_len(bytes))
        .step(format!("make {}", path.display()))?;
    let output = Command::new("mkfs.ext4")
        .args(["-q", "-F", "-m", "0", "-b", "4096", "-I", "256"])
        .args([
            "-O",
            "^has_journal,^resize_inode,metadata_csum,extent,huge_file,flex_bg",
        ])
        .args(["-E", "lazy_itable_init=1,nodiscard,root_owner=0:0"])
        .arg(path)
        .output()
        .map_err(|error| NodeError::Missing {
            feature: "the program `mkfs.ext4`",
            detail: format!("starting it: {error}; install the package e2fsprogs"),
        })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(NodeError::step("format a disk with mkfs.ext4", said.trim()));
    }
    Ok(())
}

/// Copies what is data and leaves holes.
fn copy_sparse(from: &Path, to: &Path, bytes: u64) -> std::io::Result<File> {
    let source = File::open(from)?;
    let target = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(to)?;
    target.set_len(bytes)?;
    let mut at = 0;
    loop {
        let start = match seek(&source, SeekFrom::Data(at)) {
            Ok(start) => start,
            // Only holes follow.
            Err(Errno::NXIO) => return Ok(target),
            Err(errno) => return Err(errno.into()),
        };
        let end = seek(&source, SeekFrom::Hole(start))?;
        let (mut read, mut write) = (start, start);
        while read < end {
            let length = (end - read) as usize;
            if rustix::fs::copy_file_range(
                &source,
                Some(&mut read),
                &target,
                Some(&mut write),
                length,
            )? == 0
            {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        at = end;
    }
}

/// Mounts a disk's file without attaching it. Device nodes on it do nothing.
fn mount(file: &File) -> Result<OwnedFd, NodeError> {
    let device = loop_device::attach(file)?;
    let context = rustix::mount::fsopen("ext4", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|error| {
        NodeError::Missing {
            feature: "the ext4 file system or the mount calls of Linux 5.2",
            detail: error.to_string(),
        }
    })?;
    let context = context.as_fd();
    rustix::mount::fsconfig_set_string(context, "source", &device.path).step("configure a disk")?;
    // The tables of inodes read as zeros already. Freed blocks go back to the machine. A file that replaces another is not
    // written at once, which is there for what a crash leaves, and nobody ever sees this disk after one: a build that
    // replaces files would keep the machine's own writers busy, in the way of services.
    for flag in ["noinit_itable", "discard", "noauto_da_alloc"] {
        rustix::mount::fsconfig_set_flag(context, flag)
            .step(format!("configure a disk with {flag}"))?;
    }
    rustix::mount::fsconfig_create(context).step(format!("mount the disk on {}", device.path))?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOATIME;
    let mount = rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .step("mount a disk")?;
    // The first directories cost reads of the file system's tables: now rather than while an instance starts.
    for name in [UPPER, WORK] {
        rustix::fs::mkdirat(&mount, name, Mode::from_raw_mode(0o755))
            .step(format!("make {name} on a disk"))?;
    }
    Ok(mount)
}

fn remove_file(path: &Path) -> Result<(), NodeError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(NodeError::step(format!("remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}

//! /proc, /sys and /dev of the container. The root has been changed already, so every path is the container's own.

use super::root::make_directory;
use crate::failure::{Stage, errno_text};
use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;
use rustix::mount::MountFlags;
use std::ffi::CString;
use std::path::Path;

/// Files that tell about the host or reach into it: they read as empty.
const MASKED_FILES: &[&str] = &[
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/timer_list",
    "/proc/timer_stats",
];

/// Directories that do: they are empty.
const MASKED_DIRECTORIES: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// What may be read and not written.
const READ_ONLY: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Character devices: name, major and minor number.
const DEVICES: &[(&str, u32, u32)] = &[
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Names that programs expect in /dev, and where they lead.
const LINKS: &[(&str, &str)] = &[
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];

const QUIET: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

/// Mounts everything an application expects to find; `first` is the machine's id for the container's group 0.
pub fn mount_all(shm_bytes: u64, first: u32) -> Result<(), String> {
    mount("proc", "/proc", QUIET, "")?;
    mount("sysfs", "/sys", QUIET | MountFlags::RDONLY, "")?;
    let device_flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("tmpfs", "/dev", device_flags, "mode=755,size=64k")?;
    make_devices()?;
    mount(
        "devpts",
        "/dev/pts",
        device_flags,
        // Group 5 is the one that owns terminals (Debian and others).
        &format!("newinstance,ptmxmode=0666,mode=0620,gid={}", first + 5),
    )?;
    mount(
        "tmpfs",
        "/dev/shm",
        QUIET,
        &format!("mode=1777,size={shm_bytes}"),
    )?;
    mount("mqueue", "/dev/mqueue", QUIET, "")?;
    mask()
}

/// Mounts a file system on a directory, which is made when the image has none.
pub fn mount(kind: &str, at: &str, flags: MountFlags, options: &str) -> Result<(), String> {
    make_directory(Path::new(at))?;
    // A link would put the mount, and the masks on it, somewhere else.
    let status = rustix::fs::lstat(at).stage(&format!("look at {at}"))?;
    if FileType::from_raw_mode(status.st_mode) != FileType::Directory {
        return Err(format!("{at} of the image is not a directory"));
    }
    let options =
        CString::new(options).map_err(|_| format!("options for {at} contain a zero byte"))?;
    rustix::mount::mount(kind, at, kind, flags, options.as_c_str()).stage(&format!("mount {at}"))
}

fn make_devices() -> Result<(), String> {
    for (path, major, minor) in DEVICES {
        let device = rustix::fs::makedev(*major, *minor);
        rustix::fs::mknodat(
            CWD,
            *path,
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            device,
        )
        .stage(&format!("make {path}"))?;
    }
    for (path, target) in LINKS {
        rustix::fs::symlink(*target, *path).stage(&format!("make {path}"))?;
    }
    Ok(())
}

fn mask() -> Result<(), String> {
    for path in MASKED_FILES {
        unless_absent(path, rustix::mount::mount_bind("/dev/null", *path))?;
    }
    for path in MASKED_DIRECTORIES {
        let mounted = rustix::mount::mount(
            "tmpfs",
            *path,
            "tmpfs",
            QUIET | MountFlags::RDONLY,
            c"size=0k,nr_inodes=2",
        );
        unless_absent(path, mounted)?;
    }
    for path in READ_ONLY {
        let bound = rustix::mount::mount_bind(*path, *path).and_then(|()| {
            rustix::mount::mount_remount(*path, MountFlags::BIND | MountFlags::RDONLY | QUIET, "")
        });
        unless_absent(path, bound)?;
    }
    Ok(())
}

/// A path this kernel does not have needs no cover.
fn unless_absent(path: &str, result: rustix::io::Result<()>) -> Result<(), String> {
    match result {
        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
        Err(errno) => Err(format!("cover {path}: {}", errno_text(errno))),
    }
}

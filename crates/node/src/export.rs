//! What a build that has ended leaves: the upper directory of its overlay, as a layer.

use crate::disk::UPPER;
use crate::instance::Instance;
use apron_compute::{ComputeError, Export, Exported};
use apron_link::instance::USERS;
use apron_oci::{Owners, PackError, PackOptions, Source, pack};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{BufWriter, Write};

/// A disk with less than this free is full: what fails for want of room rarely wants less. In bytes.
const FULL_BYTES: u64 = 1 << 20;

/// Most components of an exported path; more than any program makes on purpose.
const DEPTH_MAX: usize = 128;

/// Bytes that are written at once.
const WRITE_BYTES: usize = 256 << 10;

/// Files that belong to the instance rather than to its image: the platform wrote them at its start.
const OF_THE_INSTANCE: &[&str] = &[
    "dev",
    "proc",
    "sys",
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
];

/// Whether the disk of a build has no room left.
pub fn is_full(instance: &Instance) -> bool {
    let Some(disk) = instance.disk() else {
        return false;
    };
    rustix::fs::fstatvfs(disk).is_ok_and(|status| {
        status.f_bavail.saturating_mul(status.f_frsize) < FULL_BYTES || status.f_favail == 0
    })
}

/// Writes the changes. Blocks.
pub fn export(instance: &Instance, what: &Export, into: File) -> Result<Exported, ComputeError> {
    let upper = upper(instance)?;
    let relative = |path: &String| path.trim_matches('/').to_owned();
    let mut without: Vec<String> = what.without.iter().map(relative).collect();
    without.extend(OF_THE_INSTANCE.iter().map(|path| (*path).to_owned()));
    let options = PackOptions {
        source: Source::Overlay,
        owners: match instance.users {
            Some(first) => Owners::Mapped {
                first,
                count: USERS,
            },
            None => Owners::Kept,
        },
        prefix: String::new(),
        below: what.below.iter().map(relative).collect(),
        without,
        time: what.time,
        bytes_max: what.bytes_max,
        entries_max: what.entries_max,
        depth_max: DEPTH_MAX,
    };
    let mut into = BufWriter::with_capacity(WRITE_BYTES, into);
    let packed =
        pack(upper.as_fd(), &options, &mut into).map_err(|error| failed(instance, &error))?;
    into.flush()
        .map_err(|error| ComputeError::Failed(format!("write the changes: {error}")))?;
    Ok(Exported {
        bytes: packed.bytes,
        entries: packed.entries,
    })
}

fn upper(instance: &Instance) -> Result<OwnedFd, ComputeError> {
    let refuse = |why: &str| ComputeError::Failed(format!("instance {}: {why}", instance.id));
    if instance.exit().is_none() {
        return Err(refuse("it has not ended, so its changes are not complete"));
    }
    let disk = instance
        .disk()
        .ok_or_else(|| refuse("it is not a build of this run of the platform"))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(disk, UPPER, flags, Mode::empty())
        .map_err(|error| refuse(&format!("open its changes: {error}")))
}

fn failed(instance: &Instance, error: &PackError) -> ComputeError {
    ComputeError::Failed(format!(
        "the changes of instance {} cannot be taken: {error}",
        instance.id
    ))
}

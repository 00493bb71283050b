//! The container: what happens between the clone and the application's first instruction.
//!
//! Two processes: the *init* (process 1 of the container, this program) makes the surroundings, starts the application
//! and then only forwards signals and collects orphans. It is not the application because the kernel ends a container
//! with its process 1, and only a process that never changes its user keeps the promise to end with the shim; besides,
//! an application that does not handle SIGTERM is ended by it here, as on every other machine, and its orphans are
//! collected.

pub mod application;
mod cgroup_view;
pub mod init;
mod mounts;
mod root;
mod user;
pub mod users;

use rustix::fd::OwnedFd;

/// Written to the report just before `exec`: what follows is the reason it failed, or the end, which means it did not.
pub const REPORT_EXEC: u8 = b'x';

/// Longest report, in bytes.
pub const REPORT_BYTES_MAX: usize = 4096;

/// The descriptors a container is made with.
#[derive(Debug)]
pub struct Descriptors {
    /// Its network namespace.
    pub network: OwnedFd,
    /// The mount of its disk, attached nowhere yet.
    pub disk: OwnedFd,
    /// Its user namespace, unless its users are the machine's.
    pub users: Option<OwnedFd>,
    /// The certificates that the application is to trust.
    pub trust: Option<OwnedFd>,
    /// Where the application's standard output goes.
    pub stdout: OwnedFd,
    /// Where its standard error goes.
    pub stderr: OwnedFd,
    /// Where failures are reported; closed by `exec`.
    pub report: OwnedFd,
    /// Where the init writes how the application ended: its exit code and its signal, four bytes each, of which one
    /// is -1.
    pub status: OwnedFd,
}

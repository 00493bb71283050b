//! The shim's process: started with what it needs, found again, ended.

use crate::error::{NodeError, Step};
use apron_link::instance::PID_FILE;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;

/// Longest wait for a killed shim to be gone, in seconds. Its container goes first.
const GONE_WITHIN_SECONDS: i64 = 10;

/// What a shim is handed in place of its standard streams.
#[derive(Debug)]
pub struct Handover {
    /// Its listening socket.
    pub listener: UnixListener,
    /// The container's network namespace.
    pub network: OwnedFd,
    /// The container's disk.
    pub disk: OwnedFd,
}

/// Starts a shim. It is a child of this process until this process ends, and goes on afterwards. Called inside a runtime.
pub fn spawn(program: &Path, directory: &Path, handover: Handover) -> Result<(), NodeError> {
    let mut command = Command::new(program);
    command
        .arg(directory)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(handover.listener)))
        .stdout(Stdio::from(handover.network))
        .stderr(Stdio::from(handover.disk));
    let mut child = command
        .spawn()
        .step(format!("start {}", program.display()))?;
    // Somebody has to collect it; that it ended is noticed on its connection.
    tokio::spawn(async move {
        let _ = child.wait().await;
    });
    Ok(())
}

/// The process of an instance's shim, if it lives. The number in the file could have come to another process, so its
/// command line has to be that of this instance's shim.
fn find(directory: &Path) -> Option<OwnedFd> {
    let pid = std::fs::read_to_string(directory.join(PID_FILE))
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let pidfd = rustix::process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    let command_line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let argument = command_line.split(|byte| *byte == 0).nth(1)?;
    (argument == directory.as_os_str().as_encoded_bytes()).then_some(pidfd)
}

/// Ends an instance's shim, and with it the container; blocks until it is gone. One that is gone is fine.
pub fn end(directory: &Path) -> Result<(), NodeError> {
    let Some(pidfd) = find(directory) else {
        return Ok(());
    };
    match rustix::process::pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(errno) => return Err(NodeError::step("end a shim", errno)),
    }
    let timeout = Timespec {
        tv_sec: GONE_WITHIN_SECONDS,
        tv_nsec: 0,
    };
    match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)).step("wait for a shim")? {
        0 => Err(NodeError::step(
            "end a shim",
            format!("it is still there after {GONE_WITHIN_SECONDS} s"),
        )),
        _ => Ok(()),
    }
}

/// Whether an instance's shim lives.
pub fn is_alive(directory: &Path) -> bool {
    find(directory).is_some()
}

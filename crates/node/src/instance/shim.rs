//! The shim's process: started with what it needs, found again, ended.

use crate::error::{NodeError, Step};
use apron_link::instance::{ENVIRONMENT_BYTES_MAX, HANDOVER, HANDOVER_DESCRIPTORS_MAX, PID_FILE};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::process::{Pid, PidfdFlags, Signal};
use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;

/// Longest wait for a killed shim to be gone, in seconds. Its container goes first.
const GONE_WITHIN_SECONDS: i64 = 10;

/// What a shim is handed.
#[derive(Debug)]
pub struct Handover {
    /// Its listening socket.
    pub listener: UnixListener,
    /// The container's network namespace.
    pub network: OwnedFd,
    /// The container's disk.
    pub disk: OwnedFd,
    /// The application's environment.
    pub environment: OwnedFd,
    /// The certificates that the application is to trust.
    pub trust: Option<OwnedFd>,
}

/// The environment as a file in memory, which has no name anywhere.
pub fn environment_file(environment: &[String]) -> Result<OwnedFd, NodeError> {
    let mut text = environment.join("\0");
    text.push('\0');
    if text.len() > ENVIRONMENT_BYTES_MAX {
        let size = format!("{} bytes, {ENVIRONMENT_BYTES_MAX} are possible", text.len());
        return Err(NodeError::step("hand over the environment", size));
    }
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL;
    // Kernels before 6.3 do not know that a file of memory need not be executable.
    let file = rustix::fs::memfd_create("environment", flags)
        .or_else(|_| rustix::fs::memfd_create("environment", MemfdFlags::CLOEXEC))
        .step("make a file in memory")?;
    let mut file = std::fs::File::from(file);
    file.write_all(text.as_bytes())
        .step("write the environment into memory")?;
    Ok(file.into())
}

/// One end of a pair of sockets whose other end has sent everything already.
fn sent(handover: &Handover) -> Result<OwnedFd, NodeError> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .step("make a pair of sockets")?;
    let mut descriptors = vec![
        handover.listener.as_fd(),
        handover.network.as_fd(),
        handover.disk.as_fd(),
        handover.environment.as_fd(),
    ];
    descriptors.extend(handover.trust.as_ref().map(AsFd::as_fd));
    let mut space =
        [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDOVER_DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(NodeError::step(
            "hand over descriptors",
            "there are too many",
        ));
    }
    let message = [IoSlice::new(&[HANDOVER])];
    rustix::net::sendmsg(&ours, &message, &mut ancillary, SendFlags::empty())
        .step("hand over descriptors")?;
    Ok(theirs)
}

/// Starts a shim. It is a child of this process until this process ends, and goes on afterwards. Called inside a runtime.
pub fn spawn(program: &Path, directory: &Path, handover: &Handover) -> Result<(), NodeError> {
    let mut command = Command::new(program);
    command
        .arg(directory)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(sent(handover)?))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
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

//! What the node hands over besides the plan: open descriptors, of which one holds the environment.

use crate::failure::Stage;
use apron_link::instance::{ENVIRONMENT_BYTES_MAX, HANDOVER, HANDOVER_DESCRIPTORS_MAX};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::IoSliceMut;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use std::mem::MaybeUninit;

/// What a container is made with besides its plan.
pub struct Handover {
    /// The listening socket.
    pub listener: OwnedFd,
    /// The container's network namespace.
    pub network: OwnedFd,
    /// The mount of its disk.
    pub disk: OwnedFd,
    /// The application's environment, `NAME=value` each.
    pub environment: Vec<String>,
    /// The certificates that the application is to trust.
    pub trust: Option<OwnedFd>,
}

/// Takes what the socket on standard input gives, and quiets the standard streams.
pub fn take() -> Result<Handover, String> {
    let mut descriptors = receive()?.into_iter();
    let mut next = || descriptors.next().ok_or("the node handed over too little");
    let handover = Handover {
        listener: next()?,
        network: next()?,
        disk: next()?,
        environment: environment(&next()?)?,
        trust: descriptors.next(),
    };
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .stage("open /dev/null")?;
    rustix::stdio::dup2_stdin(&null).stage("quiet standard input")?;
    rustix::stdio::dup2_stdout(&null).stage("quiet standard output")?;
    rustix::stdio::dup2_stderr(&null).stage("quiet standard error")?;
    Ok(handover)
}

fn receive() -> Result<Vec<OwnedFd>, String> {
    let mut space =
        [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDOVER_DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = rustix::net::recvmsg(
        rustix::stdio::stdin(),
        &mut [IoSliceMut::new(&mut byte)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )
    .stage("take the descriptors")?;
    if received.bytes != 1 || byte[0] != HANDOVER {
        return Err("the node of another version handed over something else".to_owned());
    }
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok(descriptors)
}

fn environment(file: &OwnedFd) -> Result<Vec<String>, String> {
    let bytes = read_from_start(file, ENVIRONMENT_BYTES_MAX).stage("read the environment")?;
    Ok(bytes
        .split(|byte| *byte == 0)
        .filter(|entry| !entry.is_empty())
        .map(|entry| String::from_utf8_lossy(entry).into_owned())
        .collect())
}

/// The content of a file whose place somebody else has moved.
pub fn read_from_start(file: &OwnedFd, bytes_max: usize) -> rustix::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    while bytes.len() < bytes_max {
        let count = rustix::io::pread(file.as_fd(), &mut chunk, bytes.len() as u64)?;
        if count == 0 {
            break;
        }
        bytes.extend_from_slice(&chunk[..count]);
    }
    Ok(bytes)
}

//! Receiving bytes and the open files that come with them.

use super::LinkError;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;

/// Most files in one piece of the stream: a message carries one, and the system gives out those of one message at a time.
const FILES_AT_ONCE: usize = 4;

/// Most files that wait for their messages.
const FILES_MAX: usize = 64;

/// What was received last.
#[derive(Debug)]
pub struct Received {
    bytes: Vec<u8>,
    /// Files in the order of their messages; `None` stands for one that this process had no descriptor left for.
    pub files: VecDeque<Option<OwnedFd>>,
}

impl Default for Received {
    fn default() -> Received {
        Received {
            bytes: vec![0; READ_BYTES],
            files: VecDeque::new(),
        }
    }
}

impl Received {
    /// Waits for bytes. Nothing is lost if this is given up before it is done.
    pub async fn more(&mut self, stream: &UnixStream) -> Result<&[u8], LinkError> {
        let read = stream.async_io(Interest::READABLE, || self.receive(stream));
        let read = read.await?;
        if read == 0 {
            return Err(LinkError::Closed);
        }
        if self.files.len() > FILES_MAX {
            return Err(LinkError::Files);
        }
        Ok(&self.bytes[..read])
    }

    fn receive(&mut self, stream: &UnixStream) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_AT_ONCE))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [IoSliceMut::new(&mut self.bytes)];
        let received = recvmsg(stream, &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let before = self.files.len();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                self.files.extend(files.map(Some));
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) && self.files.len() == before {
            self.files.push_back(None);
        }
        Ok(received.bytes)
    }
}

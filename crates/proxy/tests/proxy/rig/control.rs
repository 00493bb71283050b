//! The control plane's end of the link.

use super::PATIENCE;
use apron_link::frame::{Decoder, encode};
use apron_link::proxy::{Draining, FromProxy, RouteTable, ToProxy, VERSION};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A control plane that one proxy is linked to.
pub struct Control {
    listener: UnixListener,
    linked: Option<(UnixStream, Receiver<FromProxy>)>,
    /// Messages that were received while waiting for another.
    passed_over: Vec<FromProxy>,
}

impl Control {
    pub fn listen(path: &Path) -> Control {
        let _ = std::fs::remove_file(path);
        Control {
            listener: UnixListener::bind(path).unwrap(),
            linked: None,
            passed_over: Vec::new(),
        }
    }

    /// Waits for a proxy's hello; answers the number of the table it serves by.
    pub fn link(&mut self) -> u64 {
        let (stream, _) = self.listener.accept().unwrap();
        let (sender, receiver) = channel();
        let mut reader = stream.try_clone().unwrap();
        std::thread::spawn(move || {
            let (mut decoder, mut bytes) = (Decoder::default(), vec![0; 65_536]);
            while let Ok(read @ 1..) = reader.read(&mut bytes) {
                decoder.push(&bytes[..read]);
                while let Some(message) = decoder.next::<FromProxy>().unwrap() {
                    if sender.send(message).is_err() {
                        return;
                    }
                }
            }
        });
        self.linked = Some((stream, receiver));
        self.send(&ToProxy::Welcome { version: VERSION });
        self.expect("a hello", |message| match message {
            FromProxy::Hello {
                version: VERSION,
                generation,
                ..
            } => Some(*generation),
            _ => None,
        })
    }

    /// Ends the connection, as a dying control plane would.
    pub fn unlink(&mut self) {
        let (stream, _) = self.linked.take().unwrap();
        stream.shutdown(std::net::Shutdown::Both).unwrap();
    }

    pub fn send(&mut self, message: &ToProxy) {
        let (stream, _) = self.linked.as_mut().unwrap();
        stream.write_all(&encode(message).unwrap()).unwrap();
    }

    /// Sends a message whose last byte carries a file.
    pub fn send_with_file(&mut self, message: &ToProxy, file: &File) {
        let (stream, _) = self.linked.as_mut().unwrap();
        let bytes = encode(message).unwrap();
        let (last, most) = bytes.split_last().unwrap();
        stream.write_all(most).unwrap();
        let files = [file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&files)));
        let sent = sendmsg(
            &*stream,
            &[IoSlice::new(&[*last])],
            &mut control,
            SendFlags::empty(),
        );
        assert_eq!(sent.unwrap(), 1);
    }

    /// Publishes a table, linking first if need be, and waits until it is in force.
    pub fn publish(&mut self, table: RouteTable) -> Vec<Draining> {
        if self.linked.is_none() {
            self.link();
        }
        let wanted = table.generation;
        self.send(&ToProxy::Routes(table));
        self.expect("an acknowledgement", |message| match message {
            FromProxy::Applied {
                generation,
                draining,
            } if *generation == wanted => Some(draining.clone()),
            _ => None,
        })
    }

    /// Forgets what was received so far.
    pub fn forget(&mut self) {
        self.passed_over.clear();
        let (_, receiver) = self.linked.as_ref().unwrap();
        while receiver.try_recv().is_ok() {}
    }

    /// Waits for a message that `wanted` makes something of.
    pub fn expect<T>(&mut self, what: &str, wanted: impl Fn(&FromProxy) -> Option<T>) -> T {
        if let Some(index) = self
            .passed_over
            .iter()
            .position(|message| wanted(message).is_some())
        {
            return wanted(&self.passed_over.remove(index)).unwrap();
        }
        let (_, receiver) = self.linked.as_ref().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = receiver
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("{what} never came"));
            match wanted(&message) {
                Some(found) => return found,
                None => self.passed_over.push(message),
            }
        }
    }

    /// Whether a message of this kind comes within `time`.
    pub fn comes_within(&mut self, time: Duration, wanted: impl Fn(&FromProxy) -> bool) -> bool {
        if self.passed_over.iter().any(&wanted) {
            return true;
        }
        let (_, receiver) = self.linked.as_ref().unwrap();
        let deadline = Instant::now() + time;
        loop {
            match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(message) if wanted(&message) => return true,
                Ok(message) => self.passed_over.push(message),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
            }
        }
    }
}

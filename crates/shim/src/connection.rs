//! The node's connection: what was sent on it and what it asks for.

use crate::backlog::Backlog;
use apron_link::frame::{Decoder, encode};
use apron_link::instance::{Exit, FromShim, ToShim, VERSION};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

/// Bytes encoded and not yet taken by the socket, above which nothing is added.
const OUTGOING_BYTES_MAX: usize = 64 << 10;

/// Bytes read from the socket at once.
const READ_BYTES: usize = 4096;

/// What the shim has to tell, as far as it is known.
pub struct News<'a> {
    /// When the application was started, and the process id of its init.
    pub started: Option<(u64, i32)>,
    /// What it printed.
    pub backlog: &'a mut Backlog,
    /// How it ended; present once all it printed is in the backlog.
    pub exit: Option<&'a Exit>,
}

/// One connection. It is over when a method says so with an error.
pub struct Connection {
    stream: UnixStream,
    decoder: Decoder,
    outgoing: Vec<u8>,
    sent: usize,
    next: u64,
    told_started: bool,
    told_exit: bool,
}

impl Connection {
    /// Greets whoever connected.
    pub fn greet(stream: UnixStream, backlog: &Backlog) -> std::io::Result<Connection> {
        stream.set_nonblocking(true)?;
        let mut connection = Connection {
            stream,
            decoder: Decoder::default(),
            outgoing: Vec::new(),
            sent: 0,
            next: backlog.first(),
            told_started: false,
            told_exit: false,
        };
        connection.put(&FromShim::Hello {
            version: VERSION,
            pid: std::process::id(),
        })?;
        Ok(connection)
    }

    /// The socket, to wait on.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Whether bytes wait for the socket.
    pub fn wants_to_write(&self) -> bool {
        self.sent < self.outgoing.len()
    }

    /// Sends what is new, as much as the socket takes now. Gives whether any byte went.
    pub fn send(&mut self, news: &mut News<'_>) -> std::io::Result<bool> {
        let mut progress = false;
        loop {
            self.fill(news)?;
            if !self.wants_to_write() {
                return Ok(progress);
            }
            match self.stream.write(&self.outgoing[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    progress = true;
                    self.sent += count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(progress),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads the commands that have arrived.
    pub fn receive(&mut self) -> std::io::Result<Vec<ToShim>> {
        let mut buffer = [0; READ_BYTES];
        let mut commands = Vec::new();
        match self.stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.decoder.push(&buffer[..count]),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        while let Some(command) = self.decoder.next().map_err(std::io::Error::other)? {
            commands.push(command);
        }
        Ok(commands)
    }

    fn fill(&mut self, news: &mut News<'_>) -> std::io::Result<()> {
        if self.sent == self.outgoing.len() {
            self.outgoing.clear();
            self.sent = 0;
        }
        if let (false, Some((at_ms, init_pid))) = (self.told_started, news.started) {
            self.told_started = true;
            self.put(&FromShim::Started { at_ms, init_pid })?;
        }
        while self.outgoing.len() - self.sent < OUTGOING_BYTES_MAX {
            match news.backlog.message(self.next) {
                Some((message, next)) => {
                    self.next = next;
                    self.put(&message)?;
                }
                None => {
                    if let (false, Some(exit)) = (self.told_exit, news.exit) {
                        self.told_exit = true;
                        self.put(&FromShim::Exited(exit.clone()))?;
                    }
                    break;
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, message: &FromShim) -> std::io::Result<()> {
        self.outgoing
            .extend(encode(message).map_err(std::io::Error::other)?);
        Ok(())
    }
}

//! Large bodies between two connections without TLS move within the kernel, through a pipe: splice(2) spares the copy to
//! this process and the one back.

use crate::flow::{Flow, FlowError, WaitsFor};
use crate::h1::body::Truncated;
use crate::worker::Worker;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::io::{Error, ErrorKind};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Bytes of a body that are left when it becomes worth a pipe.
pub const SPLICED_BYTES_MIN: u64 = 256 << 10;

/// Most bytes in a pipe.
const PIPE_BYTES: usize = 256 << 10;

/// Most pipes of a worker, each with two descriptors; further bodies are copied.
const PIPES_MAX: usize = 32;

#[derive(Debug)]
struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

/// The pipes of one worker.
#[derive(Debug, Default)]
pub struct Pipes {
    idle: Vec<Pipe>,
    lent: usize,
}

/// A pipe in use; given back when it is dropped, unless there is something in it.
#[derive(Debug)]
pub struct Lent {
    worker: Rc<Worker>,
    pipe: Option<Pipe>,
    held: usize,
}

impl Lent {
    /// Takes a pipe; `None` if there are as many as there may be, or the system has none.
    pub fn take(worker: &Rc<Worker>) -> Option<Lent> {
        let mut pipes = worker.pipes.borrow_mut();
        if pipes.lent >= PIPES_MAX {
            return None;
        }
        let pipe = match pipes.idle.pop() {
            Some(pipe) => pipe,
            None => {
                let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
                // A smaller pipe works, too, with more calls.
                let _ = fcntl_setpipe_size(&writer, PIPE_BYTES);
                Pipe { reader, writer }
            }
        };
        pipes.lent += 1;
        Some(Lent {
            worker: Rc::clone(worker),
            pipe: Some(pipe),
            held: 0,
        })
    }

    /// Moves what can be moved. Ready when the body that `flow` counts has left.
    pub fn poll(
        &mut self,
        context: &mut Context<'_>,
        (source, sink): (&TcpStream, &TcpStream),
        flow: &mut Flow,
    ) -> Poll<Result<(), FlowError>> {
        let Some(pipe) = &self.pipe else {
            return Poll::Ready(Ok(()));
        };
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        loop {
            if self.held > 0 {
                flow.waits(WaitsFor::Sink);
                ready!(sink.poll_write_ready(context)).map_err(FlowError::Sink)?;
                let write = || {
                    let moved = splice(&pipe.reader, None, sink, None, self.held, flags);
                    moved.map_err(Error::from)
                };
                match sink.try_io(Interest::WRITABLE, write) {
                    Ok(0) => return Poll::Ready(Err(FlowError::Sink(ErrorKind::WriteZero.into()))),
                    Ok(moved) => {
                        self.held -= moved;
                        flow.moved(moved);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Poll::Ready(Err(FlowError::Sink(error))),
                }
                continue;
            }
            let left = match flow.left() {
                None | Some(0) => return Poll::Ready(Ok(())),
                Some(left) => usize::try_from(left).unwrap_or(usize::MAX).min(PIPE_BYTES),
            };
            flow.waits(WaitsFor::Source);
            ready!(source.poll_read_ready(context)).map_err(FlowError::Source)?;
            let read = || {
                let moved = splice(source, None, &pipe.writer, None, left, flags);
                moved.map_err(Error::from)
            };
            match source.try_io(Interest::READABLE, read) {
                Ok(0) => return Poll::Ready(Err(Truncated.into())),
                Ok(moved) => self.held = moved,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(FlowError::Source(error))),
            }
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut pipes = self.worker.pipes.borrow_mut();
        pipes.lent -= 1;
        if let Some(pipe) = self.pipe.take().filter(|_| self.held == 0) {
            pipes.idle.push(pipe);
        }
    }
}

//! A connection that stops being HTTP/1.

use super::{Client, ClientIo, Next};
use crate::buffer::{Buffer, poll_read};
use crate::service::Finished;
use crate::tunnel::frames::Frames;
use crate::tunnel::{Closed, End, Tunnel};
use crate::worker::Worker;
use bytes::{Buf, Bytes};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Most bytes of one read.
const READ_BYTES: usize = 64 << 10;

/// A connection and what was read of it before it became a tunnel.
pub(crate) struct Raw<'a, S> {
    worker: Rc<Worker>,
    stream: &'a mut S,
    inbox: &'a mut Buffer,
    unflushed: bool,
}

impl<'a, S> Raw<'a, S> {
    /// `stream`, of which `inbox` was read.
    pub(crate) fn new(worker: &Rc<Worker>, stream: &'a mut S, inbox: &'a mut Buffer) -> Raw<'a, S> {
        Raw {
            worker: Rc::clone(worker),
            stream,
            inbox,
            unflushed: true,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> End for Raw<'_, S> {
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        if !self.inbox.is_empty() {
            let early = Bytes::copy_from_slice(self.inbox.unread());
            self.inbox.consume(early.len());
            return Poll::Ready(Ok(Some(early)));
        }
        let mut scratch = self.worker.scratch();
        let read = ready!(poll_read(context, self.stream, &mut scratch[..READ_BYTES]))?;
        let piece = (read > 0).then(|| Bytes::copy_from_slice(&scratch[..read]));
        Poll::Ready(Ok(piece))
    }

    fn poll_write(&mut self, context: &mut Context<'_>, piece: &mut Bytes) -> Poll<io::Result<()>> {
        while !piece.is_empty() {
            match ready!(Pin::new(&mut *self.stream).poll_write(context, piece))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => piece.advance(written),
            }
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut *self.stream).poll_flush(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(context)
    }
}

/// Moves bytes between the client and an instance until both sides have ended. `inbox` has what the instance sent
/// already, `out` what the client is to get first.
pub(super) async fn tunnel<C: ClientIo>(
    client: &mut Client<C>,
    (mut upstream, mut inbox): (TcpStream, Buffer),
    mut out: Buffer,
    (websocket, idle): (bool, Duration),
    finished: &mut Finished,
) -> Next {
    let worker = Rc::clone(&client.visitor.worker);
    let head = std::future::poll_fn(|context| out.poll_write_to(context, &mut client.stream));
    client.deadline.set_phase(Some(idle));
    if !matches!(client.deadline.bound(head).await, Ok(Ok(()))) {
        return Next::Reset;
    }
    let tunnel = Tunnel {
        client: Raw::new(&worker, &mut client.stream, &mut client.inbox),
        instance: Raw::new(&worker, &mut upstream, &mut inbox),
        frames: websocket.then(Frames::default),
        worker,
        deadline: &client.deadline,
        idle,
    };
    match tunnel.run(finished).await {
        Closed::InOrder => Next::Linger,
        Closed::Broken => Next::Reset,
    }
}
